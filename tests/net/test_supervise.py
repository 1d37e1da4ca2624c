#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""xtcpd --supervise, and what outlives a process: crash, hang, upgrade, end."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
from pathlib import Path

import harness
from harness import (
    BUILD, CLIENT4, VIP4, VIP6, Echod, Net, Process, Xtcpd, connect, contains,
    equal, recv_exactly, run, wait_attached, wait_for)
from outlive import (
    Manager, children, is_blackhole, is_running, link, queues, routes)

PORT = 7


# --- the daemon under its supervisor

class Supervised(Xtcpd):
    """xtcpd --supervise, from a copy of the program that a test can replace."""

    def __init__(self, workers=1, **kw):
        self.bin = tempfile.mkdtemp(prefix="xtcpd-bin-")
        self.program = f"{self.bin}/xtcpd"
        self.install(BUILD / "xtcpd")
        super().__init__({"echo": {"port": PORT}}, workers,
                         program=self.program, mode="--supervise", **kw)

    def install(self, path):
        """As package managers do: a new file takes the name."""
        shutil.copy(path, self.program + ".new")
        os.rename(self.program + ".new", self.program)

    def install_script(self, text):
        with open(self.program + ".new", "w") as f:
            f.write("#!/bin/sh\n" + text)
        os.chmod(self.program + ".new", 0o755)
        os.rename(self.program + ".new", self.program)

    def worker(self):
        """The process that serves, once there is one."""
        def serving():
            self.check_alive()
            found = children(self.pid)
            return found[0] if len(found) == 1 and self.ready() else None
        return wait_for("a process serves", serving, within=30)

    def next_worker(self, old):
        return wait_for("the next one serves",
                        lambda: (self.worker() or old) != old and self.worker(),
                        within=30)

    def wait_log(self, pattern, n=1):
        return wait_for(f"{pattern} is logged {n} times", lambda: (
            found := re.findall(pattern, self.stderr())) and
            len(found) >= n and found, within=60)

    def arena(self):
        return Path(f"{self.dir}/state/arena")

    def __exit__(self, kind, value, tb):
        try:
            super().__exit__(kind, value, tb)
        finally:
            shutil.rmtree(self.bin, ignore_errors=True)


@contextlib.contextmanager
def supervised(**kw):
    with Net(), Supervised(**kw) as d, Echod("-p", PORT, daemon=d) as e:
        wait_attached(d)
        yield d, e


@contextlib.contextmanager
def parent_stopped(d):
    """Nothing is started again meanwhile."""
    os.kill(d.pid, signal.SIGSTOP)
    wait_for("the parent is stopped", lambda: Path(
        f"/proc/{d.pid}/stat").read_text().rsplit(") ", 1)[1][0] == "T")
    try:
        yield
    finally:
        os.kill(d.pid, signal.SIGCONT)


def kill(pid, sig=signal.SIGKILL):
    os.kill(pid, sig)
    wait_for(f"{pid} has ended", lambda: not is_running(pid))


def exchange(s, text):
    s.sendall(text)
    equal(recv_exactly(s, len(text)), text)


def can_connect():
    with connect(PORT) as s:
        exchange(s, b"hello")


def answers(d):
    try:
        return d.ask("show info")
    except (OSError, ConnectionError):
        return None


def nothing_is_left(d):
    equal(link(), None)
    equal(routes(), [])
    equal(d.arena().exists(), False)


# --- crash

def test_a_killed_process_is_started_again_on_the_same_device():
    with supervised(workers=2) as (d, _):
        old, before, ways = d.worker(), link(), routes()
        equal([is_blackhole(r) for r in ways], [False, False])
        kill(old)
        d.next_worker(old)
        equal(link()["ifindex"], before["ifindex"])
        equal(queues(), (2, 0))
        equal(routes(), ways)
        contains(d.stderr(), "2 queues (2 taken over)")
        wait_attached(d)
        can_connect()


def ping_once(ident):
    """An echo request that nobody will repeat; the socket for its answer."""
    body = struct.pack("!BBHHH", 8, 0, 0, ident, 1) + b"in the gap"
    body += b"\0" * (len(body) % 2)
    total = sum(struct.unpack(f"!{len(body) // 2}H", body))
    total = (total & 0xffff) + (total >> 16)
    total += total >> 16
    body = body[:2] + struct.pack("!H", ~total & 0xffff) + body[4:]
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    s.bind((CLIENT4, 0))
    s.settimeout(30)
    s.sendto(body, (VIP4, 0))
    return s


