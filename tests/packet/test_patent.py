#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# long
"""Figures 5a-5d and 6a-6i of WO 02/091709 A2, on the wire.

Figures 5 are drawn with Req[N,k], Ans[N,k] and ACK[N]; here a request is what
the peer sends from the client's side, an answer the backend's REPLY.
"""

import errno
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "net"))

import harness  # noqa: E402
from harness import equal, wait_for  # noqa: E402
from scene import PORT, Api, Scene  # noqa: E402

KIB = 1024


def tsval(segment):
    """When xtcpd sent it, by its own clock: milliseconds."""
    return segment.options["ts"][0]


# --- figure 5: the flows

def test_5a_request_is_acknowledged_only_by_the_reply():
    with Scene() as s:
        p = s.connected()
        with s.counted(pure_acks_out=0, pure_acks_saved=3, segs_out=3,
                       msgs_in=3, msgs_out=3, early_ack_bytes=0):
            for i in range(3):
                request, answer = b"Req%d" % i * 10, b"Ans%d" % i * 20
                f = s.received(p, request, offset=40 * i)
                p.expect_nothing(0.25)  # no delayed ACK either
                s.b.reply(f.conn, answer, ackd=len(request))
                p.expect("PA", seq=1 + 80 * i, ack=p.snd_nxt, payload=answer)
                p.ack()
        s.wait_purged()


def test_5a_reply_to_a_full_sized_request():
    with Scene() as s:
        p = s.connected()
        request = b"q" * 1460
        f = s.received(p, request)
        p.expect_nothing(0.25)
        s.b.reply(f.conn, b"answer", ackd=1460)
        p.expect("PA", ack=1461, payload=b"answer")
        p.ack()


def test_5b_lost_request_is_sent_again_and_served():
    with Scene() as s:
        p = s.connected()
        p.snd_nxt += 7  # Req[1,7], lost on its way
        s.b.expect_nothing()
        p.expect_nothing()
        p.send(b"request", seq=1)  # the client's TCP sends it again
        f = s.b.expect("DATA", payload=b"request", offset=0, flags=2)
        s.b.reply(f.conn, b"answer", ackd=7)
        p.expect("PA", seq=1, ack=8, payload=b"answer")
        p.ack()


def test_5b_request_after_a_lost_one_waits_for_it():
    with Scene() as s:
        p = s.connected()
        p.snd_nxt += 7  # Req[1,7], lost
        p.send(b"second!")
        p.expect("A", ack=1)  # RFC 5681: the gap is told at once
        s.b.expect_nothing()
        p.send(b"request", seq=1)
        f = s.b.expect("DATA", payload=b"requestsecond!")
        p.expect("A", ack=15)  # RFC 5681 4.2: and so is its end
        s.b.reply(f.conn, b"answer", ackd=14)
        p.expect("PA", ack=15, payload=b"answer")
        p.ack()


def test_5c_lost_reply_is_sent_again_upon_the_request():
    with Scene() as s:
        p = s.far()
        f = s.received(p, b"request")
        with s.counted(reply_resent=1, segs_retransmitted=1, rto_fired=0):
            s.b.reply(f.conn, b"answer", ackd=7)
            p.expect("PA", seq=1, ack=8, payload=b"answer")  # lost
            p.send(b"request", seq=1)  # the client's TCP sends it again
            p.expect("PA", seq=1, ack=8, payload=b"answer")  # at once
            p.ack()
        s.b.expect_nothing()  # it is not served twice
        s.wait_purged()


def test_5d_lost_ack_is_answered_by_a_resend_with_back_off():
    with Scene() as s:
        p = s.connected(syn={"ts": True})
        f = s.received(p, b"request")
        s.b.reply(f.conn, b"answer", ackd=7)
        times = [tsval(p.expect("PA", seq=1, ack=8, payload=b"answer"))]
        for _ in range(4):  # and each time our ACK is lost
            again = p.expect("PA", seq=1, ack=8, payload=b"answer", within=10)
            times.append(tsval(again))
        gaps = [b - a for a, b in zip(times, times[1:])]
        # timers are never early, and each waits twice as long
        for i, gap in enumerate(gaps):
            if gap < 199 * 2 ** i:
                raise AssertionError(f"gaps of {gaps} ms")
        p.ack()
        s.wait_purged()
        p.expect_nothing(1.0)


