# SPDX-License-Identifier: BSD-2-Clause
"""Servers that know nothing of xtcpd, and clients that compare their answers.

A server is started twice, directly and by xtcp-run; the same operations on both
have to give the same bytes (Load). What is in the way of that, such as a date,
is taken out by the protocol's own reader.
"""

import os
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from harness import (
    BUILD, VIP4, WAIT_S, Process, check_log, run, wait_for)
from runner import Skip, die_with_parent

LIBRARY = BUILD / "src/run/.libs/libxtcp-run.so"
LOCAL = "127.0.0.1"


def needs(*programs):
    for p in programs:
        if not shutil.which(p):
            raise Skip(f"{p} is not installed")
    if not LIBRARY.exists():
        raise Skip("this build has no shared libraries")


class Server(Process):
    """A server, by xtcp-run when a daemon is given, else directly."""

    ends_by = signal.SIGTERM

    def __init__(self, *command, daemon=None, options=(), wrap=(), env=None,
                 stdin=subprocess.DEVNULL, cwd=False):
        """wrap: a command that runs it; cwd: in its own directory, self.dir."""
        self.dir = tempfile.mkdtemp(prefix="server-")
        os.chmod(self.dir, 0o755)
        self.daemon = daemon
        self.prepare()
        env = dict(env or {})
        if daemon:
            env.update(XTCP_ATTACH=daemon.attach_path,
                       XTCP_RUN_LIBRARY=str(LIBRARY))
            command = (BUILD / "xtcp-run", *options, *command)
        self.cwd = self.dir if cwd else None
        self.out = open(f"{self.dir}/stdout", "w+")
        super().__init__(*wrap, *command, env=env, stdin=stdin,
                         stdout=self.out)

    def start(self, args, **kw):
        return super().start(args, cwd=self.cwd, **kw)

    def prepare(self):
        """Make what it needs in self.dir."""

    def stdout(self):
        return Path(f"{self.dir}/stdout").read_text(errors="replace")

    def served(self, port):
        """Wait until the server is one of xtcpd's backends, or listens."""
        self.check_alive()
        if self.daemon:
            return any(b["streams_up"] >= self.daemon.workers
                       for b in self.daemon.ask("show backends"))
        try:
            socket.create_connection((LOCAL, port), timeout=WAIT_S).close()
            return True
        except OSError:
            return False

    def __exit__(self, kind, value, tb):
        try:
            if self.alive():
                os.kill(self.pid, self.ends_by)
                try:
                    self.p.wait(WAIT_S)
                except subprocess.TimeoutExpired:
                    pass
            self.kill()
            text = self.stderr()
            if kind is not None:
                print(f"# {self.name}'s log:\n{text[-2000:]}\n"
                      f"{self.stdout()[-2000:]}")
            check_log(self.name, text)
        finally:
            self.out.close()
            self.log.close()
            shutil.rmtree(self.dir, ignore_errors=True)