def test_a_packet_that_is_sent_while_nobody_reads_is_answered():
    with supervised() as (d, _):
        old = d.worker()
        with parent_stopped(d):
            kill(old)
            equal([p for p in children(d.pid) if is_running(p)], [])
            s = ping_once(0x7e57)
        while True:
            packet = s.recv(2048)
            kind, ident = packet[20], struct.unpack("!H", packet[24:26])[0]
            if (kind, ident) == (0, 0x7e57):
                break
        s.close()


def test_a_crash_loop_backs_off_and_ends():
    with supervised() as (d, _):
        old = d.worker()
        before = link()["ifindex"]
        d.install_script("exit 3\n")
        kill(old)
        waits = d.wait_log(r"the next start is in (\d+) ms", 4)[:4]
        equal(waits, ["100", "200", "400", "800"])
        contains(d.stderr(), "ended with status 3")
        d.install(BUILD / "xtcpd")
        d.next_worker(old)
        wait_attached(d)
        can_connect()
        equal(link()["ifindex"], before)


@harness.timeout(240)
def test_a_process_that_hangs_is_killed():
    with supervised() as (d, _):
        old = d.worker()
        before = link()["ifindex"]
        os.kill(old, signal.SIGSTOP)  # SIGABRT doesn't reach it either
        d.wait_log("hangs: it is killed")
        d.next_worker(old)
        contains(d.stderr(), f"process {old} was killed by signal")
        wait_attached(d)
        can_connect()
        equal(link()["ifindex"], before)


# --- connections

def needs_recovery(d):
    if "cannot do it yet" in d.stderr():
        raise harness.Skip("an arena cannot be taken over yet")


@contextlib.contextmanager
def with_connections(n=40, **kw):
    """supervised(), and clients that have exchanged something."""
    with supervised(**kw) as (d, e), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(
            connect(PORT, VIP6 if i % 4 == 3 else VIP4)) for i in range(n)]
        for i, s in enumerate(clients):
            exchange(s, b"before %d" % i)
        yield d, clients


def go_on(d, clients):
    needs_recovery(d)
    for i, s in enumerate(clients):
        exchange(s, b"after %d" % i)
    info = d.ask("show info")
    equal((info["connections"]["established"], info["recovered_connections"],
           info["lost_in_recovery"]), (len(clients), len(clients), 0))


def test_connections_outlive_a_kill():
    with with_connections(workers=2) as (d, clients):
        for _ in range(3):
            old = d.worker()
            kill(old)
            d.next_worker(old)
            go_on(d, clients)


def test_connections_outlive_an_upgrade():
    with with_connections(workers=2) as (d, clients):
        for _ in range(3):
            old = d.worker()
            d.install(BUILD / "xtcpd")
            os.kill(d.pid, signal.SIGUSR2)
            d.next_worker(old)
            go_on(d, clients)


def test_connections_outlive_the_parent():
    with with_connections() as (d, clients):
        child = d.worker()
        kill(d.pid)
        d.wait()
        d.stopped = True
        wait_for("the child has ended", lambda: not is_running(child))
        with Process(d.program, "--supervise", "-c", d.conf) as p:
            wait_for("it serves", lambda: p.check_alive() or answers(d))
            if "cannot do it yet" in p.stderr():
                raise harness.Skip("an arena cannot be taken over yet")
            go_on(d, clients)
            p.kill(signal.SIGTERM)


def test_a_request_that_is_sent_while_nobody_reads_is_answered():
    # once it is sent, nothing that has text gets through to xtcpd: it is the
    # first transmission that is answered
    rules = harness.Dropper("tcp dport 7 ip length > 60", outbound=False)
    with with_connections(n=1) as (d, clients):
        old = d.worker()
        with parent_stopped(d):
            kill(old)
            clients[0].sendall(b"sent into the gap" * 10)
            rules.__enter__()
        try:
            d.next_worker(old)
            needs_recovery(d)
            equal(recv_exactly(clients[0], 170), b"sent into the gap" * 10)
        finally:
            rules.__exit__(None, None, None)


class Talker(threading.Thread):
    """A client that exchanges message after message until it is told to end."""

    def __init__(self):
        super().__init__(daemon=True)
        self.sock = connect(PORT, within=100)
        self.exchanged, self.error, self.ends = 0, None, False

    def run(self):
        try:
            while not self.ends:
                exchange(self.sock, b"message %d," % self.exchanged * 50)
                self.exchanged += 1
            self.sock.close()
        except (OSError, AssertionError) as e:
            self.error = e


