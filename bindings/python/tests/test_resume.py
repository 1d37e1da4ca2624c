# SPDX-License-Identifier: BSD-2-Clause
"""Streams that are lost and come again: nothing is lost, nothing twice."""

import errno
import unittest

from fake import HALF, WINDOW, Daemon
from xtcp import Data, Reset
from xtcp import frames
from xtcp.frames import AT, REDELIVERED, SHORT, WAITS, Type
from xtcp.link import Link


class Resumption(unittest.TestCase):
    def setUp(self):
        self.d = Daemon().up()

    def test_same_identity_and_the_flag(self):
        before = self.d.hello
        self.d.again()
        self.assertEqual((self.d.hello.instance, self.d.hello.worker,
                          self.d.hello.flags),
                         (before.instance, 0, frames.HELLO_RESUMES))
        self.d.resumed()
        self.d.quiet()

    def test_unconfirmed_replies_are_sent_again(self):
        c = self.d.client(7, b"abcdef")
        c.reply(b"one", 2)
        c.reply(b"two", 2)
        c.ack(1)
        self.d.link.take()
        self.d.again()
        self.d.expect(Type.REPLY, aux=0, offset=0, ackd=2, payload=b"one")
        self.d.expect(Type.REPLY, aux=3, offset=2, ackd=2, payload=b"two")
        self.d.expect(Type.REPLY, offset=4, ackd=1, payload=b"")
        self.d.expect(Type.REPLY, conn=7, offset=5, ackd=0, payload=b"",
                      aux=6, flags=AT)
        self.d.resumed()
        self.d.quiet()

    def test_confirmed_replies_are_not_sent_again(self):
        c = self.d.client(7, b"abcdef")
        c.reply(bytes(20000), 6)
        self.d.expect(Type.REPLY)
        self.d.confirm()
        self.d.again()
        self.d.expect(Type.REPLY, offset=6, aux=20000, payload=b"")
        self.d.resumed()
        c.push(b"x")
        self.d.expect(Type.REPLY, aux=20000)

    def test_a_second_loss_keeps_the_order(self):
        c = self.d.client(7, b"abc")
        c.push(b"one")
        c.push(b"two")
        self.d.link.take()
        self.d.credit = 4
        self.d.again()
        self.d.expect(Type.REPLY, payload=b"one")
        self.d.quiet()  # no credit for the other
        c.push(b"three")
        self.d.credit = 1 << 20
        self.d.again()
        self.d.expect(Type.REPLY, payload=b"one", aux=0)
        self.d.expect(Type.REPLY, payload=b"two", aux=3)
        self.d.expect(Type.REPLY, payload=b"", aux=6)
        self.d.resumed()
        self.d.expect(Type.REPLY, payload=b"three", aux=6)

    def test_credit_is_asked_for_where_it_is_short(self):
        c = self.d.client(7, b"abc")
        self.d.client(8, b"abc")
        c.push(bytes(WINDOW - HALF + 1))
        self.d.expect(Type.REPLY)
        self.d.confirm()
        self.d.again()
        self.d.expect(Type.REPLY, conn=7, flags=AT | SHORT)
        self.d.expect(Type.REPLY, conn=8, flags=AT)
        self.d.resumed()

    def test_redelivery_is_trimmed_to_what_is_new(self):
        c = self.d.client(7, b"abcdef")
        c.ack(2)
        self.d.again()
        self.d.expect(Type.REPLY, ackd=2)
        self.d.expect(Type.REPLY, ackd=0)
        self.d.resumed()
        self.d.first(7, b"abcdefgh", flags=REDELIVERED)
        self.d.expect(Type.REPLY, offset=2, ackd=0, payload=b"")
        self.assertEqual(self.d.events(), [Data(c, b"gh", 6, True)])
        self.assertEqual((c.pending, c.redelivered), (b"cdefgh", 8))
        self.d.first(7, b"cdefgh", offset=2, flags=REDELIVERED)
        self.assertEqual(self.d.events(), [])
        self.d.quiet()

    def test_a_new_process_is_told_of_redelivery(self):
        self.d.first(7, b"abc", offset=10, sent=4, aux=1, flags=REDELIVERED)
        opened, data = self.d.events()
        self.assertEqual((data.offset, data.redelivered), (10, True))
        self.assertEqual((opened.conn.offset, opened.conn.sent,
                          opened.conn.redelivered), (10, 5, 13))
        self.d.data(7, b"new", 13)
        self.assertEqual(self.d.events(), [Data(data.conn, b"new", 13, False)])

    def test_connection_gone_meanwhile_is_reset(self):
        c = self.d.client(7, b"abc")
        c.reply(b"kept", 3)
        self.d.again()
        self.d.expect(Type.REPLY, payload=b"kept")
        self.d.expect(Type.REPLY)
        self.d.say(Type.RESET, conn=7, aux=104)
        self.assertEqual(self.d.events(), [Reset(c, 104)])
        self.d.resumed()
        self.d.quiet()

    def test_connection_served_elsewhere_is_a_new_one(self):
        for header in {"offset": 10}, {"sent": 100}:
            d = Daemon().up()
            c = d.client(7, b"abc")
            d.again()
            d.expect(Type.REPLY)
            d.resumed()
            d.first(7, b"xyz", flags=REDELIVERED, **header)
            reset, opened, data = d.events()
            self.assertEqual(reset, Reset(c, errno.ECONNRESET))
            self.assertIsNot(opened.conn, c)
            self.assertEqual(data.data, b"xyz")
            opened.conn.ack(3)
            d.expect(Type.REPLY, offset=header.get("offset", 0), ackd=3)

    def test_what_is_said_while_away_waits(self):
        c = self.d.client(7, b"abc")
        self.d.lose()
        c.reply(b"while away", 2)
        c.ack(1)
        self.d.up()
        self.d.expect(Type.REPLY, offset=0, ackd=0, payload=b"", aux=0)
        f = self.d.expect(Type.PING, flags=frames.RESUMED)
        c.shutdown()
        self.d.quiet()
        self.d.say(Type.PONG, offset=f.offset)
        self.d.expect(Type.REPLY, ackd=3, payload=b"while away")
        self.d.expect(Type.FIN)

    def test_close_while_away_reaches_the_daemon(self):
        c = self.d.client(7, b"abc")
        self.d.lose()
        c.close()
        self.d.up()
        self.d.expect(Type.REPLY, conn=7)
        self.d.resumed()
        self.d.first(7, b"abc", flags=REDELIVERED)  # not knowing yet
        self.assertEqual(self.d.events(), [])
        self.d.expect(Type.CLOSE, conn=7)
        self.d.quiet()

    def test_unconfirmed_close_is_said_again(self):
        c = self.d.client(7, b"abc")
        c.reply(b"bye", 3)
        c.close()
        self.d.link.take()
        for _ in range(2):
            self.d.again()
            self.d.expect(Type.REPLY, payload=b"bye")
            self.d.expect(Type.CLOSE, conn=7, aux=3)
            f = self.d.expect(Type.PING, flags=frames.RESUMED)
        self.assertIn(7, self.d.core.conns)
        self.d.say(Type.PONG, offset=f.offset)
        self.assertNotIn(7, self.d.core.conns)

    def test_what_is_kept_for_one_that_is_gone_is_not_said(self):
        c = self.d.client(7, b"abc")
        self.d.again()
        self.d.expect(Type.REPLY)
        f = self.d.expect(Type.PING)
        c.push(b"old")
        c.close()
        # it is another's now; then it is ours again, and a new one
        self.d.say(Type.RESET, conn=7)
        self.d.say(Type.PONG, offset=f.offset)
        self.d.client(7, b"abc")
        self.d.quiet()

    def test_what_waits_for_credit_is_not_said_of_one_that_is_gone(self):
        a, b = self.d.client(7, b"abc"), self.d.client(8, b"abc")
        a.push(bytes(4000))
        b.push(bytes(4000))
        self.d.link.take()
        self.d.credit = 5000
        self.d.again()
        self.d.expect(Type.REPLY, conn=7)
        self.d.say(Type.RESET, conn=8)
        self.d.say(Type.CREDIT, aux=10000)
        self.d.expect(Type.REPLY, conn=7, payload=b"")
        self.d.resumed()

    def test_who_is_gone_waits_for_nothing(self):
        c = self.d.client(7, b"abc")
        self.d.lose()
        c.push(b"hello")
        self.assertTrue(self.d.link._wants)
        self.d.up()
        self.d.say(Type.RESET, conn=7)
        self.assertFalse(self.d.link._wants)

    def test_a_close_is_forgotten_when_it_is_confirmed(self):
        c = self.d.client(7, b"abc")
        c.push(bytes(20000))
        self.d.expect(Type.REPLY)
        self.d.confirm()
        c.close()
        self.d.link.take()
        self.d.again()
        self.d.expect(Type.CLOSE, conn=7)
        self.assertIn(7, self.d.core.conns)
        self.d.resumed()
        self.assertNotIn(7, self.d.core.conns)

    def test_a_connection_that_comes_by_another_stream_goes_on_there(self):
        c = self.d.client(7, b"abc")
        self.d.lose()
        c.reply(b"hello", 3)
        other = Daemon()
        other.core = self.d.core
        other.link = Link(self.d.core, 1)
        other.workers = 2
        other.up(worker=1)
        other.first(7, b"abc", flags=REDELIVERED)
        other.expect(Type.REPLY, conn=7, ackd=3, payload=b"hello")
        self.assertFalse(self.d.link._wants)

    def test_waiting_handshakes_end_with_their_stream(self):
        self.d.open(5, WAITS)
        opened, = self.d.events()
        self.d.again()
        self.d.resumed()
        self.assertEqual(self.d.events(), [Reset(opened.conn, 104)])
        self.d.open(5, WAITS)
        opened, = self.d.events()
        opened.conn.accept()
        self.d.expect(Type.ACCEPT, conn=5)
        self.d.open(5, WAITS)  # again: the answer was lost
        self.d.expect(Type.ACCEPT, conn=5)
        self.assertEqual(self.d.events(), [])

    def test_unconfirmed_accept_is_said_again(self):
        self.d.open(5, WAITS)
        opened, = self.d.events()
        opened.conn.accept()
        opened.conn.push(b"hi")
        self.d.link.take()
        self.d.again()
        self.d.expect(Type.ACCEPT, conn=5)
        self.d.expect(Type.REPLY, payload=b"hi")
        self.d.expect(Type.REPLY, payload=b"")
        self.d.resumed()

    def test_ids_of_another_epoch_are_other_connections(self):
        c = self.d.client(7, b"abc")
        c.reply(b"old", 3)
        self.d.client(8, b"abc").close()
        self.d.link.take()
        self.d.epoch = 78
        self.d.again()
        self.assertEqual(self.d.events(), [Reset(c, errno.ECONNRESET)])
        self.d.resumed()
        self.d.quiet()
        self.assertFalse(self.d.core.conns)
        self.assertEqual(self.d.client(7, b"new").epoch, 78)

    def test_fewer_workers_lose_their_connections(self):
        c = self.d.client(7, b"abc")
        self.d.link.discard()
        self.assertEqual(self.d.events(), [Reset(c, errno.ECONNRESET)])

    def test_untaken_bytes_of_the_stream_before_are_not_granted(self):
        self.d.first(7, bytes(1000))
        self.d.again()
        self.d.expect(Type.REPLY)
        self.d.resumed()
        self.d.data(7, bytes(10), 1000)
        self.d.events()
        self.assertEqual(self.d.link._recv_used, 10)


class Listening(unittest.TestCase):
    def test_a_stream_of_the_same_worker_takes_over(self):
        d = Daemon(listens=True).up()
        self.assertEqual((d.hello.flags, d.core.port), (0, 5222))
        c = d.client(7, b"abc")
        c.reply(b"one", 3)
        d.link.take()
        d.lose()
        c.push(b"two")
        old, d.link = d.link, Link(d.core)
        d.core.links.append(d.link)
        d.up()
        self.assertEqual(d.hello.flags, frames.HELLO_RESUMES)
        self.assertNotIn(old, d.core.links)
        d.expect(Type.REPLY, payload=b"one", ackd=3)
        d.expect(Type.REPLY, payload=b"")
        d.resumed()
        d.expect(Type.REPLY, payload=b"two", aux=3)

    def test_a_stream_of_another_worker_does_not(self):
        d = Daemon(listens=True).up()
        d.client(7, b"abc")
        d.lose()
        d.link = Link(d.core)
        d.core.links.append(d.link)
        d.up(worker=1)
        self.assertEqual(d.hello.flags, 0)
        d.quiet()


if __name__ == "__main__":
    unittest.main()
