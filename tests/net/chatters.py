# SPDX-License-Identifier: BSD-2-Clause
"""Rooms full of people: kernel clients of the chat servers in bindings/.

    Chat("python", d, PORT)     the example server, noting what it processes
    Crowd(PORT, 50)             50 clients in one loop, nothing waits for one

A message is "m CLIENT NUMBER"; everybody else in the room has to get it.
"""

import collections
import fcntl
import json
import re
import selectors
import signal
import struct
import sys
import tempfile
import time
from pathlib import Path

from harness import TOP, VIP4, VIP6, WAIT_S, Process, check_log, connect

SIOCOUTQ = 0x5411
SERVERS = {
    "python": ([sys.executable, TOP / "bindings/python/examples/chat.py"],
               {"PYTHONPATH": str(TOP / "bindings/python/src"),
                "PYTHONDONTWRITEBYTECODE": "1"}),
    "node": (["node", TOP / "bindings/node/examples/chat.js"],
             {"NODE_DEBUG": "xtcp"}),
}
MESSAGE = re.compile(rb"<[^>]*> m (\d+) (\d+)")


class Chat(Process):
    """An example server. Each life of it has a journal of its own."""

    def __init__(self, language, daemon, port, listen=None):
        """listen: where xtcpd connects, instead of the other way."""
        command, env = SERVERS[language]
        where = ("-l", f"unix:{listen}") if listen else ("-p", port)
        self.directory = tempfile.TemporaryDirectory(prefix="chat-")
        self.lives = 0
        super().__init__(*command, *where, "-j", self.next_journal(),
                         env={**env, "XTCP_ATTACH": daemon.attach_path})

    def next_journal(self):
        self.lives += 1
        return f"{self.directory.name}/{self.lives}"

    def again(self):
        """kill -9, and the next one."""
        self.check_alive()
        self.kill(signal.SIGKILL)
        self.args[-1] = self.next_journal()
        self.spawn()

    def journal(self, life):
        """What a life has processed, in order."""
        path = Path(f"{self.directory.name}/{life}")
        text = path.read_text() if path.exists() else ""
        # the last line may be half written
        return [json.loads(line) for line in text.splitlines(True)
                if line.endswith("\n")]

    def journals(self):
        return [self.journal(life + 1) for life in range(self.lives)]

    def __exit__(self, kind, value, tb):
        text = self.stderr()
        if kind is not None:
            print(f"# {self.args[1]}'s log:\n{text[-2000:]}", file=sys.stderr)
        alive = self.alive()
        if alive:
            self.kill(signal.SIGTERM)
        status = self.p.returncode
        super().__exit__(kind, value, tb)
        self.directory.cleanup()
        check_log("chat", text)
        if kind is None and (not alive or status):
            raise AssertionError(f"the chat server ended with {status}: "
                                 f"{text[-2000:]}")


class Client:
    def __init__(self, number, port):
        self.number = number
        self.sock = connect(port, VIP6 if number % 2 else VIP4)
        self.sock.setblocking(False)
        self.to_send = b""
        self.rest = b""
        self.messages = 0  # that it was told to say
        self.heard = collections.Counter()  # (client, number)
        self.order = collections.defaultdict(list)
        self.others = []  # lines that are no messages
        self.position = 0  # in the stream that it sends
        self.said = {}  # position: line

    def say(self, line):
        self.said[self.position] = line
        self.position += len(line) + 1
        self.to_send += line + b"\n"

    def message(self):
        self.say(b"m %d %d" % (self.number, self.messages))
        self.messages += 1

    def take(self, data):
        if not data:
            raise AssertionError(f"client {self.number} was disconnected")
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            m = MESSAGE.fullmatch(line)
            if m is None:
                self.others.append(line)
                continue
            sender, number = int(m[1]), int(m[2])
            self.heard[sender, number] += 1
            self.order[sender].append(number)

    def unacknowledged(self):
        """Bytes that the server's acknowledgement is still out for."""
        out = fcntl.ioctl(self.sock, SIOCOUTQ, struct.pack("i", 0))
        return struct.unpack("i", out)[0] + len(self.to_send)


class Crowd:
    def __init__(self, port, n):
        self.clients = [Client(i, port) for i in range(n)]
        self.selector = selectors.DefaultSelector()
        for c in self.clients:
            self.selector.register(c.sock, selectors.EVENT_READ, c)

    def pump(self, within=0.05):
        """Let them talk and listen."""
        for c in self.clients:
            events = selectors.EVENT_READ
            if c.to_send:
                events |= selectors.EVENT_WRITE
            if self.selector.get_key(c.sock).events != events:
                self.selector.modify(c.sock, events, c)
        for key, events in self.selector.select(within):
            c = key.data
            if events & selectors.EVENT_WRITE:
                c.to_send = c.to_send[c.sock.send(c.to_send):]
            if events & selectors.EVENT_READ:
                c.take(c.sock.recv(1 << 18))

    def until(self, what, condition, within=3 * WAIT_S):
        deadline = time.monotonic() + within
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not in {within} s: {what}")
            self.pump()

    def enter(self):
        """Each tells its name, and knows that it is in."""
        for c in self.clients:
            c.others.clear()
            c.say(b"/nick c%d" % c.number)
        self.until("all are in", lambda: all(
            b"* you are c%d" % c.number in c.others for c in self.clients))

    def all_say(self, n):
        for _ in range(n):
            for c in self.clients:
                c.message()

    def deliveries(self):
        return sum(sum(c.heard.values()) for c in self.clients)

    def settled(self):
        """Every byte was processed: the server has acknowledged it."""
        self.until("every byte is acknowledged", lambda: not any(
            c.unacknowledged() for c in self.clients))

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        for c in self.clients:
            c.sock.close()
        self.selector.close()

