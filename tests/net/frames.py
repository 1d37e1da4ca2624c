# SPDX-License-Identifier: BSD-2-Clause
"""A scripted application: the backend's end of framed streams, in Python.

It speaks the protocol of src/proto/frame.h and does exactly what the test says:
what is acknowledged, when, and in which frames.

    b = Backend.dial(d.attach_path, port=5222)
    f = b.expect("DATA", payload=b"request")
    b.reply(f.conn, b"reply", ackd=7)

PING is answered and credit granted while it waits for a frame. One stream
serves one worker; dial() takes the worker's number.
"""

import contextlib
import os
import socket
import struct
import time
from dataclasses import dataclass

MAGIC, VERSION, HEADER = 0x58544350, 1, struct.Struct("!IBBHQQII")
HELLO = struct.Struct("!IHHHHIIIQI12x")
ATTACH = struct.Struct("!HBBIQ8x")
ADDR = struct.Struct("!BBHHH16s16sQ")
WORKER_ANY = 0xffff
WITHIN_S = 10.0

TYPES = {
    "HELLO": 1, "ATTACH": 2, "ATTACHED": 3, "ERROR": 4, "CREDIT": 5,
    "OPEN": 16, "DATA": 17, "EOF": 18, "RESET": 19, "DRAIN": 20, "PING": 21,
    "ACCEPT": 32, "REJECT": 33, "REPLY": 34, "CLOSE": 35, "FIN": 36,
    "ABORT": 37, "PONG": 38,
}
NAMES = {number: name for name, number in TYPES.items()}
F_REDELIVERED, F_FIRST, F_WAITS, F_FATAL, F_AT, F_RESUMED = 1, 2, 4, 8, 16, 32
HELLO_RESUMES = 2
ATTACH_APPLICATION, ATTACH_OWN_POOL, ATTACH_ANNOUNCE = 1, 2, 4


@dataclass
class Addr:
    family: int
    remote: str
    remote_port: int
    local: str
    local_port: int
    send_offset: int


def parse_addr(data):
    family, _, rport, lport, _, remote, local, offset = ADDR.unpack(data)
    af, n = (socket.AF_INET, 4) if family == 4 else (socket.AF_INET6, 16)
    return Addr(family, socket.inet_ntop(af, remote[:n]), rport,
                socket.inet_ntop(af, local[:n]), lport, offset)


@dataclass
class Frame:
    type: str
    flags: int = 0
    group: int = 0
    conn: int = 0
    offset: int = 0
    ackd: int = 0
    aux: int = 0
    payload: bytes = b""
    addr: Addr = None

    @property
    def redelivered(self):
        return bool(self.flags & F_REDELIVERED)

    @property
    def first(self):
        return bool(self.flags & F_FIRST)

    def __str__(self):
        return (f"{self.type} flags={self.flags} conn={self.conn:x} "
                f"offset={self.offset} ackd={self.ackd} aux={self.aux} "
                f"len={len(self.payload)} {self.payload[:60]!r}")


def encode(kind, payload=b"", flags=0, group=0, conn=0, offset=0, ackd=0, aux=0,
           length=None):
    """A frame's bytes; kind a name or any number, length may lie."""
    number = TYPES[kind] if isinstance(kind, str) else kind
    return HEADER.pack(len(payload) if length is None else length, number,
                       flags, group, conn, offset, ackd, aux) + payload


def hello(worker=WORKER_ANY, instance=None, max_payload=128 * 1024,
          credit=1 << 20, magic=MAGIC, version=VERSION, name=b"test",
          flags=0):
    if instance is None:
        instance = int.from_bytes(os.urandom(8), "big")
    return HELLO.pack(magic, version, flags, 0, worker, max_payload, credit, 0,
                      instance, os.getpid()) + name


class Closed(Exception):
    """The daemon closed the stream; the text is its ERROR, if any."""


