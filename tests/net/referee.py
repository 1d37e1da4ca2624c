# SPDX-License-Identifier: BSD-2-Clause
"""An impaired path with XTCP and the kernel's TCP behind the same end.

    client namespace ── impair ── the caller's namespace ─┬─ xtcp0: VIP4, VIP6
       CLIENT4, CLIENT6                                   └─ lo: KERNEL4, KERNEL6

    with Path() as path, Servers(path) as servers:
        with path.link(both="delay=10ms,loss=1%", seed=7) as link:
            result = servers.transfer("xtcp", down=True, bytes=1 << 20)

Both servers are tests/tools/bulkd, the client is bulkc on the kernel's TCP. So
the two differ in what stands between bulkd and the link, and in nothing else:
path, seed, congestion control, sizes of writes are the same.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path as FilePath

import harness
from harness import (
    BUILD, CLIENT4, CLIENT6, CLONE_NEWNET, VIP4, VIP6, Process, Tool, Xtcpd,
    libc, run, wait_attached, wait_for)

KERNEL4, KERNEL6 = "192.0.2.20", "2001:db8::20"
# the kernel's servers, by who it is in results
KERNEL_PORTS = {"kernel": 5001, "bbr": 5002}
CONGESTION = {"kernel": "cubic", "bbr": "bbr"}
# the groups of xtcpd: port and keys
GROUPS = {
    "deferred": {"port": 5001},
    "immediate": {"port": 5002, "ack": "immediate"},
}
DEVICE = "imp0"
# Linux's own defaults, whatever the machine is set to; and nothing remembered
# from one connection to the next.
SYSCTLS = {
    "ipv4/tcp_rmem": "4096 131072 6291456",
    "ipv4/tcp_wmem": "4096 16384 4194304",
    "ipv4/tcp_no_metrics_save": 1,
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/default/rp_filter": 0,
    "ipv4/ip_forward": 1,
    "ipv6/conf/all/forwarding": 1,
}


def set_ns(fd):
    if libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def new_ns():
    """A descriptor of a new network namespace; it goes with the descriptor."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET): is root?")
        return os.open("/proc/self/ns/net", os.O_RDONLY)
    finally:
        set_ns(home)
        os.close(home)


class Path:
    """The two namespaces; this process moves into the servers' one.

    servers: a descriptor of that, when there is one; it is taken over."""

    def __init__(self, servers=None):
        self.servers = servers

    def __enter__(self):
        if self.servers is None:
            self.servers = new_ns()
        self.client = new_ns()
        for ns in self.client, self.servers:
            set_ns(ns)
            run("ip", "link", "set", "lo", "up")
        self.sysctls(SYSCTLS)
        run("ip", "addr", "add", KERNEL4 + "/32", "dev", "lo")
        run("ip", "addr", "add", KERNEL6 + "/128", "dev", "lo", "nodad")
        return self

    def __exit__(self, kind, value, tb):
        os.close(self.client)
        os.close(self.servers)

    @contextlib.contextmanager
    def in_client(self):
        """What is started in here runs in the client's namespace."""
        set_ns(self.client)
        try:
            yield
        finally:
            set_ns(self.servers)

    def sysctls(self, settings):
        """Set these, below net/, on both sides."""
        for ns in self.client, self.servers:
            set_ns(ns)
            for key, value in settings.items():
                harness.sysctl(f"net/{key}", value)

    def link(self, **kw):
        return Link(self, **kw)


class Link(Process):
    """impair between the two namespaces; direction ab is client to servers."""

    def __init__(self, path, both="delay=1ms", up="", down="", seed=1,
                 log=False, realtime=False, args=()):
        self.path = path
        self.spec = " ".join(filter(None, (both, up, down)))
        self.dir = tempfile.TemporaryDirectory(prefix="impair-")
        self.stats_path = f"{self.dir.name}/stats.json"
        self.log_path = f"{self.dir.name}/log"
        ns = f"/proc/{os.getpid()}/fd/{path.client}:"
        more = ["--log", self.log_path] if log else []
        more += ["--realtime"] if realtime else []
        more += ["--ab", up] if up else []
        more += ["--ba", down] if down else []
        super().__init__(BUILD / "tests/tools/impair", "--a", ns + DEVICE,
                         "--b", DEVICE, "--both", both, "--seed", seed,
                         "--stats", self.stats_path, *more, *args,
                         stdout=subprocess.PIPE)
        self.stats = None

    def __enter__(self):
        if self.p.stdout.readline() != b"ready\n":
            raise AssertionError(f"impair: {self.stderr()}")
        route_to(("198.51.100.0/24", "2001:db8:1::/64"))
        with self.path.in_client():
            run("ip", "addr", "add", CLIENT4 + "/32", "dev", DEVICE)
            run("ip", "addr", "add", CLIENT6 + "/128", "dev", DEVICE, "nodad")
            route_to(("192.0.2.0/24", "2001:db8::/64"), (CLIENT4, CLIENT6))
        return self

    def look(self):
        """Its statistics now."""
        before = os.stat(self.stats_path).st_mtime_ns \
            if os.path.exists(self.stats_path) else 0
        os.kill(self.pid, signal.SIGUSR1)

        def fresh():
            self.check_alive()
            try:
                if os.stat(self.stats_path).st_mtime_ns == before:
                    return None
                return json.loads(FilePath(self.stats_path).read_text())
            except (FileNotFoundError, json.JSONDecodeError):
                return None
        return wait_for("impair reports", fresh, every=0.005)

    def stop(self):
        """End it; its statistics."""
        if self.stats is None:
            os.kill(self.pid, signal.SIGTERM)
            if self.wait():
                raise AssertionError(f"impair: {self.stderr()}")
            self.stats = json.loads(FilePath(self.stats_path).read_text())
        return self.stats

    def log_lines(self):
        """The lines of its log, as fields."""
        self.stop()
        return [line.split() for line in
                FilePath(self.log_path).read_text().splitlines()]

    def __exit__(self, kind, value, tb):
        try:
            if kind is None:
                self.stop()
            harness.check_log("impair", self.stderr())
        finally:
            super().__exit__(kind, value, tb)
            self.p.stdout.close()
            self.dir.cleanup()


