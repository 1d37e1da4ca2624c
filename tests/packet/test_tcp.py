#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""RFC 9293 and its company, told by a wire-level client: opening and data.

Closing, time-outs and the rest are in test_tcp_close.py.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "net"))

import harness  # noqa: E402
from harness import VIP4, equal  # noqa: E402
from scene import PORT, Scene  # noqa: E402


# --- opening: RFC 9293 3.5, 3.10.7.2

def test_handshake_v4():
    with Scene() as s:
        p = s.peer()
        p.syn(mss=1400)
        p.expect("SA", seq=0, ack=1, len=0, options={"mss": 1460})
        p.ack()
        s.exchange(p)


def test_handshake_v6():
    with Scene() as s:
        p = s.peer(family=6)
        p.syn(mss=1400)
        p.expect("SA", seq=0, ack=1, len=0, options={"mss": 1440})
        p.ack()
        s.exchange(p)


def test_options_are_offered_only_when_asked_for():
    with Scene() as s:
        p = s.peer()
        p.syn(mss=None)
        got = p.expect("SA")
        equal(set(got.options), {"mss"})
        p = s.peer()
        p.syn(ts=True, wscale=3)
        got = p.expect("SA")
        equal(set(got.options), {"mss", "ts", "wscale"})
        equal(got.options["ts"][1], 1000000)  # TSecr is our TSval


def test_timestamps_are_echoed():
    with Scene() as s:
        p = s.peer()
        p.syn(ts=True)
        first = p.expect("SA", options={})
        p.ack()
        f = s.received(p, b"request")
        sent = p.ts
        s.b.reply(f.conn, b"reply", ackd=7)
        got = p.expect("PA")
        equal(got.options["ts"][1], sent)
        if (got.options["ts"][0] - first.options["ts"][0]) % 2**32 > 60000:
            raise AssertionError("the timestamp clock jumped")
        p.ack()


def test_last_ack_of_the_handshake_without_timestamp_is_taken():
    with Scene() as s:
        p = s.peer()
        p.syn(ts=True)
        p.expect("SA")
        p.ack(options=b"")
        s.exchange(p)


def test_mss_default_without_the_option():
    with Scene() as s:
        p = s.connected(syn={"mss": None})
        f = s.received(p, b"request")
        s.b.reply(f.conn, b"x" * 1000, ackd=7)
        p.expect("A", len=536)  # RFC 9293 3.7.1
        p.expect("PA", len=464)
        p.ack()


def test_mss_of_the_client_is_respected():
    with Scene() as s:
        p = s.connected(syn={"mss": 500, "ts": True})
        f = s.received(p, b"request")
        s.b.reply(f.conn, b"x" * 1000, ackd=7)
        p.expect("A", len=488)  # RFC 6691: less the options
        p.expect("A", len=488)
        p.expect("PA", len=24)
        p.ack()


def test_retransmitted_syn_gets_the_same_answer():
    with Scene() as s:
        p = s.peer()
        p.syn()
        first = p.expect("SA", seq=0, ack=1)
        p.syn()
        irs = p.irs
        again = p.expect("SA", ack=1)
        equal(again.seq, 0)
        equal(p.irs, irs)
        equal(first.options, again.options)
        p.ack()
        s.exchange(p)


def test_synack_is_retransmitted():
    with Scene() as s:
        p = s.peer()
        p.syn()
        p.expect("SA", ack=1)
        p.expect("SA", ack=1)
        p.expect("SA", ack=1)
        p.ack()
        s.exchange(p)


def test_request_with_the_last_ack_of_the_handshake():
    with Scene() as s:
        p = s.peer()
        p.syn()
        p.expect("SA")
        s.received(p, b"request")


def test_bad_ack_in_syn_received_is_a_rst():
    with Scene() as s:
        p = s.peer()
        p.syn()
        p.expect("SA")
        with s.counted(drop_ack_range=1):
            p.ack(ack=100)
            p.expect("R", seq=100)
        p.ack()  # the connection is still to be had
        s.exchange(p)


def test_rst_ends_a_half_open_connection():
    with Scene() as s:
        p = s.peer()
        p.syn()
        p.expect("SA")
        p.rst()
        s.wait_gone()


def test_isn_differs_per_tuple():
    with Scene() as s:
        seen = set()
        for i in range(20):
            p = s.peer(sport=20000 + i, isn=1)
            p.syn()
            p.expect("SA")
            seen.add(p.irs)
            p.rst()
        equal(len(seen), 20)
        gaps = [b - a for a, b in zip(sorted(seen), sorted(seen)[1:])]
        if max(gaps) < 1 << 24:
            raise AssertionError("the initial sequence numbers are close")


