# SPDX-License-Identifier: BSD-2-Clause
"""What the tests of overload share: memory from outside, and what makes load.

    with Net(), Xtcpd(...) as d, Watch(d) as w:
        ... overload ...
        w.settled()     nothing of it is left, and a fresh client is served

Watch samples Rss of /proc/PID/smaps_rollup all the while and holds it to the
budget of doc/architecture.md section 10, computed here from the configuration.
"""

import contextlib
import errno
import random
import re
import select
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "packet"))

import harness  # noqa: E402
import packet  # noqa: E402
from frames import Backend  # noqa: E402
from harness import (  # noqa: E402
    BUILD, VIP4, Process, connect, recv_all, recv_exactly)
from runner import note  # noqa: E402

METRICS = 9464
# Load slows down whoever waits for its end, too.
WITHIN_S = 60

KIB, MIB = 1024, 1024 * 1024
CHUNK, CHUNK_DESC = 512, 16
REC, REC6, BLK, SENT = 64, 16, 512, 48
# A captured worker's ring, at least and of all; a latency histogram.
RING_MIN, RINGS, HISTOGRAM = 512 * KIB, 8 * MIB, 1600
# What stays when load goes: generations, index, pages of the heap.
KEPT_MIB = 4
SAMPLE_S = 0.05
# A sanitizer has memory of its own, and keeps what was freed.
MEASURED = not re.search("asan|tsan", BUILD.name)


def wait_for(what, condition, within=WITHIN_S):
    return harness.wait_for(what, condition, within)


def rss(pid):
    """Resident bytes, from outside."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Rss:\s+(\d+) kB", text, re.M)[1]) * KIB


def size(text):
    """"16M" as bytes."""
    unit = {"K": KIB, "M": MIB, "G": 1024 * MIB}.get(str(text)[-1:])
    return int(str(text)[:-1]) * unit if unit else int(text)


def wait_attached(d, n=1, group=None):
    harness.wait_attached(d, n, group, WITHIN_S)


@dataclass
class Budget:
    total: int  # bytes
    growth: int  # of these, what load can bring about; lists of control apart


def budget(workers=1, max_connections=4096, pools="16M", transmit="16M",
           streams=1, groups=1):
    """The bound of section 10; per-source counts apart."""
    n, w, pools, tx = max_connections, workers, size(pools), size(transmit)
    recs = n if w == 1 else min(n, n // w + n // w // 4 + 1024)
    recs *= w
    chunk = 1 + CHUNK_DESC / CHUNK
    tables = recs * (12 + 12 + 8 + 8 + SENT + 1) + tx / CHUNK * (SENT + 1) + \
        pools / CHUNK * 17 + w * 512 * KIB
    per_worker = 3 * MIB + (w - 1) * 512 * 1600 + groups * 10 * KIB
    ring = RING_MIN
    while ring * 2 <= RINGS // w:
        ring *= 2
    control = 9 * MIB + recs * (512 + w * 320) + 2 * MIB + \
        4 * (w * ring + MIB) + groups * (128 * w * HISTOGRAM + 32 * 4 * KIB)
    growth = int(recs * (REC + REC6 + BLK) + (pools + tx) * chunk + tables +
                 w * per_worker + streams * 3.8 * MIB)
    return Budget(growth + int(control) + 16 * MIB, growth)


class Watch:
    """Rss of a daemon, sampled, and held to the budget."""

    def __init__(self, d, limit):
        self.d, self.limit = d, limit
        self.start = self.peak = self.after = 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.sample, daemon=True)

    def sample(self):
        while not self.stop.wait(SAMPLE_S):
            try:
                self.peak = max(self.peak, rss(self.d.pid))
            except (OSError, TypeError):
                return

    def __enter__(self):
        self.start = self.peak = rss(self.d.pid)
        stated = self.d.memory()["budget"]
        self.stated = stated["total_bytes"]
        total = sum(v for k, v in stated.items() if k != "total_bytes")
        if total != self.stated:
            raise AssertionError(f"the parts of the budget: {stated}")
        self.thread.start()
        return self

    def __exit__(self, kind, value, tb):
        self.stop.set()
        self.thread.join()
        if kind is None:
            self.check()
            note(f"Rss {self.start / MIB:.1f} MiB, at the peak "
                 f"{self.peak / MIB:.1f}, after {self.after / MIB:.1f}; "
                 f"budget {self.limit.total / MIB:.1f}, "
                 f"{self.limit.growth / MIB:.1f} of it for load")

    def check(self):
        if not MEASURED:
            return
        self.peak = max(self.peak, rss(self.d.pid))
        stated = self.d.memory()["budget"]["total_bytes"]
        if self.peak > min(self.limit.total, stated) or \
                self.peak - self.start > self.limit.growth:
            raise AssertionError(
                f"Rss of {self.peak}, {self.start} before, {self.limit}, "
                f"stated {stated}: {self.d.memory()}")
        # the two say the same, but for what the formula rounds
        if not 0.9 < stated / self.limit.total < 1.1:
            raise AssertionError(
                f"a budget of {self.limit}, stated {stated}: "
                f"{self.d.memory()['budget']}")

    def is_quiet(self):
        m = self.d.memory()
        held = {k: m[k] for k in ("active_blocks", "receive_pool_bytes",
                                  "transmit_buffer_bytes") if m[k]}
        for p in self.d.ask("show pools"):
            if p["used_bytes"] or p["throttled_workers"]:
                held[p["name"]] = p
        return held

    def settled(self, within=WITHIN_S):
        """Nothing is held any more, and the memory is back."""
        wait_for("nothing is held", lambda: not self.is_quiet(), within)
        if not MEASURED:
            return
        bound = self.start + KEPT_MIB * MIB
        wait_for(f"Rss under {bound}", lambda: rss(self.d.pid) <= bound, within)
        self.after = rss(self.d.pid)


def exchange(sock, data=b"still there?"):
    """An echo server's client has its answer."""
    sock.sendall(data)
    got = recv_exactly(sock, len(data))
    if got != data:
        raise AssertionError(f"{got!r} for {data!r}")


