# SPDX-License-Identifier: BSD-2-Clause
"""Servers that know nothing of xtcpd, and lines to and from them."""

import fcntl
import select
import socket
import subprocess
import sys
import termios

import harness
from harness import BUILD, VIP4, Process, Xtcpd, connect, equal, wait_for

PORT = 7
SERVER = 4000
# Enough of them to be many, and each asks so often.
CLIENTS, ROUNDS = 500, 20


class Staticd(Process):
    """tests/tools/staticd; see there what it answers."""

    def __init__(self, where=SERVER, *args):
        super().__init__(BUILD / "tests/tools/staticd", *args, where,
                         stdout=subprocess.PIPE)
        if not select.select([self.p.stdout], [], [], harness.WAIT_S)[0]:
            raise AssertionError("staticd does not begin")
        equal(self.p.stdout.readline(), b"ready\n", self.stderr())

    def __exit__(self, kind, value, tb):
        super().__exit__(kind, value, tb)
        self.p.stdout.close()


def backend(where=SERVER, **keys):
    address = where if isinstance(where, str) else f"tcp:127.0.0.1:{where}"
    return {"address": address, "protocol": "stream",
            **{k.replace("_", "-"): v for k, v in keys.items()}}


def group(backends=None, port=PORT, **keys):
    return {"port": port, **{k.replace("_", "-"): v for k, v in keys.items()},
            "backend": backends or {"a": backend()}}


def daemon(backends=None, workers=1, **keys):
    return Xtcpd({"g": group(backends, **keys)}, workers)


class Lines:
    """A client that speaks in lines."""

    def __init__(self, port=PORT, address=VIP4):
        self.sock = connect(port, address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile("rb")

    def say(self, text):
        self.sock.sendall(text.encode() + b"\n")

    def wait_acked(self):
        """Until the server's kernel has all that was said."""
        def unacked():
            left = fcntl.ioctl(self.sock, termios.TIOCOUTQ, b"\0" * 4)
            return int.from_bytes(left, sys.byteorder)
        wait_for("it is acknowledged", lambda: unacked() == 0)

    def hear(self):
        return self.file.readline().decode().rstrip("\n")

    def ask(self, text):
        self.say(text)
        return self.hear()

    def ended(self):
        """The server's end: no more bytes."""
        equal(self.file.read(), b"")

    def was_reset(self):
        try:
            got = self.file.read()
        except ConnectionResetError:
            return
        raise AssertionError(f"no reset, but {got!r}")

    def close(self):
        self.file.close()
        self.sock.close()


def state(d, name="a"):
    return {b["name"]: b for b in d.ask("show backends")}[name]


def wait_links(d, n, name="a"):
    wait_for(f"{n} connections to {name}",
             lambda: state(d, name)["streams_up"] == n)


def pattern(n):
    """The first n bytes of staticd's "send"."""
    one = bytes((at * 31 + (at >> 8)) & 255 for at in range(65536))
    return (one * (n // 65536 + 1))[:n]


def checksum(data):
    """What staticd's "sink" says of them."""
    total = 0
    for byte in data:
        total = (total * 31 + byte) & (1 << 64) - 1
    return total