def all_talk(talkers):
    at = [t.exchanged for t in talkers]
    wait_for("traffic on each connection", lambda: any(
        t.error for t in talkers) or all(
            t.exchanged > n + 20 for t, n in zip(talkers, at)), within=60)


def test_traffic_goes_on_over_upgrades_and_kills():
    with supervised(workers=2) as (d, _):
        talkers = [Talker() for _ in range(8)]
        for t in talkers:
            t.start()
        for sig in signal.SIGUSR2, signal.SIGKILL, signal.SIGUSR2:
            all_talk(talkers)
            old = d.worker()
            os.kill(d.pid if sig == signal.SIGUSR2 else old, sig)
            d.next_worker(old)
            needs_recovery(d)
        all_talk(talkers)
        for t in talkers:
            t.ends = True
        for t in talkers:
            t.join(60)
            equal((t.is_alive(), t.error), (False, None))


# --- reload and upgrade

def test_sighup_reloads_in_the_same_process():
    with supervised() as (d, _):
        old = d.worker()
        d.configure({"echo": {"port": PORT, "max-connections": 1}})
        os.kill(d.pid, signal.SIGHUP)
        d.wait_log("configuration reloaded")
        with connect(PORT) as s:
            exchange(s, b"hello")
            with contextlib.suppress(ConnectionRefusedError):
                connect(PORT)
                raise AssertionError("max-connections is not in force")
        equal(d.worker(), old)


def test_sigusr2_starts_the_new_program_on_the_same_device():
    with supervised(workers=2) as (d, _):
        old, before = d.worker(), link()["ifindex"]
        d.install(BUILD / "xtcpd")
        inode = os.stat(d.program).st_ino
        os.kill(d.pid, signal.SIGUSR2)
        new = d.next_worker(old)
        equal(os.stat(f"/proc/{new}/exe").st_ino, inode)
        equal(link()["ifindex"], before)
        equal(queues(), (2, 0))
        d.wait_log("serves, \\d+ ms after the one before it stopped")
        wait_attached(d)
        can_connect()


def check_refuses_upgrade(d, old, why):
    n = d.stderr().count("nothing was changed")
    os.kill(d.pid, signal.SIGUSR2)
    d.wait_log("nothing was changed", n + 1)
    contains(d.stderr(), why)
    equal(d.worker(), old)
    can_connect()


def test_a_new_program_that_cannot_start_changes_nothing():
    with supervised() as (d, _):
        old = d.worker()
        d.install_script("exit 3\n")
        check_refuses_upgrade(d, old, "status 3")
        with open(d.program + ".new", "wb") as f:
            f.write(b"\x7fELF" + bytes(100))
        os.chmod(d.program + ".new", 0o755)
        os.rename(d.program + ".new", d.program)
        check_refuses_upgrade(d, old, "Exec format error")
        os.unlink(d.program)
        check_refuses_upgrade(d, old, "No such file")
        d.install_script("kill -SEGV $$\n")
        check_refuses_upgrade(d, old, "signal 11")


def test_a_bad_configuration_at_an_upgrade_changes_nothing():
    with supervised() as (d, _):
        old = d.worker()
        with open(d.conf, "a") as f:
            f.write("frobnicate = 1\n")
        check_refuses_upgrade(d, old, "frobnicate")


def test_fewer_workers_leave_no_queue_without_a_reader():
    with supervised(workers=3) as (d, _):
        old = d.worker()
        equal(queues(), (3, 0))
        d.configure({"echo": {"port": PORT}}, 1)
        # without connections there is no reason to keep the arena
        os.kill(d.pid, signal.SIGUSR2)
        d.next_worker(old)
        wait_for("one queue", lambda: queues() == (1, 0))
        d.workers = 1
        wait_attached(d)
        can_connect()


# --- the end

def test_sigterm_leaves_nothing():
    for sig in signal.SIGTERM, signal.SIGINT:
        with supervised(workers=2) as (d, e):
            equal(d.arena().exists(), True)
            os.kill(d.pid, sig)
            equal(d.wait(), 0)
            d.stopped = True
            nothing_is_left(d)


def test_sigterm_while_nothing_serves_leaves_nothing():
    with supervised() as (d, _):
        old = d.worker()
        d.install_script("exit 3\n")
        kill(old)
        d.wait_log(r"the next start is in 400 ms")
        equal(d.arena().exists(), True)
        d.stop()
        nothing_is_left(d)


