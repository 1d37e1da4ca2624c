# SPDX-License-Identifier: BSD-2-Clause
"""What a link says to an xtcpd that is scripted, and what it tells of it."""

import asyncio
import errno
import random
import unittest
from unittest import mock

from fake import WINDOW, Daemon, addr
from xtcp import Data, Drain, Eof, FrameError, Open, Refused, Reset, SlowClient
from xtcp import frames
from xtcp.core import CREDIT_BYTES, State
from xtcp.frames import AT, FIRST, REDELIVERED, WAITS, Attach, Type


class Handshake(unittest.TestCase):
    def test_names_port_and_pool(self):
        d = Daemon(family=4, pool_bytes=1 << 20, name="me").begin()
        hello = frames.Hello.decode(d.expect(Type.HELLO).payload)
        self.assertEqual((hello.flags, hello.worker, hello.name, hello.epoch),
                         (0, frames.WORKER_ANY, b"me", 0))
        d.say(Type.HELLO, d.own_hello())
        f = d.expect(Type.ATTACH, group=0)
        self.assertEqual(Attach.decode(f.payload), Attach(
            5222, 4, frames.ATTACH_OWN_POOL, pool_bytes=1 << 20))

    def test_a_link_to_each_worker_is_wanted(self):
        d = Daemon()
        d.workers, told = 3, []
        d.core.on_workers = told.append
        d.up(worker=2)
        self.assertEqual((told, d.link.worker), ([3], 2))

    def test_another_worker_than_before_is_refused(self):
        d = Daemon()
        d.workers = 2
        d.up(worker=1)
        d.lose()
        d.begin(worker=0)
        self.assertEqual(frames.Hello.decode(
            d.expect(Type.HELLO).payload).worker, 1)
        with self.assertRaises(FrameError):
            d.say(Type.HELLO, d.own_hello())

    def test_what_is_no_xtcpd_of_ours_is_refused(self):
        for bad in ({"magic": 1}, {"version": 2}, {"max_payload": 100},
                    {"conn_window": 0}, {"flags": 0}, {"workers": 0},
                    {"workers": 257}, {"worker": 1}):
            with self.subTest(bad), self.assertRaises(FrameError) as caught:
                d = Daemon().begin()
                d.say(Type.HELLO, frames.Hello.decode(
                    d.own_hello())._replace(**bad).encode())
            self.assertEqual(caught.exception.errno, errno.EPROTO)

    def test_the_daemons_error_is_told(self):
        d = Daemon().begin()
        d.say(Type.HELLO, d.own_hello())
        with self.assertRaises(Refused) as caught:
            d.say(Type.ERROR, b"no such port", flags=frames.FATAL,
                  aux=errno.ENOENT)
        self.assertEqual(str(caught.exception), "[Errno 2] no such port")


