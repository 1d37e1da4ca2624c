# SPDX-License-Identifier: BSD-2-Clause
"""Backends on asyncio: sockets for the links of a Core.

    dial()      one link per worker of xtcpd. The first asks for any worker and
                learns how many there are; each is a task that connects, serves,
                and connects again, with a delay that doubles from 50 ms to
                2 s, less a random part so that many processes don't come at
                once.
    listen()    a link per stream that xtcpd opens.

What is sent in one turn of the event loop is written in one piece at its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import random
import re
import socket
import sys
from types import TracebackType
from typing import Union

from . import frames, link
from .conn import BUFFER_BYTES, Conn, Event
from .core import CREDIT_BYTES, Core, State
from .frames import FrameError
from .link import Link

ATTACH_DEFAULT = "/run/xtcpd/attach.sock"
HANDSHAKE_S = 5.0
REDIAL_MIN_S, REDIAL_MAX_S = 0.05, 2.0
# A stream that lived for so long is redialled with the shortest delay again.
STABLE_S = 2.0
# How long a stream that we end may take to say the last.
LINGER_S = 2.0
# Streams of a backend that listens: xtcpd has at most 256 workers.
LINKS_MAX = 1024
BACKLOG = 1024
# Events that are handed out before the event loop gets its turn.
EVENTS_PER_TURN = 64

log = logging.getLogger("xtcp")

Address = Union[str, tuple[str, int]]  # a Unix-domain socket, or TCP


def parse_address(text: str) -> Address:
    """unix:PATH, unix:@NAME or tcp:HOST:PORT (a loopback one), or a path.

    ValueError says what is wrong.
    """
    if text.startswith("tcp:"):
        m = re.fullmatch(r"tcp:(\[::1\]|127(?:\.\d{1,3}){3}):(\d{1,5})", text)
        if m is None or not 1 <= int(m[2]) <= 65535:
            raise ValueError(f"{text!r}: must be tcp:127.x.y.z:PORT or "
                             "tcp:[::1]:PORT, as frames are not encrypted")
        return m[1].strip("[]"), int(m[2])
    path = text.removeprefix("unix:")
    if not re.match(r"/|@.", path):
        raise ValueError(f"{text!r}: the path must be absolute (or @NAME)")
    if len(path.encode()) > 107:
        raise ValueError(f"{text!r}: the path is longer than 107 bytes")
    return "\0" + path[1:] if path[0] == "@" else path


def attach_address() -> Address:
    """Where xtcpd listens: XTCP_ATTACH, or the default."""
    return parse_address(os.environ.get("XTCP_ATTACH") or ATTACH_DEFAULT)


class _Stream(asyncio.Protocol):
    """The socket of a link, from its connection to its end."""

    def __init__(self, backend: Backend, owner: Link) -> None:
        loop = asyncio.get_running_loop()
        self.backend = backend
        self.link = owner
        self.transport: asyncio.Transport | None = None
        self.error: OSError = ConnectionResetError(
            errno.ECONNRESET, "xtcpd closed the stream")
        self.ended: asyncio.Future[None] = loop.create_future()
        self.up: asyncio.Future[None] = loop.create_future()
        self.up_at = 0.0
        self._paused = False
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.Handle | None = None
        self._finishing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.backend._streams[self.link] = self
        self.link.begin()
        self._timer = asyncio.get_running_loop().call_later(
            HANDSHAKE_S, self._late)
        if len(self.backend._core.links) > LINKS_MAX:
            transport.abort()

    def _late(self) -> None:
        self.fail(TimeoutError(errno.ETIMEDOUT, "no answer from xtcpd"))

    def data_received(self, data: bytes) -> None:
        if self._finishing or self.transport is None or \
                self.transport.is_closing():
            return
        try:
            self.link.feed(data)
        except link.Refused as e:
            self.fail(e)
        except FrameError as e:
            self.complain(e)
        else:
            if self.link.state is State.UP and not self.up.done():
                if self._timer is not None:
                    self._timer.cancel()
                self.up_at = asyncio.get_running_loop().time()
                self.up.set_result(None)
                log.info("worker %s: attached, port %d", self.link.worker,
                         self.backend._core.port)

    def complain(self, error: FrameError) -> None:
        """Say why, as far as that is possible, and end the stream."""
        if self.transport is not None and not self._paused:
            self.transport.write(self.link.error_frame(error))
        self.finish(error)

    def fail(self, error: OSError) -> None:
        """The end, at once."""
        self.error = error
        if self.transport is None:
            self.connection_lost(None)
        else:
            self.transport.abort()

    def finish(self, error: OSError) -> None:
        """The end, once what was written has been read."""
        self.error = error
        self._finishing = True
        if self.transport is None or self.transport.is_closing():
            return
        self.transport.write_eof()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(
            LINGER_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.ended.done():
            return
        if isinstance(exc, OSError) and not self._finishing:
            self.error = exc
        for handle in (self._timer, self._soon):
            if handle is not None:
                handle.cancel()
        if self.backend._streams.get(self.link) is self:
            del self.backend._streams[self.link]
            self.backend._lost(self.link)
        self.up.cancel()
        self.ended.set_result(None)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.flush()

    def output(self) -> None:
        """The link has something to say: at the end of this turn, or at once
        when it is much."""
        if not self.link.corked:
            self.flush()
        elif self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._flush_soon)

    def _flush_soon(self) -> None:
        self._soon = None
        self.flush()

    def flush(self) -> None:
        if self._paused or self._finishing or self.transport is None or \
                self.transport.is_closing():
            return
        try:
            data = self.link.take()
        except FrameError as e:
            self.complain(e)
            return
        if data:
            self.transport.write(data)


class Backend:
    """An application server behind a group of xtcpd.

    Made by dial() or listen(). An asynchronous iterator over events, for one
    task; `async with` closes it.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._streams: dict[Link, _Stream] = {}
        self._tasks: dict[Link, asyncio.Task[None]] = {}
        self._first: dict[Link, asyncio.Future[None]] = {}
        self._server: asyncio.Server | None = None
        self._socket_path = ""
        self._address: Address = ""
        self._wake: asyncio.Future[None] | None = None
        self._turn = 0
        self._closed = False
        core.on_output = self._on_output
        core.on_events = self._on_events
        core.on_workers = self._on_workers

    # --- what an application sees

    @property
    def port(self) -> int:
        """Of the group; 0 while xtcpd has not dialled us yet."""
        return self._core.port

    @property
    def connections(self) -> list[Conn]:
        """All that this process knows of, without those that were closed."""
        return [c for c in self._core.conns.values() if c._known and c.is_open]

    @property
    def streams_up(self) -> int:
        """How many streams to workers of xtcpd are attached now."""
        return sum(o.state is State.UP for o in self._core.links)

    def poll(self) -> Event | None:
        """The next event, if there is one."""
        return self._core.next_event()

    def __aiter__(self) -> Backend:
        return self

    async def __anext__(self) -> Event:
        self._turn += 1
        if self._turn >= EVENTS_PER_TURN:
            self._turn = 0
            await asyncio.sleep(0)
        while not self._closed:
            event = self._core.next_event()
            if event is not None:
                return event
            self._turn = 0
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        raise StopAsyncIteration

    async def close(self) -> None:
        """Stop serving. xtcpd offers the connections, with their unacknowledged
        requests, to others, or to the next one that attaches."""
        if self._closed:
            return
        self._closed = True
        for task in self._tasks.values():
            task.cancel()
        if self._server is not None:
            self._server.close()
            if self._socket_path:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._socket_path)
        for stream in self._streams.values():
            stream.flush()
            stream.finish(ConnectionError(errno.ESHUTDOWN, "closed"))
        ends = [s.ended for s in self._streams.values()]
        if ends:
            await asyncio.wait(ends)
        self._on_events()

    async def __aenter__(self) -> Backend:
        return self

    async def __aexit__(self, kind: type[BaseException] | None,
                        value: BaseException | None,
                        tb: TracebackType | None) -> None:
        await self.close()

    # --- the core's calls

    def _lost(self, owner: Link) -> None:
        owner.lost()
        if self._core.listens and not owner.was_up and \
                owner in self._core.links:
            self._core.links.remove(owner)

    def _on_output(self, owner: Link) -> None:
        stream = self._streams.get(owner)
        if stream is not None:
            stream.output()

    def _on_events(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _on_workers(self, workers: int) -> None:
        """xtcpd says how many workers it has: a link for each."""
        core = self._core
        for o in [o for o in core.links if (o.worker or 0) >= workers]:
            core.links.remove(o)
            task = self._tasks.pop(o, None)
            if task is not None:
                task.cancel()
            if o in self._streams:
                self._streams[o].fail(ConnectionError(errno.ESHUTDOWN,
                                                      "no such worker"))
            o.discard()
        known = {o.worker for o in core.links}
        for worker in set(range(workers)) - known:
            self._add(Link(core, worker))

    # --- dialling

    def _add(self, owner: Link) -> None:
        """Keeps a link connected; _first has how its first dialling went."""
        first: asyncio.Future[None] = \
            asyncio.get_running_loop().create_future()
        # whoever doesn't wait for it is told by the log
        first.add_done_callback(lambda f: f.cancelled() or f.exception())
        self._first[owner] = first
        self._core.links.append(owner)
        self._tasks[owner] = asyncio.create_task(self._keep(owner, first))

    async def _keep(self, owner: Link, first: asyncio.Future[None]) -> None:
        delay = REDIAL_MIN_S
        loop = asyncio.get_running_loop()
        while True:
            stream = _Stream(self, owner)
            await self._connect(stream)
            await asyncio.wait((stream.up, stream.ended),
                               return_when=asyncio.FIRST_COMPLETED)
            if not stream.up.cancelled() and not first.done():
                first.set_result(None)
            await asyncio.shield(stream.ended)
            if not first.done():
                first.set_exception(stream.error)
            if stream.up_at and loop.time() - stream.up_at >= STABLE_S:
                delay = REDIAL_MIN_S
            # of the first time dial() tells
            log.log(logging.WARNING if owner.was_up else logging.INFO,
                    "worker %s: %s; dialling again", owner.worker, stream.error)
            await asyncio.sleep(delay * random.uniform(0.75, 1))
            delay = min(delay * 2, REDIAL_MAX_S)

    async def _connect(self, stream: _Stream) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                if isinstance(self._address, str):
                    await loop.create_unix_connection(lambda: stream,
                                                      self._address)
                else:
                    await loop.create_connection(lambda: stream,
                                                 *self._address)
        except OSError as e:  # TimeoutError is one
            stream.fail(e)

    async def _dial(self, address: Address) -> None:
        """Until each worker has a stream of ours, or one fails."""
        self._address = address
        first = Link(self._core)
        self._add(first)
        await self._first[first]
        for owner in list(self._core.links):
            await self._first[owner]

    # --- listening

    def _accept(self) -> _Stream:
        owner = Link(self._core)
        self._core.links.append(owner)
        return _Stream(self, owner)

    async def _listen(self, address: Address) -> None:
        if isinstance(address, str):
            if address[0] == "/":
                _unlink_stale(address)
            sock = socket.socket(socket.AF_UNIX)
        else:
            sock = socket.socket(socket.AF_INET6 if ":" in address[0]
                                 else socket.AF_INET)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
            self._server = await asyncio.get_running_loop().create_server(
                self._accept, sock=sock, backlog=BACKLOG)
        except BaseException:
            sock.close()
            raise
        if isinstance(address, str) and address[0] == "/":
            self._socket_path = address


def _unlink_stale(path: str) -> None:
    """A socket's file that a process left behind; OSError: it's in use."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except FileNotFoundError:
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, f"{path}: somebody listens there")


async def dial(port: int, *, address: str | None = None, family: int = 0,
               pool_bytes: int = 0, name: str | None = None,
               buffer_bytes: int = BUFFER_BYTES,
               credit_bytes: int = CREDIT_BYTES) -> Backend:
    """Serve the group of a port of the xtcpd whose attach socket is at address
    (unix:PATH, tcp:HOST:PORT or a path), by default XTCP_ATTACH or
    /run/xtcpd/attach.sock.

    family        4: clients with IPv4 only; 0: all
    pool_bytes    a receive pool of our own, within xtcpd's limits
    name          for people
    buffer_bytes  that may wait to be sent in each connection
    credit_bytes  of requests that xtcpd may send ahead, on each stream

    OSError when xtcpd is not there (ECONNREFUSED, ENOENT), has no group of that
    port (ENOENT), does not answer within five seconds (ETIMEDOUT), or is none
    of our version (EPROTO). Later a lost stream is dialled again for ever.
    """
    if not 1 <= port <= 65535:
        raise ValueError(f"port {port} is not 1..65535")
    where = parse_address(address) if address else attach_address()
    backend = Backend(Core(port, family, pool_bytes, _name(name), buffer_bytes,
                           credit_bytes))
    try:
        async with asyncio.timeout(HANDSHAKE_S):
            await backend._dial(where)
    except TimeoutError:
        await backend.close()
        raise TimeoutError(errno.ETIMEDOUT, "no answer from xtcpd") from None
    except BaseException:
        await backend.close()
        raise
    return backend


async def listen(address: str, *, name: str | None = None,
                 buffer_bytes: int = BUFFER_BYTES,
                 credit_bytes: int = CREDIT_BYTES) -> Backend:
    """Serve what an xtcpd sends that has us configured as
    `backend "x" { address = "unix:PATH" }`; tcp:HOST:PORT likewise. The other
    arguments as of dial(). A stale socket file is replaced.
    """
    backend = Backend(Core(0, 0, 0, _name(name), buffer_bytes, credit_bytes,
                           listens=True))
    await backend._listen(parse_address(address))
    return backend


def _name(name: str | None) -> str:
    return os.path.basename(sys.argv[0] or "python") if name is None else name
