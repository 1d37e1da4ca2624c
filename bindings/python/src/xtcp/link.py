# SPDX-License-Identifier: BSD-2-Clause
"""One framed stream to one worker of xtcpd, over all its reconnections.

Pure protocol: bytes come by feed(), go by take(), and nothing in here opens a
socket or looks at a clock. A Core has the links and the connections of one
backend; backend.py gives it sockets.

                begin()              HELLO              ATTACH(ED)
        DOWN ------------> HELLO ------------> ATTACH ------------> UP
          ^___________________lost()_______________________________/

Nothing lost, nothing twice (xtcp-frame(7), Resumption):

        Conn._unsent --credit, room--> _out --PONG--> forgotten
                                        | lost()
                                      _kept --begin again, UP--> _out

A reply is given a position when it becomes a frame, and the frame is kept until
a PONG covers it. After a loss the kept frames go first, then an empty REPLY for
each connection, then a PING with RESUMED; until its PONG nothing else is
said of any connection, and what the application sends meanwhile waits in its
connection.

I1  _kept is empty while UP and not resuming.
I2  _closed is in the order of its frames in _out; None: that is in _kept.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from typing import Callable

from . import frames
from .conn import Conn, Drain, Part
from .core import Core, State
from .frames import Frame, FrameError, Side, Type

# Unconfirmed bytes above which no reply is sent; control frames still are.
OUT_SOFT = 512 * 1024
# Hard bound: never reached with an xtcpd that reads.
OUT_MAX = 64 * 1024 * 1024
# Ask for confirmation (PING) once so much is not confirmed.
PING_BYTES = 16 * 1024
# Write at once when so much is gathered.
CORK_BYTES = 64 * 1024
# Credit that an xtcpd can have granted in all.
SEND_CREDIT_MAX = 1 << 40

_MATTER = (Type.ACCEPT, Type.REJECT, Type.CLOSE, Type.FIN, Type.ABORT)
_ENDS = (Type.CLOSE, Type.ABORT, Type.REJECT)


class Refused(FrameError):
    """The other side's ERROR: it closes the stream."""


def _protocol_error(text: str) -> FrameError:
    return FrameError(errno.EPROTO, text)