@harness.timeout(240)
def test_sigterm_ends_one_that_hangs():
    with supervised() as (d, _):
        os.kill(d.worker(), signal.SIGSTOP)
        os.kill(d.pid, signal.SIGTERM)
        equal(d.wait(within=60), 1)
        d.stopped = True
        contains(d.stderr(), "does not end: it is killed")
        nothing_is_left(d)


def test_sigterm_of_the_child_alone_is_a_restart():
    with supervised() as (d, _):
        old, before = d.worker(), link()["ifindex"]
        kill(old, signal.SIGTERM)
        d.next_worker(old)
        equal(link()["ifindex"], before)


def test_a_device_that_was_made_beforehand_is_given_back():
    with Net():
        run("ip", "tuntap", "add", "dev", "xtcp0", "mode", "tun", "multi_queue")
        run("ip", "link", "set", "xtcp0", "mtu", "1300")
        with Supervised(workers=2) as d:
            equal(link()["mtu"], 1500)
            d.stop()
        equal((link()["mtu"], "UP" in link()["flags"]), (1300, False))
        equal(routes(), [])


def test_a_second_supervisor_harms_nothing():
    with supervised() as (d, _):
        before = link()["ifindex"], d.worker()
        p = run(d.program, "--supervise", "-c", d.conf, check=False)
        equal(p.returncode, 1)
        contains(p.stderr, "in use by another xtcpd")
        equal((link()["ifindex"], d.worker()), before)
        equal(d.arena().exists(), True)
        can_connect()


def test_a_first_start_that_fails_ends_with_its_status():
    with Net(), tempfile.TemporaryDirectory() as t:
        conf = Path(t) / "xtcpd.conf"
        conf.write_text("frobnicate = 1\n")
        p = run(BUILD / "xtcpd", "--supervise", "-c", conf, check=False)
        equal(p.returncode, 2, p.stderr)
        contains(p.stderr, "frobnicate")
        conf.write_text(harness.conf_text(t, {"echo": {"port": PORT}}, top={
            "state-dir": "/proc/nowhere"}))
        p = run(BUILD / "xtcpd", "--supervise", "-c", conf, check=False)
        equal(p.returncode, 1, p.stderr)
        contains(p.stderr, "/proc/nowhere")
        equal(link(), None)


def test_when_the_parent_is_killed_all_waits_for_the_next_start():
    with supervised() as (d, _):
        child = d.worker()
        kill(d.pid)
        d.wait()
        wait_for("the child has ended", lambda: not is_running(child))
        contains(d.stderr(), "xtcpd --supervise, which kept the device, has died")
        equal(link(), None)
        equal([is_blackhole(r) for r in routes()], [True, True])
        equal(d.arena().exists(), True)
        # the next one takes the blackholes away when it serves
        with Process(d.program, "--supervise", "-c", d.conf) as p:
            wait_for("it serves", lambda: p.check_alive() or answers(d))
            equal([is_blackhole(r) for r in routes()], [False, False])
            p.kill(signal.SIGTERM)
            equal(p.p.returncode, 0)
        nothing_is_left(d)
        d.stopped = True


# --- under systemd

def test_systemd_hears_of_the_service_and_not_of_its_processes():
    with Net(), tempfile.TemporaryDirectory() as t:
        m = Manager(t)
        with Supervised(env={"NOTIFY_SOCKET": m.path,
                             "WATCHDOG_USEC": "400000"}) as d:
            wait_for("READY=1", lambda: m.heard(READY="1"))
            os.kill(d.pid, signal.SIGHUP)
            wait_for("RELOADING=1", lambda: m.heard(RELOADING="1"))
            wait_for("READY=1 again", lambda: len(m.heard(READY="1")) == 2)
            for sig in signal.SIGKILL, signal.SIGUSR2:
                old = d.worker()
                os.kill(d.pid if sig == signal.SIGUSR2 else old, sig)
                d.next_worker(old)
            equal(m.heard(STOPPING="1"), [])
            # while the child says nothing, too
            with contextlib.ExitStack() as stack:
                child = d.worker()
                os.kill(child, signal.SIGSTOP)
                stack.callback(os.kill, child, signal.SIGCONT)
                n = len(m.heard(WATCHDOG="1"))
                wait_for("WATCHDOG=1",
                         lambda: len(m.heard(WATCHDOG="1")) > n + 2)
            d.stop()
            wait_for("STOPPING=1", lambda: m.heard(STOPPING="1"))
        equal([x for x in m.said if "FDSTORE" in x or "FDNAME" in x], [])
        m.close()


if __name__ == "__main__":
    harness.main(globals())
