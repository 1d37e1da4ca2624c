# SPDX-License-Identifier: BSD-2-Clause
"""Thousands of kernel clients, and a daemon or a backend that is killed.

    clients' namespace ── veth ── the caller's namespace ── xtcp0 ── xtcpd
       holdc, CLIENT4/6              forwards                          └ echod

The clients' packets are forwarded to xtcpd, as a router's would be: while the
device is away they meet the blackhole routes and vanish, and nothing tells the
clients' kernel. `Holders` are the clients, tests/tools/holdc; `Mortal` is an
xtcpd whose serving process can be killed and comes again.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path

import harness
from harness import (
    BUILD, CLIENT4, CLIENT6, VIP4, VIP6, Process, Xtcpd, run, wait_for)
from referee import Path as Namespaces
from referee import set_ns

WIRE4 = "198.51.100.254"
WIRE6 = "2001:db8:1::fe"
# What fails a connection, in holdc's words.
FAILURES = ("resets", "refused", "eofs", "corrupt", "surplus", "errors",
            "timeouts")


class Wire(Namespaces):
    """The two namespaces with a veth between them."""

    def __enter__(self):
        super().__enter__()
        run("ip", "link", "add", "wire0", "type", "veth", "peer", "name",
            "wire0", "netns", f"/proc/{os.getpid()}/fd/{self.client}")
        self.address("wire0", WIRE4 + "/24", WIRE6 + "/64")
        with self.in_client():
            self.address("wire0", CLIENT4 + "/24", CLIENT6 + "/64")
            run("ip", "route", "add", "default", "via", WIRE4)
            run("ip", "-6", "route", "add", "default", "via", WIRE6)
            # one client machine opens them all, and many a second
            harness.sysctl("net/ipv4/ip_local_port_range", "2000 65000")
        return self

    @staticmethod
    def address(device, v4, v6):
        run("ip", "addr", "add", v4, "dev", device)
        run("ip", "addr", "add", v6, "dev", device, "nodad")
        run("ip", "link", "set", device, "up")


class Holders(Process):
    """holdc in the clients' namespace, told what to do by lines."""

    def __init__(self, wire, ports, connections, *args, within=60):
        """Clients of both families, spread over at most two ports."""
        self.within = within
        where = [arg for port in ports for vip in (VIP4, f"[{VIP6}]")
                 for arg in ("--connect", f"{vip}:{port}")]
        with wire.in_client():
            super().__init__(
                BUILD / "tests/tools/holdc", *where, "--connections",
                connections, *args, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE)
        self.buffer = b""
        self.result = None

    def line(self, within):
        """The next object that it prints."""
        deadline = time.monotonic() + within
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.p.stdout], [], [], left)[0]:
                raise AssertionError(f"holdc says nothing for {within} s: "
                                     f"{self.stderr()[-2000:]}")
            part = os.read(self.p.stdout.fileno(), 65536)
            if not part:
                self.wait()
                raise AssertionError(f"holdc ended: {self.stderr()[-2000:]}")
            self.buffer += part
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def ask(self, command):
        self.p.stdin.write(command.encode() + b"\n")
        self.p.stdin.flush()
        return self.line(self.within)

    def ready(self, within):
        """All are connected."""
        try:
            return self.line(within)
        except AssertionError as e:
            raise AssertionError(f"not all clients are connected: "
                                 f"{self.ask('stat')}") from e

    def mark(self):
        """A new mark begins; what was seen since the one before."""
        return self.ask("mark")

    def stat(self):
        return self.ask("stat")

    def recovered(self, within):
        """What waited at the mark waits no more; what was seen since."""
        seen = {}

        def done():
            seen.update(self.stat())
            check_none_failed(seen)
            return seen["before_mark"] == 0
        try:
            wait_for("what waited at the mark came", done, within, every=0.05)
        except AssertionError as e:
            raise AssertionError(f"{e}: {seen}") from e
        return seen

    def busy(self, requests, within=30):
        """Wait until so many were answered since the mark."""
        def enough():
            seen = self.stat()
            check_none_failed(seen)
            return seen["requests"] >= requests
        wait_for(f"{requests} requests", enough, within, every=0.05)

    def finish(self, within):
        """Each sends a last request and ends in order; what was seen of all."""
        self.p.stdin.write(b"finish\n")
        self.p.stdin.flush()
        self.result = self.line(within)
        self.wait()
        return self.result

    def __exit__(self, kind, value, tb):
        if kind is not None and self.result is None and self.alive():
            # for whoever looks into it
            with contextlib.suppress(Exception):
                print(f"# holdc: {self.ask('report')}")
        super().__exit__(kind, value, tb)
        self.p.stdin.close()
        self.p.stdout.close()


def check_none_failed(seen):
    bad = {k: seen[k] for k in FAILURES if seen[k]}
    if bad:
        raise AssertionError(f"clients were let down: {bad}")


def check_held(result):
    """Nothing was lost: every connection came to its end in order."""
    bad = {k: result[k] for k in FAILURES if result[k]}
    if bad or result["wrong_bytes"] or not result["ok"]:
        raise AssertionError(
            f"clients were let down: {bad}, wrong bytes: "
            f"{result['wrong_bytes']}, states: {result['states']}, "
            f"first: {result['incidents'][:6]}")
    if result["bytes_in"] != result["bytes_out"]:
        raise AssertionError(f"{result['bytes_out']} bytes were sent and "
                             f"{result['bytes_in']} came back")


def longest_ms(seen):
    """The longest pause: of what was answered, and of what still waits."""
    return max(seen["pause"]["max_ms"], seen["connect"]["max_ms"],
               seen["oldest_ms"])


def children_of(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [int(child) for task in Path(f"/proc/{pid}/task").iterdir()
                for child in (task / "children").read_text().split()]
    return []


class Mortal(Xtcpd):
    """xtcpd whose serving process is killed, and comes again: at once, by this
    class, or by its parent when supervised."""

    def __init__(self, groups, supervised=False, args=(), **kw):
        self.supervised = supervised
        args = (*args, "--supervise") if supervised else args
        super().__init__(groups, args=args, **kw)

    def serving_pid(self):
        if not self.supervised:
            return self.pid
        return (children_of(self.pid) or [None])[0]

    def murder(self):
        """kill -9; the process that was killed."""
        victim = wait_for("there is someone to kill", self.serving_pid)
        if not self.supervised:
            self.check_alive()
        os.kill(victim, signal.SIGKILL)
        if not self.supervised:
            self.p.wait()
            self.spawn()
        return victim

    def serving(self, after=None):
        """Wait until one that is not `after` answers; what it says."""
        def answers():
            self.check_alive()
            if self.serving_pid() in (None, after):
                return None
            return self.ready()
        return wait_for("xtcpd serves again", answers, within=30)