def test_5d_given_up_as_down_after_user_timeout():
    with Scene({"user-timeout": 1500}) as s:
        p = s.connected()
        f = s.received(p, b"request")
        with s.counted(conn_timed_out=1, conn_reset_out=1):
            s.b.reply(f.conn, b"answer", ackd=7)
            s.b.expect("RESET", conn=f.conn, within=20)
        n = 0
        while (got := p.got(2)).flags != "RA":
            equal((sorted(got.flags), got.payload), (["A", "P"], b"answer"))
            n += 1
        if n < 3:
            raise AssertionError(f"sent {n} times only")
        s.wait_purged()
        s.wait_gone()


# --- figure 6: the operations

def test_6a_initialize_makes_a_pool_of_its_own():
    with Scene(backend=False) as s, Api(s.d) as app:
        pools = len(s.d.ask("show pools"))
        app.ok("init", 512 * KIB)
        gd = app.ok("open", 4, 7000)  # a port that no group has
        wait_for("a pool more", lambda: len(s.d.ask("show pools")) == pools + 1)
        p = s.connected(port=7000)
        p.send(b"request")
        app.wait_readable(gd)
        n, cd, data = app.recv(gd)
        equal((n, data), (7, b"request"))
        equal(app.send(gd, cd, 7, b"answer"), 6)
        p.expect("PA", ack=8, payload=b"answer")
        p.ack()
        equal(app.ok("fini"), 0)
        # it may come back: the daemon keeps what it brought for a minute
        wait_for("the pool is gone", lambda:
                 len(s.d.ask("show pools")) == pools, within=100, every=1)


def test_6a_initialize_with_0_uses_the_configured_pool():
    with Scene(backend=False) as s, Api(s.d) as app:
        pools = s.d.ask("show pools")
        app.ok("init", 0)
        app.ok("open", 4, PORT)
        equal(len(s.d.ask("show pools")), len(pools))
        equal(app.call("open", 4, 7001)[0], -errno.ENOENT)
        equal(app.call("init", 0)[0], -errno.EALREADY)
        app.ok("fini")


def test_6a_own_pool_too_large_is_refused():
    with Scene() as s, Api(s.d) as app:
        pools = len(s.d.ask("show pools"))
        app.ok("init", 1 << 45)
        if app.call("open", 4, 7000)[0] >= 0:
            raise AssertionError("a pool of 32 TiB")
        equal(len(s.d.ask("show pools")), pools)
        s.exchange(s.connected())


def test_6b_open_and_close_group():
    with Scene(backend=False) as s, Api(s.d) as app:
        app.ok("init", 0)
        gd = app.ok("open", 4, PORT)
        wait_for("attached", lambda: s.d.ask("show backends"))
        p = s.connected()
        p.send(b"request")
        app.wait_readable(gd)
        equal(app.recv(gd)[0], 7)
        equal(app.ok("close_group", gd), 0)
        equal(app.call("recv", gd, 100)[0], -errno.EBADF)
        equal(app.call("close_group", gd)[0], -errno.EBADF)
        # the connection lives on, for who attaches next
        wait_for("detached", lambda: not s.d.ask("show backends"))
        with s.dial() as b:
            f = b.expect("DATA", payload=b"request", redelivered=True)
            b.reply(f.conn, b"answer", ackd=7)
            p.expect("PA", ack=8, payload=b"answer")
            p.ack()


def test_6c_accept():
    with Scene({"accept": "application"}) as s:
        p = s.peer()
        with s.counted(conn_accepted=1):
            p.syn()
            f = s.b.expect("OPEN", first=True)
            p.expect_nothing(0.3)  # the handshake waits
            s.b.accept(f.conn)
            p.expect("SA", ack=1)
            p.ack()
        s.exchange(p)


def test_6c_accept_by_the_patents_calls():
    with Scene({"accept": "application"}, backend=False) as s, Api(s.d) as app:
        app.ok("init", 0)
        gd = app.ok("open", 4, PORT)
        equal(app.call("accept", gd)[0], -errno.EAGAIN)
        p = s.peer()
        p.syn()
        app.wait_acceptable(gd)
        p.expect_nothing()
        cd = app.ok("accept", gd)
        p.expect("SA", ack=1)
        p.ack()
        p.send(b"request")
        app.wait_readable(gd)
        equal(app.recv(gd), (7, cd, b"request"))
        equal(app.send(gd, cd, 7, b"answer"), 6)
        p.expect("PA", ack=8, payload=b"answer")
        p.ack()


