# SPDX-License-Identifier: BSD-2-Clause
"""A running xtcpd as the world of a packet script.

Stage is what all cases share: one daemon with a group for each set of group
settings that cases ask for, the wire, and a backend stream per group. Two
threads per stream and wire sort what comes in to the cases, which run side by
side, each with client addresses of its own.

Real time is not exact: what is here is that the packets come, in order, not
when; a retransmission that a busy machine provoked is passed over. Cases whose
times matter are for virtual time alone; liveable() knows which.
"""

import ipaddress
import os
import select
import threading
import time

import packet
from client import Mismatch, addresses
from frames import Backend, Closed
from peer import Wire
from play import ACK_WINDOW_AUTO, group_settings
from script import split_op, time_range_us, time_us

WITHIN_S = 10.0
PORT = 5300  # of the first group
LONGEST_US = 2 * 10**6  # that a case may take, by what it says itself
LONGEST_AFTER_US = 600 * 1000
QUIET_S = 0.15
ONLY_VIRTUAL = {"set", "pool", "skip", "isn"}
KEYS = {"ack": "ack", "accept": "accept", "announce": "announce",
        "ack_window": "ack-window", "ack_deadline": "ack-deadline",
        "keepalive": "keepalive", "idle_timeout": "idle-timeout",
        "user_timeout": "user-timeout", "accept_timeout": "accept-timeout",
        "congestion": "congestion", "ecn": "ecn",
        "max_connections": "max-connections"}
NAMES = {"ack": ("deferred", "delivered", "immediate"),
         "accept": ("auto", "application"), "congestion": ("cubic", "reno")}


def case_groups(case):
    """The settings of a case's group, merged."""
    settings = {}
    for line in case.lines:
        if line.words[0] == "group":
            settings.update(group_settings(line.words[1:]))
    return settings


def liveable(case):
    """None, or why the case is for virtual time alone."""
    if case.virtual or case.pending:
        return case.virtual or "pending"
    spoke, total = False, 0
    for line in case.lines:
        word, args = line.words[0], line.words[1:]
        keys = {split_op(a)[0] for a in args}
        if word in ONLY_VIRTUAL or args[:1] in (["busy"], ["lost"]):
            return f"{word} {args[0] if args else ''}"
        if word == "client" and keys & {"addr", "vip", "port"}:
            return "an address of its own"
        if word == "group" and (spoke or keys - set(KEYS) - {
                "window", "deadline"}):
            return "group settings"
        if "rtt" in keys:
            return "a round-trip time"
        if "after" in args:
            after = time_range_us(args[args.index("after") + 1])[1]
            total += after
            if after > LONGEST_AFTER_US:
                return "time"
        if word == "wait":
            total += time_us(args[0])
        spoke = spoke or word in (">", ">>", "connect")
    return "time" if total > LONGEST_US else None


