# SPDX-License-Identifier: BSD-2-Clause
"""The stack alone as the world of a packet script, in virtual time."""

import collections
import os
import subprocess

import packet
from client import Mismatch, addresses

START_US = 1000 * 10**6
EVENTS = {"open": 1, "data": 2, "eof": 4, "reset": 8, "acked": 16}


class StackDied(Exception):
    """vstack ended: an assert, a sanitizer, or a wrong command."""


class VirtualWorld:
    """The stack behind tests/tools/vstack, and virtual time."""

    exact = True  # times and internal state can be compared

    def __init__(self, program):
        self.program, self.pipe = program, None

    def spawn(self):
        self.pipe = subprocess.Popen(
            [self.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, bufsize=1)

    def call(self, *words):
        """One command; its answer. Packets and events go to their places."""
        try:
            self.pipe.stdin.write(" ".join(str(w) for w in words) + "\n")
            self.pipe.stdin.flush()
        except BrokenPipeError:
            self.died()
        while True:
            answer = self.pipe.stdout.readline().split()
            if not answer:
                self.died()
            if answer[0] == "out":
                self.take_packet(int(answer[1]), bytes.fromhex(answer[2]))
            elif answer[0] == "event":
                self.told.append((int(answer[1]), int(answer[2])))
            elif answer[0] == "ok":
                return answer[1:]
            else:
                raise Mismatch(" ".join(answer[1:]))

    def died(self):
        _, err = self.pipe.communicate()
        self.pipe = None
        raise StackDied("the stack died: " + (err.strip() or "no word"))

    def close(self):
        if self.pipe:
            self.pipe.stdin.close()
            self.pipe.wait()
            self.pipe = None

    # --- a case's life

    def begin(self, play):
        if not self.pipe:
            self.spawn()
        self.play, self.now_us = play, START_US
        self.inboxes = collections.defaultdict(collections.deque)
        self.told, self.records, self.started = [], {}, False
        self.limits, self.pool, self.groups = [], None, {}

    def add_client(self, client):
        pass

    def set_limits(self, words):
        self.limits += words

    def set_pool(self, words):
        self.pool = (words + ["90", "75"])[:3] if len(words) == 1 else words

    def set_group(self, settings):
        self.groups[settings.get("id", 1)] = settings
        if self.started:
            self.tell_group(settings)

    def tell_group(self, settings):
        self.call("group", *(f"{k}={v}" for k, v in settings.items()))

    def start(self):
        """The settings are known: the first packet is about to come."""
        if self.started:
            return
        self.started = True
        self.call("new", f"now={START_US}", *self.limits)
        size, high, low = self.pool or ("1048576", "90", "75")
        self.call("pool", 0, size, high, low)
        for settings in self.groups.values() or [{}]:
            self.tell_group(settings)

    def finish(self):
        if self.started and self.pipe:
            self.call("end")

    def abandon(self):
        """The case failed: whatever state that left, the next one is clean."""
        if self.pipe and self.started:
            try:
                self.call("end")
            except (Mismatch, StackDied):
                pass

    # --- packets and time

    def take_packet(self, at, raw):
        p = packet.parse(raw)
        p.at_us = at
        self.inboxes[addresses(p) if p.proto == packet.TCP else
                     ("icmp", packet.address(p.dst))].append(p)

    def turn(self, packets):
        self.start()
        for raw in packets:
            self.call("in", raw.hex() or "-")
        self.end_turn()

    def end_turn(self):
        """Events and deliveries, then what is due is sent; as in a worker."""
        for _ in range(4):
            self.told = []
            self.call("events")
            for ri, bits in self.told:
                self.event(ri, bits)
            if not self.told:
                break
        self.call("flush")

    def event(self, ri, bits):
        client = self.client_of(ri)
        if not client:
            return
        client.events |= {n for n, bit in EVENTS.items() if bits & bit}
        if bits & EVENTS["reset"]:
            self.call("forget", ri)
            self.records.pop(client.key, None)
            return
        if bits & EVENTS["data"] and not client.busy:
            self.deliver(client, ri)

    def client_of(self, ri):
        for client in self.play.clients.values():
            if self.record(client) == ri:
                return client
        return None

    def record(self, client):
        """The client's record number, or None."""
        ri = int(self.call("find", client.port,
                           packet.address(client.addr).hex())[0])
        return None if ri < 0 else ri

    def deliver(self, client, ri):
        while True:
            offset, _, *data = self.call("peek", ri)
            data = bytes.fromhex(data[0]) if data else b""
            if not data:
                return
            if int(offset) != client.delivered:
                raise Mismatch(f"delivered from {offset}, not "
                               f"{client.delivered}")
            self.call("deliver", ri, len(data))
            client.delivered += len(data)
            client.undrained += data
            if client.eager:
                self.reply(client, client.delivered - client.acked, b"",
                           flush=False)

    def receive(self, client, icmp, most_us, must=False):
        """The client's next packet, up to most_us from now, or None."""
        key = ("icmp", packet.address(client.addr)) if icmp else client.key
        inbox = self.inboxes[key]
        end = self.now_us + most_us
        self.start()
        while not inbox and self.now_us < end:
            self.now_us = int(self.call("until", end)[0])
            self.end_turn()
        return inbox.popleft() if inbox else None

    def pass_quiet(self, us):
        self.pass_time(us)

    def pass_time(self, us, leap=False):
        self.start()
        self.now_us += us
        self.call("jump" if leap else "run", self.now_us)
        self.end_turn()

    def leftovers(self):
        """Packets that nobody asked for."""
        left = [p for inbox in self.inboxes.values() for p in inbox]
        for p in left:
            self.play.client.relative(p)
        return left

    # --- the backend

    def reply(self, client, ackd, data, flush=True):
        ri = self.record(client)
        if ri is None:
            raise Mismatch("the backend speaks of a connection that is gone")
        took = int(self.call("reply", ri, client.acked, ackd,
                             data.hex() or "-")[0])
        if took == -22:
            raise Mismatch("acknowledges more than was delivered")
        client.acked += ackd
        client.replies += data[:max(took, 0)]
        if flush:
            self.end_turn()
        return took

    def backend(self, client, verb):
        """close, shutdown, abort, accept, refuse, lost."""
        ri = self.record(client)
        if ri is None:
            raise Mismatch("the backend speaks of a connection that is gone")
        if verb == "lost":
            self.call("undeliver", ri)
            client.delivered = client.acked
            client.undrained.clear()
            self.deliver(client, ri)
        else:
            self.call(verb, ri)
        self.end_turn()

    def ready(self, client):
        ri = self.record(client)
        if ri is not None:
            self.deliver(client, ri)
            self.end_turn()

    # Here everything is as it will be as soon as the turn is over.

    def clock_us(self):
        return self.now_us - START_US

    def connected(self, client):
        pass

    def between(self):
        pass

    def settle(self):
        pass

    def settle_data(self, client, n):
        pass

    def settle_said(self, client):
        pass

    def settle_event(self, client, name):
        pass

    def ignorable(self, client, p):
        return False

    def saw(self, client, p):
        pass

    # --- looking inside

    def info(self, client):
        ri = self.record(client)
        if ri is None:
            return {"state": "NONE"}
        return dict(w.split("=") for w in self.call("info", ri))

    def counter(self, name):
        self.start()
        return int(self.call("counter", name)[0])


def vstack_program():
    build = os.environ.get("XTCP_BUILD") or os.path.join(
        os.path.dirname(__file__), "..", "..", "build", "gcc")
    return os.path.join(build, "tests", "tools", "vstack")
