# SPDX-License-Identifier: BSD-2-Clause
"""A client's connection, and what happens to it: the application's view.

What a connection has received and not acknowledged is held here; xtcpd has it,
too, and gives it to the next process if this one dies:

          offset               told                 received
    .........|-- may be acked --|-- not told of yet --|
              \\______________ pending ______________/   (told or not)

What is to be sent and could not be yet waits in `_unsent`, with the
acknowledgements that belong behind it: who acknowledged has sent the reply,
whole. `_acked_out` is how far the acknowledgements went that were sent.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

from . import frames
from .frames import Type

if TYPE_CHECKING:
    from .link import Link

# Bytes that may wait in a connection to be sent, unless Options say otherwise.
BUFFER_BYTES = 256 * 1024


class SlowClient(ConnectionError):
    """The buffer of the connection is full: nothing was taken, nor acknowledged.

    Wait for `await conn.writable()`, or abort() who doesn't keep up.
    """


class Conn:
    """One client. Made by the package alone, and told of by an Open event."""

    __slots__ = (
        "id", "family", "remote", "local", "user", "offset", "redelivered",
        "_link", "_rx", "_told", "_done", "_eof", "_waits", "_shut", "_closed",
        "_gone", "_known", "_eof_due", "_open_due", "_reset_due", "_queued",
        "_unsent", "_unsent_bytes", "_wanted", "_acked_out", "_sent_out",
        "_limit", "_grant_link", "_grant_life", "_grant_bytes")

    def __init__(self, link: Link, ident: int, addr: frames.Addr, offset: int,
                 sent: int) -> None:
        self.id = ident
        """The daemon's name for it: with `epoch`, for as long as it lives."""
        self.family = addr.family
        self.remote = (addr.host(addr.remote), addr.remote_port)
        self.local = (addr.host(addr.local), addr.local_port)
        self.user: Any = None
        """The application's own."""
        self.offset = offset
        """Position of the first byte that was not acknowledged."""
        self.redelivered = offset
        """Bytes before it were delivered before, perhaps to another process."""
        self._link = link
        self._rx = bytearray()
        self._told = offset
        self._done = 0
        self._eof = False
        self._waits = False  # the handshake does, for ACCEPT or REJECT
        self._shut = False
        self._closed = False  # by the application
        self._gone = False  # RESET
        self._known = False  # the application has had an event of it
        self._open_due = True
        self._eof_due = False
        self._reset_due = 0  # errno
        self._queued = False  # in Core.ready
        self._unsent: deque[Part] = deque()
        self._unsent_bytes = 0
        self._wanted = False  # in Link.wants
        self._acked_out = offset
        self._sent_out = sent
        self._limit = 0
        # Whose credit the untold bytes are: the last _grant_bytes of them.
        self._grant_link = link
        self._grant_life = link.life
        self._grant_bytes = 0

    def __repr__(self) -> str:
        state = ("gone" if self._gone else "closed" if self._closed else
                 "waiting" if self._waits else "open")
        return (f"<xtcp.Conn {self.id:x} {self.remote[0]} {self.remote[1]} "
                f"{state}>")

    # --- where it stands

    @property
    def epoch(self) -> int:
        """Of xtcpd's arena: (epoch, id) never names another connection."""
        return self._link.epoch

    @property
    def pending(self) -> bytes:
        """All that was told of and not acknowledged, from `offset` on."""
        return bytes(self._rx[:self._told - self.offset])

    @property
    def sent(self) -> int:
        """Position, in the stream of replies, of the next byte of reply()."""
        return self._sent_out + self._unsent_bytes

    @property
    def buffered(self) -> int:
        """Bytes of replies that could not be sent yet."""
        return self._unsent_bytes

    @property
    def room(self) -> int:
        """Bytes that reply() takes now."""
        if self._gone or self._closed or self._shut:
            return 0
        return max(0, self._link.core.buffer_bytes - self._unsent_bytes)

    @property
    def is_open(self) -> bool:
        """Neither closed by us nor gone."""
        return not (self._gone or self._closed)

    # --- what an application does

    def accept(self) -> None:
        """Complete the handshake of a connection that waits for it."""
        self._check()
        if self._waits and not self._unsent:
            self._link.send(self, Part(Type.ACCEPT))

    def reject(self) -> None:
        """Refuse it with a RST."""
        self._end(Type.REJECT if self._waits else Type.ABORT)

    def reply(self, data: Union[bytes, bytearray, memoryview] = b"",
              ackd: int = 0) -> None:
        """Send data; when it was sent, acknowledge ackd bytes from `offset` on.

        SlowClient when the buffer can't hold data, ConnectionResetError when
        the connection is gone, BrokenPipeError after shutdown(), ValueError for
        more ackd than was told of; then nothing was sent or acknowledged.
        """
        self._check()
        if self._waits and not self._unsent:
            raise RuntimeError("accept() the connection first")
        if not 0 <= ackd <= self._told - self.offset:
            raise ValueError(f"ackd is {ackd}, but {self._told - self.offset} "
                             "bytes wait to be acknowledged")
        if len(data) > 0 and self._shut:
            raise BrokenPipeError(errno.EPIPE, "sent after shutdown()")
        if len(data) > self.room:
            raise SlowClient(errno.EAGAIN, f"{self._unsent_bytes} bytes wait "
                                           "to be sent already")
        self._consume(ackd)
        if len(data) > 0 or ackd > 0:
            self._link.send(self, Part(Type.REPLY, bytes(data), ackd))

    def push(self, data: Union[bytes, bytearray, memoryview]) -> None:
        """Send data unasked: reply() without an acknowledgement."""
        self.reply(data)

    def ack(self, n: int) -> None:
        """Acknowledge n bytes from `offset` on, after what was sent before."""
        self.reply(b"", n)

    def done(self, offset: int) -> None:
        """All before that position was processed, as a record of ours has it.

        What of it was received is acknowledged, and what comes yet as it comes,
        without an event.
        """
        self._check()
        self._done = max(self._done, offset)
        skipped = self._skip()
        if skipped > 0:
            self._link.send(self, Part(Type.REPLY, b"", skipped))

    def shutdown(self) -> None:
        """FIN after what was sent; receiving goes on."""
        self._check()
        if not self._shut:
            self._shut = True
            self._link.send(self, Part(Type.FIN))

    def close(self) -> None:
        """FIN after what was sent; done with the connection."""
        self._end(Type.CLOSE)

    def abort(self) -> None:
        """RST, and done with the connection; what waits to be sent is lost."""
        self._end(Type.ABORT)

    async def writable(self, n: int = 1) -> None:
        """Wait until reply() takes n bytes.

        ConnectionResetError and the others as reply().
        """
        if n > self._link.core.buffer_bytes:
            raise ValueError(f"n is over {self._link.core.buffer_bytes}")
        while True:
            self._check()
            if self._shut:
                raise BrokenPipeError(errno.EPIPE, "sent after shutdown()")
            if self.room >= n:
                return
            await self._link.core.wait_room(self)

    # --- the package's own

    def _check(self) -> None:
        if self._gone:
            raise ConnectionResetError(errno.ECONNRESET,
                                       "the connection is gone")
        if self._closed:
            raise ConnectionError(errno.EBADF, "the connection was closed")

    def _received(self) -> int:
        return self.offset + len(self._rx)

    def _end(self, how: Type) -> None:
        if self._gone or self._closed:
            return
        if how is not Type.CLOSE:
            self._unsent.clear()
            self._unsent_bytes = 0
        self._closed = True
        self._drop_rx()
        self._link.send(self, Part(how))
        self._link.core.wake_room(self)

    def _consume(self, n: int) -> None:
        """The application is done with n bytes."""
        if n > 0:
            del self._rx[:n]
            self.offset += n

    def _skip(self) -> int:
        """Consumes what of the bytes before _done was received."""
        n = min(self._done, self._received()) - self.offset
        if n <= 0:
            return 0
        self._tell(max(self._told, self.offset + n))
        self._consume(n)
        return n

    def _tell(self, upto: int) -> None:
        """Bytes up to there are the application's: others may come instead."""
        others = self._received() - self._told - self._grant_bytes
        ours = max(0, upto - self._told - others)
        self._told = upto
        self._grant_bytes -= ours
        self._grant_link.grant(ours, self._grant_life)

    def _drop_rx(self) -> None:
        self._grant_link.grant(self._grant_bytes, self._grant_life)
        self._grant_bytes = 0
        self._rx = bytearray()
        self._told = self.offset

    def _credited(self, link: Link, n: int) -> None:
        """n bytes, which link's credit was used for, wait to be told of."""
        if self._grant_link is not link or self._grant_life != link.life:
            self._grant_link.grant(self._grant_bytes, self._grant_life)
            self._grant_link, self._grant_life = link, link.life
            self._grant_bytes = 0
        self._grant_bytes += n

    def _next_event(self) -> Event | None:
        """What is to be told next."""
        if self._closed:
            return None
        if self._reset_due:
            number, self._reset_due = self._reset_due, 0
            return Reset(self, number)
        if self._gone:
            return None
        if self._open_due:
            self._open_due = False
            self._known = True
            return Open(self, self._waits)
        if self._told < self._received():
            begin = self._told
            self._tell(self._received())
            return Data(self, bytes(self._rx[begin - self.offset:]), begin,
                        begin < self.redelivered)
        if self._eof_due:
            self._eof_due = False
            return Eof(self, self._received())
        return None

    def _has_event(self) -> bool:
        return not self._closed and bool(
            self._reset_due or not self._gone and
            (self._open_due or self._told < self._received() or self._eof_due))


