# SPDX-License-Identifier: BSD-2-Clause
"""xtcpd beside HAProxy and nginx on the same work, with the kernel's clients.

    echoload ── kernel TCP ──┬─ echosrv                    plain
                             ├─ haproxy ─ lo ─ echosrv     haproxy
                             ├─ nginx ─── lo ─ echosrv     nginx
                             └─ xtcp0 ─ xtcpd ═ xtcp-echod  xtcpd

All of them stand at the same time, each with all its connections, and have
their turns at a load. Memory is looked at as each comes up, while the others
rest: of the process, and the kernel's caches of sockets and what hangs on them
(/proc/slabinfo; all of Slab, which others move as well, is in the JSON), with
the pages of their buffers (sockstat). What the kernel has for a client's own
socket is taken off: half of what it has for both ends of a connection of the
plain server.
"""

import contextlib
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from measure import (
    VIP4, PORT, Missing, Ready, cpu_s, kernel_memory, machine_busy_s, median,
    middle, need, ratio, resident, settled, slab, turns, xtcpd_echo)
from harness import Process, connect, wait_for

LO = "127.0.0.1"
PORTS = {"plain": 7001, "haproxy": 7002, "nginx": 7003}  # echosrv's
FRONT = {"haproxy": 8002, "nginx": 8003}
# Processors that others keep busy, from which on the machine's sum is no use.
BUSY = 0.1
STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"

HAPROXY = """\
global
    maxconn {maxconn}
    nbthread 1
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
frontend front
    bind {lo}:{front}
    default_backend back
backend back
    server one {lo}:{back}
"""

NGINX = """\
load_module {module};
daemon off;
master_process off;
worker_processes 1;
worker_rlimit_nofile {nofile};
pid {dir}/pid;
error_log stderr crit;
events {{ worker_connections {nofile}; }}
stream {{
    access_log off;
    proxy_timeout 1h;
    server {{ listen {lo}:{front} backlog=4096; proxy_pass {lo}:{back}; }}
}}
"""


class Peer:
    """Who it is, where its clients go, and whose processes are what."""

    def __init__(self, name, address, proxy, backend):
        self.name, self.address = name, address
        self.proxy, self.backend = proxy, backend
        self.pid = proxy.pid if proxy else backend.pid


def answers(port, address=LO):
    def dial():
        try:
            connect(port, address).close()
            return True
        except OSError:
            return False
    wait_for(f"{address}:{port} answers", dial)


@contextlib.contextmanager
def echosrv(name):
    with Ready("echosrv", f"{LO}:{PORTS[name]}") as server:
        server.wait_ready()
        yield server


@contextlib.contextmanager
def plain(_connections):
    with echosrv("plain") as server:
        yield Peer("plain", f"{LO}:{PORTS['plain']}", None, server)


@contextlib.contextmanager
def configured(name, text, command):
    """A proxy in front of an echosrv of its own; {conf} of the command is
    its configuration's path."""
    with echosrv(name) as server, tempfile.TemporaryDirectory() as path:
        conf = f"{path}/conf"
        Path(conf).write_text(text.format(
            lo=LO, front=FRONT[name], back=PORTS[name], dir=path, maxconn=9800,
            nofile=20000, module=STREAM_MODULE))
        with Process(*(a.format(conf=conf) for a in command)) as proxy:
            try:
                answers(FRONT[name])
            except AssertionError as e:
                raise AssertionError(f"{e}: {proxy.stderr()}") from None
            yield Peer(name, f"{LO}:{FRONT[name]}", proxy, server)


def haproxy(_connections):
    program = need("haproxy", "haproxy")
    return configured("haproxy", HAPROXY, [program, "-db", "-f", "{conf}"])


def nginx(_connections):
    program = need("nginx", "nginx")
    if not os.path.exists(STREAM_MODULE):
        raise Missing("nginx has no stream module: Debian package "
                      "libnginx-mod-stream")
    return configured("nginx", NGINX, [program, "-c", "{conf}"])


@contextlib.contextmanager
def xtcpd(connections):
    with xtcpd_echo(connections) as (d, e):
        yield Peer("xtcpd", f"{VIP4}:{PORT}", d, e)


PEERS = {"plain": plain, "haproxy": haproxy, "nginx": nginx, "xtcpd": xtcpd}


# --- memory

class Clients:
    """echoload with all its connections to one peer."""

    def __init__(self, peer, connections, active, size):
        self.load = Ready("echoload", "--connect", peer.address,
                          "--connections", connections, "--active", active,
                          "--size", size, stdin=subprocess.PIPE)

    def connected(self):
        return json.loads(self.load.line())

    def run(self, ms, seed):
        self.load.p.stdin.write(f"load {ms} {seed}\n".encode())
        self.load.p.stdin.flush()
        return json.loads(self.load.line())

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        self.load.__exit__(kind, value, tb)