def test_6c_a_retransmitted_syn_is_not_a_second_request():
    with Scene({"accept": "application"}) as s:
        p = s.peer()
        p.syn()
        f = s.b.expect("OPEN")
        p.syn()
        p.syn()
        p.expect_nothing()
        s.b.expect_nothing()
        s.b.accept(f.conn)
        p.expect("SA", ack=1)
        p.ack()
        s.exchange(p)


def test_6c_reject_is_a_rst():
    with Scene({"accept": "application"}) as s:
        p = s.peer()
        with s.counted(conn_refused=1, conn_accepted=0):
            p.syn()
            f = s.b.expect("OPEN")
            s.b.reject(f.conn)
            p.expect("RA", seq=0 - p.irs & 0xffffffff, ack=1)
        s.wait_gone()


def test_6c_accept_timeout_is_a_rst():
    with Scene({"accept": "application", "accept-timeout": 300}) as s:
        p = s.peer()
        with s.counted(conn_refused=1, conn_accept_expired=1):
            p.syn()
            f = s.b.expect("OPEN")
            p.expect("RA", ack=1)
            s.b.expect("RESET", conn=f.conn)
            s.b.accept(f.conn)  # too late: it is gone
            s.b.expect("RESET", conn=f.conn)
        s.wait_gone()


def test_6d_pars():
    with Scene(backend=False) as s, Api(s.d) as app:
        app.ok("init", 0)
        gd = app.ok("open", 4, PORT)
        p = s.connected()
        p.send(b"request")
        app.wait_readable(gd)
        cd = app.recv(gd)[1]
        equal(app.call("pars", gd, cd), [0, p.src, str(p.sport), "2"])
        equal(app.call("pars6", gd, cd), [0, p.src, str(p.sport)])
        equal(app.call("pars6", gd, cd + 1000)[0], -errno.EBADF)


def test_6d_pars_of_an_ipv6_client():
    with Scene(backend=False) as s, Api(s.d) as app:
        app.ok("init", 0)
        gd = app.ok("open", 6, PORT)
        p = s.connected(family=6)
        p.send(b"request")
        app.wait_readable(gd)
        cd = app.recv(gd)[1]
        equal(app.call("pars", gd, cd)[0], -errno.EAFNOSUPPORT)
        equal(app.call("pars6", gd, cd), [0, p.src, str(p.sport)])


def test_6e_retransmission_of_a_held_request_is_absorbed():
    with Scene() as s:
        p = s.connected()
        f = s.received(p, b"request")
        with s.counted(dup_absorbed=2, segs_out=0, msgs_in=0):
            p.send(b"request", seq=1)
            p.send(b"request", seq=1)
            p.expect_nothing()
            s.b.expect_nothing()
        s.b.reply(f.conn, b"answer", ackd=7)
        p.expect("PA", ack=8, payload=b"answer")
        p.ack()


def test_6e_new_request_behind_a_held_one_is_delivered():
    with Scene() as s:
        p = s.connected()
        f = s.received(p, b"first", offset=0)
        s.received(p, b"second", offset=5)
        p.expect_nothing()
        s.b.reply(f.conn, b"answers", ackd=11)
        p.expect("PA", ack=12, payload=b"answers")
        p.ack()


def test_6e_request_longer_than_what_is_held_brings_the_rest():
    with Scene() as s:
        p = s.connected()
        f = s.received(p, b"first", offset=0)
        p.send(b"firstsecond", seq=1)  # repacketized by the client
        p.snd_nxt += 6
        s.b.expect("DATA", payload=b"second", offset=5)
        s.b.reply(f.conn, b"", ackd=11)
        p.expect("A", ack=12)