@dataclass(slots=True)
class Part:
    """What is to be sent of a connection: a reply, or the frame of a type."""

    type: Type
    data: bytes = b""
    ackd: int = 0


@dataclass(slots=True, frozen=True)
class Open:
    """A connection that this process didn't know: always its first event.

    One that another process served before has an `offset` or `sent` over 0.
    """

    conn: Conn
    waits: bool
    """The client's handshake waits for accept() or reject()."""


@dataclass(slots=True, frozen=True)
class Data:
    """Bytes of the client, the first of them at position offset.

    What came before and was not acknowledged is not repeated; it is in
    `conn.pending`, together with these.
    """

    conn: Conn
    data: bytes
    offset: int
    redelivered: bool
    """Some of it was delivered before, perhaps to another process: all before
    `conn.redelivered`."""


@dataclass(slots=True, frozen=True)
class Eof:
    """The client has closed its side; it may still be sent to."""

    conn: Conn
    offset: int


@dataclass(slots=True, frozen=True)
class Reset:
    """The connection is gone, or is another backend's now."""

    conn: Conn
    errno: int

    @property
    def reason(self) -> str:
        return os.strerror(self.errno)


@dataclass(slots=True, frozen=True)
class Drain:
    """The stream of that worker gets no new connections from now on."""

    worker: int


Event = Union[Open, Data, Eof, Reset, Drain]
