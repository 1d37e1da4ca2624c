#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""When bytes are acknowledged: the modes of a group, and a full pool."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "net"))

import harness  # noqa: E402
from harness import equal, wait_for  # noqa: E402
from scene import Scene  # noqa: E402

MSS = 1460


# --- delivered, immediate

def test_immediate_acknowledges_without_an_application():
    with Scene({"ack": "immediate"}, backend=False) as s:
        p = s.connected()
        p.send(b"request")
        p.expect("A", seq=1, ack=8)
        with s.dial() as b:  # it is still there for who comes
            b.expect("DATA", payload=b"request")


def test_immediate_acknowledges_every_second_full_segment():
    """RFC 1122 4.2.3.2."""
    with Scene({"ack": "immediate"}) as s:
        p = s.connected()
        p.send(b"x" * MSS)
        p.send(b"y" * MSS)
        got = p.expect("A")
        if got.ack == 1 + MSS:  # the first one's time was up
            got = p.expect("A")
        equal(got.ack, 1 + 2 * MSS)


def test_immediate_counts_no_early_acks():
    with Scene({"ack": "immediate"}) as s:
        p = s.connected()
        with s.counted(early_ack_bytes=0, early_ack_window=0):
            s.received(p, b"request")
            p.expect("A", ack=8)


def test_delivered_acknowledges_what_a_backend_has():
    with Scene({"ack": "delivered"}, backend=False) as s:
        p = s.connected()
        p.send(b"request")
        p.expect_nothing(0.3)  # nobody has it
        with s.dial() as b:
            f = b.expect("DATA", payload=b"request")
            p.expect("A", seq=1, ack=8)
            b.reply(f.conn, b"answer", ackd=7)
            p.expect("PA", ack=8, payload=b"answer")
            p.ack()


# --- ack-deadline

def test_deadline_acknowledges_for_a_slow_application():
    with Scene({"ack-deadline": 300}) as s:
        p = s.connected()
        with s.counted(early_ack_deadline=1, early_ack_bytes=7,
                       pure_acks_out=1):
            f = s.received(p, b"request")
            p.expect("A", seq=1, ack=8)
        s.b.reply(f.conn, b"answer", ackd=7)
        p.expect("PA", ack=8, payload=b"answer")
        p.ack()


def test_deadline_does_not_matter_to_a_fast_application():
    with Scene({"ack-deadline": 600}) as s:
        p = s.connected()
        with s.counted(early_ack_deadline=0, early_ack_bytes=0,
                       pure_acks_out=0):
            s.exchange(p)
            p.expect_nothing(1.0)


def test_what_was_acknowledged_early_is_redelivered():
    """It stays in the pool until the application's word."""
    with Scene({"ack-deadline": 100}) as s:
        p = s.connected()
        s.received(p, b"request")
        p.expect("A", ack=8)
        s.b.close()
        with s.dial() as b:
            f = b.expect("DATA", payload=b"request", offset=0, redelivered=True)
            b.reply(f.conn, b"answer", ackd=7)
            p.expect("PA", ack=8, payload=b"answer")
            p.ack()


# --- ack-window

def test_window_in_bytes():
    with Scene({"ack-window": 4096}) as s:
        p = s.connected()
        p.send(b"x" * MSS)
        p.send(b"x" * MSS)
        p.expect_nothing(0.3)
        with s.counted(early_ack_window=1, early_ack_bytes=3 * MSS):
            p.send(b"x" * MSS)
            p.expect("A", ack=1 + 3 * MSS)
        p.send(b"x" * 100)
        p.expect_nothing(0.3)


def test_window_0_is_never():
    with Scene({"ack-window": 0}) as s:
        p = s.connected()
        with s.counted(early_ack_bytes=0, pure_acks_out=0):
            for _ in range(10):
                p.send(b"x" * MSS)
            p.expect_nothing(0.5)
        f = s.b.expect("DATA")
        s.b.reply(f.conn, b"done", ackd=len(f.payload))
        p.expect("PA", ack=1 + len(f.payload), payload=b"done")


def test_auto_defers_a_request_of_a_few_segments():
    with Scene() as s:
        p = s.connected()
        with s.counted(early_ack_bytes=0, pure_acks_out=0):
            p.send(b"x" * MSS)
            p.send(b"x" * MSS)
            p.send(b"x" * MSS)
            p.send(b"end")
            p.expect_nothing(0.4)


def test_auto_gives_way_for_bulk():
    with Scene() as s:
        p = s.connected()
        for _ in range(20):
            p.send(b"x" * MSS)
        ack = 1
        while ack < 1 + 20 * MSS:
            got = p.expect("A")
            if got.ack < ack:
                raise AssertionError("the acknowledgement went back")
            ack = got.ack
        c = s.d.counters()
        if not c["early_ack_window"] or c["early_ack_bytes"] < 16 * MSS:
            raise AssertionError("it is not counted")
        total = 0
        while total < 20 * MSS:
            total += len(s.b.expect("DATA", offset=total).payload)