class Backend:
    """One attached stream."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(WITHIN_S)
        self.data = b""
        self.group = 0
        self.port = 0
        self.acked = {}  # conn -> offset up to which we acknowledged
        self.workers = 1
        self.grant = True
        self.send_within = WITHIN_S
        self.error = None  # the last ERROR frame

    # --- the beginning

    @classmethod
    def dial(cls, path, port, worker=0, instance=None, pool_bytes=0, family=0,
             resumes=False):
        """Attach to the daemon's group of a port."""
        b = cls(socket.socket(socket.AF_UNIX))
        b.sock.connect(path)
        b.send("HELLO", hello(worker, instance,
                              flags=HELLO_RESUMES if resumes else 0))
        b.got_hello(b.expect("HELLO"))
        b.send("ATTACH", ATTACH.pack(
            port, family, ATTACH_OWN_POOL if pool_bytes else 0, 0, pool_bytes))
        f = b.expect("ATTACHED")
        b.group, b.attached_flags = f.group, ATTACH.unpack(f.payload)[2]
        b.port = port
        return b

    @classmethod
    def serve(cls, listener, instance=None, within=WITHIN_S):
        """Take the stream that the daemon dials."""
        listener.settimeout(within)
        b = cls(listener.accept()[0])
        b.got_hello(b.expect("HELLO"))
        b.send("HELLO", hello(instance=instance))
        f = b.expect("ATTACH")
        b.group, b.attach_payload = f.group, f.payload
        b.port, _, b.attached_flags, _, _ = ATTACH.unpack(f.payload)
        b.send("ATTACHED", f.payload, group=f.group)
        return b

    def got_hello(self, f):
        (magic, version, self.hello_flags, self.workers, self.worker, _, _,
         self.conn_window, self.peer_instance, _) = HELLO.unpack(f.payload[:48])
        if (magic, version) != (MAGIC, VERSION):
            raise AssertionError(f"bad HELLO: {f}")

    # --- frames

    def send(self, kind, payload=b"", **header):
        header.setdefault("group", self.group)
        self.sock.settimeout(self.send_within)
        self.sock.sendall(encode(kind, payload, **header))

    def send_raw(self, data):
        self.sock.sendall(data)

    def fill(self, n, deadline):
        while len(self.data) < n:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.sock.settimeout(left)
            try:
                part = self.sock.recv(1 << 20)
            except (TimeoutError, BlockingIOError):
                return False
            except ConnectionResetError:
                part = b""
            if not part:
                raise Closed(str(self.error or "without an ERROR"))
            self.data += part
        return True

    def next(self, within=WITHIN_S):
        """The next frame, whatever it is; None when none came."""
        deadline = time.monotonic() + within
        if not self.fill(HEADER.size, deadline):
            return None
        (length, number, flags, group, conn, offset, ackd,
         aux) = HEADER.unpack(self.data[:HEADER.size])
        if not self.fill(HEADER.size + length, deadline):
            return None
        payload = self.data[HEADER.size:HEADER.size + length]
        self.data = self.data[HEADER.size + length:]
        f = Frame(NAMES.get(number, str(number)), flags, group, conn, offset,
                  ackd, aux, payload)
        if flags & F_FIRST and f.type in ("OPEN", "DATA", "EOF"):
            f.addr = parse_addr(payload[:ADDR.size])
            f.payload = payload[ADDR.size:]
        if f.type == "DATA" and self.grant:
            self.send("CREDIT", aux=length)
        if f.type == "ERROR":
            self.error = f
        return f

    def receive(self, within=WITHIN_S, skip=("PING", "CREDIT")):
        """The next frame that tells something; None after the time."""
        deadline = time.monotonic() + within
        while True:
            f = self.next(deadline - time.monotonic())
            if f is None:
                return None
            if f.type == "PING":
                # it may be closed behind what is still to be read
                with contextlib.suppress(BrokenPipeError):
                    self.send("PONG", offset=f.offset)
            if f.type not in skip:
                return f

    def expect(self, kind, within=WITHIN_S, **want):
        """The next frame must be this one. Returns it."""
        skip = [k for k in ("PING", "CREDIT") if k != kind]
        f = self.receive(within, skip)
        if f is None:
            raise AssertionError(f"no frame in {within} s; wanted {kind} {want}")
        wrong = [k for k, v in want.items() if getattr(f, k) != v]
        if f.type != kind or wrong:
            raise AssertionError(f"wanted {kind} {want}; got {f}")
        return f

    def sync(self, **header):
        """All frames sent before have taken effect; returns what came."""
        self.send("PING", offset=0x5eed, **header)
        found = []
        while True:
            f = self.receive()
            if f is None:
                raise AssertionError("PING was not answered")
            if f.type == "PONG" and f.offset == 0x5eed:
                return found
            found.append(f)

    def resumed(self):
        """Nothing more comes of before. What came until the PONG."""
        return self.sync(flags=F_RESUMED)

    def expect_nothing(self):
        """Nothing came of all that the daemon has heard."""
        found = self.sync()
        if found:
            raise AssertionError(f"wanted no frame; got {found[0]}")

    def expect_closed(self, error=None, within=WITHIN_S):
        """The daemon ends the stream; error: errno of its last ERROR frame."""
        deadline = time.monotonic() + within
        try:
            while self.receive(deadline - time.monotonic()) is not None:
                pass
        except Closed:
            if error is not None and (self.error is None or
                                      self.error.aux != error):
                raise AssertionError(
                    f"wanted ERROR {error}; got {self.error}") from None
            return
        raise AssertionError(f"the stream is open after {within} s")

    # --- what an application does

    def reply(self, conn, payload=b"", ackd=0, offset=None, **header):
        """Acknowledge ackd bytes more, and send payload."""
        if offset is None:
            offset = self.acked.get(conn, 0)
            self.acked[conn] = offset + ackd
        self.send("REPLY", payload, conn=conn, offset=offset, ackd=ackd, **header)

    def echo(self, f):
        """Answer a DATA frame in full with its own payload."""
        self.reply(f.conn, f.payload, len(f.payload))

    def accept(self, conn):
        self.send("ACCEPT", conn=conn)

    def reject(self, conn):
        self.send("REJECT", conn=conn)

    def fin(self, conn):
        self.send("FIN", conn=conn)

    def close_conn(self, conn):
        self.send("CLOSE", conn=conn)

    def abort(self, conn):
        self.send("ABORT", conn=conn)

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        self.close()