class Stage:
    """The daemon and what is around it; entered once."""

    def __init__(self, daemon, groups):
        self.daemon, self.groups = daemon, groups
        self.condition = threading.Condition()
        self.inboxes = {}  # key -> list of packets
        self.clients = {}  # (address, port) -> client
        self.streams = {}
        self.running = True
        self.threads = []

    @staticmethod
    def settings(cases):
        """{settings: (name, port)}, and the configuration of the groups."""
        groups, conf = {}, {}
        for case in cases:
            settings = case_groups(case)
            key = tuple(sorted(settings.items()))
            if key in groups:
                continue
            name, port = f"g{len(groups)}", PORT + len(groups)
            groups[key] = (name, port)
            conf[name] = {"port": port, "announce": True}
            for k, value in settings.items():
                if k in NAMES:
                    value = NAMES[k][value]
                elif k.endswith("timeout") or k in ("keepalive",
                                                    "ack_deadline"):
                    value //= 1000
                elif k == "ack_window" and value == ACK_WINDOW_AUTO:
                    value = "auto"
                elif k in ("announce", "ecn"):
                    value = bool(value)
                conf[name][KEYS[k]] = value
        return groups, conf

    def __enter__(self):
        self.wire = Wire().__enter__()
        self.start(self.read_wire)
        for name, port in self.groups.values():
            stream = Stream(self, Backend.dial(self.daemon.attach_path, port))
            self.streams[name] = stream
            self.start(stream.read)
        return self

    def start(self, run):
        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()

    def __exit__(self, kind, value, tb):
        self.running = False
        for thread in self.threads:
            thread.join()
        for stream in self.streams.values():
            stream.backend.close()
        self.wire.__exit__(kind, value, tb)

    def read_wire(self):
        while self.running:
            if not select.select([self.wire.fd], [], [], 0.1)[0]:
                continue
            raw = os.read(self.wire.fd, 65536)
            if raw[0] >> 4 == 6 and raw[24] == 0xff:
                continue
            p = packet.parse(raw)
            p.at_us, p.ttl = 0, p.ttl + 1  # the kernel forwarded it
            key = addresses(p) if p.proto == packet.TCP else (
                "icmp", packet.address(p.dst))
            with self.condition:
                self.inboxes.setdefault(key, []).append(p)
                self.condition.notify_all()

    def wait(self, ready, within=WITHIN_S):
        """Until ready(), under the lock; whether it was in time."""
        with self.condition:
            return self.condition.wait_for(ready, within)


class Stream:
    """The backend of one group: frames to the clients they are about."""

    def __init__(self, stage, backend):
        self.stage, self.backend = stage, backend
        self.pings, self.pong, self.lock = 0, 0, threading.Lock()
        self.closed = None
        backend.grant = False  # it is done here, under the lock
        self.conns = {}  # connection id -> client

    def send(self, kind, payload=b"", **header):
        with self.lock:
            self.backend.send(kind, payload, **header)

    def read(self):
        while self.stage.running:
            try:
                f = self.backend.next(0.1)
            except Closed as e:
                with self.stage.condition:
                    self.closed = f"the daemon closed the stream: {e}"
                    self.stage.condition.notify_all()
                return
            if f is None:
                continue
            if f.type == "PING":
                self.send("PONG", offset=f.offset)
                continue
            with self.stage.condition:
                self.take(f)
                self.stage.condition.notify_all()

    def take(self, f):
        if f.type == "PONG":
            self.pong = max(self.pong, f.offset)
            return
        if f.addr:
            key = (ipaddress.ip_address(f.addr.remote).packed,
                   f.addr.remote_port)
            client = self.stage.clients.get(key)
            if client:
                self.conns[f.conn] = client
                client.conn, client.eof_at = f.conn, None
        client = self.conns.get(f.conn)
        if not client:
            return
        client.events.add(f.type.lower())
        if f.type == "RESET":
            del self.conns[f.conn]
        if f.type == "DATA" and f.payload:
            self.send("CREDIT", aux=len(f.payload))
            client.delivered = f.offset + len(f.payload)
            client.undrained += f.payload
            if client.eager:
                self.send("REPLY", conn=f.conn, offset=client.acked,
                          ackd=client.delivered - client.acked)
                client.acked = client.delivered

    def sync(self):
        """All that was sent on the stream has had its effect."""
        with self.stage.condition:
            self.pings += 1
            number = self.pings
        self.send("PING", offset=number)
        if not self.stage.wait(lambda: self.pong >= number or self.closed):
            raise Mismatch("the stream does not answer")
        if self.closed:
            raise Mismatch(self.closed)