def come_up(stack, name, n, active, size):
    """A peer and its clients; with what memory they took per connection."""
    peer = stack.enter_context(PEERS[name](n))
    kernel, proxy = settled(kernel_memory), resident(peer.pid)
    all_slab = slab()
    backend = resident(peer.backend.pid)
    clients = stack.enter_context(Clients(peer, n, active, size))
    up = clients.connected()
    kernel = settled(kernel_memory) - kernel
    memory = {"both_ends": kernel / n, "slab": (slab() - all_slab) / n,
              "process": (resident(peer.pid) - proxy) / n,
              "process_all": resident(peer.pid) / n,
              "backend": (resident(peer.backend.pid) - backend) / n,
              "not_connected": n - up["connected"]}
    return peer, clients, memory


def finish_memory(memory):
    """The clients' own sockets taken off."""
    client = memory["plain"]["both_ends"] / 2
    for m in memory.values():
        m["kernel"] = max(0.0, m["both_ends"] - client)
        m["idle_bytes"] = m["kernel"] + m["process"]


# --- load

def idle_rate(seconds):
    """How busy the machine is without us, in processors."""
    busy, start = machine_busy_s(), time.monotonic()
    time.sleep(seconds)
    return (machine_busy_s() - busy) / (time.monotonic() - start)


def load_round(peer, clients, ms, seed):
    idle = idle_rate(min(1.0, ms / 2000))
    pids = [("proxy", peer.proxy), ("backend", peer.backend),
            ("client", clients.load)]
    before = {k: cpu_s(p.pid) for k, p in pids if p}
    busy, start = machine_busy_s(), time.monotonic()
    r = clients.run(ms, seed)
    busy = machine_busy_s() - busy
    busy -= idle * (time.monotonic() - start)
    n = max(1, r["messages"])
    us = {f"{k}_us": (cpu_s(p.pid) - before[k]) * 1e6 / n
          for k, p in pids if p}
    return {"proxy_us": None, **us, "machine_us": busy * 1e6 / n,
            "all_us": sum(us.values()),
            "per_s": r["in_time"] / r["seconds"], "p99_us": r["p99_us"],
            "p50_us": r["p50_us"], "messages": r["messages"], "idle": idle,
            "lost": r["lost"] + r["mismatches"] + r["failed"]}


def measure_peers(options, n):
    active, size = min(64, n // 2), 1024
    rounds, memory, missing = [], {}, []
    with contextlib.ExitStack() as stack:
        there = {}
        for name in PEERS:
            try:
                peer, clients, memory[name] = come_up(stack, name, n, active,
                                                      size)
                there[name] = (peer, clients)
            except Missing as e:
                missing.append(str(e))
        finish_memory(memory)
        for number in range(options["rounds"]):
            for name in turns(list(there), number):
                rounds.append({"round": number, "who": name, **load_round(
                    *there[name], int(options["seconds"] * 1000),
                    number + 1)})
    return report(rounds, memory, missing, n, active, size)


def row_of(rounds, memory, name):
    row = {k: middle(rounds, name, k) for k in (
        "proxy_us", "backend_us", "all_us", "machine_us", "per_s", "p50_us",
        "p99_us")}
    # microseconds per message are seconds per million
    row["proxy_s_per_million"] = row["proxy_us"]
    row.update(who=name, **memory[name])
    row["lost"] = memory[name]["not_connected"] + sum(
        r["lost"] for r in rounds if r["who"] == name)
    return row


def report(rounds, memory, missing, n, active, size):
    figures = []
    for name in "haproxy", "nginx":
        if name in memory:
            figures.append([
                f"messages per proxy CPU-second against {name}, {n:,}",
                ratio(rounds, name, "xtcpd", "proxy_us"), ">=", 4.0, "x"])
    idle = median([r["idle"] for r in rounds])
    # what others do in between spoils the machine's sum, not the processes'
    key = "machine_us" if idle <= BUSY else "all_us"
    figures.append([
        f"machine CPU per exchange against the plain server, {n:,}",
        ratio(rounds, "xtcpd", "plain", key), "<=", 1.0, "x"])
    if "haproxy" in memory and n >= 1000:
        figures.append([
            f"idle memory per connection against HAProxy + kernel, {n:,}",
            memory["xtcpd"]["idle_bytes"] / memory["haproxy"]["idle_bytes"],
            "<=", 0.01, "x"])
    rows = [row_of(rounds, memory, name) for name in memory]
    return {
        "connections": n, "rounds": rounds, "memory": memory,
        "columns": ["who", "proxy_s_per_million", "backend_us", "all_us",
                    "machine_us", "per_s", "p50_us", "p99_us", "process", "kernel",
                    "idle_bytes", "lost"],
        "rows": rows, "figures": figures, "missing_peers": missing,
        "trouble": [], "lost": sum(r["lost"] for r in rows),
        "baseline": idle, "machine_figure": key,
        "note": f"{n:,} connections, {active} messages of {size} bytes under "
                "way over random ones; us of CPU per message; all_us: proxy, "
                "backend and client; machine_us: of all processors, over an "
                f"idle baseline of {idle:.2f} processors (with more than "
                f"{BUSY} all_us counts instead); process, kernel, "
                "idle_bytes: per idle connection",
    }
