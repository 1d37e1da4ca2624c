#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""VIPs in the subnet of the host's own network: it answers for them there."""

import contextlib
import json
from pathlib import Path

import harness
from harness import (
    Echod, Xtcpd, contains, equal, recv_exactly, run, wait_attached, wait_for)
from lan import OWN4, Lan
from test_supervise import Supervised

PORT = 7
NEAR4, NEAR6 = "198.51.100.50", "2001:db8:7::50"
MORE4, MORE6 = "198.51.100.51", "2001:db8:7::51"
BOTH = [NEAR4, NEAR6]
ELSEWHERE = "02:00:00:00:00:99"


def settings(vip=BOTH, links=("eth0",)):
    return {"tun": {"xtcp0": {"vip": list(vip), "proxy-arp": list(links)}}}


def xtcpd(top=None, **kw):
    return Xtcpd({"echo": {"port": PORT}}, top=top or settings(), **kw)


@contextlib.contextmanager
def lan(**kw):
    with Lan(forwarding=1, **kw) as lan:
        # the kernel answers for others after up to 0.8 s
        harness.sysctl("net/ipv4/neigh/eth0/proxy_delay", 0)
        harness.sysctl("net/ipv6/neigh/eth0/proxy_delay", 0)
        yield lan


def neighbours(*args):
    found = []
    for family in "-4", "-6":
        found += json.loads(run("ip", "-j", family, "neigh", "show", *args,
                                "dev", "eth0").stdout or "[]")
    return found


def proxied():
    return sorted(n["dst"] for n in neighbours("proxy"))


def proxy_ndp():
    return Path("/proc/sys/net/ipv6/conf/eth0/proxy_ndp").read_text().strip()


def mac():
    return json.loads(run("ip", "-j", "link", "show", "eth0").stdout)[0][
        "address"]


def can_exchange(lan, address):
    with lan.connect(address, PORT) as s:
        s.sendall(b"hello")
        equal(recv_exactly(s, 5), b"hello")


def test_a_neighbour_reaches_them_without_a_route():
    with lan() as net:
        with xtcpd() as d, Echod("-p", PORT, daemon=d):
            wait_attached(d)
            for address in BOTH:
                can_exchange(net, address)
            equal(proxied(), BOTH)
            equal(proxy_ndp(), "1")
            d.stop()
        equal(proxied(), [])
        equal(proxy_ndp(), "0")


def test_neighbours_who_thought_otherwise_are_told():
    with lan() as net:
        with net.there():
            for address in BOTH:
                run("ip", "neigh", "add", address, "lladdr", ELSEWHERE, "dev",
                    "eth0", "nud", "stale")
        with xtcpd():
            def known():
                with net.there():
                    return {n["dst"]: n["lladdr"] for n in neighbours()
                            if n["dst"] in BOTH}
            wait_for("both are known", lambda: known() ==
                     dict.fromkeys(BOTH, mac()))


def test_without_packet_sockets_it_is_said():
    with lan(), xtcpd(wrap=("setpriv", "--bounding-set", "-net_raw",
                            "--inh-caps", "-net_raw")) as d:
        contains(d.stderr(), "takes CAP_NET_RAW")
        equal(proxied(), BOTH)


def test_reload_follows_the_addresses():
    with lan() as net, xtcpd(settings([NEAR4])) as d, \
            Echod("-p", PORT, daemon=d):
        wait_attached(d)
        equal((proxied(), proxy_ndp()), ([NEAR4], "0"))
        d.configure({"echo": {"port": PORT}}, top=settings([MORE4, MORE6]))
        d.ask("reload")
        equal((proxied(), proxy_ndp()), ([MORE4, MORE6], "1"))
        for address in MORE4, MORE6:
            can_exchange(net, address)
        d.configure({"echo": {"port": PORT}},
                    top=settings([MORE4, MORE6], ["eth0", "lan1"]))
        contains(d.ctl("reload", check=False).stdout +
                 d.stderr(), "needs a restart")
        equal(proxied(), [MORE4, MORE6])
        d.stop()
        equal((proxied(), proxy_ndp()), ([], "0"))


def test_a_crash_leaves_them_to_the_next_start():
    with lan() as net, xtcpd() as d, Echod("-p", PORT, daemon=d):
        wait_attached(d)
        d.kill()
        equal((proxied(), proxy_ndp()), (BOTH, "1"))
        d.configure({"echo": {"port": PORT}}, top=settings([NEAR6, MORE4]))
        d.spawn()
        d.__enter__()
        equal((proxied(), proxy_ndp()), ([MORE4, NEAR6], "1"))
        wait_attached(d)
        can_exchange(net, MORE4)
        d.stop()
        equal((proxied(), proxy_ndp()), ([], "0"))


def test_what_others_made_stays():
    with lan():
        harness.sysctl("net/ipv6/conf/eth0/proxy_ndp", 1)
        for address in NEAR4, MORE6:
            run("ip", "neigh", "add", "proxy", address, "dev", "eth0")
        with xtcpd() as d:
            equal(proxied(), [NEAR4, NEAR6, MORE6])
            d.stop()
        equal((proxied(), proxy_ndp()), ([NEAR4, MORE6], "1"))


def test_a_supervised_end_leaves_nothing():
    with lan():
        with Supervised(top=settings()) as d:
            equal(proxied(), BOTH)
            d.stop()
        equal((proxied(), proxy_ndp()), ([], "0"))


def test_a_host_that_does_not_forward_is_told():
    with Lan(), xtcpd() as d:
        contains(d.stderr(), "net.ipv4.conf.eth0.forwarding is 0")
        contains(d.stderr(), "net.ipv6.conf.all.forwarding is 0")


def test_an_interface_that_is_down_is_said():
    with lan():
        run("ip", "link", "set", "eth0", "down")
        with xtcpd() as d:
            contains(d.stderr(), "on eth0 are not told of the addresses: "
                     "Network is down")


def test_an_interface_that_is_missing_is_said():
    with lan():
        d = xtcpd(settings(links=["eth0", "eth9"]))
        equal(d.wait(), 1)
        contains(d.stderr(), "proxy-arp: there is no interface eth9")
        d.stopped = True
        d.__exit__(None, None, None)
        equal((proxied(), proxy_ndp()), ([], "0"))


if __name__ == "__main__":
    harness.main(globals())
