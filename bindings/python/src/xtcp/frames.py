# SPDX-License-Identifier: BSD-2-Clause
"""The frames of xtcp-frame(7): bytes to fields and back, nothing else.

    frame = Frame(Type.REPLY, conn=7, ackd=3, payload=b"hello")
    reader = Reader(Side.XTCPD)
    reader.feed(frame.encode())
    assert list(reader) == [frame]

A frame that must not be sent, or not in this direction, raises FrameError,
then and ever after: behind a bad header there is no way to the next one.
"""

from __future__ import annotations

import enum
import errno
import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

MAGIC = 0x58544350
VERSION = 1
HEADER_BYTES = 32
PAYLOAD_MAX = 128 * 1024
# What each side must at least take in one frame, and grant to xtcpd.
PAYLOAD_MIN = 4096
WORKER_ANY = 0xFFFF
WORKERS_MAX = 256
NAME_BYTES = 256

_HEADER = struct.Struct("!IBBHQQII")
_HELLO = struct.Struct("!IHHHHIIIQI4xQ")
_ATTACH = struct.Struct("!HBBIQ8x")
_ADDR = struct.Struct("!BxHH2x16s16sQ")

HELLO_BYTES = _HELLO.size
ATTACH_BYTES = _ATTACH.size
ADDR_BYTES = _ADDR.size


class Side(enum.Enum):
    """Who reads a frame."""

    BACKEND = 1
    XTCPD = 2


class Type(enum.IntEnum):
    HELLO = 1
    ATTACH = 2
    ATTACHED = 3
    ERROR = 4
    CREDIT = 5
    OPEN = 16
    DATA = 17
    EOF = 18
    RESET = 19
    DRAIN = 20
    PING = 21
    ACCEPT = 32
    REJECT = 33
    REPLY = 34
    CLOSE = 35
    FIN = 36
    ABORT = 37
    PONG = 38


# Flags of the header.
REDELIVERED = 1  # DATA, EOF: (part of) this was delivered before
FIRST = 2  # DATA, EOF, OPEN: the payload begins with an Addr
WAITS = 4  # OPEN: the handshake waits for ACCEPT or REJECT
FATAL = 8  # ERROR: the sender closes the stream after it
AT = 16  # REPLY, CLOSE, FIN, ABORT, REJECT: aux is a position
RESUMED = 32  # PING: the resumption is complete
SHORT = 64  # REPLY: asks for CREDIT of this connection

# Flags of HELLO.
HELLO_RESUME = 1  # from xtcpd: it keeps the promises of Resumption
HELLO_RESUMES = 2  # from a backend: it was attached before

# Flags of ATTACH and ATTACHED.
ATTACH_APPLICATION = 1  # connections wait for ACCEPT
ATTACH_OWN_POOL = 2  # make a pool and a group of our own
ATTACH_ANNOUNCE = 4  # connections are announced with OPEN

_BOTH = frozenset(Side)
_TO_BACKEND = frozenset({Side.BACKEND})
_TO_XTCPD = frozenset({Side.XTCPD})


class _Rule(NamedTuple):
    readers: frozenset[Side]
    least: int  # bytes of payload
    most: int


_RULES: dict[int, _Rule] = {
    Type.HELLO: _Rule(_BOTH, HELLO_BYTES, HELLO_BYTES + NAME_BYTES),
    Type.ATTACH: _Rule(_BOTH, ATTACH_BYTES, ATTACH_BYTES),
    Type.ATTACHED: _Rule(_BOTH, ATTACH_BYTES, ATTACH_BYTES),
    Type.ERROR: _Rule(_BOTH, 0, 1024),
    Type.CREDIT: _Rule(_BOTH, 0, 0),
    Type.OPEN: _Rule(_TO_BACKEND, ADDR_BYTES, ADDR_BYTES),
    Type.DATA: _Rule(_TO_BACKEND, 1, PAYLOAD_MAX),
    Type.EOF: _Rule(_TO_BACKEND, 0, ADDR_BYTES),
    Type.RESET: _Rule(_TO_BACKEND, 0, 0),
    Type.DRAIN: _Rule(_BOTH, 0, 0),
    Type.PING: _Rule(_BOTH, 0, 0),
    Type.ACCEPT: _Rule(_TO_XTCPD, 0, 0),
    Type.REJECT: _Rule(_TO_XTCPD, 0, 0),
    Type.REPLY: _Rule(_TO_XTCPD, 0, PAYLOAD_MAX),
    Type.CLOSE: _Rule(_TO_XTCPD, 0, 0),
    Type.FIN: _Rule(_TO_XTCPD, 0, 0),
    Type.ABORT: _Rule(_TO_XTCPD, 0, 0),
    Type.PONG: _Rule(_BOTH, 0, 0),
}