class Connections(unittest.TestCase):
    def setUp(self):
        self.d = Daemon().up()

    def test_open_comes_first(self):
        self.d.first(7, b"abc", sent=100, aux=5)
        opened, data = self.d.events()
        c = opened.conn
        self.assertEqual(opened, Open(c, False))
        self.assertEqual(data, Data(c, b"abc", 0, False))
        self.assertEqual((c.id, c.epoch, c.remote, c.sent, c.pending),
                         (7, 77, ("192.0.2.1", 1007), 105, b"abc"))

    def test_ipv6_address(self):
        self.d.say(Type.OPEN, addr(7, family=6), conn=7, flags=FIRST)
        self.assertEqual(self.d.events()[0].conn.remote, ("::1", 1007))

    def test_handshake_waits_for_accept(self):
        for answer, kind in (("accept", Type.ACCEPT), ("reject", Type.REJECT),
                             ("close", Type.CLOSE), ("abort", Type.ABORT)):
            d = Daemon().up()
            d.open(5, WAITS)
            opened, = d.events()
            self.assertTrue(opened.waits)
            with self.assertRaises(RuntimeError):
                opened.conn.push(b"too early")
            getattr(opened.conn, answer)()
            d.expect(kind, conn=5)
            d.quiet()

    def test_what_comes_before_the_event_is_taken_is_one_event(self):
        self.d.first(7, b"abc")
        self.d.data(7, b"def", 3)
        _, data = self.d.events()
        self.assertEqual((data.data, data.offset), (b"abcdef", 0))
        self.d.data(7, b"g", 6)
        data, = self.d.events()
        self.assertEqual((data.data, data.offset), (b"g", 6))
        self.assertEqual(data.conn.pending, b"abcdefg")

    def test_connections_take_turns(self):
        self.d.first(7, b"a")
        self.d.first(8, b"b")
        self.assertEqual([e.conn.id for e in self.d.events()], [7, 8, 7, 8])

    def test_reply_carries_acknowledgement_and_data(self):
        c = self.d.client(7, b"abcdef")
        c.reply(b"hello", ackd=2)
        c.reply(b"you", ackd=3)
        self.d.expect(Type.REPLY, conn=7, flags=AT, offset=0, ackd=2, aux=0,
                      payload=b"hello", group=9)
        self.d.expect(Type.REPLY, conn=7, offset=2, ackd=3, aux=5,
                      payload=b"you")
        self.assertEqual((c.offset, c.pending, c.sent), (5, b"f", 8))
        c.ack(1)
        self.d.expect(Type.REPLY, offset=5, ackd=1, aux=8, payload=b"")

    def test_too_much_ackd_does_nothing(self):
        c = self.d.client(7, b"abc")
        self.d.data(7, b"unseen", 3)
        for n in (4, -1):
            with self.assertRaises(ValueError):
                c.reply(b"x", ackd=n)
        self.d.quiet()
        self.assertEqual((c.offset, c.sent), (0, 0))

    def test_eof_comes_after_the_data(self):
        self.d.first(7, b"abc")
        self.d.say(Type.EOF, conn=7, offset=3)
        _, data, eof = self.d.events()
        self.assertEqual(eof, Eof(data.conn, 3))
        eof.conn.reply(b"still", ackd=3)
        eof.conn.close()
        self.d.expect(Type.REPLY, ackd=3)
        self.d.expect(Type.CLOSE, conn=7, flags=AT, aux=5)

    def test_reset_is_told_once(self):
        c = self.d.client(7, b"abc")
        self.d.say(Type.RESET, conn=7, aux=errno.ETIMEDOUT)
        self.assertEqual(self.d.events(), [Reset(c, errno.ETIMEDOUT)])
        with self.assertRaises(ConnectionResetError):
            c.reply(b"x")
        c.close()
        self.d.quiet()
        self.assertFalse(self.d.core.conns)

    def test_who_was_never_told_of_goes_silently(self):
        self.d.first(7, b"abc")
        self.d.say(Type.RESET, conn=7)
        self.assertEqual(self.d.events(), [])

    def test_close_forgets_and_late_frames_are_dropped(self):
        c = self.d.client(7, b"abc")
        c.close()
        self.d.expect(Type.CLOSE, conn=7)
        self.d.data(7, b"late", 3)
        self.assertEqual(self.d.events(), [])
        with self.assertRaises(ConnectionError):
            c.push(b"x")
        self.d.say(Type.RESET, conn=7)
        self.assertEqual((self.d.events(), self.d.core.conns), ([], {}))

    def test_shutdown_refuses_data_and_still_acknowledges(self):
        c = self.d.client(7, b"abc")
        c.shutdown()
        c.shutdown()
        self.d.expect(Type.FIN, conn=7, flags=AT)
        with self.assertRaises(BrokenPipeError):
            c.reply(b"x", ackd=1)
        c.ack(3)
        self.d.expect(Type.REPLY, ackd=3)
        self.d.quiet()

    def test_drain_is_told_once_per_stream(self):
        self.d.say(Type.DRAIN)
        self.d.say(Type.DRAIN)
        self.assertEqual(self.d.events(), [Drain(0)])

    def test_ping_is_answered(self):
        self.d.say(Type.PING, offset=42)
        self.d.expect(Type.PONG, offset=42)

    def test_done_acknowledges_and_skips(self):
        self.d.first(7, b"abcdef")
        c = self.d.core.next_event().conn
        c.done(4)
        self.d.expect(Type.REPLY, offset=0, ackd=4, payload=b"")
        data, = self.d.events()
        self.assertEqual((data.data, data.offset, c.offset), (b"ef", 4, 4))
        c.done(8)
        self.d.expect(Type.REPLY, offset=4, ackd=2)
        self.d.data(7, b"ghij", 6)
        self.d.expect(Type.REPLY, offset=6, ackd=2)
        data, = self.d.events()
        self.assertEqual((data.data, data.offset), (b"ij", 8))


