# SPDX-License-Identifier: BSD-2-Clause
"""What the parts of bench/run share: processes, counters of the kernel, rows.

Each section runs in a process of its own, in a network namespace of its own
(tests/net/harness.py) and with a /dev/shm of its own for its temporary files,
the arena among them: both go with its last process, however that ends.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "tests" / "net"))

import harness  # noqa: E402
from harness import (  # noqa: E402
    BUILD, VIP4, Echod, Net, Process, Xtcpd, run, sysctl, wait_attached)
from runner import PR_SET_PDEATHSIG, libc  # noqa: E402

PORT = 7
PAGE = os.sysconf("SC_PAGESIZE")
TICKS = os.sysconf("SC_CLK_TCK")
# Of the default routes that xtcp-swarm and the blaster make.
SWARM = "10.64.0.0/10"


CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
MEMORY = "/dev/shm"


class Missing(Exception):
    """Something that the section needs is not there; the text says what."""


# --- sections, each in its own process

def in_namespace(function, *args):
    """function(*args), which returns what JSON can hold, in a namespace."""
    sys.stdout.flush()
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read_fd)
            # not killed, so that it ends what it has started
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            with os.fdopen(write_fd, "w") as out:
                json.dump(guarded(function, args), out)
            status = 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    os.close(write_fd)
    with os.fdopen(read_fd) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return json.loads(text) if text else {"error": "the section's process died"}


def ready_to_measure(parser, json_file):
    """Says before anything is measured what would fail in the end."""
    if os.geteuid():
        sys.exit(f"{parser.prog}: run as root: it makes network namespaces")
    if not json_file:
        return
    try:
        open(json_file, "a").close()
    except OSError as e:
        sys.exit(f"{parser.prog}: --json {json_file}: {e.strerror}")


def own_memory():
    """Temporary files are in memory from here on, which nobody else sees."""
    if libc.unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNS): is root?")
    for source, target, kind, flags in (
            (None, b"/", None, MS_REC | MS_PRIVATE),
            (b"tmpfs", MEMORY.encode(), b"tmpfs", 0)):
        if libc.mount(source, target, kind, ctypes.c_ulong(flags), None):
            raise OSError(ctypes.get_errno(), f"mount {target.decode()}")
    tempfile.tempdir = MEMORY


def guarded(function, args):
    try:
        own_memory()
        with Net():
            sysctl("net/ipv4/ip_forward", 1)
            sysctl("net/ipv6/conf/all/forwarding", 1)
            sysctl("net/ipv4/ip_local_port_range", "1024 65535")
            # nor may a client's end take the port of a server to come
            sysctl("net/ipv4/ip_local_reserved_ports",
                   "5001-5003,7001-7003,8002-8003")
            return function(*args)
    except Missing as e:
        return {"missing": str(e)}
    except Exception as e:  # pylint: disable=broad-except
        return {"error": f"{type(e).__name__}: {e}"[:2000]}


# --- what the kernel counts

def cpu_clock(pid):
    """The clock that counts what a process runs, threads that have ended too."""
    clock = ctypes.c_int()
    error = libc.clock_getcpuclockid(pid, ctypes.byref(clock))
    if error:
        raise ProcessLookupError(error, f"process {pid}: {os.strerror(error)}")
    return clock.value


def cpu_s(*pids):
    """Seconds that all threads of these ran so far, to the nanosecond."""
    return sum(time.clock_gettime_ns(cpu_clock(pid)) for pid in pids) / 1e9


def machine_busy_s():
    """Of all processors, since boot: neither idle nor stolen."""
    with open("/proc/stat") as f:
        n = [int(x) for x in f.readline().split()[1:9]]
    return (sum(n) - n[3] - n[4] - n[7]) / TICKS


def resident(*pids):
    return sum(int(Path(f"/proc/{p}/statm").read_text().split()[1]) * PAGE
               for p in pids)


def page_tables(pid):
    """Bytes of its page tables, which are no part of what is resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmPTE:"):
            return int(line.split()[1]) * 1024
    return 0


# What a socket takes of the kernel's memory, by the names in /proc/slabinfo.
CACHES = ("TCP", "TCPv6", "sock_inode_cache", "filp", "eventpoll_epi",
          "eventpoll_pwq", "ep_head", "tcp_bind_bucket", "tcp_bind2_bucket",
          "request_sock_TCP", "request_sock_TCPv6")
DENTRY = 192


def socket_caches():
    """Pages of these caches, and a dentry for each socket: the dentries' own
    cache moves with every file that anybody opens. None: not to be seen."""
    try:
        lines = Path("/proc/slabinfo").read_text().splitlines()[2:]
    except OSError:
        return None
    fields = {line.split()[0]: line.split() for line in lines}
    if "TCP" not in fields or "sock_inode_cache" not in fields:
        return None
    pages = sum(int(f[14]) * int(f[5]) for name, f in fields.items()
                if name in CACHES)
    return pages * PAGE + int(fields["sock_inode_cache"][2]) * DENTRY