def test_6f_recv_returns_all_that_is_not_acknowledged():
    with Scene(backend=False) as s, Api(s.d) as app:
        app.ok("init", 0)
        gd = app.ok("open", 4, PORT)
        p = s.connected()
        p.send(b"request")
        app.wait_readable(gd)
        n, cd, data = app.recv(gd)
        equal((n, data), (7, b"request"))
        equal(app.call("recv", gd, 100)[0], -errno.EAGAIN)
        p.send(b"more")
        app.wait_readable(gd)
        equal(app.recv(gd), (11, cd, b"requestmore"))
        equal(app.send(gd, cd, 12), -errno.EINVAL)  # beyond what was received
        p.expect_nothing()
        equal(app.send(gd, cd, 7), 0)
        p.expect("A", ack=8)
        app.wait_readable(gd)
        equal(app.recv(gd), (4, cd, b"more"))
        equal(app.send(gd, cd, 4), 0)
        p.expect("A", ack=12)
        equal(app.call("recv", gd, 100)[0], -errno.EAGAIN)


def test_6g_ack_rides_on_the_answer():
    with Scene() as s:
        p = s.connected()
        f = s.received(p, b"request")
        with s.counted(pure_acks_out=0, pure_acks_saved=1, segs_out=1):
            s.b.reply(f.conn, b"answer", ackd=7)
            p.expect("PA", ack=8, payload=b"answer")
            p.ack()


def test_6g_partial_ackd():
    with Scene() as s:
        p = s.connected()
        f = s.received(p, b"requestrest")
        s.b.reply(f.conn, b"answer", ackd=7)
        p.expect("PA", ack=8, payload=b"answer")
        p.ack()
        # the client sends again what was not acknowledged
        with s.counted(dup_absorbed=1):
            p.send(b"rest", seq=8)
            p.expect_nothing()
        s.b.reply(f.conn, b"!", ackd=4)
        p.expect("PA", ack=12, payload=b"!")
        p.ack()


def test_6g_no_data_is_a_pure_ack():
    with Scene() as s:
        p = s.connected()
        f = s.received(p, b"request")
        with s.counted(pure_acks_out=1, pure_acks_saved=0):
            s.b.reply(f.conn, b"", ackd=7)
            p.expect("A", seq=1, ack=8, len=0)


def test_6g_data_without_ack_leaves_the_request_unacknowledged():
    with Scene() as s:
        p = s.connected()
        f = s.received(p, b"request")
        s.b.reply(f.conn, b"wait...", ackd=0)
        p.expect("PA", seq=1, ack=1, payload=b"wait...")
        p.ack()
        s.b.reply(f.conn, b"done", ackd=7)
        p.expect("PA", seq=8, ack=8, payload=b"done")
        p.ack()


def test_6g_push_without_a_request():
    with Scene() as s:
        p = s.connected()
        conn = s.exchange(p)
        s.b.reply(conn, b"news", ackd=0)
        p.expect("PA", seq=6, ack=8, payload=b"news")
        p.ack()


def test_6h_resend_timer_sends_the_cached_answer():
    with Scene() as s:
        p = s.connected()
        f = s.received(p, b"request")
        before = s.d.counter("rto_fired")
        s.b.reply(f.conn, b"answer", ackd=7)
        p.expect("PA", seq=1, payload=b"answer")
        p.expect("PA", seq=1, payload=b"answer")
        p.ack()
        if s.d.counter("rto_fired") <= before:
            raise AssertionError("the resend timer did not fire")


def test_6h_time_out_purges_and_marks_down():
    with Scene({"user-timeout": 1000}) as s:
        p = s.connected()
        f = s.received(p, b"request")
        s.b.reply(f.conn, b"a" * 1000, ackd=7)
        p.expect("PA", len=1000)
        if not s.d.memory()["transmit_buffer_bytes"]:
            raise AssertionError("the answer is not kept")
        s.b.expect("RESET", conn=f.conn, within=20)
        s.wait_purged()
        s.wait_gone()
        equal(s.d.counter("conn_timed_out"), 1)


def test_6i_ack_purges_the_answer_and_its_timer():
    with Scene() as s:
        p = s.connected()
        f = s.received(p, b"request")
        s.b.reply(f.conn, b"a" * 3000, ackd=7)
        p.expect("A", len=1460)
        p.expect("A", len=1460)
        p.expect("PA", len=80)
        held = s.d.memory()["transmit_buffer_bytes"]
        if held < 3000:
            raise AssertionError(f"{held} bytes are kept")
        with s.counted(rto_fired=0, segs_retransmitted=0):
            p.ack()
            s.wait_purged()
            p.expect_nothing(0.6)


if __name__ == "__main__":
    harness.main(globals())
