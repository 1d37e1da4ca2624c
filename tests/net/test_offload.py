#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The device's offloads: packets of many segments, checksums left to others.

Bytes are compared by msgclient; what is seen here is how they travel.
"""
# builds: gcc asan tsan

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import tempfile

import harness
from harness import (
    SCALE, VIP4, VIP6, Echod, Net, Xtcpd, contains, equal, msgclient, run,
    wait_attached, wait_for)
from outlive import link
from runner import note
from test_supervise import Supervised, is_running
from test_tun import Probe

PORT = 7
MTU = 1500
BULK = (16 << 20) // SCALE
SEGMENTS = BULK // MTU  # at least
SIOCETHTOOL = 0x8946
ETHTOOL_GTXCSUM, ETHTOOL_GTSO = 0x16, 0x1e


def feature(command, name="xtcp0"):
    value = ctypes.create_string_buffer(struct.pack("II", command, 0), 8)
    with socket.socket() as s:
        fcntl.ioctl(s, SIOCETHTOOL, struct.pack(
            "16sP16x", name.encode(), ctypes.addressof(value)))
    return bool(struct.unpack("II", value.raw)[1])


def offloads():
    """Whether the device (leaves checksums undone, has large packets)."""
    return feature(ETHTOOL_GTXCSUM), feature(ETHTOOL_GTSO)


def packets():
    """How many the device has had: (to xtcpd, from xtcpd)."""
    found = json.loads(run("ip", "-j", "-s", "link", "show", "xtcp0").stdout)
    return [found[0]["stats64"][way]["packets"] for way in ("tx", "rx")]


def tun(offload):
    return {"tun": {"xtcp0": {"vip": [VIP4, VIP6], "mtu": MTU,
                              "offload": offload}}}


def bulk(address, connections=1):
    size = BULK // connections
    r = msgclient(f"{address}:{PORT}", "--bulk", size,
                  "--connections", connections)
    equal((r["bytes"], r["mismatches"]), (size * connections, 0))


def travels(offload, address=VIP4, connections=1):
    """A bulk takes fewer packets than it has segments, or it doesn't."""
    equal(offloads(), (offload, offload))
    before = packets()
    bulk(address, connections)
    now = packets()
    for way, n in zip(("to", "from"), (now[0] - before[0], now[1] - before[1])):
        note(f"offload {offload}: {n} packets {way} xtcpd")
        if (n < SEGMENTS) != offload:
            raise AssertionError(f"{n} packets {way} xtcpd, {SEGMENTS} segments")


@contextlib.contextmanager
def echo(offload, workers=1, **kw):
    with Net(), Xtcpd({"echo": {"port": PORT}}, workers, top=tun(offload),
                      **kw) as d, Echod("-p", PORT, daemon=d):
        wait_attached(d)
        yield d


# --- how bytes travel

def test_large_packets_both_ways():
    with echo(True):
        travels(True)
        travels(True, f"[{VIP6}]")


def test_large_packets_both_ways_w2():
    with echo(True, workers=2):
        travels(True, connections=4)
        travels(True, f"[{VIP6}]", 4)


def test_no_large_packets_without_offload():
    with echo(False, workers=2):
        travels(False)
        travels(False, f"[{VIP6}]", 4)


def test_what_is_counted_is_segments():
    """However few the packets are, tun_packets_out says what goes on a wire."""
    with echo(True) as d:
        bulk(VIP4)
        n = d.counters()
        equal(n["tun_packets_out"], n["segs_out"])
        if n["tun_packets_out"] < SEGMENTS:
            raise AssertionError(f"{n['tun_packets_out']} segments")


# --- on and off

def changed(before):
    """A process takes the queues over with another setting."""
    with Net(), Supervised(workers=2, top=tun(before)) as d, \
            Echod("-p", PORT, daemon=d):
        wait_attached(d)
        travels(before, connections=2)
        index, old = link()["ifindex"], d.worker()
        d.configure({"echo": {"port": PORT}}, 2, top=tun(not before))
        os.kill(old, signal.SIGKILL)
        wait_for(f"{old} has ended", lambda: not is_running(old))
        d.next_worker(old)
        contains(d.stderr(), "2 queues (2 taken over)")
        equal(link()["ifindex"], index)
        wait_attached(d)
        travels(not before, connections=2)


def test_a_restart_turns_it_off():
    changed(True)


def test_a_restart_turns_it_on():
    changed(False)


def unused_device():
    run("ip", "tuntap", "add", "dev", "xtcp0", "mode", "tun", "multi_queue")
    equal(offloads(), (False, False))


def test_device_is_given_back_without():
    """Who uses it next may not know of large packets."""
    with Net():
        unused_device()
        with Probe(queues=2) as p:
            equal(offloads(), (True, True))
            p.end("close")
        equal(offloads(), (False, False))


def test_sandboxed_xtcpd_gives_the_device_back_without():
    with Net():
        unused_device()
        with Xtcpd({"echo": {"port": PORT}}, 2) as d:
            equal(offloads(), (True, True))
            d.stop()
        equal(offloads(), (False, False))


def large_in_capture(offload, way):
    with tempfile.TemporaryDirectory() as t:
        with echo(offload, args=["--pcap", f"{t}/x.pcap"]):
            bulk(VIP4)
        return run("tcpdump", "-nn", "-r", f"{t}/x.pcap", "-c", 1,
                   f"{way} host {VIP4} and greater {MTU + 1}").stdout


def test_captures_have_large_packets():
    """As xtcpd gets them; what it sends is captured before it is joined."""
    if not large_in_capture(True, "dst"):
        raise AssertionError("there are none")
    equal(large_in_capture(True, "src"), "")


def test_none_is_larger_than_the_mtu_without_offload():
    equal(large_in_capture(False, ""), "")


if __name__ == "__main__":
    harness.main(globals())