def slab():
    """All of the kernel's objects, whoever they are for."""
    return next(int(line.split()[1]) * 1024
                for line in Path("/proc/meminfo").read_text().splitlines()
                if line.startswith("Slab:"))


def kernel_memory():
    """Sockets and what hangs on them, and the pages of their buffers. Where
    the caches can't be told apart: all of Slab, which is right on a machine
    that does nothing else."""
    words = Path("/proc/net/sockstat").read_text().split("TCP:")[1].split()
    objects = socket_caches()
    return (slab() if objects is None else objects) + \
        int(words[words.index("mem") + 1]) * PAGE


def settled(read, within=3.0):
    """read(), once it has stopped to move much: memory is freed late."""
    end = time.monotonic() + within
    last = read()
    while time.monotonic() < end:
        time.sleep(0.2)
        now = read()
        if abs(now - last) < 32 * 1024:
            return now
        last = now
    return last


def machine():
    model = next((line.split(":", 1)[1].strip()
                  for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "?")
    return {"processors": os.cpu_count(), "model": model,
            "kernel": os.uname().release,
            "memory_bytes": os.sysconf("SC_PHYS_PAGES") * PAGE,
            "load_average": list(os.getloadavg()),
            "build": BUILD.name}


# --- programs

def need(program, package):
    """Where a program is; Missing says which package has it. The system's own
    programs are not in everyone's PATH; XTCP_BENCH_SBIN says where else."""
    path = shutil.which(program) or shutil.which(
        program, path=os.environ.get("XTCP_BENCH_SBIN", "/usr/sbin"))
    if not path:
        raise Missing(f"{program} is not installed: Debian package {package}")
    return path


class Ready(Process):
    """One of the bench's programs, which prints "ready" when it is."""

    def __init__(self, program, *args, stdin=subprocess.DEVNULL):
        path = BUILD / "bench" / program
        if not path.exists():
            raise Missing(f"{path} is not built: make check TESTS=")
        super().__init__(path, *args, stdin=stdin, stdout=subprocess.PIPE)

    def line(self):
        """The next line that it prints."""
        text = self.p.stdout.readline()
        if not text:
            self.wait()
            raise AssertionError(f"{self.name} ended: {self.stderr()}")
        return text.decode()

    def wait_ready(self):
        harness.equal(self.line(), "ready\n", self.name)

    def __exit__(self, kind, value, tb):
        super().__exit__(kind, value, tb)
        self.p.stdout.close()
        if self.p.stdin:
            self.p.stdin.close()


@contextlib.contextmanager
def xtcpd_echo(connections, workers=1, top=None, group=None):
    """xtcpd and xtcp-echod; (the daemon, the backend's process)."""
    top = {"max-connections": connections + connections // 50 + 1000,
           **(top or {})}
    with Xtcpd({"echo": {"port": PORT, **(group or {})}}, workers,
               top=top) as d, Echod("-p", PORT, daemon=d) as e:
        wait_attached(d)
        yield d, e


def abandon(d):
    """The daemon goes at once, with all its connections."""
    d.check_alive()
    d.stopped = True
    d.kill()


def swarm(d, *args, address=VIP4, timeout=900):
    """Runs xtcp-swarm against xtcpd; its report."""
    where = f"[{address}]" if ":" in address else address
    p = run(BUILD / "xtcp-swarm", "--connect", f"{where}:{PORT}", "--direct",
            "--set-forwarding", "--watch", d.pid, *args, check=False,
            timeout=timeout)
    if p.returncode not in (0, 1) or not p.stdout:
        raise AssertionError(f"xtcp-swarm: status {p.returncode}: {p.stderr}")
    r = json.loads(p.stdout)
    r["stderr"] = p.stderr
    return r


def trouble(r):
    """What went wrong in a swarm's run, in words; "" for nothing."""
    c = r["counters"]
    found = {k: c[k] for k in ("failed", "lost", "unanswered") if c[k]}
    if r["violations"]["total"]:
        found["violations"] = r["violations"]["total"]
    return ", ".join(f"{v} {k}" for k, v in found.items())


# --- numbers

def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def middle(rounds, who, key):
    """The median of what one of them showed over the rounds."""
    return median([r[key] for r in rounds if r["who"] == who])


def ratio(rounds, who, other, key):
    """The median over rounds of who's value through the other's."""
    mine = {r["round"]: r[key] for r in rounds if r["who"] == who}
    theirs = {r["round"]: r[key] for r in rounds if r["who"] == other}
    return median([mine[n] / theirs[n] for n in mine
                   if theirs.get(n) and mine[n] is not None])


def turns(names, round_number):
    """In which order they have their turn: another one each round."""
    at = round_number % len(names)
    return names[at:] + names[:at]