def route_to(networks, sources=(None, None)):
    for family, network, source in zip(("-4", "-6"), networks, sources):
        args = ["src", source] if source else []
        run("ip", family, "route", "add", network, "dev", DEVICE, *args)


class Bulkd(Tool):
    """The same server on kernel sockets, or on a group of the daemon."""

    program = "tests/tools/bulkd"

    def __init__(self, *args, daemon=None):
        super().__init__(*args, daemon=daemon, stdout=subprocess.PIPE)

    def __enter__(self):
        if self.p.stdout.readline() != b"ready\n":
            raise AssertionError(f"bulkd: {self.stderr()}")
        return self

    def __exit__(self, kind, value, tb):
        super().__exit__(kind, value, tb)
        self.p.stdout.close()


class Servers:
    """The kernel's server and xtcpd with a group for each way to acknowledge."""

    def __init__(self, path, groups=None, xtcpd=None):
        self.path = path
        self.groups = groups or GROUPS
        self.xtcpd_args = xtcpd or {}
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            for who, port in KERNEL_PORTS.items():
                stack.enter_context(Bulkd("--listen", port, CONGESTION[who]))
            self.d = stack.enter_context(Xtcpd(self.groups, **self.xtcpd_args))
            for keys in self.groups.values():
                stack.enter_context(Bulkd("--group", keys["port"],
                                          daemon=self.d))
            for name in self.groups:
                wait_attached(self.d, group=name)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, kind, value, tb):
        return self.stack.__exit__(kind, value, tb)

    def address(self, who, ipv6=False):
        """Where who ("kernel", "bbr", "xtcp" or a group's name) is found."""
        if who in KERNEL_PORTS:
            return f"{KERNEL6 if ipv6 else KERNEL4}:{KERNEL_PORTS[who]}"
        group = self.groups[next(iter(self.groups)) if who == "xtcp" else who]
        return f"{VIP6 if ipv6 else VIP4}:{group['port']}"

    def transfer(self, who, down, nbytes=0, ms=0, seed=1, ipv6=False,
                 within=100):
        """One transfer; what bulkc printed."""
        with self.path.in_client():
            p = run(BUILD / "tests/tools/bulkc", "--connect",
                    self.address(who, ipv6), "--down" if down else "--up",
                    "--bytes", nbytes, "--ms", ms, "--seed", seed, "--timeout",
                    within, "--congestion", CONGESTION.get(who, "cubic"),
                    check=False, timeout=within + 30)
        if p.returncode not in (0, 1) or not p.stdout:
            raise AssertionError(f"bulkc: {p.returncode}: {p.stderr}")
        return json.loads(p.stdout)

    def quiet(self):
        """Wait until none of its connections would still send. One whose
        client's RST was lost may stay, as an idle one."""
        wait_for("xtcpd's connections are quiet", lambda: all(
            c["state"] == "TIME-WAIT" or not c["active"]
            for c in self.d.connections()))


# --- cells of the matrix

class Cell:
    """A direction and a link, the same both ways."""

    def __init__(self, direction, spec, name):
        self.direction, self.spec = direction, spec
        self.name = f"{direction}-{name}"

    def competitors(self):
        """The ways to do it that are compared with the kernel's."""
        return ["deferred"] if self.direction == "down" else list(GROUPS)


def cell(direction, rtt_ms, loss, rate_mbit=50):
    """Of the matrix: the queue is one bandwidth-delay product."""
    return Cell(direction, f"delay={rtt_ms / 2}ms,rate={rate_mbit}mbit,"
                f"queue={rtt_ms}ms,loss={loss}%", f"{rtt_ms}ms-{loss:g}%")


def matrix(rate_mbit=50):
    return [cell(direction, rtt_ms, loss, rate_mbit)
            for direction in ("down", "up") for rtt_ms in (20, 100)
            for loss in (0, 0.1, 1, 3)]


def measure(path, servers, cell, who, seed, ms, capture=None, realtime=False):
    """One run of a cell by one competitor; a flat object of what was seen."""
    before = servers.d.counters()
    with path.link(both=cell.spec, seed=seed, realtime=realtime) as link, \
            capturing(capture):
        result = servers.transfer(who, cell.direction == "down", ms=ms,
                                  seed=seed, within=30 + ms // 1000)
        # the link has to carry the end of it, too
        servers.quiet()
        stats = link.stop()
    after = servers.d.counters()
    result.update(cell=cell.name, who=who, run_seed=seed, link=stats)
    if who not in KERNEL_PORTS:
        result["counters"] = {k: v - before[k] for k, v in after.items()
                              if v != before[k]}
    return result


@contextlib.contextmanager
def capturing(path, device=DEVICE):
    """tcpdump on the servers' side of the link, headers alone; None: not."""
    if not path:
        yield
        return
    with Process("tcpdump", "-i", device, "-w", path, "-s", 128, "-U", "-n",
                 "-B", 8192) as dump:
        wait_for("tcpdump listens", lambda: "listening on" in dump.stderr())
        yield
        os.kill(dump.pid, signal.SIGTERM)
        dump.wait()