def fresh_client(port):
    with connect(port) as s:
        exchange(s, b"a fresh client")


def small_client(port, rcvbuf=2048, within=20):
    """A client whose kernel buffers little for it."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    s.settimeout(within)
    s.connect((VIP4, port))
    return s


class Taker:
    """An application with a stream to each worker, that takes what comes.

    It acknowledges nothing until work is set; then all it has, and what comes,
    each with `answer(bytes)` as the reply. A stream has a thread, so that one
    that is not read on does not keep the others waiting.
    """

    def __init__(self, d, port, answer=lambda data: b""):
        instance = int.from_bytes(b"taker" + port.to_bytes(2, "big"), "big")
        self.streams = [Backend.dial(d.attach_path, port, w, instance)
                        for w in range(d.workers)]
        self.threads = [threading.Thread(target=self.run, args=(b,),
                                         daemon=True) for b in self.streams]
        for b in self.streams:
            b.send_within = 60
        self.answer = answer
        self.work, self.over = threading.Event(), threading.Event()
        self.got = {}  # conn -> bytes
        self.acked = {}  # conn -> how many of them
        self.clients = {}  # (address, port) -> conn
        self.owner = {}  # conn -> stream
        self.push = None  # bytes that each connection gets unasked, once
        self.pushed = set()
        self.error = None

    def take(self, b, f):
        if f.type != "DATA":
            return
        have = self.got.setdefault(f.conn, bytearray())
        if f.addr:
            self.clients[f.addr.remote, f.addr.remote_port] = f.conn
        self.owner[f.conn] = b
        if f.offset > len(have):
            raise AssertionError(f"a gap: {f}, had {len(have)}")
        have += f.payload[len(have) - f.offset:]

    def push_all(self, b):
        for conn in list(self.got):
            if self.owner[conn] is b and conn not in self.pushed:
                b.reply(conn, self.push, 0)
                self.pushed.add(conn)

    def acknowledge(self, b):
        for conn, have in list(self.got.items()):
            n = self.acked.get(conn, 0)
            if self.owner[conn] is b and len(have) > n:
                b.reply(conn, self.answer(bytes(have[n:])), len(have) - n)
                self.acked[conn] = len(have)

    def run(self, b):
        try:
            while not self.over.is_set():
                f = b.receive(0.05)
                if f:
                    self.take(b, f)
                if self.push:
                    self.push_all(b)
                if self.work.is_set():
                    self.acknowledge(b)
        except Exception as e:  # pylint: disable=broad-except
            self.error = self.error or e

    def held(self):
        return sum(map(len, list(self.got.values())))

    def check(self):
        if self.error:
            raise AssertionError(f"the application: {self.error!r}")

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, kind, value, tb):
        self.over.set()
        for b in self.streams:
            with contextlib.suppress(OSError):
                b.sock.shutdown(socket.SHUT_RDWR)
        for t in self.threads:
            t.join()
        for b in self.streams:
            b.close()
        if kind is not None and self.error:
            print(f"# the application: {self.error!r}", flush=True)


def begin(port):
    """A client whose SYN is out."""
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex((VIP4, port))
    return s


def finish(s, within=30):
    """The connect's errno, 0 when it is through."""
    if not select.select([], [s], [], within)[1]:
        return errno.ETIMEDOUT
    s.settimeout(within)
    return s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def connects(n, port):
    """(those that are through, errors) of n connects at once."""
    good, bad = [], []
    for s in [begin(port) for _ in range(n)]:
        err = finish(s)
        if err:
            bad.append(err)
            s.close()
        else:
            good.append(s)
    return good, bad


# --- floods

def hostile_packets(client, port):
    """Some of each kind that costs a worker work; client: of a connection."""
    rng = random.Random(7)
    out = []
    for i in range(64):
        src = f"10.9.{rng.randrange(256)}.{rng.randrange(1, 255)}"
        out.append(packet.echo_request(src, VIP4, i, i, bytes(56)))
        out.append(packet.ip4(src, VIP4, packet.TCP, packet.tcp(
            src, VIP4, 1024 + i, port, flags="A", seq=i)))
        out.append(packet.ip4(src, VIP4, packet.TCP, rng.randbytes(40)))
        out.append(packet.ip4(client[0], VIP4, packet.TCP, packet.tcp(
            client[0], VIP4, client[1], port, flags="AP",
            seq=rng.getrandbits(32), payload=b"x")))
        out.append(packet.ip4(src, VIP4, packet.TCP, bytes(64), frag=0x2000,
                              ident=i))
        out.append(rng.randbytes(60))
    return out


@contextlib.contextmanager
def flood_of(packets, n):
    """n processes send the packets over and over, as fast as they can."""
    with contextlib.ExitStack() as stack:
        for _ in range(n):
            file = stack.enter_context(tempfile.TemporaryFile())
            for p in packets:
                file.write(len(p).to_bytes(2, "big") + p)
            file.seek(0)
            f = stack.enter_context(Process(
                BUILD / "tests/tools/flood", "xtcp0", 60, stdin=file,
                stdout=subprocess.PIPE))
            stack.enter_context(f.p.stdout)
            if f.p.stdout.readline() != b"ready\n":
                f.check_alive()
        yield


def scrape(port):
    """The status of a GET of the metrics."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as s:
        s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        return int(recv_all(s).split()[1])