class Credit(unittest.TestCase):
    def test_replies_stop_at_the_connections_credit(self):
        d = Daemon().up()
        c = d.client(7, b"abc")
        d.say(Type.CREDIT, conn=7, offset=5)  # takes nothing back
        c.reply(bytes(WINDOW + 2000), ackd=3)
        d.expect(Type.REPLY, ackd=0, payload=bytes(WINDOW))
        self.assertEqual(c.buffered, 2000)
        d.confirm()
        d.say(Type.CREDIT, conn=7, offset=WINDOW + 500)
        d.expect(Type.REPLY, ackd=0, aux=WINDOW, payload=bytes(500))
        d.say(Type.CREDIT, conn=7, offset=2 * WINDOW)
        # who acknowledged has sent the reply, whole
        d.expect(Type.REPLY, offset=0, ackd=3, payload=bytes(1500))
        self.assertEqual((c.buffered, c.sent), (0, WINDOW + 2000))

    def test_one_slow_connection_stops_no_other(self):
        d = Daemon().up()
        a, b = d.client(7, b"a"), d.client(8, b"b")
        a.push(bytes(WINDOW + 1))
        b.reply(b"hello", 1)
        d.expect(Type.REPLY, conn=7)
        d.expect(Type.REPLY, conn=8, payload=b"hello")

    def test_replies_stop_at_the_streams_credit(self):
        d = Daemon(credit=5000).up()
        a, b = d.client(7, b"a"), d.client(8, b"b")
        a.reply(bytes(4000), 1)
        b.reply(bytes(4000), 1)
        d.expect(Type.REPLY, conn=7, ackd=1)
        d.expect(Type.REPLY, conn=8, ackd=0, payload=bytes(1000))
        d.quiet()
        d.say(Type.CREDIT, aux=10000)
        d.expect(Type.REPLY, conn=8, ackd=1, payload=bytes(3000))

    def test_the_buffer_is_bounded_and_who_waits_is_told(self):
        async def run():
            d = Daemon(buffer_bytes=1000).up()
            c = d.client(7, b"abc")
            for _ in range(WINDOW // 512):
                c.push(bytes(512))
            c.push(bytes(1000))
            with self.assertRaises(SlowClient):
                c.reply(b"x", ackd=3)
            self.assertEqual((c.room, c.offset), (0, 0))
            task = asyncio.create_task(c.writable(600))
            await asyncio.sleep(0)
            d.say(Type.CREDIT, conn=7, offset=WINDOW + 500)
            await asyncio.sleep(0)
            self.assertFalse(task.done())
            d.say(Type.CREDIT, conn=7, offset=WINDOW + 600)
            await task
            self.assertEqual(c.room, 600)
            task = asyncio.create_task(c.writable(1000))
            await asyncio.sleep(0)
            d.say(Type.RESET, conn=7)
            with self.assertRaises(ConnectionResetError):
                await task
        asyncio.run(run())

    def test_a_daemon_that_confirms_nothing_gets_no_more(self):
        d = Daemon(credit=1 << 30).up()
        conns = [d.client(i, b"x") for i in range(1, 40)]
        sent = pings = 0
        for c in conns:
            c.push(bytes(60000))
        while (f := d.frame()) is not None:
            sent += len(f.payload)
            pings += f.type == Type.PING
        self.assertLess(sent, 600_000)
        self.assertEqual(pings, 1)
        conns[0].ack(1)  # waits, too
        d.quiet()

    def test_acknowledgements_wait_for_room_too(self):
        d = Daemon(credit=1 << 30).up()
        conns = [d.client(i, b"x") for i in range(1, 10)]
        for c in conns[:8]:
            c.push(bytes(60000))
        conns[8].push(bytes(d.link._room()))
        conns[0].ack(1)
        for _ in conns:
            d.expect(Type.REPLY, ackd=0)
        f = d.expect(Type.PING)
        d.quiet()
        d.say(Type.PONG, offset=f.offset)
        d.expect(Type.REPLY, conn=1, ackd=1)

    def test_acknowledgement_in_the_last_room_that_there_is(self):
        d = Daemon(credit=1 << 30).up()
        conns = [d.client(i, b"x") for i in range(1, 10)]
        for c in conns[:8]:
            c.push(bytes(60000))
        conns[8].push(bytes(d.link._room() - 16))
        conns[0].ack(1)
        for _ in conns:
            d.expect(Type.REPLY, ackd=0)
        d.expect(Type.REPLY, conn=1, ackd=1)
        d.expect(Type.PING)
        d.quiet()

    def test_credit_is_granted_when_the_events_are_taken(self):
        d = Daemon().up()
        block, sent = bytes(65536), 0
        d.open(7)
        while sent < CREDIT_BYTES // 2:
            d.data(7, block, sent)
            sent += len(block)
        d.quiet()
        d.events()
        d.expect(Type.CREDIT, conn=0, aux=sent)
        d.quiet()

    def test_dropped_bytes_are_granted_too(self):
        d = Daemon(credit_bytes=4096).up()
        c = d.client(7, b"x")
        d.data(7, bytes(1500), 1)
        c.abort()
        d.expect(Type.ABORT)
        d.data(7, bytes(1500), 1501)
        d.expect(Type.CREDIT, conn=0, aux=48 + 1 + 3000)


class Hostile(unittest.TestCase):
    def test_what_makes_no_sense_ends_the_stream(self):
        for what, kind, payload, header in (
                ("unknown type", 200, b"", {}),
                ("wrong direction", Type.REPLY, b"", {"conn": 7}),
                ("second HELLO", Type.HELLO, bytes(48), {}),
                ("second ATTACHED", Type.ATTACHED, bytes(24), {}),
                ("ATTACH to who dialled", Type.ATTACH, bytes(24), {}),
                ("empty DATA", Type.DATA, b"", {"conn": 7}),
                ("DATA of no connection", Type.DATA, b"x", {"offset": 3}),
                ("gap", Type.DATA, b"x", {"conn": 7, "offset": 4}),
                ("last position", Type.DATA, b"x",
                 {"conn": 7, "offset": 2**64 - 1}),
                ("FIRST without address", Type.DATA, bytes(47),
                 {"conn": 7, "flags": FIRST}),
                ("FIRST of no family", Type.DATA, bytes(60),
                 {"conn": 7, "flags": FIRST}),
                ("OPEN of no family", Type.OPEN, bytes(48), {"conn": 7}),
                ("EOF beyond the data", Type.EOF, b"",
                 {"conn": 7, "offset": 4}),
                ("EOF before the data", Type.EOF, b"",
                 {"conn": 7, "offset": 2}),
                ("PONG to no PING", Type.PONG, b"", {}),
                ("fatal ERROR", Type.ERROR, b"x", {"flags": 8, "aux": 5}),
                ("fatal ERROR without reason", Type.ERROR, b"",
                 {"flags": 8})):
            with self.subTest(what):
                d = Daemon().up()
                c = d.client(7, b"abc")
                with self.assertRaises(FrameError):
                    d.say(kind, payload, **header)
                d.again()
                d.expect(Type.REPLY, conn=7)
                d.resumed()
                d.first(7, b"abcdef", flags=REDELIVERED)
                self.assertEqual(d.events(), [Data(c, b"def", 3, True)])

    def test_data_after_eof_ends_the_stream(self):
        d = Daemon().up()
        d.client(7, b"abc")
        d.say(Type.EOF, conn=7, offset=3)
        with self.assertRaises(FrameError):
            d.data(7, b"more", 3)

    def test_pong_of_another_position(self):
        d = Daemon().up()
        d.client(7, b"abc").push(bytes(20000))
        d.expect(Type.REPLY)
        f = d.expect(Type.PING)
        with self.assertRaises(FrameError):
            d.say(Type.PONG, offset=f.offset + 1)

    def test_credit_without_end(self):
        d = Daemon().up()
        with self.assertRaises(FrameError):
            for _ in range(300):
                d.say(Type.CREDIT, aux=2**32 - 1)

    def test_pings_without_end_and_nothing_read(self):
        d = Daemon().up()
        with mock.patch("xtcp.link.OUT_MAX", 1 << 20):
            d.link.feed(frames.Frame(Type.PING, group=9).encode() * 40000)
        with self.assertRaises(FrameError) as caught:
            d.link.take()
        self.assertEqual(caught.exception.errno, errno.ENOBUFS)

    def test_harmless_oddities_are_ignored(self):
        d = Daemon().up()
        c = d.client(7, b"abc")
        d.say(Type.ERROR, aux=22)
        d.say(Type.RESET, conn=4711)
        d.say(Type.CREDIT, conn=4711, offset=1)
        d.say(Type.EOF, conn=4711, offset=1)
        d.data(4711, b"of a connection that nobody knows", 5)
        c.reply(b"x", 3)
        d.expect(Type.REPLY, ackd=3)

    def test_random_frames_raise_nothing_else(self):
        kinds = [Type.OPEN, Type.DATA, Type.DATA, Type.DATA, Type.EOF,
                 Type.PONG, Type.PING, Type.RESET, Type.CREDIT, Type.DRAIN]
        for seed in range(60):
            rng = random.Random(seed)
            d = Daemon(buffer_bytes=20).up()
            for _ in range(200):
                kind = rng.choice(kinds)
                header = {"flags": rng.randrange(8), "conn": rng.randrange(4),
                          "offset": rng.randrange(8), "aux": rng.randrange(3)}
                payload = addr(header["conn"], rng.randrange(3))
                if kind is Type.DATA:
                    payload += bytes(1 + header["offset"])
                elif kind not in (Type.OPEN, Type.EOF):
                    payload = b""
                with self.subTest(seed=seed):
                    try:
                        d.say(kind, payload, **header)
                    except FrameError:
                        d.again()
                    self.application(d, rng)

    def application(self, d, rng):
        d.link.take()
        event = d.core.next_event()
        if event is None or isinstance(event, Drain):
            return
        c = event.conn
        try:
            rng.choice((c.accept, c.reject, c.close, c.abort, c.shutdown,
                        lambda: c.reply(bytes(rng.randrange(9)),
                                        rng.randrange(4)),
                        lambda: c.done(rng.randrange(9))))()
        except (ConnectionError, ValueError, RuntimeError):
            pass
        assert c.buffered == sum(len(p.data) for p in c._unsent)
        assert State.UP is d.link.state


if __name__ == "__main__":
    unittest.main()