def test_auto_gives_way_to_a_client_that_goes_on_retransmitting():
    """Nagle, or a window of one segment: it would never send the rest."""
    with Scene() as s:
        p = s.connected()
        f = s.received(p, b"half a request")
        with s.counted(early_ack_window=1, early_ack_bytes=14, dup_absorbed=3):
            for _ in range(3):
                p.send(b"half a request", seq=1)
            p.expect("A", ack=15)
        s.received(p, b", and the rest", conn=f.conn, offset=14)


def test_auto_gives_way_at_a_gap():
    with Scene() as s:
        p = s.connected()
        s.received(p, b"request")
        p.send(b"later", seq=100)
        p.expect("A", ack=8)  # a duplicate ACK has to say where the gap is


# --- throttling

def small_pool(**group):
    """A pool of 64 KiB, throttled above 50 per cent, until below 25."""
    return Scene(group, pool={"receive-buffer": "64K", "throttle-high": 50,
                              "throttle-low": 25})


def fill(s, p, kib, deadline=10):
    """Hold kib KiB of p's requests in the pool."""
    for _ in range(kib):
        p.send(b"x" * 1024)
    got = 0
    while got < kib * 1024:
        f = s.b.expect("DATA", within=deadline)
        got += len(f.payload)
    return f.conn


def pool(s):
    pools = s.d.ask("show pools")
    equal(len(pools), 1)
    return pools[0]


def test_throttle_withholds_acknowledgements():
    with small_pool(ack="immediate") as s:
        p = s.connected()
        conn = fill(s, p, 40)
        wait_for("throttled", lambda: s.d.counter("throttle_entered") == 1)
        while (got := p.receive(0.3)) is not None:
            edge = got.ack + got.window
            last = got.ack
        if last >= 1 + 40 * 1024:
            raise AssertionError("it acknowledged all")
        if not s.d.counter("throttle_withheld"):
            raise AssertionError("it is not counted")
        # the window is frozen: its right edge does not move with some room
        s.b.reply(conn, b"", ackd=8 * 1024)
        s.b.sync()
        while (got := p.receive(0.3)) is not None:
            equal(got.ack + got.window, edge)
        p.ack(seq=-1)  # makes it speak
        got = p.expect("A")
        equal((got.ack + got.window, s.d.counter("throttle_left")), (edge, 0))
        # ... until there is much
        s.b.reply(conn, b"", ackd=32 * 1024)
        wait_for("recovery", lambda: s.d.counter("throttle_left") == 1)
        while p.expect("A").ack < 1 + 40 * 1024:
            pass


def test_throttled_the_ack_field_is_still_processed():
    """I6."""
    with small_pool() as s:
        p, q = s.connected(), s.connected()
        f = s.received(q, b"request")
        fill(s, p, 40)
        wait_for("throttled", lambda: s.d.counter("throttle_entered") == 1)
        s.b.reply(f.conn, b"answer", ackd=7)
        while b"answer" != q.got().payload:
            pass
        q.ack()
        s.wait_purged()


def test_at_the_limit_segments_are_dropped_unseen():
    with small_pool(**{"ack-window": 0}) as s:
        p, r, q = s.connected(), s.connected(), s.connected()
        f = s.received(q, b"request")
        s.b.reply(f.conn, b"answer", ackd=7)
        q.expect("PA", payload=b"answer")
        for _ in range(40):
            p.send(b"x" * 1024)
            r.send(b"y" * 1024)
        wait_for("drops", lambda: s.d.counter("drop_pool_full") > 0)
        before = s.d.counter("drop_pool_full")
        q.send(b"next request")  # with the ACK of the answer
        wait_for("dropped", lambda: s.d.counter("drop_pool_full") > before)
        s.wait_purged()  # I6: its ACK was processed all the same
        q.expect_nothing()
        # the client still has it; once there is room, it is served
        for got in s.b.sync():
            s.b.reply(got.conn, b"", ackd=len(got.payload))
        wait_for("recovery", lambda: s.d.counter("throttle_left") >= 1)
        q.send(b"next request", seq=8)
        s.b.expect("DATA", conn=f.conn, payload=b"next request")


def test_throttle_thresholds_show():
    with small_pool() as s:
        p = s.connected()
        before = pool(s)
        conn = fill(s, p, 20)
        equal(s.d.counter("throttle_entered"), 0)
        used = pool(s)["used_bytes"]
        if used < 20 * 1024:
            raise AssertionError(f"{used} bytes in use; before: {before}")
        fill(s, p, 20)
        wait_for("throttled", lambda: pool(s)["throttled_workers"])
        s.b.reply(conn, b"", ackd=30 * 1024)
        wait_for("recovery", lambda: not pool(s)["throttled_workers"])
        s.b.reply(conn, b"", ackd=10 * 1024)
        wait_for("empty", lambda: pool(s)["used_bytes"] == 0)


if __name__ == "__main__":
    harness.main(globals())