class Link:
    def __init__(self, core: Core, worker: int | None = None) -> None:
        self.core = core
        self.worker = worker  # None before HELLO
        self.state = State.DOWN
        self.life = 0  # one more with each stream
        self.was_up = False
        self.epoch = 0
        self.resuming = False  # until the PONG that ends the resumption
        self._resumed = False  # ... its PING was sent
        self._resumes = False  # what our HELLO said
        self._drained = False
        self._filling = False
        self._failed: FrameError | None = None
        self._resync: deque[Conn] = deque()
        self._group = 0
        self._max_payload = frames.PAYLOAD_MAX
        self._half = 1
        self._send_credit = 0
        self._recv_used = 0
        self._reader = frames.Reader(Side.BACKEND)
        self._written: list[bytes] = []  # to be taken
        self._written_bytes = 0
        self._out: deque[tuple[int, Frame]] = deque()  # position of the end
        self._base = self._tail = 0
        self._ping = 0  # position that the PONG confirms; 0: none is due
        self._kept: deque[Frame] = deque()
        self._closed: dict[Conn, int | None] = {}
        self._wants: deque[Conn] = deque()

    # --- the stream begins and ends

    def begin(self) -> None:
        """A stream is there; who dialled it speaks first."""
        self.life += 1
        self.state = State.HELLO
        self._reader = frames.Reader(Side.BACKEND)
        self._group = 0
        self._max_payload = frames.PAYLOAD_MAX
        self._recv_used = 0
        self._drained = False
        self._failed = None
        if not self.core.listens:
            self._hello()

    def lost(self) -> None:
        """The stream is gone; connections and what is kept outlive that."""
        if self.state is State.UP:
            self._drop_waiting()
            self._keep()
        self.state = State.DOWN
        self._out.clear()
        self._written.clear()
        self._written_bytes = 0
        self._base = self._tail = 0
        self._ping = 0
        self.resuming = self._resumed = False
        self._resync.clear()

    def discard(self) -> None:
        """xtcpd has no such worker any more."""
        self.lost()
        self._kept.clear()
        self._release_closed(None)
        for c in [c for c in self.core.conns.values() if c._link is self]:
            self.core.lose(c)

    def _drop_waiting(self) -> None:
        """Handshakes that wait for us: they will be offered again."""
        for c in [c for c in self.core.conns.values()
                  if c._link is self and c._waits]:
            self.core.lose(c)

    def _keep(self) -> None:
        kept = deque(f for _, f in self._out if self._matters(f))
        kept.extend(self._kept)
        self._kept = kept
        self._closed = dict.fromkeys(self._closed)

    @staticmethod
    def _matters(f: Frame) -> bool:
        return f.type in _MATTER or (
            f.type == Type.REPLY and (len(f.payload) > 0 or f.ackd > 0))

    # --- bytes out

    def take(self) -> bytes:
        """What is to be written to the stream. FrameError: as of feed()."""
        if self.state is State.DOWN:
            return b""
        self._filling = True
        try:
            self._fill()
        finally:
            self._filling = False
        if self._failed is not None:
            raise self._failed
        data = b"".join(self._written)
        self._written.clear()
        self._written_bytes = 0
        return data

    def _put(self, f: Frame) -> None:
        wire = f.encode()
        self._tail += len(wire)
        if self._tail - self._base > OUT_MAX:
            self._failed = FrameError(errno.ENOBUFS,
                                      "it doesn't read what we say")
        if f.conn:
            self._out.append((self._tail, f))
        self._written.append(wire)
        self._written_bytes += len(wire)
        if not self._filling and (len(self._written) == 1 or not self.corked):
            self.core.on_output(self)

    @property
    def corked(self) -> bool:
        """Little waits to be taken: more may be gathered."""
        return self._written_bytes < CORK_BYTES

    def _held(self) -> int:
        return self._tail - self._base

    @property
    def is_open(self) -> bool:
        """Connections may be spoken of."""
        return self.state is State.UP and not self.resuming and not self._kept

    def grant(self, n: int, life: int) -> None:
        """n bytes of that life of the stream have made room for others."""
        if life != self.life or self.state is not State.UP:
            return
        self._recv_used += n
        if self._recv_used >= self.core.credit_bytes // 2:
            used, self._recv_used = self._recv_used, 0
            self._put(Frame(Type.CREDIT, group=self._group, aux=used))

    # --- what is sent of connections

    def send(self, c: Conn, part: Part) -> None:
        """As soon as credit and room allow, after what waits already."""
        last = c._unsent[-1] if c._unsent else None
        if last and last.type is part.type is Type.REPLY and not part.data:
            last.ackd += part.ackd
            return
        c._unsent.append(part)
        c._unsent_bytes += len(part.data)
        if last is None:
            self.want(c)

    def want(self, c: Conn) -> None:
        """c has something to send."""
        if c._wanted or not c._unsent:
            return
        if self.is_open and not self._wants and self._serve(c):
            return
        if self._serveable(c):
            c._wanted = True
            self._wants.append(c)

    def unwant(self, c: Conn) -> None:
        if c._wanted:
            self._wants.remove(c)
            c._wanted = False

    def _serveable(self, c: Conn) -> bool:
        """Whether it is not its own credit that c waits for."""
        return bool(c._unsent) and (not c._unsent[0].data or
                                    c._limit > c._sent_out)

    def _room(self) -> int:
        return min(self._send_credit, OUT_SOFT - self._held() -
                   frames.HEADER_BYTES)

    def _serve(self, c: Conn) -> bool:
        """Frames of what c wants to send. Whether all of it went."""
        before = c._unsent_bytes
        while c._unsent:
            part = c._unsent[0]
            if part.type is not Type.REPLY:
                c._unsent.popleft()
                self._control(c, part.type)
                continue
            n = max(0, min(len(part.data), self._max_payload, self._room(),
                           c._limit - c._sent_out))
            if n == 0 and (part.data or self._held() >= OUT_SOFT):
                break
            whole = n == len(part.data)
            self._reply(c, part.ackd if whole else 0, part.data[:n])
            c._unsent_bytes -= n
            if whole:
                c._unsent.popleft()
            else:
                part.data = part.data[n:]
        if before > c._unsent_bytes:
            self.core.wake_room(c)
        return not c._unsent

    def _reply(self, c: Conn, ackd: int, data: bytes) -> None:
        flags = frames.AT
        if self._resync and not data and c._limit - c._sent_out < self._half:
            flags |= frames.SHORT
        self._put(Frame(Type.REPLY, flags, self._group, c.id, c._acked_out,
                        ackd, c._sent_out & 0xFFFFFFFF, data))
        c._acked_out += ackd
        c._sent_out += len(data)
        self._send_credit -= len(data)

    def _control(self, c: Conn, kind: Type) -> None:
        f = Frame(kind, group=self._group, conn=c.id)
        if kind is Type.ACCEPT:
            c._waits = False
        else:
            f.flags, f.aux = frames.AT, c._sent_out & 0xFFFFFFFF
        self._put(f)
        if kind in _ENDS:
            self._closed[c] = self._tail

    def _acknowledge_again(self, c: Conn) -> None:
        """An acknowledgement of ours did not reach xtcpd."""
        if self.is_open:
            self._reply(c, 0, b"")

    # --- filling

    def _fill(self) -> None:
        if self.state is not State.UP:
            return
        if self._kept:
            self._fill_kept()
        if self._resync and not self._kept:
            self._fill_resync()
        while self._wants and self.is_open and self._room() > 0:
            c = self._wants.popleft()
            c._wanted = False
            if not self._serve(c) and self._serveable(c):
                c._wanted = True
                self._wants.appendleft(c)
                break
        resumed = self.resuming and not self._resync and not self._kept
        if self._ping or not (resumed or self._held() >= PING_BYTES):
            return
        self._ping = self._tail + frames.HEADER_BYTES
        self._resumed = resumed
        self._put(Frame(Type.PING, frames.RESUMED if resumed else 0,
                        self._group, offset=self._ping))

    def _fill_kept(self) -> None:
        while self._kept:
            f = self._kept[0]
            if f.conn in self.core.conns:
                if len(f.payload) > self._send_credit or \
                        self._held() >= OUT_SOFT:
                    return
                f.group = self._group
                self._send_credit -= len(f.payload)
                self._put(f)
            self._kept.popleft()
        for c, at in self._closed.items():
            if at is None:
                self._closed[c] = self._tail

    def _fill_resync(self) -> None:
        """Says of each connection that we hold how far it is."""
        while self._resync and self._held() < OUT_SOFT:
            c = self._resync[0]
            if c._link is self and not c._gone and c not in self._closed:
                self._reply(c, 0, b"")
            self._resync.popleft()

    # --- bytes in

    def feed(self, data: bytes) -> None:
        """What came. FrameError: the stream is to be closed; Refused: as the
        other side wants it, else tell it why by error_frame()."""
        self._reader.feed(data)
        for f in self._reader:
            self._frame(f)
        if self._wants:
            self.core.on_output(self)

    @staticmethod
    def error_frame(error: FrameError) -> bytes:
        """The last thing to say on a stream."""
        return Frame(Type.ERROR, frames.FATAL, aux=error.errno or errno.EPROTO,
                     payload=str(error.strerror).encode()[:1024]).encode()

    def _frame(self, f: Frame) -> None:
        handler = _HANDLERS.get(f.type)
        if self.state is not State.UP and f.type not in _HANDSHAKE:
            raise _protocol_error(f"{Type(f.type).name} before ATTACHED")
        if handler is not None:
            handler(self, f)

    def _hello(self) -> None:
        self._resumes = self.was_up or (
            self.core.listens and self.core.predecessor(self) is not None)
        hello = frames.Hello(
            flags=frames.HELLO_RESUMES if self._resumes else 0,
            worker=frames.WORKER_ANY if self.worker is None else self.worker,
            stream_credit=self.core.credit_bytes, instance=self.core.instance,
            pid=os.getpid(), name=self.core.name)
        self._put(Frame(Type.HELLO, payload=hello.encode()))

    def _on_hello(self, f: Frame) -> None:
        if self.state is not State.HELLO:
            raise _protocol_error("HELLO twice")
        hello = frames.Hello.decode(f.payload)
        hello.check(Side.BACKEND)
        if not hello.flags & frames.HELLO_RESUME:
            raise _protocol_error("this xtcpd can't resume, too old for us")
        self._max_payload = min(hello.max_payload, frames.PAYLOAD_MAX)
        self._half = hello.conn_window // 2
        self._send_credit = hello.stream_credit
        self.state = State.ATTACH
        if self.core.listens:
            self._set_epoch(hello.epoch)
            self.worker = hello.worker
            self._hello()
            return
        if not hello.worker < hello.workers <= frames.WORKERS_MAX:
            raise _protocol_error(f"worker {hello.worker} of {hello.workers}")
        if self.worker not in (None, hello.worker):
            raise _protocol_error(f"worker {hello.worker}, not {self.worker}")
        self._set_epoch(hello.epoch)
        self.worker = hello.worker
        if self.core.workers != hello.workers:
            self.core.workers = hello.workers
            self.core.on_workers(hello.workers)
        attach = frames.Attach(
            self.core.port, self.core.family,
            frames.ATTACH_OWN_POOL if self.core.pool_bytes else 0,
            pool_bytes=self.core.pool_bytes)
        self._put(Frame(Type.ATTACH, payload=attach.encode()))

    def _set_epoch(self, epoch: int) -> None:
        """xtcpd's ids are those of that epoch (0: it doesn't say): ours of
        another one mean nothing any more."""
        if self.was_up and self.epoch and epoch and self.epoch != epoch:
            self._kept.clear()
            self._release_closed(None)
            for c in [c for c in self.core.conns.values() if c._link is self]:
                self.core.lose(c)
        if epoch:
            self.epoch = epoch

    def _on_attach(self, f: Frame) -> None:
        wanted = Type.ATTACH if self.core.listens else Type.ATTACHED
        if self.state is not State.ATTACH or f.type != wanted:
            raise _protocol_error(f"{Type(f.type).name} out of turn")
        self._group = f.group
        if self.core.listens:
            self.core.port = frames.Attach.decode(f.payload).port
            self._take_over()
            self._put(Frame(Type.ATTACHED, group=f.group, payload=f.payload))
        self.state = State.UP
        if self._resumes:
            self.resuming = True
            self._resync.extend(
                c for c in self.core.conns.values()
                if c._link is self and not c._waits and c not in self._closed)
        self.was_up = True
        self.core.on_output(self)

    def _take_over(self) -> None:
        """Where xtcpd dials: what waits of the lost stream before this one."""
        old = self.core.predecessor(self) if self._resumes else None
        if old is None:
            return
        epoch, self.epoch, self.was_up = self.epoch, old.epoch, True
        self._kept, old._kept = old._kept, deque()
        self._closed, old._closed = old._closed, {}
        self._wants, old._wants = old._wants, deque()
        for c in self.core.conns.values():
            if c._link is old:
                c._link = self
        self.core.links.remove(old)
        self._set_epoch(epoch)

    def _on_error(self, f: Frame) -> None:
        if self.state is State.UP and not f.flags & frames.FATAL:
            return
        number = f.aux if 1 <= f.aux <= 4095 else errno.EPROTO
        text = f.payload.decode("utf-8", "replace")
        raise Refused(number, text or os.strerror(number))

    # --- connections

    def _introduced(self, f: Frame) -> tuple[Conn | None, bytes]:
        """The connection of OPEN, DATA or EOF, unless the frame is to be
        dropped, and the payload behind the introduction."""
        if f.conn == 0:
            raise _protocol_error(f"{Type(f.type).name} of no connection")
        if not f.flags & frames.FIRST and f.type != Type.OPEN:
            c = self.core.conns.get(f.conn)
            return (None if c is None or c._closed else c), f.payload
        addr = frames.Addr.decode(f.payload)
        c = self._introduce(f, addr)
        return (None if c._closed else c), f.payload[frames.ADDR_BYTES:]

    def _is_same(self, c: Conn, f: Frame, addr: frames.Addr) -> bool:
        """Nobody has acknowledged or replied in our stead meanwhile."""
        return (c.remote == (addr.host(addr.remote), addr.remote_port) and
                f.offset <= c._received() and
                addr.send_offset + f.aux <= c._sent_out)

    def _introduce(self, f: Frame, addr: frames.Addr) -> Conn:
        c = self.core.conns.get(f.conn)
        if c is not None and c._closed:
            return c
        if c is not None and not self._is_same(c, f, addr):
            self.core.lose(c)
            c = None
        if c is None:
            c = Conn(self, f.conn, addr, f.offset, addr.send_offset + f.aux)
            self.core.conns[f.conn] = c
            c._waits = f.type == Type.OPEN and bool(f.flags & frames.WAITS)
        if c._link is not self:
            c._link.unwant(c)
            c._link = self
        self._raise_limit(c, frames.send_limit(addr.send_offset, self._half))
        return c

    def _raise_limit(self, c: Conn, limit: int) -> None:
        c._limit = max(c._limit, limit)
        self.want(c)

    def _on_open(self, f: Frame) -> None:
        c, _ = self._introduced(f)
        if c is None:
            return
        if f.flags & frames.WAITS and not c._waits:
            # our answer was lost
            c._unsent.appendleft(Part(Type.ACCEPT))
            self.want(c)
        self.core.tell(c)

    def _on_data(self, f: Frame) -> None:
        c, data = self._introduced(f)
        if c is None:
            self.grant(len(f.payload), self.life)
            return
        have = c._received() - f.offset
        if have < 0:
            raise _protocol_error(f"{-have} bytes are missing before DATA")
        if f.offset < c._acked_out:
            self._acknowledge_again(c)
        new = data[have:]
        self.grant(len(f.payload) - len(new), self.life)
        self.core.tell(c)
        if not new:
            return
        if c._eof:
            raise _protocol_error("DATA after EOF")
        c._credited(self, len(new))
        c._rx += new
        if f.flags & frames.REDELIVERED:
            c.redelivered = max(c.redelivered, f.offset + len(data))
        skipped = c._skip()
        if skipped > 0:
            self.send(c, Part(Type.REPLY, b"", skipped))
        self.core.tell(c)

    def _on_eof(self, f: Frame) -> None:
        c, _ = self._introduced(f)
        if c is None:
            return
        if f.offset != c._received():
            raise _protocol_error("EOF where the data doesn't end")
        if not c._eof:
            c._eof = c._eof_due = True
            self.core.tell(c)

    def _on_reset(self, f: Frame) -> None:
        c = self.core.conns.get(f.conn)
        if c is not None:
            c._link._closed.pop(c, None)
            self.core.lose(c, f.aux)

    def _on_credit(self, f: Frame) -> None:
        if f.conn == 0:
            self._send_credit += f.aux
            if self._send_credit > SEND_CREDIT_MAX:
                raise _protocol_error("credit without end")
            return
        c = self.core.conns.get(f.conn)
        if c is not None:
            self._raise_limit(c, f.offset)

    def _on_drain(self, f: Frame) -> None:
        if not self._drained:
            self._drained = True
            self.core.ready.append(Drain(self.worker or 0))
            self.core.on_events()

    def _on_ping(self, f: Frame) -> None:
        self._put(Frame(Type.PONG, group=self._group, offset=f.offset))

    def _on_pong(self, f: Frame) -> None:
        if not self._ping or f.offset != self._ping:
            raise _protocol_error("PONG to no PING")
        self._ping = 0
        if self._resumed:
            self.resuming = self._resumed = False
        while self._out and self._out[0][0] <= f.offset:
            self._out.popleft()
        self._base = f.offset
        self._release_closed(f.offset)
        self.core.on_output(self)

    def _release_closed(self, pos: int | None) -> None:
        """Forgets who was closed by frames up to pos; None: all."""
        for c, at in list(self._closed.items()):
            if pos is not None and (at is None or at > pos):
                break
            del self._closed[c]
            self.core.conns.pop(c.id, None)


_HANDSHAKE = (Type.HELLO, Type.ATTACH, Type.ATTACHED, Type.ERROR)
_HANDLERS: dict[int, Callable[[Link, Frame], None]] = {
    Type.HELLO: Link._on_hello,
    Type.ATTACH: Link._on_attach,
    Type.ATTACHED: Link._on_attach,
    Type.ERROR: Link._on_error,
    Type.OPEN: Link._on_open,
    Type.DATA: Link._on_data,
    Type.EOF: Link._on_eof,
    Type.RESET: Link._on_reset,
    Type.DRAIN: Link._on_drain,
    Type.CREDIT: Link._on_credit,
    Type.PING: Link._on_ping,
    Type.PONG: Link._on_pong,
}
