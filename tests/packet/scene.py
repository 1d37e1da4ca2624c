# SPDX-License-Identifier: BSD-2-Clause
"""The scene of most packet tests: a daemon, the wire, a scripted backend.

    with Scene({"ack-deadline": 200}) as s:
        p = s.connected()
        p.send(b"request")
        f = s.b.expect("DATA", payload=b"request")
"""

import contextlib
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "net"))

from frames import Backend  # noqa: E402
from harness import BUILD, Net, Process, Xtcpd, wait_for  # noqa: E402
from peer import Peer, Wire  # noqa: E402

PORT = 5222


class Scene:
    """d: the daemon, one worker; wire; b: the backend of group "im".

    A scene with backend=False has none. groups replaces the one group.
    """

    def __init__(self, group=None, backend=True, groups=None, workers=1, **daemon):
        self.groups = groups or {"im": {"port": PORT, **(group or {})}}
        self.workers, self.daemon, self.has_backend = workers, daemon, backend
        self.b = None

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            stack.enter_context(Net())
            self.d = stack.enter_context(
                Xtcpd(self.groups, self.workers, **self.daemon))
            self.wire = stack.enter_context(Wire())
            if self.has_backend:
                self.b = stack.enter_context(self.dial())
            self.stack = stack.pop_all()
        return self

    def __exit__(self, kind, value, tb):
        return self.stack.__exit__(kind, value, tb)

    def dial(self, port=PORT, **kw):
        return Backend.dial(self.d.attach_path, port, **kw)

    def peer(self, port=PORT, **kw):
        return Peer(self.wire, port, **kw)

    def connected(self, port=PORT, syn=None, **kw):
        """A peer after the handshake."""
        p = self.peer(port, **kw)
        p.connect(**(syn or {}))
        return p

    def far(self, seconds=0.4, **kw):
        """A peer far away: it takes its time for the handshake's last ACK.

        So xtcpd's retransmission time-out is three times that, and what comes
        sooner comes for another reason.
        """
        p = self.peer(**kw)
        p.syn(ts=True)
        p.expect("SA", ack=1)
        p.expect_nothing(seconds)
        p.ack()
        return p

    def received(self, p, data, **want):
        """The peer sends data and the backend gets it; the DATA frame."""
        p.send(data)
        return self.b.expect("DATA", payload=data, **want)

    def exchange(self, p, request=b"request", reply=b"reply"):
        """One whole exchange; both sides are quiet afterwards."""
        f = self.received(p, request)
        self.b.reply(f.conn, reply, len(request))
        p.expect("PA", ack=p.snd_nxt, payload=reply)
        p.ack()
        return f.conn

    @contextlib.contextmanager
    def counted(self, **want):
        """Inside, these counters grow by exactly so much."""
        before = self.d.counters()
        yield
        self.wire.settle()
        last = {}

        def grown():
            last.update(self.d.counters())
            return all(last[k] - before[k] >= n for k, n in want.items())

        try:
            wait_for("counters", grown, within=5)
        except AssertionError:
            pass  # the comparison says it better
        got = {k: last[k] - before[k] for k in want}
        if got != want:
            raise AssertionError(f"counters: got {got}, wanted {want}; all: "
                                 f"{grown_by(before, last)}")

    @contextlib.contextmanager
    def drops(self, **want):
        """Inside, exactly these counters of drops grow, by so much."""
        before = self.d.counters()
        with self.counted(**want):
            yield
        after = grown_by(before, self.d.counters())
        other = {k: n for k, n in after.items()
                 if k.startswith(("drop_", "frame_")) and k not in want
                 and k not in ("frames_in", "frames_out")}
        if other:
            raise AssertionError(f"other drops: {other}")

    def connection(self, conn):
        """What `show connections` says of one, by its id on the wire; or None."""
        for c in self.d.connections():
            if c["id"] == f"{conn:016x}":
                return c
        return None

    def state(self, conn):
        c = self.connection(conn)
        return c and c["state"]

    def wait_state(self, conn, state):
        wait_for(f"state {state}", lambda: self.state(conn) == state, within=10)

    def wait_gone(self):
        """No connection is left."""
        wait_for("no connection is left",
                 lambda: not self.d.connections(), within=10)

    def wait_purged(self):
        """6i: nothing is left in the transmit buffer."""
        wait_for("transmit_buffer_bytes is 0", lambda:
                 self.d.memory()["transmit_buffer_bytes"] == 0, within=10)


def grown_by(before, after):
    return {k: v - before.get(k, 0) for k, v in after.items()
            if v != before.get(k, 0)}


class Api(Process):
    """An application on libxtcp, one call at a time (tests/tools/apicall.c)."""

    def __init__(self, daemon=None):
        env = {"XTCP_ATTACH": daemon.attach_path} if daemon else {}
        super().__init__(BUILD / "tests/tools/apicall", env=env,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def call(self, *words):
        """The answer's words; the first is the return value."""
        line = " ".join(str(w) for w in words) + "\n"
        self.p.stdin.write(line.encode())
        self.p.stdin.flush()
        answer = self.p.stdout.readline().decode().split()
        if not answer:
            raise AssertionError(f"apicall ended: {self.stderr()}")
        return [int(answer[0])] + answer[1:]

    def ok(self, *words):
        """The return value, which must not be negative."""
        n = self.call(*words)[0]
        if n < 0:
            raise AssertionError(f"{words}: {os.strerror(-n)}")
        return n

    def recv(self, gd, size=65536):
        """(return value, cd, data)."""
        n, cd, *data = self.call("recv", gd, size)
        return n, int(cd), bytes.fromhex(data[0]) if data else b""

    def send(self, gd, cd, ackd, data=b""):
        return self.call("send", gd, cd, ackd, data.hex())[0]

    def select(self, ms, read=(), accept=()):
        """The sets (readable, acceptable)."""
        words = self.call("select", ms, "r", *read, "a", *accept)[1:]
        at = words.index("a")
        return [int(w) for w in words[1:at]], [int(w) for w in words[at + 1:]]

    def wait_readable(self, gd):
        if self.select(10000, read=[gd])[0] != [gd]:
            raise AssertionError("the group did not become readable")

    def wait_acceptable(self, gd):
        if self.select(10000, accept=[gd])[1] != [gd]:
            raise AssertionError("the group has nothing to accept")

    def __exit__(self, kind, value, tb):
        self.p.stdin.close()
        self.p.stdout.close()
        super().__exit__(kind, value, tb)
