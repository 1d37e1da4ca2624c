#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What backends and operators get wrong: frames that lie, garbage, silence.

Each has its counter; the stream is closed where frame.h says so, and other
streams and the clients' connections go on (I8).
"""

import contextlib
import errno
import json
import os
import random
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "net"))

import harness  # noqa: E402
from frames import ATTACH, Backend, Closed, encode, hello  # noqa: E402
from harness import Control, equal, wait_for  # noqa: E402
from scene import PORT, Scene  # noqa: E402

OTHER = 5223


@contextlib.contextmanager
def scene():
    """Two groups; of the second, a backend and a client that go on."""
    groups = {"im": {"port": PORT}, "other": {"port": OTHER}}
    with Scene(groups=groups) as s, s.dial(OTHER) as other:
        q = s.connected(OTHER)
        yield s
        q.send(b"innocent")
        f = other.expect("DATA", payload=b"innocent")
        other.reply(f.conn, b"fine", ackd=8)
        q.expect("PA", payload=b"fine")
        s.d.check_alive()


def liar(s):
    """A backend of group im with a connection of its own: (backend, p, conn)."""
    s.b.close()
    b = s.dial()
    p = s.connected()
    p.send(b"request")
    f = b.expect("DATA", payload=b"request")
    return b, p, f.conn


def closes(counter, error, make):
    """A frame that ends its stream: make(b, conn) are its bytes."""
    with scene() as s:
        b, p, conn = liar(s)
        with s.drops(**{counter: 1}):
            b.send_raw(make(b, conn))
            b.expect_closed(error)
        with s.dial() as heir:  # the connection goes to who comes next
            f = heir.expect("DATA", payload=b"request", redelivered=True)
            heir.reply(f.conn, b"answer", ackd=7)
            p.expect("PA", ack=8, payload=b"answer")
            p.ack()


def ignored(counter, make):
    """A frame that is answered by ERROR or RESET and harms not even itself."""
    with scene() as s:
        b, p, conn = liar(s)
        with s.drops(**{counter: 1}):
            b.send_raw(make(b, conn))
            found = b.sync()
        p.expect_nothing()
        b.reply(conn, b"answer", ackd=7)
        p.expect("PA", ack=8, payload=b"answer")
        p.ack()
        return found


# --- frames that end the stream

def test_unknown_type():
    for number in (0, 6, 63, 64, 200, 255):
        closes("frame_unknown_type", errno.EPROTO,
               lambda b, conn, n=number: encode(n, group=b.group, conn=conn))


def test_wrong_direction():
    for kind in ("DATA", "OPEN", "EOF", "RESET"):
        closes("frame_unknown_type", errno.EPROTO,
               lambda b, conn, k=kind: encode(k, b"x", group=b.group, conn=conn))


def test_length_over_the_limit():
    for length in (128 * 1024 + 1, 1 << 31, (1 << 32) - 1):
        closes("frame_bad_length", errno.EMSGSIZE,
               lambda b, conn, n=length: encode(
                   "REPLY", group=b.group, conn=conn, length=n))


def test_length_where_there_is_none():
    for kind in ("CLOSE", "FIN", "ABORT", "ACCEPT", "REJECT", "CREDIT", "PING",
                 "DRAIN"):
        closes("frame_bad_length", errno.EMSGSIZE,
               lambda b, conn, k=kind: encode(
                   k, b"payload", group=b.group, conn=conn))


def test_frame_for_another_group():
    for group in (2, 999, 65535):
        closes("frame_bad_group", errno.EBADF,
               lambda b, conn, g=group: encode("REPLY", b"x", group=g, conn=conn))


def test_connection_id_that_cannot_be():
    ids = {
        "of another worker": lambda conn: conn | 77 << 56,
        "generation 0": lambda conn: conn & ~(0xffffff << 32),
        "no such record": lambda conn: conn | 0xffffffff,
        "0": lambda conn: 0,
    }
    for make in ids.values():
        closes("frame_bad_conn", errno.EBADF,
               lambda b, conn, m=make: encode(
                   "REPLY", b"x", group=b.group, conn=m(conn)))


def test_connection_of_another_group():
    with scene() as s:
        q = s.connected(OTHER)
        theirs = next(c for c in s.d.connections()
                      if c["remote"].endswith(f":{q.sport}"))
        equal(theirs["group"], "other")
        b, _, _ = liar(s)
        with s.drops(frame_bad_conn=1):
            b.send("ABORT", conn=int(theirs["id"], 16))
            b.expect_closed(errno.EBADF)
        q.expect_nothing()
        equal(s.state(int(theirs["id"], 16)), "ESTABLISHED")


def test_credit_for_a_connection():
    closes("frame_bad_conn", errno.EBADF, lambda b, conn: encode(
        "CREDIT", group=b.group, conn=conn, aux=1000))


def test_hello_twice():
    closes("frame_bad_hello", errno.EPROTO,
           lambda b, conn: encode("HELLO", hello()))
    closes("frame_bad_hello", errno.EPROTO, lambda b, conn: encode(
        "ATTACH", ATTACH.pack(PORT, 0, 0, 0, 0), group=b.group))


def test_reply_that_the_client_does_not_take_stalls_its_stream():
    """The backend pays no heed to credit: it is not read on, and bounded."""
    with scene() as s:
        b, p, conn = liar(s)
        sent = 0
        b.sock.settimeout(2)
        with contextlib.suppress(TimeoutError):
            while sent < 64 << 20:
                b.send_raw(encode("REPLY", b"z" * 65536, group=b.group,
                                  conn=conn))
                sent += 65536
        if sent >= 64 << 20:
            raise AssertionError("all of it was taken")
        equal(s.d.counter("stream_stalled_tx"), 1)
        if s.d.memory()["transmit_buffer_bytes"] > 16 << 20:
            raise AssertionError("more than the transmit buffer")
        p.rst(seq=8)  # and with the client it all goes
        s.wait_purged()
        b.close()


# --- frames that are only wrong

def test_ackd_beyond_what_was_received():
    for offset, ackd in ((0, 8), (8, 0), (7, 1), (0, 0xffffffff), (1 << 40, 1),
                         ((1 << 64) - 1, 1), ((1 << 64) - 1, 0xffffffff)):
        found = ignored("frame_ackd_beyond", lambda b, conn, o=offset, a=ackd:
                        encode("REPLY", b"not sent", group=b.group, conn=conn,
                               offset=o, ackd=a))
        equal([(f.type, f.aux) for f in found], [("ERROR", errno.EINVAL)])


def test_ackd_seen_twice_acknowledges_once():
    with scene() as s:
        b, p, conn = liar(s)
        b.reply(conn, b"", ackd=3)
        p.expect("A", ack=4)
        b.reply(conn, b"", ackd=3, offset=0)
        b.reply(conn, b"", ackd=0, offset=2)
        p.expect_nothing()
        b.reply(conn, b"answer", ackd=4, offset=3)
        p.expect("PA", ack=8, payload=b"answer")


def test_accept_and_reject_of_an_established_connection():
    for kind in ("ACCEPT", "REJECT"):
        found = ignored("frame_bad_state", lambda b, conn, k=kind:
                        encode(k, group=b.group, conn=conn))
        equal([f.type for f in found], ["ERROR"])


def test_connection_that_is_gone_is_answered_with_reset():
    with scene() as s:
        b, p, conn = liar(s)
        p.rst(seq=8)
        b.expect("RESET", conn=conn)
        with s.drops(frame_stale_conn=3):
            b.reply(conn, b"late", ackd=7)
            b.expect("RESET", conn=conn, aux=errno.ECONNRESET)
            b.close_conn(conn)
            b.expect("RESET", conn=conn)
            b.abort(conn)
            b.expect("RESET", conn=conn)
        b.expect_nothing()


def test_reply_before_accept():
    with Scene({"accept": "application"}) as s:
        p = s.peer()
        p.syn()
        f = s.b.expect("OPEN")
        with s.drops(frame_bad_state=2):
            s.b.reply(f.conn, b"too early")
            s.b.expect("ERROR", aux=errno.ENOTCONN)
            s.b.fin(f.conn)
            s.b.expect("ERROR", aux=errno.ENOTCONN)
        p.expect_nothing()
        s.b.accept(f.conn)
        p.expect("SA", ack=1)


def test_data_after_fin():
    with scene() as s:
        b, p, conn = liar(s)
        b.fin(conn)
        p.expect("FA", seq=1, ack=1)
        p.ack()
        with s.drops(frame_bad_state=1):
            b.reply(conn, b"too late", ackd=7)
            b.expect("ERROR", aux=errno.EPIPE)
        p.expect("A", seq=2, ack=8)  # what it acknowledged counts


def test_acknowledging_what_another_backend_has():
    with scene() as s:
        b, p, conn = liar(s)
        with s.dial() as thief:
            with s.drops(frame_not_owner=1):
                thief.reply(conn, b"stolen", ackd=7)
                thief.expect("RESET", conn=conn, aux=errno.ESTALE)
            p.expect_nothing()
        b.reply(conn, b"answer", ackd=7)
        p.expect("PA", ack=8, payload=b"answer")


def test_gap_in_the_reply_stream_resets_the_connection():
    """FRAME_F_AT: bytes are missing, and nobody can have them."""
    from frames import F_AT
    with scene() as s:
        b, p, conn = liar(s)
        b.reply(conn, b"xx", ackd=7, flags=F_AT, aux=10)
        b.expect("RESET", conn=conn)
        equal(sorted(p.got().flags), ["A", "R"])


def test_reply_seen_twice_is_sent_once():
    from frames import F_AT
    with scene() as s:
        b, p, conn = liar(s)
        b.reply(conn, b"first", ackd=7, flags=F_AT, aux=0)
        p.expect("PA", seq=1, ack=8, payload=b"first")
        p.ack()
        b.reply(conn, b"first", ackd=7, offset=0, flags=F_AT, aux=0)
        b.reply(conn, b"firstsecond", offset=7, flags=F_AT, aux=0)
        p.expect("PA", seq=6, payload=b"second")
        p.ack()


# --- the attach socket

def raw_attach(s):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(s.d.attach_path)
    return Backend(sock)


def refused(s, data, then=b""):
    """What is sent to the attach socket, and closed for it."""
    b = raw_attach(s)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        b.send_raw(data)
        if then:
            b.send_raw(then)
    b.expect_closed()
    b.close()
    return b.error


def test_garbage_on_the_attach_socket():
    with scene() as s:
        rng = random.Random(17)
        for size in (32, 100, 5000):
            refused(s, rng.randbytes(size))
        refused(s, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        refused(s, b"\0" * 64)


def test_bad_hellos():
    with scene() as s:
        for bad in ({"magic": 0x12345678}, {"version": 0}, {"version": 99},
                    {"max_payload": 0}, {"max_payload": 100}, {"credit": 0}):
            if not refused(s, encode("HELLO", hello(**bad))):
                raise AssertionError(f"no ERROR for {bad}")
        refused(s, encode("HELLO", hello()[:40]))
        refused(s, encode("HELLO", hello(name=b"x" * 257)))
        refused(s, encode("HELLO", hello(worker=7)))  # there is but one
        refused(s, encode("REPLY", b"x"))
        refused(s, encode("ATTACH", ATTACH.pack(PORT, 0, 0, 0, 0)))


def test_bad_attaches():
    def attach(port=PORT, family=0, flags=0, pool=0):
        return encode("ATTACH", ATTACH.pack(port, family, flags, 0, pool))
    with scene() as s:
        for bad in ({"port": 0}, {"port": 4444},
                    {"port": 7777, "flags": 2, "pool": 1 << 50}):
            error = refused(s, encode("HELLO", hello()), attach(**bad))
            if not error or not error.aux:
                raise AssertionError(f"no ERROR for {bad}")
        refused(s, encode("HELLO", hello()), encode("HELLO", hello()))
        refused(s, encode("HELLO", hello()), encode("REPLY", b"x"))
        refused(s, encode("HELLO", hello()), encode("ATTACH", b"short"))


@harness.timeout(90)
def test_silent_clients_of_the_attach_socket():
    """They are done with after a while, and others get in meanwhile."""
    with scene() as s:
        silent = [raw_attach(s) for _ in range(30)]
        s.exchange(s.connected())
        with s.dial() as b:
            b.expect_nothing()
        silent[0].send_raw(encode("HELLO", hello()))  # half of it
        for b in silent:
            b.expect_closed(within=40)


def test_frames_in_pieces():
    """A stream has no message boundaries."""
    with scene() as s:
        b, p, conn = liar(s)
        for byte in encode("REPLY", b"answer", group=b.group, conn=conn, ackd=7):
            b.send_raw(bytes([byte]))
        p.expect("PA", ack=8, payload=b"answer")


def test_random_frames():
    """Well-formed headers with random fields, for a while."""
    with scene() as s:
        rng = random.Random(4242)
        kinds = ("REPLY", "CLOSE", "FIN", "ABORT", "ACCEPT", "REJECT", "CREDIT",
                 "PING", "PONG", "ERROR")
        for _ in range(40):
            b, p, conn = liar(s)
            with contextlib.suppress(OSError, Closed):
                for _ in range(30):
                    kind = rng.choice(kinds)
                    b.send_raw(encode(
                        kind, rng.randbytes(rng.choice((0, 0, 10, 2000))),
                        flags=rng.choice((0, 0, rng.getrandbits(8))),
                        group=rng.choice((b.group, b.group, 0, 9)),
                        conn=rng.choice((conn, conn, 0, conn + 1,
                                         rng.getrandbits(64))),
                        offset=rng.choice((0, 7, rng.getrandbits(64))),
                        ackd=rng.choice((0, 3, 7, rng.getrandbits(32))),
                        aux=rng.choice((0, 1000, rng.getrandbits(32)))))
                b.sync()
            b.close()
            s.d.check_alive()


def test_backend_that_does_not_read():
    """It is not waited for: its stream fills, others go on."""
    with scene() as s:
        b, p, _ = liar(s)
        b.grant = False
        for _ in range(60):
            q = s.connected()
            for _ in range(20):
                q.send(b"x" * 1400)
        s.wire.settle()
        s.d.check_alive()
        b.close()


# --- the control socket

def control_line(s, data):
    """Send bytes; the answer as an object, or None when it is closed."""
    c = Control(s.d.control_path)
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            c.sock.sendall(data)
        try:
            return c.answer()
        except ConnectionError:
            return None
    finally:
        c.close()


def test_control_garbage():
    with scene() as s:
        for line in (b"hello\n", b"\n", b"{}\n", b"[]\n", b"{\n", b"null\n",
                     b'"show info"\n', b'{"command": 5}\n', b'{"command": null}\n',
                     b'{"command": "show info", "args": 7}\n',
                     b'{"command": ""}\n', b'{"command": "frobnicate"}\n',
                     b"\xff\xfe\x00\n", b"{" * 5000 + b"\n", b"[" * 50000 + b"\n"):
            answer = control_line(s, line)
            if answer is None or answer.get("ok") is not False or \
                    not answer.get("error"):
                raise AssertionError(f"{line[:50]}: {answer}")
        equal(s.d.ask("show info")["version"] != "", True)


def test_control_line_that_is_too_long():
    with scene() as s:
        answer = control_line(s, b'{"command": "' + b"x" * 100000 + b'"}\n')
        if answer is not None:
            equal(answer["ok"], False)
        answer = control_line(s, b"x" * 1000000)
        if answer is not None:
            equal(answer["ok"], False)


def test_control_a_good_request_after_a_bad_one():
    with scene() as s:
        c = Control(s.d.control_path)
        c.sock.sendall(b"nonsense\n" + json.dumps(
            {"command": "show info"}).encode() + b"\n")
        equal(c.answer()["ok"], False)
        equal(c.answer()["ok"], True)
        c.close()


def test_control_bad_arguments():
    with scene() as s:
        c = Control(s.d.control_path)
        for command, args in (
                ("show connections", {"group": "nobody"}),
                ("show connections", {"limit": -1}),
                ("show connections", {"limit": "many"}),
                ("show connections", {"state": 5}),
                ("show connection", {}),
                ("show connection", {"id": "zz"}),
                ("show connection", {"id": "ffffffffffffffff"}),
                ("close", {}), ("close", {"id": 5}), ("close", {"id": "1"}),
                ("drain backend", {"name": "nobody"}),
                ("resume backend", {"name": "nobody"}),
                ("drain group", {"name": "nobody"}), ("drain group", {})):
            answer = c.ask(command, **args)
            if answer["ok"]:
                raise AssertionError(f"{command} {args}: {answer}")
        c.close()


def test_control_many_clients_that_say_nothing():
    with scene() as s:
        silent = [Control(s.d.control_path) for _ in range(20)]
        silent[0].sock.sendall(b'{"command": ')
        equal(s.d.ask("show info")["version"] != "", True)
        for c in silent:
            c.close()


def test_control_client_that_does_not_read():
    with scene() as s:
        c = Control(s.d.control_path)
        c.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError, BrokenPipeError,
                                 ConnectionResetError):
            for _ in range(20000):
                c.sock.send(b'{"command": "show counters"}\n')
        equal(s.d.ask("show info")["version"] != "", True)
        c.close()


if __name__ == "__main__":
    harness.main(globals())