class FrameError(ConnectionError):
    """What came is no frame that may come; errno is EPROTO or EMSGSIZE."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(number, text)


@dataclass(slots=True)
class Frame:
    type: int
    flags: int = 0
    group: int = 0
    conn: int = 0
    offset: int = 0
    ackd: int = 0
    aux: int = 0
    payload: bytes = b""

    def encode(self) -> bytes:
        """Header and payload."""
        return _HEADER.pack(len(self.payload), self.type, self.flags,
                            self.group, self.conn, self.offset, self.ackd,
                            self.aux) + self.payload

    @property
    def wire_bytes(self) -> int:
        return HEADER_BYTES + len(self.payload)


def check_header(number: int, length: int, side: Side,
                 max_payload: int) -> None:
    """FrameError unless side may read such a frame."""
    rule = _RULES.get(number)
    if rule is None:
        raise FrameError(errno.EPROTO, f"frames have no type {number}")
    if side not in rule.readers:
        raise FrameError(errno.EPROTO, f"{Type(number).name} is not for "
                                       f"{side.name.lower()}")
    if not rule.least <= length <= min(rule.most, max_payload):
        raise FrameError(errno.EMSGSIZE,
                         f"{Type(number).name} with {length} bytes")


class Reader:
    """Frames out of the bytes that came to side."""

    def __init__(self, side: Side, max_payload: int = PAYLOAD_MAX) -> None:
        self._side = side
        self._max_payload = max_payload
        self._data = b""
        self._at = 0
        self._error: FrameError | None = None

    def feed(self, data: bytes) -> None:
        """Bytes that came behind those before."""
        self._data = self._data[self._at:] + data
        self._at = 0

    def next(self) -> Frame | None:
        """The next whole frame; None: more bytes are needed."""
        if self._error is not None:
            raise self._error
        if len(self._data) - self._at < HEADER_BYTES:
            return None
        (length, number, flags, group, conn, offset, ackd,
         aux) = _HEADER.unpack_from(self._data, self._at)
        try:
            check_header(number, length, self._side, self._max_payload)
        except FrameError as e:
            self._error = e
            raise
        begin = self._at + HEADER_BYTES
        if len(self._data) - begin < length:
            return None
        self._at = begin + length
        return Frame(number, flags, group, conn, offset, ackd, aux,
                     self._data[begin:self._at])

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.next()) is not None:
            yield frame


class Hello(NamedTuple):
    """The payload of HELLO."""

    magic: int = MAGIC
    version: int = VERSION
    flags: int = 0
    workers: int = 0
    worker: int = WORKER_ANY
    max_payload: int = PAYLOAD_MAX
    stream_credit: int = 0
    conn_window: int = 0
    instance: int = 0
    pid: int = 0
    epoch: int = 0
    name: bytes = b""

    def encode(self) -> bytes:
        return _HELLO.pack(*self[:-1]) + self.name[:NAME_BYTES]

    @classmethod
    def decode(cls, payload: bytes) -> Hello:
        return cls._make((*_HELLO.unpack_from(payload),
                          payload[HELLO_BYTES:]))

    def check(self, side: Side) -> None:
        """FrameError unless side can go on with who says this."""
        if self.magic != MAGIC:
            why = "what is there is no xtcpd, and no backend"
        elif self.version != VERSION:
            why = f"it speaks version {self.version}, and we {VERSION}"
        elif self.max_payload < PAYLOAD_MIN:
            why = f"it takes {self.max_payload} bytes in a frame, too few"
        elif side is Side.XTCPD and self.stream_credit < PAYLOAD_MIN:
            why = f"it grants {self.stream_credit} bytes, too few"
        elif side is Side.BACKEND and self.conn_window < 2:
            why = "its window for a connection is empty"
        else:
            return
        raise FrameError(errno.EPROTO, why)


class Attach(NamedTuple):
    """The payload of ATTACH and ATTACHED."""

    port: int
    family: int = 0
    flags: int = 0
    priority: int = 0
    pool_bytes: int = 0

    def encode(self) -> bytes:
        return _ATTACH.pack(*self)

    @classmethod
    def decode(cls, payload: bytes) -> Attach:
        return cls(*_ATTACH.unpack(payload))


class Addr(NamedTuple):
    """The addresses that come with FIRST; hosts are 16 bytes, as on the wire."""

    family: int
    remote_port: int
    local_port: int
    remote: bytes
    local: bytes
    send_offset: int = 0

    def encode(self) -> bytes:
        return _ADDR.pack(*self)

    @classmethod
    def decode(cls, payload: bytes) -> Addr:
        """Of the front of a payload; FrameError when there is no address."""
        if len(payload) < ADDR_BYTES:
            raise FrameError(errno.EPROTO, "no address where FIRST says so")
        addr = cls(*_ADDR.unpack_from(payload))
        if addr.family not in (4, 6):
            raise FrameError(errno.EPROTO, f"no address family {addr.family}")
        return addr

    def host(self, wire: bytes) -> str:
        """remote or local as text."""
        return str(ipaddress.ip_address(wire[:4] if self.family == 4 else wire))


def send_limit(una: int, half: int) -> int:
    """Up to where a connection's replies may go: xtcp-frame(7), Credit."""
    return (una // half + 2) * half
