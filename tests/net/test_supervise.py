#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""xtcpd --supervise, and what outlives a process: crash, hang, upgrade, end."""
# tsan: yes

import array
import contextlib
import fcntl
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

PORT = 7
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI, IFF_MULTI_QUEUE, IFF_VNET_HDR = 1, 0x1000, 0x100, 0x4000


# --- looking at the system

def link(name="xtcp0"):
    p = run("ip", "-j", "-d", "link", "show", "dev", name, check=False)
    return json.loads(p.stdout)[0] if p.returncode == 0 else None


def queues(name="xtcp0"):
    info = link(name)["linkinfo"]["info_data"]
    return info["numqueues"], info.get("numdisabled", 0)


def routes():
    """Our routes: (type, destination, device)."""
    found = []
    for family in "-4", "-6":
        text = run("ip", "-j", "-N", family, "route", "show", "table",
                   "main").stdout or "[]"
        found += [(r.get("type", "unicast"), r["dst"], r.get("dev"))
                  for r in json.loads(text) if r.get("protocol") == "120"]
    return sorted(found, key=str)


def is_blackhole(route):
    return route[0] in ("blackhole", "6")


def children(pid):
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(p) for p in text.split()]


def is_running(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rsplit(") ", 1)[1][0] not in "ZX"


# --- the daemon under its supervisor

class Supervised(Xtcpd):
    """xtcpd --supervise, from a copy of the program that a test can replace."""

    def __init__(self, group=None, workers=1, **kw):
        self.bin = tempfile.mkdtemp(prefix="xtcpd-bin-")
        self.program = f"{self.bin}/xtcpd"
        self.install(BUILD / "xtcpd")
        super().__init__({"echo": {"port": PORT, **(group or {})}}, workers,
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


# --- what is handed over

class Manager:
    """Does what systemd does with a unit: a socket for notices, descriptors."""

    def __init__(self, directory):
        self.path = f"{directory}/notify.sock"
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.sock.setblocking(False)
        self.said = []
        self.kept = {}

    def hear(self):
        """All messages so far; what they store is kept."""
        while True:
            try:
                data, ancillary, _, _ = self.sock.recvmsg(
                    4096, socket.CMSG_SPACE(16))
            except BlockingIOError:
                return self.said
            fds = array.array("i")
            for level, kind, body in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds.frombytes(body[:len(body) - len(body) % 4])
            lines = dict(line.split("=", 1)
                         for line in data.decode().splitlines())
            if "FDSTOREREMOVE" in lines:
                for fd in self.kept.pop(lines["FDNAME"], []):
                    os.close(fd)
            if "FDSTORE" in lines:
                equal(lines["FDPOLL"], "0")
                self.kept.setdefault(lines["FDNAME"], []).extend(fds)
            self.said.append(lines)

    def heard(self, **what):
        return [m for m in self.hear() if what.items() <= m.items()]

    def close(self):
        for fds in self.kept.values():
            for fd in fds:
                os.close(fd)
        self.sock.close()


class Managed(Xtcpd):
    """xtcpd -f, started as systemd would, with these (name, descriptor)."""

    def __init__(self, manager, fds=(), **kw):
        self.fds = list(fds)
        super().__init__({"echo": {"port": PORT}}, env={
            "NOTIFY_SOCKET": manager.path, "LISTEN_FDS": str(len(self.fds)),
            "LISTEN_FDNAMES": ":".join(name for name, _ in self.fds)}, **kw)

    def start(self, args, **kw):
        def before():
            harness.die_with_parent()
            high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100)
                    for _, fd in self.fds]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i)

        # a shell knows its own process id, and exec keeps it
        return subprocess.Popen(
            ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *args],
            preexec_fn=before, close_fds=False, **kw)