def test_connection_to_a_port_of_no_group_is_refused():
    with Scene() as s:
        p = s.peer(port=81)
        with s.drops(drop_closed_port=1):
            p.syn()
            p.expect("RA", ack=1)


def test_segment_for_no_connection_is_reset():
    with Scene() as s:
        p = s.peer()
        with s.drops(drop_no_conn=2):
            p.ack(seq=10, ack=77)
            got = p.got()
            equal((got.flags, (p.irs + got.seq) % 2**32), ("R", 77))
            p.segment("FA", seq=5, ack=99)
            equal(p.got().flags, "R")
        p.rst()
        p.expect_nothing()  # never a RST for a RST


def test_announce_tells_the_backend_at_once():
    with Scene({"announce": True}) as s:
        p = s.connected()
        f = s.b.expect("OPEN", first=True)
        equal((f.addr.remote, f.addr.remote_port, f.addr.local,
               f.addr.local_port), (p.src, p.sport, VIP4, PORT))
        s.b.reply(f.conn, b"220 hello")
        p.expect("PA", seq=1, ack=1, payload=b"220 hello")
        p.ack()


def test_first_data_carries_the_clients_address():
    with Scene() as s:
        for family in (4, 6):
            p = s.connected(family=family)
            p.send(b"request")
            f = s.b.expect("DATA", first=True, payload=b"request")
            equal((f.addr.family, f.addr.remote, f.addr.remote_port),
                  (family, p.src, p.sport))
            p.send(b"more")
            s.b.expect("DATA", first=False, payload=b"more", offset=7)


# --- sequence numbers and reassembly: 3.10.7.4, seventh

def test_client_isn_near_wrap():
    for isn in (0xffffff00, 0xffffffff, 0xfffffffe, 0x7fffff80):
        with Scene() as s:
            p = s.connected(isn=isn)
            for i in range(3):
                s.exchange(p, bytes([i]) * 200, b"r" * 300)


def test_out_of_order_is_reassembled():
    with Scene() as s:
        p = s.connected()
        with s.counted(ooo_segs=2):
            p.send(b"CCC", seq=7)
            p.expect("A", ack=1)
            p.send(b"BBB", seq=4)
            p.expect("A", ack=1)
            s.b.expect_nothing()
            p.send(b"AAA", seq=1)
            f = s.b.expect("DATA", payload=b"AAABBBCCC", offset=0)
        s.b.reply(f.conn, b"", ackd=9)
        while p.expect("A").ack != 10:
            pass


def test_out_of_order_across_the_wrap():
    with Scene() as s:
        p = s.connected(isn=0xfffffffa)
        p.send(b"BBBBB", seq=6)
        p.expect("A", ack=1)
        p.send(b"AAAAA", seq=1)
        s.b.expect("DATA", payload=b"AAAAABBBBB")


def test_overlap_is_trimmed():
    with Scene() as s:
        p = s.connected()
        s.received(p, b"12345")
        p.send(b"345678", seq=3)  # the first 3 are old
        s.b.expect("DATA", payload=b"678", offset=5)
        p.send(b"EFGH", seq=14)
        p.expect("A")
        p.send(b"CDEF", seq=12)
        p.expect("A")
        p.send(b"9ABCD", seq=9)
        s.b.expect("DATA", payload=b"9ABCDEFGH", offset=8)


def test_filling_a_gap_with_more_than_the_gap():
    with Scene() as s:
        p = s.connected()
        p.send(b"cdef", seq=3)
        p.expect("A", ack=1)
        p.send(b"hi", seq=8)
        p.expect("A", ack=1)
        p.send(b"abcd", seq=1)  # two of them are there
        s.b.expect("DATA", payload=b"abcdef")
        p.send(b"fghij", seq=6)  # on both sides and between
        s.b.expect("DATA", payload=b"ghij", offset=6)


def test_old_data_is_not_overwritten():
    with Scene() as s:
        p = s.connected()
        f = s.received(p, b"first")
        p.send(b"WRONGmore", seq=1)
        s.b.expect("DATA", payload=b"more", offset=5)
        s.b.reply(f.conn, b"", ackd=9)
        p.expect("A", ack=10)


def test_duplicate_of_acknowledged_data_is_acknowledged_again():
    with Scene() as s:
        p = s.connected()
        s.exchange(p)
        p.send(b"request", seq=1)
        p.expect("A", seq=6, ack=8)
        s.b.expect_nothing()


def test_data_beyond_the_window_is_dropped():
    with Scene() as s:
        p = s.connected()
        with s.drops(drop_window=1):
            p.send(b"far", seq=1 + (1 << 28))
            p.expect("A", ack=1)
        s.exchange(p)


