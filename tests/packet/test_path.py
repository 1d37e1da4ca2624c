#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What the path says: its MTU, by messages and by silence (RFC 1191, 8201,
5927, 4821). What it says that we don't believe is in test_hostile.py.
"""

import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "net"))

import harness  # noqa: E402
import packet  # noqa: E402
from harness import VIP4, VIP6, equal  # noqa: E402
from scene import Scene  # noqa: E402

ROUTER4, ROUTER6 = "10.9.1.1", "2001:db8:9::1:1"


def too_big(raw, mtu):
    """A router's answer to this packet of ours."""
    if raw[0] >> 4 == 6:
        body = struct.pack("!BBHI", 2, 0, 0, mtu) + raw[:1232]
        csum = packet.checksum(
            packet.pseudo(ROUTER6, VIP6, packet.ICMP6, len(body)) + body)
        body = body[:2] + struct.pack("!H", csum) + body[4:]
        return packet.ip6(ROUTER6, VIP6, packet.ICMP6, body)
    body = struct.pack("!BBHI", 3, 4, 0, mtu) + raw[:28]
    body = body[:2] + struct.pack("!H", packet.checksum(body)) + body[4:]
    return packet.ip4(ROUTER4, VIP4, packet.ICMP, body)


def too_big_lowers_the_mss(family):
    with Scene() as s:
        p = s.connected(family=family)
        f = s.received(p, b"request")
        full = 1460 if family == 4 else 1440
        with s.counted(pmtu_lowered=1, rto_fired=0):
            s.b.reply(f.conn, b"x" * 2 * full, 7)
            first = p.expect("A", seq=1, len=full)
            p.expect("PA", seq=1 + full, len=full)
            p.rcv_nxt = 1  # neither arrived
            s.wire.inject(too_big(first.raw, 1400))
            less = full - 100
            for seq, size in ((1, less), (1 + less, 100), (1 + full, less)):
                p.expect("A", seq=seq, len=size)
            p.expect("PA", seq=1 + full + less, len=100)
            p.ack()
        # It holds for what follows.
        f = s.received(p, b"another")
        s.b.reply(f.conn, b"y" * full, 7)
        p.expect("A", len=less)
        p.expect("PA", len=100)
        p.ack()
        p.expect_nothing()


def test_too_big_lowers_the_mss_v4():
    too_big_lowers_the_mss(4)


def test_too_big_lowers_the_mss_v6():
    too_big_lowers_the_mss(6)


def test_a_black_hole_is_found_by_time_outs():
    with Scene() as s:
        p = s.connected()
        f = s.received(p, b"request")
        with s.counted(pmtu_black_holes=1):
            s.b.reply(f.conn, b"x" * 1460, 7)
            sizes = []
            while not sizes or sizes[-1] == 1460:
                p.rcv_nxt = 1  # full ones don't arrive
                sizes.append(len(p.got().payload))
            equal(sizes[-1], 1024)
            if len(sizes) < 3:
                raise AssertionError(f"given way too soon: {sizes}")
            p.rcv_nxt = 1 + 1024
            p.ack()
            p.expect("PA", seq=1025, len=436)
            p.ack()
        s.exchange(p)


if __name__ == "__main__":
    harness.main(globals())
