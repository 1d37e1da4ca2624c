# SPDX-License-Identifier: BSD-2-Clause
"""An xtcpd that does what the test says, at the other end of one Link.

No socket: what the link wants to write is read by expect(), what the daemon
says goes in by say().
"""

from xtcp import frames
from xtcp.core import Core, State
from xtcp.frames import Addr, Attach, Frame, Hello, Reader, Side, Type
from xtcp.link import Link

GROUP = 9
WINDOW = 65536
HALF = WINDOW // 2


def addr(conn, send_offset=0, family=4):
    """The client of a connection: 192.0.2.1 and a port of its own."""
    host = bytes([192, 0, 2, 1]) if family == 4 else bytes(15) + b"\1"
    return Addr(family, 1000 + conn % 1000, 5222, host.ljust(16, b"\0"),
                bytes(16), send_offset).encode()


class Daemon:
    def __init__(self, listens=False, credit=1 << 20, epoch=77, **options):
        self.core = Core(0 if listens else 5222, listens=listens, **options)
        self.link = Link(self.core)
        self.core.links.append(self.link)
        self.credit, self.epoch, self.workers = credit, epoch, 1
        self.flags = frames.HELLO_RESUME
        self.reader = None
        self.hello = None

    # --- frames

    def say(self, kind, payload=b"", **header):
        header.setdefault("group", GROUP)
        self.link.feed(Frame(kind, payload=payload, **header).encode())

    def frame(self):
        """The next frame of the link, or None."""
        self.reader.feed(self.link.take())
        return self.reader.next()

    def expect(self, kind, **want):
        f = self.frame()
        assert f is not None, f"no frame; wanted {kind.name}"
        got = {k: getattr(f, k) for k in want}
        assert (f.type, got) == (kind, want), f"{f}; wanted {kind.name} {want}"
        return f

    def quiet(self):
        f = self.frame()
        assert f is None, f"wanted no frame, got {f}"

    # --- the stream

    def begin(self, worker=0):
        self.reader = Reader(Side.XTCPD)
        self.link.begin()
        self.worker = worker
        return self

    def own_hello(self):
        return Hello(flags=self.flags, workers=self.workers,
                     worker=self.worker, stream_credit=self.credit,
                     conn_window=WINDOW, instance=5, epoch=self.epoch).encode()

    def attach(self):
        """The rest of the handshake."""
        if self.core.listens:
            self.say(Type.HELLO, self.own_hello())
            self.hello = Hello.decode(self.expect(Type.HELLO).payload)
            self.say(Type.ATTACH, Attach(5222).encode())
            self.expect(Type.ATTACHED, group=GROUP)
        else:
            self.hello = Hello.decode(self.expect(Type.HELLO).payload)
            self.say(Type.HELLO, self.own_hello())
            self.expect(Type.ATTACH)
            self.say(Type.ATTACHED, Attach(5222).encode())
        assert self.link.state is State.UP
        return self

    def up(self, worker=0):
        return self.begin(worker).attach()

    def lose(self):
        self.link.lost()

    def again(self):
        """The daemon was away, and is back."""
        self.lose()
        return self.up()

    def resumed(self):
        """The resumption must end here; the PONG."""
        f = self.expect(Type.PING, flags=frames.RESUMED)
        self.say(Type.PONG, offset=f.offset)

    def confirm(self):
        """A PING, which is answered."""
        f = self.expect(Type.PING, flags=0)
        self.say(Type.PONG, offset=f.offset)

    # --- connections

    def first(self, conn, data, offset=0, sent=0, aux=0, flags=0):
        self.say(Type.DATA, addr(conn, sent) + data, conn=conn, offset=offset,
                 aux=aux, flags=frames.FIRST | flags)

    def open(self, conn, flags=0, **header):
        self.say(Type.OPEN, addr(conn), conn=conn, flags=frames.FIRST | flags,
                 **header)

    def data(self, conn, data, offset, flags=0):
        self.say(Type.DATA, data, conn=conn, offset=offset, flags=flags)

    def events(self):
        found = []
        while (event := self.core.next_event()) is not None:
            found.append(event)
        return found

    def client(self, conn, data):
        """A new connection that has sent data, which was told of."""
        self.first(conn, data)
        _, event = self.events()
        assert event.data == data
        return event.conn