def test_data_before_the_window_is_dropped():
    with Scene() as s:
        p = s.connected()
        p.send(b"old", seq=1 - 100)
        p.expect("A", ack=1)
        s.b.expect_nothing()
        s.exchange(p)


def test_segment_without_ack_is_dropped():
    with Scene() as s:
        p = s.connected()
        with s.drops(drop_tcp_flags=1):
            p.segment("P", b"data")
        p.expect_nothing()
        s.exchange(p)


def test_urgent_data_is_ordinary_data():
    with Scene() as s:
        p = s.connected()
        p.send(b"urgent", "PAU", urgent=3)
        s.b.expect("DATA", payload=b"urgent")


# --- the ACK field: 3.10.7.4, fifth; RFC 5961 section 5

def test_old_ack_is_ignored():
    with Scene() as s:
        p = s.connected()
        s.exchange(p)
        p.ack(ack=1)
        p.expect_nothing()
        s.exchange(p)


def test_ack_beyond_what_was_sent_is_challenged():
    with Scene() as s:
        p = s.connected()
        with s.drops(drop_ack_range=1):
            p.ack(ack=1000)
            p.expect("A", seq=1, ack=1)
        # One connection is challenged once in half a second.
        with s.drops(drop_ack_range=1, challenge_suppressed=1):
            p.segment("PA", b"forged", ack=1000)
            p.expect_nothing()
        s.b.expect_nothing()
        s.exchange(p)


def test_ack_far_before_what_was_sent_is_challenged():
    with Scene() as s:
        p = s.connected()
        s.exchange(p)
        with s.drops(drop_ack_range=1):
            p.segment("PA", b"forged", ack=-(1 << 20))
            p.expect("A", ack=8)
        s.b.expect_nothing()


# --- sending: windows

def test_zero_window_is_probed_and_reopened():
    with Scene() as s:
        p = s.connected()
        f = s.received(p, b"request")
        p.ack(window=0)
        s.wire.settle()
        s.b.reply(f.conn, b"answer", ackd=7)
        p.expect("A", seq=1, ack=8, len=0)
        with s.counted(zero_window_probes=3):
            for _ in range(3):
                got = p.got(10)
                equal((got.seq, len(got.payload), got.ack), (1, 1, 8))
                p.rcv_nxt = 1  # a closed window takes nothing
                p.ack(window=0)
        p.ack()
        equal(p.expect_bytes(6), b"answer")
        s.wait_purged()


def test_zero_window_holder_is_bounded_by_user_timeout():
    """RFC 6429: a client that answers probes and never reads holds memory of
    ours; user-timeout bounds that, and not before."""
    with Scene({"user-timeout": 2000}) as s:
        p = s.connected(syn={"ts": True})
        f = s.received(p, b"request")
        p.ack(window=0)
        s.wire.settle()
        s.b.reply(f.conn, b"answer", ackd=7)
        first = p.expect("A", seq=1, ack=8, len=0)
        while True:
            got = p.got(10)
            if "R" in got.flags:
                break
            equal((got.flags, got.seq, len(got.payload)), ("A", 1, 1))
            last = got.options["ts"][0] - first.options["ts"][0]
            p.rcv_nxt = 1
            p.ack(window=0)
        if last < 1000:
            raise AssertionError(f"given up soon after {last} ms")
        s.b.expect("RESET", conn=f.conn)
        equal(s.d.counter("conn_timed_out"), 1)


def test_small_window_is_respected():
    with Scene() as s:
        p = s.connected()
        p.window = 1000
        f = s.received(p, b"request")
        s.b.reply(f.conn, b"x" * 2500, ackd=7)
        total = 0
        while total < 2500:
            got = p.got()
            if len(got.payload) > 1000 or got.seq - 1 - total > 1000:
                raise AssertionError("the window is not respected")
            total = max(total, got.seq - 1 + len(got.payload))
            p.ack()


def test_window_scaling():
    with Scene() as s:
        p = s.peer()
        p.window = 1 << 20
        p.syn(wscale=7)
        got = p.expect("SA")
        if "wscale" not in got.options:
            raise AssertionError("no window scale")
        p.ack()
        f = s.received(p, b"request")
        s.b.reply(f.conn, b"x" * 100000, ackd=7)
        data = p.expect_bytes(100000)
        equal(data, b"x" * 100000)


def test_our_window_is_scaled():
    with Scene() as s:
        p = s.peer()
        p.syn(wscale=0)
        p.expect("SA")
        p.ack()
        f = s.received(p, b"request")
        s.b.reply(f.conn, b"", ackd=7)
        got = p.expect("A", ack=8)
        if got.window << p.rcv_scale < 32768:
            raise AssertionError(f"window {got.window} << {p.rcv_scale}")


