# SPDX-License-Identifier: BSD-2-Clause
"""Backends with real sockets, and a scripted xtcpd behind them."""

import asyncio
import contextlib
import errno
import os
import socket
import tempfile
import unittest
from unittest import mock

import xtcp
from fake import GROUP, WINDOW, addr
from xtcp import frames
from xtcp.frames import Attach, Frame, Hello, Reader, Side, Type


class Stream:
    """The daemon's end of one stream."""

    def __init__(self, reader, writer):
        self.bytes, self.writer = reader, writer
        self.frames = Reader(Side.XTCPD)

    async def frame(self):
        while (f := self.frames.next()) is None:
            data = await asyncio.wait_for(self.bytes.read(65536), 10)
            if not data:
                raise ConnectionError("closed")
            self.frames.feed(data)
        return f

    async def expect(self, kind, **want):
        f = await self.frame()
        got = {k: getattr(f, k) for k in want}
        assert (f.type, got) == (kind, want), f
        return f

    def say(self, kind, payload=b"", group=GROUP, **header):
        self.writer.write(Frame(kind, group=group, payload=payload,
                                **header).encode())

    async def hello(self, worker, workers):
        """Ours, in answer to theirs, or first. What theirs was."""
        self.say(Type.HELLO, Hello(
            flags=frames.HELLO_RESUME, workers=workers, worker=worker,
            stream_credit=1 << 20, conn_window=WINDOW, instance=5,
            epoch=77).encode())

    def client(self, conn, data, **header):
        self.say(Type.DATA, addr(conn) + data, conn=conn, flags=frames.FIRST,
                 **header)


class Daemon:
    """An attach socket, and the streams that came."""

    def __init__(self, directory, workers=1):
        self.path = f"{directory}/attach.sock"
        self.workers = workers
        self.came = asyncio.Queue()
        self.refuse = None

    async def __aenter__(self):
        self.streams = []
        self.server = await asyncio.start_unix_server(self.arrive, self.path)
        self.given = iter(range(self.workers))
        return self

    def arrive(self, reader, writer):
        self.streams.append(Stream(reader, writer))
        self.came.put_nowait(self.streams[-1])

    async def __aexit__(self, *_):
        self.server.close()
        for s in self.streams:
            s.writer.close()
            with contextlib.suppress(ConnectionError):
                await s.writer.wait_closed()

    async def accept(self):
        """The handshake of the next stream."""
        s = await asyncio.wait_for(self.came.get(), 10)
        theirs = Hello.decode((await s.expect(Type.HELLO)).payload)
        s.worker = (next(self.given) if theirs.worker == frames.WORKER_ANY
                    else theirs.worker)
        s.theirs = theirs
        await s.hello(s.worker, self.workers)
        s.attach = Attach.decode((await s.expect(Type.ATTACH)).payload)
        if self.refuse:
            s.say(Type.ERROR, b"no such port", group=0, flags=frames.FATAL,
                  aux=self.refuse)
        else:
            s.say(Type.ATTACHED, Attach(s.attach.port).encode())
        return s

    async def dialled(self, **options):
        """A backend that has dialled, and its streams by worker."""
        task = asyncio.create_task(
            xtcp.dial(5222, address=self.path, **options))
        streams = [await self.accept() for _ in range(self.workers)]
        return await task, sorted(streams, key=lambda s: s.worker)


class Case(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="xtcp-")
        self.addCleanup(directory.cleanup)
        self.dir = directory.name
        # our daemon doesn't close because we do
        self.enterContext(mock.patch("xtcp.backend.LINGER_S", 0.02))
        self.enterContext(mock.patch("xtcp.backend.REDIAL_MIN_S", 0.005))
        self.enterContext(mock.patch("xtcp.backend.log"))

    async def next(self, backend):
        return await asyncio.wait_for(anext(backend), 10)