def new_queue(name="xtcp0", flags=IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    return fd


@contextlib.contextmanager
def managed(fds=(), **kw):
    with tempfile.TemporaryDirectory() as t:
        manager = Manager(t)
        try:
            with Managed(manager, fds, **kw) as d:
                yield d, manager
        finally:
            manager.close()


def test_what_is_kept_and_what_an_end_leaves_to_systemd():
    with Net(), managed(workers=2) as (d, m):
        wait_for("READY=1", lambda: m.heard(READY="1"))
        equal(sorted(m.kept), ["arena", "tun-xtcp0-0", "tun-xtcp0-1"])
        equal([len(fds) for fds in m.kept.values()], [1, 1, 1])
        equal([is_blackhole(r) for r in routes()], [False, False])
        last = max(i for i, x in enumerate(m.said) if "FDSTORE" in x)
        equal(last < m.said.index({"READY": "1"}), True, "READY comes last")
        before = link()["ifindex"], routes()
        d.stop()
        wait_for("STOPPING=1", lambda: m.heard(STOPPING="1"))
        equal((link()["ifindex"], routes()), before)
        equal(os.path.exists(f"{d.dir}/state/arena"), True)
        # systemd lets go of them when it was no restart
        m.kept, kept = {}, m.kept
        for fds in kept.values():
            os.close(*fds)
        wait_for("the device is gone", lambda: not link())
        equal(routes(), [])


def check_refused(fds, why, left=(1, 0)):
    with managed(fds) as (d, m):
        wait_for("READY=1", lambda: m.heard(READY="1"))
        for name, fd in fds:
            contains(d.stderr(), f'"{name}"')
            equal(len(m.heard(FDSTOREREMOVE="1", FDNAME=name)), 1)
            os.close(fd)
        contains(d.stderr(), why)
        equal(queues(), left)


def test_queues_that_are_none_of_ours_are_refused():
    with Net():
        name = "tun-xtcp0-0"
        check_refused([(name, os.open("/dev/null", os.O_RDWR))],
                      "no queue of a TUN")
        check_refused([(name, os.open("/dev/net/tun", os.O_RDWR))],
                      "its device is gone")
        check_refused([(name, new_queue("other0"))], "of another device")
        check_refused([(name, os.pipe()[0])], "no queue of a TUN")


def test_a_queue_of_another_kind_is_refused():
    with Net():
        check_refused([("tun-xtcp0-0", new_queue(
            flags=IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE | IFF_VNET_HDR))],
            "of another kind")


def test_a_queue_of_another_namespace_is_refused():
    with Net():
        fd = new_queue()
        with Net():
            check_refused([("tun-xtcp0-0", fd)], "another network namespace")


def test_unclaimed_descriptors_are_closed():
    with Net():
        r, w = os.pipe()
        check_refused([("what-is-this", r), ("tun-other0-0", new_queue("other0"))],
                      "of no use")
        os.close(w)
        equal(link("other0"), None)


def test_what_is_no_arena_is_refused():
    with Net(), tempfile.TemporaryFile() as f:
        f.write(b"\0" * 65536)
        f.flush()
        for fd in os.dup(f.fileno()), os.open("/dev/null", os.O_RDWR):
            with managed([("arena", fd)]) as (d, m):
                wait_for("READY=1", lambda: m.heard(READY="1"))
                contains(d.stderr(), "cannot be taken over")
                said = [x for x in m.said if x.get("FDNAME") == "arena"]
                equal(["FDSTOREREMOVE" in x for x in said], [True, False])
                equal(len(m.kept["arena"]), 1)
                equal(os.fstat(m.kept["arena"][0]).st_ino,
                      os.stat(f"{d.dir}/state/arena").st_ino)
            os.close(fd)


def test_missing_queues_are_made_and_superfluous_ones_let_go():
    with Net():
        fds = [(f"tun-xtcp0-{i}", new_queue()) for i in (1, 2, 5)]
        before = link()["ifindex"]
        with managed(fds, workers=2) as (d, m):
            wait_for("READY=1", lambda: m.heard(READY="1"))
            equal(link()["ifindex"], before)
            contains(d.stderr(), "2 queues (1 taken over)")
            # ours hold them still, and so would systemd
            equal(queues(), (2, 2))
            equal(sorted(m.kept), ["arena", "tun-xtcp0-0"])
            for _, fd in fds[1:]:
                os.close(fd)
            wait_for("they are gone", lambda: queues() == (2, 0))
        os.close(fds[0][1])


def test_routes_of_addresses_that_are_no_longer_configured_go():
    with Net():
        fd = new_queue()
        run("ip", "link", "set", "xtcp0", "up")
        for vip in VIP4, "192.0.2.99":
            run("ip", "route", "add", vip, "dev", "xtcp0", "proto", "120",
                "scope", "link", "metric", "1")
        run("ip", "route", "add", "192.0.2.77", "dev", "xtcp0")
        with managed([("tun-xtcp0-0", fd)]) as (d, m):
            wait_for("READY=1", lambda: m.heard(READY="1"))
            equal([r[1] for r in routes()], [VIP4, VIP6])
            contains(run("ip", "route").stdout, "192.0.2.77")
        os.close(fd)


if __name__ == "__main__":
    harness.main(globals())
