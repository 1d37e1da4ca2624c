#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# long
"""RFC 9293 and its company, told by a wire-level client: endings and times."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "net"))

import harness  # noqa: E402
from harness import equal, wait_for  # noqa: E402
from scene import Scene  # noqa: E402


# --- FIN: RFC 9293 3.6

def test_client_closes_first():
    with Scene() as s:
        p = s.connected()
        conn = s.exchange(p)
        p.fin()
        p.expect("A", seq=6, ack=9)
        s.b.expect("EOF", conn=conn, offset=7)
        s.wait_state(conn, "CLOSE-WAIT")
        s.b.close_conn(conn)
        p.expect("FA", seq=6, ack=9)
        p.ack()
        s.wait_gone()


def test_server_closes_first():
    with Scene() as s:
        p = s.connected()
        conn = s.exchange(p)
        s.b.close_conn(conn)
        p.expect("FA", seq=6, ack=8)
        p.ack()
        s.wait_state(conn, "FIN-WAIT-2")
        p.fin()
        p.expect("A", seq=7, ack=9)
        s.wait_state(conn, "TIME-WAIT")


def test_simultaneous_close():
    with Scene() as s:
        p = s.connected()
        conn = s.exchange(p)
        s.b.close_conn(conn)
        p.expect("FA", seq=6, ack=8)
        p.fin(ack=6)  # crossed on the way
        p.expect("A", seq=7, ack=9)
        s.wait_state(conn, "CLOSING")
        p.ack()
        s.wait_state(conn, "TIME-WAIT")


def test_fin_of_both_in_one_segment_each():
    with Scene() as s:
        p = s.connected()
        conn = s.exchange(p)
        s.b.close_conn(conn)
        p.expect("FA", seq=6)
        p.fin()  # acknowledges ours
        p.expect("A", seq=7, ack=9)
        s.wait_state(conn, "TIME-WAIT")


def test_fin_with_data():
    with Scene() as s:
        p = s.connected()
        p.fin(b"request")
        f = s.b.expect("DATA", payload=b"request")
        s.b.expect("EOF", conn=f.conn, offset=7)
        p.expect_nothing(0.2)
        s.b.reply(f.conn, b"reply", ackd=7)
        p.expect("PA", ack=9, payload=b"reply")  # and the FIN
        p.ack()
        s.b.close_conn(f.conn)
        p.expect("FA", seq=6, ack=9)
        p.ack()
        s.wait_gone()


def test_our_fin_rides_on_the_last_data():
    with Scene() as s:
        p = s.connected()
        f = s.received(p, b"request")
        s.b.send_raw(b"".join((
            frame(s, "REPLY", f, b"reply", ackd=7), frame(s, "CLOSE", f))))
        p.expect("FPA", seq=1, ack=8, payload=b"reply")
        p.ack()


def frame(s, kind, f, payload=b"", **header):
    from frames import encode
    return encode(kind, payload, group=s.b.group, conn=f.conn, **header)


def test_fin_is_acknowledged_only_after_everything_before_it():
    with Scene() as s:
        p = s.connected()
        f = s.received(p, b"request")
        p.fin()
        s.b.expect("EOF", conn=f.conn)
        p.expect_nothing(0.3)
        s.b.reply(f.conn, b"", ackd=3)
        p.expect("A", ack=4)
        p.expect_nothing()
        s.b.reply(f.conn, b"", ackd=4)
        p.expect("A", ack=9)  # the rest, and the FIN


def test_fin_out_of_order_waits_for_the_gap():
    with Scene() as s:
        p = s.connected()
        p.send(b"end", "FPA", seq=5)
        p.expect("A", ack=1)
        s.b.expect_nothing()
        p.send(b"begi", seq=1)
        f = s.b.expect("DATA", payload=b"begiend")
        s.b.expect("EOF", conn=f.conn, offset=7)
        s.b.reply(f.conn, b"", ackd=7)
        while p.expect("A").ack != 9:
            pass


def test_data_after_fin_is_dropped():
    with Scene() as s:
        p = s.connected()
        conn = s.exchange(p)
        p.fin()
        p.expect("A", ack=9)
        s.b.expect("EOF", conn=conn)
        with s.drops(drop_after_fin=1):
            p.send(b"more")
        s.b.expect_nothing()


def test_lost_fin_is_sent_again():
    with Scene() as s:
        p = s.connected()
        conn = s.exchange(p)
        s.b.close_conn(conn)
        p.expect("FA", seq=6)
        p.expect("FA", seq=6)  # by the timer
        p.expect("FA", seq=6)
        p.ack()
        s.wait_state(conn, "FIN-WAIT-2")


def test_retransmitted_fin_is_acknowledged_again():
    with Scene() as s:
        p = s.connected()
        conn = s.exchange(p)
        p.fin()
        p.expect("A", ack=9)
        s.b.expect("EOF")
        p.send(b"", "FA", seq=8)
        p.expect("A", ack=9)
        s.b.expect_nothing()
        s.b.close_conn(conn)
        p.expect("FA", ack=9)
        p.ack()
        s.wait_gone()


def test_half_close_of_the_client_still_receives():
    with Scene() as s:
        p = s.connected()
        conn = s.exchange(p)
        p.fin()
        p.expect("A", ack=9)
        s.b.expect("EOF")
        for i in range(3):
            s.b.reply(conn, b"x" * 100)
            p.expect("PA", seq=6 + 100 * i, ack=9, len=100)
            p.ack()
        s.b.close_conn(conn)
        p.expect("FA", seq=306)
        p.ack()
        s.wait_gone()


def test_half_close_of_the_application_still_receives():
    with Scene() as s:
        p = s.connected()
        conn = s.exchange(p)
        s.b.fin(conn)
        p.expect("FA", seq=6, ack=8)
        p.ack()
        f = s.received(p, b"more", conn=conn, offset=7)
        s.b.reply(f.conn, b"", ackd=4)
        p.expect("A", seq=7, ack=12)
        p.fin()
        p.expect("A", ack=13)
        s.b.expect("EOF", conn=conn, offset=11)
        s.wait_state(conn, "TIME-WAIT")


def test_close_with_unacknowledged_request_is_a_rst():
    """RFC 1122 4.2.2.13: the client learns that it was not processed."""
    with Scene() as s:
        p = s.connected()
        f = s.received(p, b"request")
        s.b.close_conn(f.conn)
        got = p.got()
        equal(sorted(got.flags), ["A", "R"])
        s.wait_gone()


def test_data_after_the_application_closed_is_a_rst():
    with Scene() as s:
        p = s.connected()
        conn = s.exchange(p)
        s.b.close_conn(conn)
        p.expect("FA", seq=6)
        p.ack()
        with s.counted(drop_after_close=1, conn_reset_out=1):
            p.send(b"nobody reads this")
            equal(sorted(p.got().flags), ["A", "R"])
        s.wait_gone()


def test_abort_is_a_rst():
    with Scene() as s:
        p = s.connected()
        conn = s.exchange(p)
        s.b.abort(conn)
        got = p.expect("RA", seq=6, ack=8)
        equal(got.payload, b"")
        s.wait_gone()


def test_client_that_closes_unheard_is_closed():
    """No byte came: no backend ever hears of it."""
    with Scene() as s:
        p = s.connected()
        with s.counted(conn_not_told=1):
            p.fin()
            got = p.got()
            equal((sorted(got.flags), got.ack), (["A", "F"], 2))
            p.ack()
        s.b.expect_nothing()
        s.wait_gone()


# --- RST and SYN within a connection: RFC 5961

def test_rst_exactly_at_the_expected_number():
    with Scene() as s:
        p = s.connected()
        conn = s.exchange(p)
        with s.counted(conn_reset_in=1, challenge_acks=0):
            p.rst(seq=8)
            s.b.expect("RESET", conn=conn)
        s.wait_gone()
        p.expect_nothing()


def test_rst_in_the_window_is_challenged():
    with Scene() as s:
        p = s.connected()
        conn = s.exchange(p)
        with s.counted(conn_reset_in=0, challenge_acks=1):
            p.rst(seq=8 + 100)
            p.expect("A", seq=6, ack=8)
        equal(s.state(conn), "ESTABLISHED")
        p.rst(seq=8)  # what a client does that means it
        s.b.expect("RESET", conn=conn)


def test_rst_outside_the_window_is_ignored():
    with Scene() as s:
        p = s.connected()
        with s.counted(conn_reset_in=0, challenge_acks=0):
            p.rst(seq=8 + (1 << 29))
            p.rst(seq=1 - 1000)
            p.expect_nothing()
        s.exchange(p)


def test_rst_with_a_request_held():
    """At what we acknowledged and at what came: the client may mean either."""
    for seq in (1, 8):
        with Scene() as s:
            p = s.connected()
            f = s.received(p, b"request")
            p.rst(seq=seq)
            s.b.expect("RESET", conn=f.conn)
            s.wait_gone()


def test_syn_in_the_window_is_challenged():
    with Scene() as s:
        p = s.connected()
        conn = s.exchange(p)
        with s.counted(syn_in_window=1, challenge_acks=1):
            p.segment("S", seq=100)
            p.expect("A", seq=6, ack=8)
        equal(s.state(conn), "ESTABLISHED")


def test_syn_of_the_same_handshake_is_challenged():
    with Scene() as s:
        p = s.connected()
        s.exchange(p)
        p.segment("S", seq=0)
        p.expect("A", seq=6, ack=8)
        s.exchange(p)


def test_client_restarts_on_the_same_port():
    """It has forgotten: it answers the challenge with a RST, and comes in."""
    with Scene() as s:
        p = s.connected(sport=33333)
        conn = s.exchange(p)
        q = s.peer(sport=33333)
        q.syn()
        got = q.got()
        equal(got.flags, "A")
        q.segment("R", seq=got.ack)
        s.b.expect("RESET", conn=conn)
        q.connect()
        s.exchange(q)


# --- TIME-WAIT: RFC 9293 3.10.7.4, RFC 1337, RFC 6191

def time_wait(s, **kw):
    p = s.connected(**kw)
    conn = s.exchange(p)
    s.b.close_conn(conn)
    p.expect("FA", seq=6, ack=8)
    p.fin()
    p.expect("A", seq=7, ack=9)
    s.wait_state(conn, "TIME-WAIT")
    return p, conn


def test_time_wait_survives_a_rst():
    with Scene() as s:
        p, conn = time_wait(s)
        p.rst(seq=9)
        p.expect_nothing()
        equal(s.state(conn), "TIME-WAIT")


def test_time_wait_acknowledges_a_fin_again():
    with Scene() as s:
        p, conn = time_wait(s)
        p.send(b"", "FA", seq=8)
        p.expect("A", seq=7, ack=9)
        equal(s.state(conn), "TIME-WAIT")


def test_time_wait_takes_a_newer_syn():
    with Scene() as s:
        p, _ = time_wait(s, sport=44444, isn=1000)
        q = s.peer(sport=44444, isn=200000)
        q.connect()
        s.exchange(q)


def test_time_wait_refuses_an_older_syn():
    with Scene() as s:
        p, conn = time_wait(s, sport=44444, isn=200000)
        q = s.peer(sport=44444, isn=1000)
        q.syn()
        equal(q.got().flags, "A")
        equal(s.state(conn), "TIME-WAIT")


@harness.timeout(150)
def test_time_wait_ends():
    with Scene() as s:
        time_wait(s)
        wait_for("TIME-WAIT is over", lambda: not s.d.connections(),
                 within=120, every=1)


# --- time-outs

@harness.timeout(150)
def test_half_open_connection_expires():
    with Scene() as s:
        p = s.peer()
        with s.counted(conn_handshake_expired=1):
            p.syn()
            wait_for("it expired", lambda:
                     s.d.counter("conn_handshake_expired"), within=90, every=1)
        s.wait_gone()
        if len(p.inbox) + sum(1 for _ in iter(lambda: p.receive(0), None)) < 4:
            raise AssertionError("the SYN-ACK was not retransmitted")


def test_keepalive_probes_a_quiet_connection():
    with Scene({"keepalive": 500}) as s:
        p = s.connected()
        s.exchange(p)
        for _ in range(3):
            got = p.expect("A", seq=5, ack=8, len=0, within=20)
            equal(got.payload, b"")
            p.ack()
        if s.d.counter("keepalive_probes") < 3:
            raise AssertionError("the probes are not counted")
        s.exchange(p)


def test_keepalive_gives_up_a_dead_client():
    with Scene({"keepalive": 500}) as s:
        p = s.connected()
        conn = s.exchange(p)
        with s.counted(conn_keepalive_dead=1):
            s.b.expect("RESET", conn=conn, within=30)
        probes = 0
        while "R" not in (got := p.got()).flags:
            equal(got.seq, 5)
            probes += 1
        equal(probes, 4)
        s.wait_gone()


def test_idle_timeout_closes():
    with Scene({"idle-timeout": 700}) as s:
        p = s.connected()
        conn = s.exchange(p)
        with s.counted(conn_idle_closed=1):
            s.b.expect("RESET", conn=conn, within=30)
        if "R" not in p.got().flags:
            raise AssertionError("the client was not told")
        s.wait_gone()


def test_idle_timeout_with_a_request_held_tells_both_sides():
    """idle-timeout looks at the client alone, but forgets nothing silently."""
    with Scene({"idle-timeout": 700}) as s:
        p = s.connected()
        f = s.received(p, b"request")
        s.b.expect("RESET", conn=f.conn, within=30)
        if "R" not in p.got().flags:
            raise AssertionError("the client was not told")


if __name__ == "__main__":
    harness.main(globals())