class Dialling(Case):
    async def test_a_stream_to_each_worker(self):
        async with Daemon(self.dir, workers=3) as d:
            backend, streams = await d.dialled(name="me")
            self.assertEqual([s.worker for s in streams], [0, 1, 2])
            self.assertEqual(len({s.theirs.instance for s in streams}), 1)
            self.assertEqual(backend.streams_up, 3)
            streams[1].client(7, b"hello")
            opened, data = [await self.next(backend) for _ in range(2)]
            data.conn.reply(b"you", 5)
            self.assertEqual(backend.connections, [opened.conn])
            await streams[1].expect(Type.REPLY, ackd=5, payload=b"you")
            await backend.close()

    async def test_no_daemon_is_an_error(self):
        with self.assertRaises(FileNotFoundError):
            await xtcp.dial(5222, address=f"{self.dir}/none")

    async def test_what_the_daemon_says_is_the_error(self):
        async with Daemon(self.dir) as d:
            d.refuse = errno.ENOENT
            with self.assertRaises(OSError) as caught:
                await d.dialled()
            self.assertEqual(str(caught.exception), "[Errno 2] no such port")

    async def test_a_daemon_that_says_nothing_is_an_error(self):
        async with Daemon(self.dir) as d:
            with mock.patch("xtcp.backend.HANDSHAKE_S", 0.05), \
                    self.assertRaises(TimeoutError):
                await xtcp.dial(5222, address=d.path)

    async def test_what_is_no_xtcpd_is_an_error(self):
        async with Daemon(self.dir) as d:
            task = asyncio.create_task(xtcp.dial(5222, address=d.path))
            s = await d.came.get()
            s.writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\n" * 3)
            with self.assertRaises(xtcp.FrameError):
                await task
            await s.expect(Type.HELLO)
            await s.expect(Type.ERROR, flags=frames.FATAL, aux=errno.EPROTO)

    async def test_a_lost_stream_comes_again(self):
        async with Daemon(self.dir, workers=2) as d:
            backend, streams = await d.dialled()
            streams[0].client(7, b"hello")
            await self.next(backend)
            conn = (await self.next(backend)).conn
            streams[0].writer.close()
            s = await d.accept()
            self.assertEqual((s.worker, s.theirs.flags),
                             (0, frames.HELLO_RESUMES))
            await s.expect(Type.REPLY, conn=7)
            ping = await s.expect(Type.PING, flags=frames.RESUMED)
            conn.reply(b"you", 5)
            s.say(Type.PONG, offset=ping.offset)
            await s.expect(Type.REPLY, ackd=5)
            await backend.close()

    async def test_a_bad_frame_is_complained_of(self):
        async with Daemon(self.dir) as d:
            backend, (s,) = await d.dialled()
            s.say(Type.PONG)
            await s.expect(Type.ERROR, aux=errno.EPROTO,
                           payload=b"PONG to no PING")
            with self.assertRaises(ConnectionError):
                await s.frame()
            s.writer.close()
            await d.accept()
            await backend.close()

    async def test_more_and_fewer_workers_after_a_restart(self):
        async with Daemon(self.dir) as d:
            backend, (s,) = await d.dialled()
            s.client(7, b"x")
            d.workers = 2
            s.writer.close()
            found = {(await d.accept()).worker for _ in range(2)}
            self.assertEqual(found, {0, 1})
            await backend.close()

    async def test_everything_sent_arrives_before_the_close(self):
        async with Daemon(self.dir) as d:
            backend, (s,) = await d.dialled()
            s.client(7, b"hello")
            await self.next(backend)
            conn = (await self.next(backend)).conn
            conn.reply(bytes(60000), 5)
            task = asyncio.create_task(backend.close())
            await s.expect(Type.REPLY, ackd=5)
            await s.expect(Type.PING)
            s.writer.close()
            await task
            with self.assertRaises(StopAsyncIteration):
                await anext(backend)

    async def test_an_iterator_that_waits_ends_with_the_close(self):
        async with Daemon(self.dir) as d:
            backend, (s,) = await d.dialled()
            task = asyncio.create_task(anext(backend))
            await asyncio.sleep(0)
            s.writer.close()
            await backend.close()
            with self.assertRaises(StopAsyncIteration):
                await task

    async def test_large_replies_go_through_a_slow_reader(self):
        async with Daemon(self.dir) as d:
            backend, (s,) = await d.dialled()
            total = 0
            for conn in range(1, 9):
                s.client(conn, b"hello")
            for _ in range(16):
                event = await self.next(backend)
                if isinstance(event, xtcp.Data):
                    event.conn.reply(bytes(WINDOW), 5)
            await asyncio.sleep(0.01)
            while total < 8 * WINDOW:
                f = await s.frame()
                total += len(f.payload)
                if f.type == Type.PING:
                    s.say(Type.PONG, offset=f.offset)
            await backend.close()


