#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What no sane client sends: each raises exactly its counter (I7), and harms
nothing (I8): an innocent connection goes on after each.

What backends and operators get wrong is in test_hostile_local.py.
"""

import contextlib
import os
import random
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "net"))

import harness  # noqa: E402
import packet  # noqa: E402
from harness import VIP4, VIP6, equal, wait_for  # noqa: E402
from peer import PEER4, PEER6  # noqa: E402
from scene import PORT, Scene  # noqa: E402


@contextlib.contextmanager
def innocent():
    """A scene, and a connection that must not be disturbed by what is done."""
    with Scene() as s:
        p = s.connected()
        s.exchange(p)
        s.wait_purged()
        p.inbox.clear()  # on a slow host the reply came more than once
        yield s
        p.expect_nothing()
        s.exchange(p)


def attack(packets):
    """packets: name -> (counter, bytes), each sent alone and looked at."""
    with innocent() as s:
        for name, (counter, data) in packets.items():
            try:
                with s.drops(**({counter: 1} if counter else {})):
                    s.wire.inject(data)
            except AssertionError as e:
                raise AssertionError(f"{name}: {e}") from None
        if s.wire.others:
            raise AssertionError(f"it was answered: {s.wire.others}")


def syn(src=PEER4, dst=VIP4, sport=1234, dport=PORT, **kw):
    kw.setdefault("flags", "S")
    return packet.tcp(src, dst, sport, dport, **kw)


def v4(payload=None, src=PEER4, dst=VIP4, proto=packet.TCP, **kw):
    return packet.ip4(src, dst, proto, syn(src) if payload is None else payload,
                      **kw)


def v6(payload=None, src=PEER6, dst=VIP6, proto=packet.TCP, **kw):
    return packet.ip6(src, dst, proto,
                      syn(src, dst) if payload is None else payload, **kw)


# --- IP

def test_ipv4_headers():
    good = v4()
    attack({
        "cut in the IP header": ("drop_short", good[:19]),
        "one byte": ("drop_short", b"\x45"),
        "total length beyond the packet": ("drop_short", v4(total=200)),
        "cut in the TCP header": ("drop_short", v4(syn()[:19])),
        "no TCP header": ("drop_short", v4(b"")),
        "header of 4 words": ("drop_ip_header", v4(ihl=4)),
        "header of no words": ("drop_ip_header", v4(ihl=0)),
        "header longer than the packet": ("drop_ip_header", v4(ihl=15)),
        "total length below the header": ("drop_ip_header", v4(total=19)),
        "total length 0": ("drop_ip_header", v4(total=0)),
        "version 5": ("drop_version", v4(version=5)),
        "version 0": ("drop_version", v4(version=0)),
        "header checksum": ("drop_ip_checksum", v4(csum=0x1234)),
        "UDP": ("drop_ip_protocol", v4(proto=17)),
        "ICMPv6 over IPv4": ("drop_ip_protocol", v4(proto=58)),
        "for another address": ("drop_not_vip", v4(dst="192.0.2.11")),
    })


def test_ipv4_bytes_behind_the_packet_are_no_payload():
    with Scene() as s:
        p = s.peer()
        s.wire.inject(p.build("S", seq=0) + b"\xff" * 20)
        p.snd_nxt = 1
        p.expect("SA", ack=1)


def test_ipv4_options():
    lsrr = b"\x83\x07\x04" + packet.address("10.9.0.77")
    ssrr = b"\x89\x07\x04" + packet.address("10.9.0.77")
    attack({
        "loose source route": ("drop_ip_options", v4(options=lsrr)),
        "strict source route": ("drop_ip_options", v4(options=ssrr)),
        "option of length 0": ("drop_ip_options", v4(options=b"\x44\0\0\0")),
    })
    with Scene() as s:  # RFC 7126: a record route is ignored
        p = s.peer()
        s.wire.inject(p.build("S", seq=0, ip={"options": b"\x07\x07\x04" + b"\0" * 5}))
        p.expect("SA", ack=1)


def test_ipv4_fragments():
    whole = syn() + b"\0" * 4
    attack({
        "odd size": ("drop_frag_header", v4(frag=0x2000)),
        "empty": ("drop_frag_header", v4(b"", frag=0x2001)),
        "too small for TCP": ("drop_frag_tiny", v4(whole[:16], frag=0x2000)),
        "beyond 65535": ("drop_frag_oversize", v4(frag=0x1fff)),
        "UDP": ("drop_ip_protocol", v4(whole, proto=17, frag=0x2000)),
        "for another address": ("drop_not_vip", v4(dst="192.0.2.11", frag=0x2001)),
        "a middle": (None, v4(whole, frag=0x2005, ident=1)),
        "over it": ("drop_frag_overlap", v4(whole, frag=0x2004, ident=1)),
        "another of the same": ("drop_frag_given_up", v4(frag=0x0009, ident=1)),
    })


def fragments(raw, size, ident=7):
    """An IP packet in fragments of size bytes, the last one first."""
    pieces = []
    v6 = raw[0] >> 4 == 6
    body = raw[40:] if v6 else raw[20:]
    for off in range(0, len(body), size):
        part, more = body[off:off + size], off + size < len(body)
        if v6:
            pieces.append(packet.ip6(
                PEER6, VIP6, 44, part, extensions=struct.pack(
                    "!BBHI", packet.TCP, 0, off | more, ident)))
        else:
            pieces.append(packet.ip4(
                PEER4, VIP4, packet.TCP, part, ident=ident,
                frag=off // 8 | more << 13))
    return pieces[::-1]


def test_fragments_of_a_segment_are_put_together():
    for family in (4, 6):
        with Scene() as s:
            p = s.peer(family=family)
            with s.counted(frag_reassembled=1):
                # Text in a SYN is left for later: it comes to nothing here.
                syn_packet = p.build("S", seq=0, payload=b"x" * 60)
                for piece in fragments(syn_packet, 40):
                    s.wire.inject(piece)
                p.snd_nxt = 1
                p.expect("SA", ack=1)


def test_ipv4_martian_sources():
    sources = ("0.0.0.0", "127.0.0.1", "224.0.0.1", "239.1.2.3",
               "240.0.0.1", "255.255.255.255", VIP4)
    attack({src: ("drop_bad_source", v4(syn(src), src=src)) for src in sources})


def test_ipv6_headers():
    good = v6()
    attack({
        "cut in the IP header": ("drop_short", good[:39]),
        "payload length beyond the packet": ("drop_short", v6(length=200)),
        "no TCP header": ("drop_short", v6(b"")),
        "cut in the TCP header": ("drop_short", v6(syn(PEER6, VIP6)[:19])),
        "UDP": ("drop_ip_protocol", v6(proto=17)),
        "ICMPv4 over IPv6": ("drop_ip_protocol", v6(proto=1)),
        "no next header": ("drop_ip_protocol", v6(proto=59)),
        "for another address": ("drop_not_vip", v6(dst="2001:db8::11")),
        "IPv4 version, IPv6 header": ("drop_ip_header", v6(version=4)),
    })


def test_ipv6_extension_headers():
    segment = syn(PEER6, VIP6)
    pad = b"\x01\x04\0\0\0\0"
    attack({
        "fragment of odd size": ("drop_frag_header", v6(
            proto=44, extensions=b"\x06\0\0\x01\0\0\0\x01")),
        "fragment without the headers": ("drop_frag_tiny", v6(
            segment[:16], proto=44, extensions=b"\x06\0\0\x01\0\0\0\x01")),
        "fragment header cut": ("drop_short", v6(
            b"", proto=44, extensions=b"\x06\0\0\x01")),
        "fragment in a fragment": ("drop_ip_fragment", v6(
            proto=44, extensions=b"\x2c\0\0\0\0\0\0\x01"
                                 b"\x06\0\0\0\0\0\0\x01")),
        "routing header with segments left": ("drop_ip_options", v6(
            proto=43, extensions=b"\x06\0\0\x01" + b"\0" * 4)),
        "extension cut": ("drop_short", v6(b"", proto=0, extensions=b"\x06\0\0")),
        "extension longer than the packet": ("drop_short", v6(
            b"", proto=60, extensions=b"\x06\xff" + pad)),
        "endless chain": ("drop_short", v6(
            b"", proto=0, extensions=(b"\x00\0" + pad) * 8)),
        "unknown extension": ("drop_ip_protocol", v6(
            segment, proto=135, extensions=b"\x06\0" + pad)),
    })
    with Scene() as s:  # RFC 8200: what may be skipped is
        p = s.peer(family=6)
        raw = p.build("S", seq=0)
        s.wire.inject(packet.ip6(p.src, p.dst, 0, raw[40:], extensions=(
            b"\x3c\0" + pad + b"\x2b\0" + pad + b"\x06\0" + b"\0" * 6)))
        p.expect("SA", ack=1)
    with Scene() as s:  # RFC 6946: a fragment that is all there is
        p = s.peer(family=6)
        raw = p.build("S", seq=0)
        s.wire.inject(packet.ip6(p.src, p.dst, 44, raw[40:],
                                 extensions=b"\x06\0\0\0\0\0\0\x01"))
        p.expect("SA", ack=1)


def test_ipv6_impossible_sources():
    sources = ("::", "::1", "ff02::1", VIP6)
    attack({src: ("drop_bad_source", v6(syn(src, VIP6), src=src))
            for src in sources})


def test_icmp():
    bad4 = packet.echo_request(PEER4, VIP4, csum=0x1234)
    attack({
        "checksum v4": ("drop_icmp_checksum", bad4),
        "checksum v6": ("drop_icmp_checksum",
                        packet.echo_request(PEER6, VIP6, csum=1)),
        "cut": ("drop_short", v4(b"\x08\0\0\0", proto=1)),
    })


def icmp4_error(kind, code, quoted):
    body = struct.pack("!BBHI", kind, code, 0, 0) + quoted
    body = body[:2] + struct.pack("!H", packet.checksum(body)) + body[4:]
    return packet.ip4("10.9.1.1", VIP4, packet.ICMP, body)


def test_icmp_errors_that_quote_an_idle_connection_are_harmless():
    with Scene() as s:
        p = s.connected()
        s.exchange(p)
        ours = packet.ip4(VIP4, p.src, packet.TCP, packet.tcp(
            p.dst, p.src, p.dport, p.sport, seq=p.irs + p.rcv_nxt))
        theirs = p.build("A")
        kinds = ((3, 1), (3, 3), (11, 0))
        with s.counted(icmp_no_flight=3, icmp_bad_quote=6, icmp_source_quench=1):
            for kind, code in kinds:
                s.wire.inject(icmp4_error(kind, code, ours[:28]))
                s.wire.inject(icmp4_error(kind, code, ours[:27]))
                s.wire.inject(icmp4_error(kind, code, theirs[:28]))
            s.wire.inject(icmp4_error(4, 0, ours[:28]))
        s.exchange(p)


# --- TCP

def test_tcp_headers():
    attack({
        "data offset 4": ("drop_tcp_header", v4(syn(doff=4))),
        "data offset 0": ("drop_tcp_header", v4(syn(doff=0))),
        "data offset beyond the segment": ("drop_tcp_header", v4(syn(doff=15))),
        "checksum": ("drop_tcp_checksum", v4(syn(csum=0xdead))),
        "checksum v6": ("drop_tcp_checksum", v6(syn(PEER6, VIP6, csum=0xdead))),
        "port 0 to us": ("drop_tcp_header", v4(syn(dport=0))),
        "port 0 from them": ("drop_tcp_header", v4(syn(sport=0))),
    })


def test_tcp_impossible_flags():
    attack({flags or "none": ("drop_tcp_flags", v4(syn(flags=flags)))
            for flags in ("", "P", "U", "PU", "SF", "SR", "FR", "SFR", "SFA",
                          "SRA", "FRA", "SFRPAUEW")})


def test_tcp_options():
    def options(raw):
        return v4(syn(options=raw + b"\0" * (-len(raw) % 4)))
    attack({
        "length 0": ("drop_tcp_options", options(b"\x02\0\x05\xb4")),
        "length 1": ("drop_tcp_options", options(b"\x02\x01\x05\xb4")),
        "beyond the header": ("drop_tcp_options", options(b"\x01\x01\x02\x04")),
        "kind without length": ("drop_tcp_options", options(b"\x01\x01\x01\x02")),
        "MSS of 3 bytes": ("drop_tcp_options", options(b"\x02\x03\x05\x01")),
        "MSS of 6 bytes": ("drop_tcp_options", options(b"\x02\x06\x05\xb4\0\0")),
        "window scale of 4": ("drop_tcp_options", options(b"\x03\x04\x07\0")),
        "timestamps of 6": ("drop_tcp_options", options(b"\x08\x06\0\0\0\0")),
        "timestamps of 0": ("drop_tcp_options", options(b"\x08\0\0\0")),
    })


def test_tcp_options_that_are_only_odd():
    """Unknown kinds, a huge shift, a tiny MSS: taken, within reason."""
    with Scene() as s:
        p = s.peer()
        p.syn(mss=0, raw=b"\xfd\x04\xab\xcd\xfe\x02")
        p.expect("SA", ack=1)
        p.ack()
        f = s.received(p, b"request")
        s.b.reply(f.conn, b"x" * 200, ackd=7)
        equal(p.expect_bytes(200), b"x" * 200)
        p = s.peer()
        p.syn(wscale=255)
        p.wscale = 14
        p.expect("SA", ack=1)
        p.wscale = 14  # RFC 7323 2.3
        p.ack()
        s.exchange(p)


def test_blind_attacks_on_a_connection():
    """Right addresses and ports, wrong numbers: RFC 5961."""
    with Scene() as s:
        p = s.connected()
        conn = s.exchange(p)
        rng = random.Random(9293)
        for _ in range(300):
            seq = p.snd_nxt + rng.randrange(1 << 20, (1 << 32) - (1 << 20))
            p.segment(rng.choice(("R", "RA", "S", "PA", "FA", "A")), b"",
                      seq=seq, ack=rng.getrandbits(32))
        s.wire.settle()
        while p.receive(0) is not None:
            pass
        equal(s.state(conn), "ESTABLISHED")
        s.b.expect_nothing()
        s.exchange(p)


def test_noise():
    """Random packets, and right ones with a few bytes changed."""
    with innocent() as s:
        rng = random.Random(1122)
        good = s.peer(sport=4444).build("S", options=packet.tcp_options(
            mss=1460, ts=(1, 0), wscale=7, sack_ok=True))
        for i in range(2000):
            if i % 2:
                data = bytearray(good)
                for _ in range(rng.randrange(1, 4)):
                    data[rng.randrange(len(data))] = rng.getrandbits(8)
            else:
                data = rng.randbytes(rng.randrange(1, 100))
            s.wire.inject(bytes(data))
            if i % 50 == 0:
                s.wire.echo()  # no more than its queue takes
        s.wire.settle()
        s.d.check_alive()


# --- many of what is allowed

def test_port_scan():
    with innocent() as s:
        ports = [n for n in range(1, 2001) if n != PORT]
        with s.drops(drop_closed_port=len(ports)):
            for at in range(0, len(ports), 50):
                for port in ports[at:at + 50]:
                    s.wire.send(v4(syn(dport=port)))
                s.wire.settle()
        resets = [p for p in s.wire.others if p.flags == "RA"]
        if len(resets) < 900:  # the deque holds 1000
            raise AssertionError(f"{len(resets)} RSTs")


def test_stealth_scans_are_answered_as_rfc_9293_asks():
    with innocent() as s:
        for flags, answer in (("A", "R"), ("FA", "R"), ("PAU", "R"), ("F", "RA")):
            p = s.peer(port=82)
            with s.drops(drop_no_conn=1):
                p.segment(flags, seq=1, ack=5)
                equal(sorted(p.got().flags), sorted(answer))


def test_syn_to_a_full_group():
    with Scene({"max-connections": 3}) as s:
        peers = [s.connected() for _ in range(3)]
        p = s.peer()
        with s.drops(drop_group_full=1):
            p.syn()
            p.expect("RA", ack=1)
        for q in peers:
            s.exchange(q)
        peers[0].rst()
        s.b.expect("RESET")
        wait_for("room", lambda: len(s.d.connections()) == 2)
        s.exchange(s.connected())


def test_syn_flood():
    """Half-open connections cost a bounded amount and hurt nobody."""
    with innocent() as s:
        rng = random.Random(4987)
        for i in range(3000):
            src = f"10.9.{rng.randrange(1, 255)}.{rng.randrange(1, 255)}"
            s.wire.send(packet.ip4(src, VIP4, packet.TCP, syn(
                src, sport=1024 + i, seq=rng.getrandbits(32))))
            if i % 50 == 0:
                s.wire.echo()
        s.wire.settle()
        s.exchange(s.connected())
        half_open = s.d.ask("show info")["connections"]["half_open"]
        cookies = s.d.counter("cookies_sent")
        if half_open + cookies < 2900 or not cookies:
            raise AssertionError(f"{half_open} half-open, {cookies} cookies")
        # The flood has at most half as many records as are left.
        if half_open > 4096 // 3 + 1:  # the scene has room for 4096
            raise AssertionError(f"{half_open} half-open")


def test_arena_full():
    """max-connections of the arena: refused, counted, and others live on."""
    with Scene(top={"max-connections": 64}) as s:
        p = s.connected()
        s.exchange(p)
        peers = []
        for _ in range(80):
            q = s.peer()
            q.syn()
            peers.append(q)
        s.wire.settle()
        answered = sum(1 for q in peers if q.inbox)
        c = s.d.counters()
        equal(answered + c["drop_no_record"] + c["drop_no_block"] +
              c["drop_half_open"], 80)
        # The last record is for those who complete: the others get cookies.
        equal(s.d.ask("show info")["connections"]["half_open"] +
              c["cookies_sent"] + 80 - answered, 80)
        if not c["cookies_sent"]:
            raise AssertionError("80 connections in an arena for 64")
        s.exchange(p)


if __name__ == "__main__":
    harness.main(globals())