class LiveWorld:
    """One case's part of the stage."""

    exact = False

    def __init__(self, stage, case, number_of):
        self.stage, self.number = stage, number_of
        name, self.port = stage.groups[tuple(sorted(case_groups(case).items()))]
        self.stream = stage.streams[name]
        self.began = time.monotonic()
        self.echoes, self.told_us = 0, 0

    @property
    def now_us(self):
        return int((time.monotonic() - self.began) * 1e6)

    def clock_us(self):
        """Time as the script tells it: the clients' clocks stand still else."""
        return self.told_us

    def connected(self, client):
        """The backend hears of it before anything else happens."""
        self.stage.wait(lambda: client.conn, 2)

    def begin(self, play):
        self.play = play

    def add_client(self, client):
        """A client of the script gets an address of its own here."""
        i = self.number
        client.addr = f"2001:db8:9::{i + 0x100:x}" if client.v6 else \
            f"10.9.{1 + i // 200}.{1 + i % 200}"
        if client.to == 5222:
            client.to = self.port
        client.conn, client.seen = None, set()
        with self.stage.condition:
            self.stage.clients[packet.address(client.addr),
                               client.port] = client
            self.stage.inboxes[client.key] = []

    def set_group(self, settings):
        """It is configured."""

    def finish(self):
        pass

    def abandon(self):
        pass

    # --- packets and time

    def turn(self, packets):
        for raw in packets:
            self.stage.wire.send(raw)

    def between(self):
        """What follows shall not come in the same batch."""
        self.settle()

    def inbox(self, client, icmp):
        key = ("icmp", packet.address(client.addr)) if icmp else client.key
        return self.stage.inboxes.setdefault(key, [])

    def receive(self, client, icmp, most_us, must=False):
        if not must:
            self.settle()
        inbox = self.inbox(client, icmp)
        self.stage.wait(lambda: inbox,
                        max(0, most_us) / 1e6 + (WITHIN_S if must else 0))
        with self.stage.condition:
            if not inbox:
                return None
            p = inbox.pop(0)
        p.at_us = self.now_us
        return p

    def ignorable(self, client, p):
        """Was this very payload seen before? Then the machine was slow."""
        return (p.seq, len(p.payload)) in client.seen and (
            len(p.payload) or "F" in p.flags or "S" in p.flags)

    def saw(self, client, p):
        client.seen.add((p.seq, len(p.payload)))

    def settle(self):
        """What was sent before has had its effect, and that is in."""
        self.stream.sync()
        for _ in range(2):
            self.echo()

    def echo(self):
        """The answer to an echo request is behind everything before it."""
        self.echoes += 1
        client = self.play.client
        data = f"settle {self.number} {self.echoes}".encode()
        self.stage.wire.send(packet.echo_request(
            client.addr, client.vip, 7, self.echoes, data))
        inbox = self.inbox(client, True)

        def answered():
            found = [p for p in inbox if p.payload[8:] == data]
            for p in found:
                inbox.remove(p)
            return bool(found)
        if not self.stage.wait(answered):
            raise Mismatch("an echo request was not answered")

    def pass_time(self, us, leap=False):
        self.told_us += us
        time.sleep(us / 1e6)

    def pass_quiet(self, us):
        self.told_us += us
        time.sleep(min(us / 1e6, QUIET_S))

    def leftovers(self):
        self.settle()
        left = []
        with self.stage.condition:
            for client in self.play.clients.values():
                for p in self.inbox(client, False):
                    client.relative(p)
                    if not self.ignorable(client, p):
                        left.append(p)
        return left

    # --- the backend

    def known(self, client):
        """The backend knows of the connection: its id on the wire."""
        if not self.stage.wait(lambda: client.conn):
            raise Mismatch("the backend was not told of the connection")
        return client.conn

    def settle_data(self, client, n):
        self.stage.wait(lambda: len(client.undrained) >= n)

    def settle_said(self, client):
        """All that the client said in order is with the backend."""
        end = 1
        while end in client.said:
            end += 1
        self.stage.wait(lambda: client.delivered >= end - 1, 1)

    def settle_event(self, client, name):
        self.stage.wait(lambda: name in client.events)

    def reply(self, client, ackd, data):
        conn = self.known(client)
        client.replies += data
        self.stream.send("REPLY", data, conn=conn, offset=client.acked,
                         ackd=ackd)
        client.acked += ackd
        return len(data)

    def backend(self, client, verb):
        kinds = {"close": "CLOSE", "shutdown": "FIN", "abort": "ABORT",
                 "accept": "ACCEPT", "refuse": "REJECT"}
        self.stream.send(kinds[verb], conn=self.known(client))
        self.stream.sync()

    def ready(self, client):
        raise ValueError("only in virtual time")