class Listening(Case):
    async def come(self, address, worker=0):
        opened = (asyncio.open_unix_connection(address)
                  if address.startswith("/") else
                  asyncio.open_connection("127.0.0.1", int(address)))
        s = Stream(*await opened)
        await s.hello(worker, 1)
        s.theirs = Hello.decode((await s.expect(Type.HELLO)).payload)
        s.say(Type.ATTACH, Attach(5222).encode())
        await s.expect(Type.ATTACHED, group=GROUP)
        return s

    async def test_serves_and_is_found_again(self):
        path = f"{self.dir}/b.sock"
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(path)
        stale.close()
        async with await xtcp.listen("unix:" + path) as backend:
            s = await self.come(path)
            s.client(7, b"hello")
            await self.next(backend)
            conn = (await self.next(backend)).conn
            conn.reply(b"you", 5)
            await s.expect(Type.REPLY, ackd=5)
            s.writer.close()
            while backend.streams_up:
                await asyncio.sleep(0.001)
            s = await self.come(path)
            self.assertEqual(s.theirs.flags, frames.HELLO_RESUMES)
            await s.expect(Type.REPLY, ackd=5)  # no PONG covered it
            await s.expect(Type.REPLY, ackd=0)
            await s.expect(Type.PING)
            s.writer.close()
        self.assertFalse(os.path.exists(path))

    async def test_callers_that_are_no_xtcpd_leave_nothing(self):
        path = f"{self.dir}/b.sock"
        async with await xtcp.listen(path) as backend:
            for text in (b"", b"GET / HTTP/1.0\r\n\r\n" * 9):
                reader, writer = await asyncio.open_unix_connection(path)
                writer.write(text)
                writer.write_eof()
                await reader.read()
                writer.close()
            while backend._core.links:
                await asyncio.sleep(0.001)

    async def test_an_address_in_use_is_an_error(self):
        path = f"{self.dir}/b.sock"
        async with await xtcp.listen(path):
            with self.assertRaises(OSError) as caught:
                await xtcp.listen(path)
            self.assertEqual(caught.exception.errno, errno.EADDRINUSE)

    async def test_loopback(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        async with await xtcp.listen(f"tcp:127.0.0.1:{port}"):
            s = await self.come(str(port))
            s.writer.close()


class Addresses(unittest.TestCase):
    def test_what_is_an_address(self):
        for text, want in (("/a/b", "/a/b"), ("unix:/a", "/a"),
                           ("unix:@x", "\0x"), ("@x", "\0x"),
                           ("tcp:127.0.0.1:1", ("127.0.0.1", 1)),
                           ("tcp:[::1]:65535", ("::1", 65535))):
            self.assertEqual(xtcp.parse_address(text), want)
        for text in ("", "a", "unix:", "unix:a", "@", "unix:/" + "a" * 107,
                     "tcp:", "tcp:127.0.0.1", "tcp:127.0.0.1:0",
                     "tcp:127.0.0.1:65536", "tcp:192.0.2.1:1",
                     "tcp:[::2]:1", "tcp:localhost:1"):
            with self.subTest(text), self.assertRaises(ValueError):
                xtcp.parse_address(text)

    def test_the_environment_names_it(self):
        with mock.patch.dict(os.environ, XTCP_ATTACH="/x/y"):
            self.assertEqual(xtcp.attach_address(), "/x/y")
        with mock.patch.dict(os.environ, XTCP_ATTACH=""):
            self.assertEqual(xtcp.attach_address(), "/run/xtcpd/attach.sock")

    def test_options_out_of_range(self):
        for port, options in ((0, {}), (65536, {}), (1, {"credit_bytes": 1}),
                              (1, {"buffer_bytes": 0})):
            with self.assertRaises(ValueError):
                asyncio.run(xtcp.dial(port, address="/none", **options))


if __name__ == "__main__":
    unittest.main()