def test_without_scaling_the_window_fits_16_bits():
    with Scene() as s:
        p = s.connected()
        equal(p.rcv_scale, 0)
        window = 65535
        for i in range(8):
            p.send(b"x" * 1460, seq=1 + i * 1460)
        s.b.expect("DATA")
        p.snd_nxt = 1 + 8 * 1460
        while (got := p.receive(1)) is not None:
            window = min(window, got.window)
        if window + 8 * 1460 < 32768:
            raise AssertionError(f"the window fell to {window}")


# --- PAWS: RFC 7323 section 5

def test_paws_drops_old_segments():
    with Scene() as s:
        p = s.peer()
        p.syn(ts=5000)
        p.expect("SA")
        p.ack()
        s.exchange(p)
        with s.counted(paws_dropped=1):
            p.send(b"old", seq=p.snd_nxt, ts=(4000, p.ts_recent))
            p.expect("A", ack=8)
        s.b.expect_nothing()
        s.exchange(p)


def test_paws_spares_rst():
    with Scene() as s:
        p = s.peer()
        p.syn(ts=5000)
        p.expect("SA")
        p.ack()
        s.exchange(p)
        p.rst(ts=(1, p.ts_recent))
        s.wait_gone()


# --- loss recovery on our side

def test_fast_retransmit_after_three_duplicate_acks():
    with Scene() as s:
        p = s.far()
        f = s.received(p, b"request")
        with s.counted(fast_retransmits=1, rto_fired=0, dup_acks_in=3):
            s.b.reply(f.conn, b"abcd" * 1448, ackd=7)
            for i in range(4):
                p.expect("PA" if i == 3 else "A", seq=1 + i * 1448, len=1448)
            p.rcv_nxt = 1  # the first was lost
            for _ in range(3):
                p.ack()
            p.expect("A", seq=1, len=1448)
            p.rcv_nxt = 1 + 4 * 1448
            p.ack()
            p.expect_nothing()
        s.wait_purged()


def test_two_duplicate_acks_are_reordering():
    with Scene() as s:
        p = s.far()
        f = s.received(p, b"request")
        with s.counted(fast_retransmits=0, segs_retransmitted=0, dup_acks_in=2):
            s.b.reply(f.conn, b"abcd" * 1448, ackd=7)
            for i in range(4):
                p.expect("PA" if i == 3 else "A", len=1448)
            p.ack(ack=1)
            p.ack(ack=1)
            p.expect_nothing()
            p.ack()


def test_partial_ack_resends_the_next_hole():
    """NewReno: RFC 6582 section 3.2, step 3."""
    with Scene() as s:
        p = s.far()
        f = s.received(p, b"request")
        with s.counted(fast_retransmits=1, rto_fired=0, segs_retransmitted=2):
            s.b.reply(f.conn, b"abcd" * 1448, ackd=7)
            for i in range(4):
                p.expect("PA" if i == 3 else "A", len=1448)
            for _ in range(3):
                p.ack(ack=1)
            p.expect("A", seq=1, len=1448)
            p.ack(ack=1 + 1448)  # the second was lost, too
            p.expect("A", seq=1 + 1448, len=1448)
            p.ack(ack=1 + 4 * 1448)


def test_rto_doubles_and_sends_one_segment():
    with Scene() as s:
        # small segments: two time-outs of large ones would be a black hole
        size = 1000 - 12
        p = s.connected(syn={"ts": True, "mss": 1000})
        f = s.received(p, b"request")
        s.b.reply(f.conn, b"abcd" * size, ackd=7)
        last = [p.receive() for _ in range(4)][-1]
        times = [last.options["ts"][0]]
        for _ in range(3):
            got = p.expect("A", seq=1, len=size, within=10)
            times.append(got.options["ts"][0])
        gaps = [b - a for a, b in zip(times, times[1:])]
        for i, gap in enumerate(gaps):
            if gap < 199 * 2 ** i:
                raise AssertionError(f"gaps of {gaps} ms")
        p.rcv_nxt = 1 + size
        p.ack()  # slow start from there
        p.expect("A", seq=1 + size)
        p.ack(ack=1 + 4 * size)


# --- ICMP

def test_icmp_echo_v4():
    with Scene() as s, s.counted(icmp_echo=5):
        s.wire.echo(4, b"")
        s.wire.echo(4, b"x" * 1400)
        s.wire.echo(4, b"odd")
        # and two of counted()


def test_icmp_echo_v6():
    with Scene() as s, s.counted(icmp_echo=5):
        s.wire.echo(6, b"")
        s.wire.echo(6, b"x" * 1400)
        s.wire.echo(6, b"odd")


if __name__ == "__main__":
    harness.main(globals())
