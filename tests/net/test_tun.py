#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The TUN device: its routes, blackholes and settings, and that all goes."""

import errno
import json
import os
import socket
import subprocess
import tempfile
from pathlib import Path

import harness
from harness import BUILD, CLIENT4, Net, Process, VIP4, VIP6, contains, equal, run, \
    wait_for

PROTOCOL = "120"
BLACKHOLE_METRIC = 4294967294
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI, IFF_MULTI_QUEUE = 1, 0x1000, 0x100


class Probe(Process):
    """tests/net/tun_probe with a configuration of these addresses."""

    def __init__(self, vips=(VIP4, VIP6), queues=1, mtu=1500, name="xtcp0"):
        self.conf = tempfile.NamedTemporaryFile(mode="w", suffix=".conf")
        self.conf.write(harness.conf_block(
            {"tun": {name: {"vip": list(vips), "mtu": mtu}}}))
        self.conf.flush()
        super().__init__(BUILD / "tests/net/tun_probe", self.conf.name, queues,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.said = self.p.stdout.readline().decode().strip()

    def end(self, how):
        self.p.stdin.write(how.encode() + b"\n")
        self.p.stdin.close()
        status = self.wait()
        if status:
            raise AssertionError(f"ended with {status}: {self.stderr()}")

    def __enter__(self):
        if self.said != "ready":
            raise AssertionError(f"{self.said}: {self.stderr()}")
        return self

    def __exit__(self, kind, value, tb):
        super().__exit__(kind, value, tb)
        self.conf.close()


def refused(error, text, **kw):
    """tun_open() fails with this errno, and stderr has the text."""
    probe = Probe(**kw)
    try:
        probe.wait()
        equal(probe.said, f"failed {error}", probe.stderr())
        contains(probe.stderr(), text)
    finally:
        probe.kill()


def routes(family, protocol=None):
    found = json.loads(run("ip", "-j", "-N", family, "route", "show", "table",
                           "main").stdout or "[]")
    return [r for r in found if protocol in (None, r.get("protocol"))]


def of(destination, family="-4"):
    return sorted((r.get("type", "unicast"), r.get("dev"), r.get("metric", 0))
                  for r in routes(family, PROTOCOL) if r["dst"] == destination)


def link(name="xtcp0"):
    p = run("ip", "-j", "-d", "link", "show", "dev", name, check=False)
    return json.loads(p.stdout)[0] if p.returncode == 0 else None


def sysctl(key):
    return Path(f"/proc/sys/net/{key}").read_text().strip()


def ways(family):
    """What `-N` calls the types: numbers on old versions, words on new ones."""
    vip = VIP4 if family == "-4" else VIP6
    return [(kind, dev, metric) for kind, dev, metric in of(vip, family)]


def is_blackhole(route):
    return route[0] in ("blackhole", "6") and route[2] == BLACKHOLE_METRIC


def test_device_has_queues_mtu_and_is_up():
    with Net(), Probe(queues=3, mtu=1400) as p:
        found = link()
        equal(found["mtu"], 1400)
        contains(found["flags"], "UP")
        info = found["linkinfo"]["info_data"]
        equal(info["type"], "tun")
        equal(info["multi_queue"], True)
        equal(info["pi"], False)
        equal(info["numqueues"], 3)
        equal(found["qdisc"], "noqueue")
        p.end("close")
        equal(link(), None)


def test_each_address_is_routed_with_a_blackhole_behind():
    with Net(), Probe() as p:
        for family in "-4", "-6":
            black, way = sorted(ways(family), key=lambda r: -r[2])
            equal(is_blackhole(black), True, black)
            equal(way[1], "xtcp0")
        contains(run("ip", "route", "get", VIP4).stdout, "dev xtcp0")
        contains(run("ip", "route", "get", VIP6).stdout, "dev xtcp0")
        equal(run("ip", "-j", "addr", "show", "dev", "xtcp0").stdout.count(
            "fe80"), 0, "link-local addresses")
        p.end("close")
        equal(routes("-4", PROTOCOL) + routes("-6", PROTOCOL), [])


def test_settings_of_the_device():
    with Net(), Probe():
        equal(sysctl("ipv4/conf/xtcp0/rp_filter"), "0")
        equal(sysctl("ipv4/conf/xtcp0/forwarding"), "1")
        equal(sysctl("ipv6/conf/xtcp0/disable_ipv6"), "0")
        equal(sysctl("ipv6/conf/xtcp0/accept_ra"), "0")
        equal(sysctl("ipv6/conf/xtcp0/autoconf"), "0")


def test_without_ipv6_addresses_the_device_is_silent_there():
    with Net(), Probe(vips=[VIP4]):
        equal(sysctl("ipv6/conf/xtcp0/disable_ipv6"), "1")


def answer_of_kernel():
    """How the kernel answers a SYN to the VIP."""
    s = socket.socket()
    s.bind((CLIENT4, 0))
    s.settimeout(0.3)
    try:
        s.connect((VIP4, 80))
        return "accepted"
    except TimeoutError:
        return "silence"
    except OSError as e:
        return errno.errorcode[e.errno]
    finally:
        s.close()


def test_after_a_crash_the_blackholes_stay_and_are_taken_over():
    with Net():
        with Probe() as p:
            p.kill()
            wait_for("the device is gone", lambda: not link())
            for family in "-4", "-6":
                equal([is_blackhole(r) for r in ways(family)], [True], ways(family))
        with Probe() as p:
            equal(len(ways("-4")), 2)
            p.end("close")
            equal(routes("-4", PROTOCOL) + routes("-6", PROTOCOL), [])


def test_leave_keeps_the_blackholes():
    with Net(), Probe() as p:
        p.end("leave")
        equal(link(), None)
        equal([is_blackhole(r) for r in ways("-4")], [True])
        # a local sender is told at once; a forwarded packet would vanish
        equal(answer_of_kernel(), "EINVAL")


def test_foreign_routes_are_kept():
    with Net():
        run("ip", "route", "add", "blackhole", VIP4, "metric", BLACKHOLE_METRIC)
        run("ip", "route", "add", "203.0.113.0/24", "dev", "lo")
        before = routes("-4")
        with Probe() as p:
            contains(run("ip", "route", "get", VIP4).stdout, "dev xtcp0")
            p.end("close")
        equal(routes("-4"), before)


def test_device_in_use_is_refused():
    with Net(), Probe():
        refused("EBUSY", "another process uses it")
        # and the first one is not harmed
        contains(run("ip", "route", "get", VIP4).stdout, "dev xtcp0")
        equal(len(ways("-4")), 2)


def test_unused_device_is_taken_over_and_given_back():
    with Net():
        run("ip", "tuntap", "add", "dev", "xtcp0", "mode", "tun", "multi_queue")
        run("ip", "link", "set", "xtcp0", "mtu", "1300")
        run("tc", "qdisc", "replace", "dev", "xtcp0", "root", "pfifo")
        with Probe(queues=2, mtu=1500) as p:
            equal(link()["qdisc"], "pfifo")
            equal(link()["mtu"], 1500)
            p.end("close")
        equal(link()["mtu"], 1300)
        equal("UP" in link()["flags"], False)
        equal(routes("-4", PROTOCOL) + routes("-6", PROTOCOL), [])


def test_device_with_one_queue_is_refused_in_words():
    with Net():
        run("ip", "tuntap", "add", "dev", "xtcp0", "mode", "tun")
        refused("EINVAL", "multi_queue")
        equal(link()["mtu"], 1500)


def test_device_of_another_kind_is_refused():
    with Net():
        refused("EEXIST", "is no TUN", name="lo")


def test_address_of_the_host_is_refused():
    with Net():
        refused("EADDRINUSE", "take it off there", vips=[VIP4, CLIENT4])
        equal(link(), None)
        equal(routes("-4", PROTOCOL), [])


def test_route_of_somebody_else_is_refused():
    with Net():
        run("ip", "route", "add", VIP4, "dev", "lo", "metric", "1")
        refused("EEXIST", "delete the one that exists")
        equal(routes("-4", PROTOCOL), [])
        equal(link(), None)


def test_better_route_of_somebody_else_is_warned_of():
    with Net():
        run("ip", "route", "add", VIP4, "dev", "lo", "metric", "0")
        with Probe() as p:
            contains(p.stderr(), f"packets to it do not take the route to xtcp0")


def test_ipv6_turned_off_for_new_devices_is_turned_on():
    with Net():
        harness.sysctl("net/ipv6/conf/default/disable_ipv6", 1)
        with Probe():
            contains(run("ip", "route", "get", VIP6).stdout, "dev xtcp0")


def test_without_privileges_the_message_says_what_is_missing():
    with Net(), tempfile.NamedTemporaryFile(mode="w") as conf:
        conf.write(harness.conf_block({"tun": {"xtcp0": {"vip": [VIP4]}}}))
        conf.flush()
        os.chmod(conf.name, 0o644)
        p = run("setpriv", "--reuid=65534", "--clear-groups",
                BUILD / "tests/net/tun_probe", conf.name, 1, check=False)
        equal(p.returncode, 1, p.stderr)
        assert "must run as root" in p.stderr or \
            "needs CAP_NET_ADMIN" in p.stderr, p.stderr


if __name__ == "__main__":
    harness.main(globals())