def tcp_sockets(pid):
    """How many TCP sockets the process has that are connected."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    count = 0
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            field = line.split()
            count += field[3] == "01" and field[9] in inodes
    return count


class Client:
    """One connection of a Load: it sends a request, and reads the answer."""

    def __init__(self, load, number):
        self.load, self.number = load, number
        self.step = 0
        self.data = b""
        self.out = b""
        self.over = False
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.connect_ex((load.address, load.port))
        self.ask()

    def ask(self):
        self.out += self.load.request(self.number, self.step)

    def on_event(self, mask):
        if mask & selectors.EVENT_WRITE and self.out:
            n = self.sock.send(self.out)
            self.out = self.out[n:]
        if mask & selectors.EVENT_READ:
            part = self.sock.recv(1 << 18)
            if not part and self.step >= self.load.steps:
                self.over = True
                return
            if not part:
                raise AssertionError(
                    f"client {self.number} was closed at step {self.step}, "
                    f"with {self.data[:200]!r}")
            self.data += part
            self.take()

    def take(self):
        """Every whole answer that there is."""
        while self.step < self.load.steps:
            answer, rest = self.load.answer(self.data)
            if answer is None:
                return
            self.load.answers[self.number, self.step] = answer
            self.data = rest
            self.step += 1
            self.load.done += 1
            self.load.begun += self.step == 1
            if self.step < self.load.steps:
                self.ask()

    def wants(self):
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self.out else 0)


class Load:
    """Clients, all at once, each with so many requests one after the other.

    request(client, step) gives the bytes to send, answer(data) the first whole
    answer and what follows it, or (None, data).
    """

    def __init__(self, port, request, answer, clients=500, steps=20):
        self.port, self.clients, self.steps = port, clients, steps
        self.request, self.answer = request, answer

    def connect_some(self, clients, selector, at_once):
        """More clients, while few wait for their first answer."""
        while len(clients) < self.clients and \
                len(clients) - self.begun < at_once:
            c = Client(self, len(clients))
            c.mask = c.wants()
            selector.register(c.sock, c.mask, c)
            clients.append(c)

    def run(self, address, within=90, midway=None):
        """The answers by (client, step); midway() is called when half are
        there."""
        self.address = address
        self.answers, self.done, self.begun = {}, 0, 0
        total = self.clients * self.steps
        deadline = time.monotonic() + within
        selector = selectors.DefaultSelector()
        clients = []
        # a kernel's listener may have a short backlog
        at_once = 4 if address == LOCAL else 64
        while self.done < total:
            self.connect_some(clients, selector, at_once)
            if midway and self.begun == self.clients and \
                    self.done >= total // 2:
                midway()
                midway = None
            for key, mask in selector.select(1):
                c = key.data
                c.on_event(mask)
                if c.over:
                    selector.unregister(c.sock)
                elif c.wants() != c.mask:
                    c.mask = c.wants()
                    selector.modify(c.sock, c.mask, c)
            if time.monotonic() > deadline:
                late = [c.number for c in clients if c.step < self.steps]
                raise AssertionError(f"{self.done} of {total} answers in "
                                     f"{within} s; without: {late[:20]}")
        self.socks = [c.sock for c in clients]
        selector.close()
        return self.answers

    def close(self):
        for s in self.socks:
            s.close()


def equal_answers(got, want):
    """The same answers; the first that differs is shown."""
    for key in sorted(want):
        if got.get(key) != want[key]:
            raise AssertionError(f"client {key[0]} step {key[1]}: got "
                                 f"{(got.get(key) or b'')[:300]!r}, directly "
                                 f"{want[key][:300]!r}")
    if len(got) != len(want):
        raise AssertionError(f"{len(got)} answers, directly {len(want)}")


# --- protocols

def resp(*words):
    """A redis command."""
    parts = [w if isinstance(w, bytes) else str(w).encode() for w in words]
    return b"*%d\r\n" % len(parts) + b"".join(
        b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


def resp_end(data, at):
    """Where the redis reply that begins at `at` ends; None: not there yet."""
    line = data.find(b"\r\n", at)
    if line < 0:
        return None
    kind, number = data[at:at + 1], data[at + 1:line]
    end = line + 2
    if kind == b"$":
        if int(number) < 0:
            return end
        end += int(number) + 2
        return end if len(data) >= end else None
    if kind == b"*":
        for _ in range(int(number)):
            end = resp_end(data, end)
            if end is None:
                return None
    return end


def resp_answer(data):
    end = resp_end(data, 0) if data else None
    return (None, data) if end is None else (data[:end], data[end:])


def http_answer(data):
    """A response with Content-Length; without the lines that change."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None, data
    lines = data[:end].split(b"\r\n")
    length = [int(x.split(b":")[1]) for x in lines
              if x.lower().startswith(b"content-length:")]
    body = end + 4 + (length[0] if length else 0)
    if len(data) < body:
        return None, data
    lines = [x for x in lines if not x.lower().startswith(b"date:")]
    return b"\r\n".join(lines) + data[end:body], data[body:]


def mqtt_packet(kind, body):
    """An MQTT packet whose first byte is kind."""
    n, length = len(body), b""
    while True:
        length += bytes([n % 128 | (0x80 if n > 127 else 0)])
        n //= 128
        if not n:
            return bytes([kind]) + length + body


def mqtt_text(text):
    return len(text).to_bytes(2, "big") + text.encode()


def mqtt_answer(data):
    """One packet."""
    length, shift, at = 0, 0, 1
    while True:
        if at >= len(data):
            return None, data
        length |= (data[at] & 0x7f) << shift
        at += 1
        if not data[at - 1] & 0x80:
            break
        shift += 7
    if len(data) < at + length:
        return None, data
    return data[:at + length], data[at + length:]
