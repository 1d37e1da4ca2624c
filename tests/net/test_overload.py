#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Each overload driven for real: the stated rule, the budget, the recovery.

doc/architecture.md section 10 states the rules. In each test the daemon's
memory is looked at from outside, the control socket has to answer, and when the
load has gone nothing of it may be left.
"""

import contextlib
import errno
import os
import random
import select
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "packet"))

import harness
import packet
from harness import (
    VIP4, Control, Echod, Net, Xtcpd, backends, connect, equal, msgclient,
    recv_exactly)
from overload import (
    METRICS, MIB, Taker, Watch, begin, budget, connects, exchange, finish,
    flood_of, fresh_client, hostile_packets, scrape, small_client,
    wait_attached, wait_for)
from peer import PEER4, Wire
from runner import note

PORT, OTHER = 5222, 5223


def pattern(seed, n):
    return random.Random(seed).randbytes(n)


def served(d, port=PORT):
    """A fresh client has an answer, and so has an operator."""
    fresh_client(port)
    equal(d.ctl("show", "info")["workers"]["silent"], 0)


# --- the receive pool

def sender(address, data, done):
    s = connect(PORT)
    s.settimeout(60)
    done[address] = s
    s.sendall(data)


def pool_full(workers):
    pools = {"small": {"receive-buffer": "512K",
                       "group": {"im": {"port": PORT, "user-timeout": 60000}}},
             "other": {"receive-buffer": "1M",
                       "group": {"echo": {"port": OTHER}}}}
    n, each = 30, 128 * 1024
    limit = budget(workers, pools=1536 * 1024, streams=2 * workers, groups=2)
    with Net(), Xtcpd(workers=workers, pools=pools) as d, \
            Echod("-p", OTHER, daemon=d) as _, Taker(d, PORT) as app:
        wait_attached(d, group="echo")
        with Watch(d, limit) as w:
            socks = {}
            threads = [threading.Thread(
                target=sender, daemon=True,
                args=(i, pattern(i, each), socks)) for i in range(n)]
            for t in threads:
                t.start()
            wait_for("the pool is full in each worker",
                     lambda: throttled(d) == workers)
            # I6: what clients acknowledge counts, however full the pool is
            app.push = b"meanwhile"
            wait_for("replies", lambda: len(app.pushed) >= workers)
            heard = {s for s in socks.values()
                     if app.clients.get(s.getsockname()) in app.pushed}
            for s in heard:
                equal(recv_exactly(s, 9), b"meanwhile")
            wait_for("the replies are acknowledged", lambda:
                     d.memory()["transmit_buffer_bytes"] == 0)
            equal(throttled(d), workers)
            msgclient(f"{VIP4}:{OTHER}", "--connections", 5, "--messages", 500)
            used = {p["name"]: p for p in d.ask("show pools")}["small"]
            if used["used_bytes"] > used["limit_bytes"]:
                raise AssertionError(f"beyond its limit: {used}")
            app.work.set()
            for t in threads:
                t.join(60)
            for s in set(socks.values()) - heard:
                equal(recv_exactly(s, 9), b"meanwhile")
            wait_for("all has arrived", lambda: app.held() == n * each or
                     app.error)
            app.check()
            for i, s in socks.items():
                conn = app.clients[s.getsockname()]
                equal(app.got[conn] == pattern(i, each), True, f"client {i}")
                s.close()
            w.settled()
        c = d.counters()
        note(f"throttled {c['throttle_entered']} times, {c['drop_pool_full']} "
             f"segments dropped unseen, {c['drop_ooo_limit']} beyond gaps")
        if c["throttle_entered"] != c["throttle_left"]:
            raise AssertionError("throttling did not end")
        served(d, OTHER)


def throttled(d):
    pool, = [p for p in d.ask("show pools") if p["name"] == "small"]
    return pool["throttled_workers"]


def test_receive_pool_full_w1():
    pool_full(1)


def test_receive_pool_full_w2():
    pool_full(2)


# --- the transmit buffer

REPLY = 120000


@contextlib.contextmanager
def slow_clients(workers, n, group=None):
    """n clients that don't read what they asked for; another group beside."""
    groups = {"slow": {"port": PORT, **(group or {})}, "echo": {"port": OTHER}}
    limit = budget(workers, transmit="2M", streams=2 * workers, groups=2)
    with Net(), Xtcpd(groups, workers, top={"transmit-buffer": "2M"}) as d, \
            Echod("-p", OTHER, daemon=d) as _, \
            Taker(d, PORT, lambda data: pattern(data, REPLY)) as app:
        wait_attached(d, group="echo")
        app.work.set()
        with Watch(d, limit) as w:
            socks = [small_client(PORT) for _ in range(n)]
            for i, s in enumerate(socks):
                s.sendall(b"%04d" % i)
            wait_for("replies wait", lambda: d.counter("tx_share_full"))
            yield d, app, socks, w
        for s in socks:
            s.close()


def read_on(socks, within=60):
    """All read what is there for them; the number that got all of it."""
    got = {s: bytearray() for s in socks}
    left, deadline = set(socks), time.monotonic() + within
    while left and time.monotonic() < deadline:
        for s in select.select(list(left), [], [], 1)[0]:
            try:
                part = s.recv(1 << 20)
            except OSError:
                part = b""
            got[s] += part
            if not part or len(got[s]) >= REPLY:
                left.discard(s)
    for i, s in enumerate(socks):
        want = pattern(b"%04d" % i, REPLY)
        equal(want.startswith(bytes(got[s])), True, f"client {i}")
    return sum(len(data) == REPLY for data in got.values())


def transmit_full(workers):
    with slow_clients(workers, 40 * workers) as (d, app, socks, w):
        used = d.memory()["transmit_buffer_bytes"]
        msgclient(f"{VIP4}:{OTHER}", "--connections", 5, "--messages", 500)
        fresh_client(OTHER)
        whole = read_on(socks)
        for s in socks:
            s.close()
        w.settled()
        c = d.counters()
        note(f"{used / MIB:.2f} MiB in the buffer, streams stalled "
             f"{c['stream_stalled_tx']} times")
        # on a machine that is busy it may have taken too long for some
        equal(whole + c["conn_slow_reset"], len(socks))
        served(d, OTHER)
        app.check()


def test_transmit_buffer_full_w1():
    transmit_full(1)


def test_transmit_buffer_full_w2():
    transmit_full(2)


def trickle(socks, over):
    """Each reads a little now and then: its client is there, but slow."""
    while not over.wait(0.3):
        for s in socks:
            with contextlib.suppress(OSError):
                s.recv(1000, socket.MSG_DONTWAIT)


def test_transmit_buffer_full_of_clients_that_trickle():
    """They are reset so that others have their replies."""
    with slow_clients(1, 60, {"user-timeout": 3000}) as (d, app, socks, w):
        over = threading.Event()
        t = threading.Thread(target=trickle, args=(socks, over), daemon=True)
        t.start()
        with small_client(PORT) as s:
            s.sendall(b"good")
            s.settimeout(60)
            equal(recv_exactly(s, REPLY) == pattern(b"good", REPLY), True)
        over.set()
        t.join()
        c = d.counters()
        note(f"{c['conn_slow_reset']} reset, {c['conn_timed_out']} timed out")
        if not c["conn_slow_reset"]:
            raise AssertionError("nobody had to go")
        for s in socks:
            s.close()
        w.settled()
        served(d, OTHER)
        app.check()


# --- connections

def full(group, top=None, most=20, counter="drop_group_full"):
    """Room for `most`: the rest is refused, those live on, room comes back."""
    limit = budget(max_connections=(top or {}).get("max-connections", 4096),
                   streams=1)
    with Net(), Xtcpd({"echo": {"port": PORT, **group}}, top=top) as d, \
            Echod("-p", PORT, daemon=d) as _:
        wait_attached(d)
        with Watch(d, limit) as w:
            good, bad = connects(most, PORT)
            equal((len(good), bad), (most, []))
            more, bad = connects(10, PORT)
            equal((more, set(bad)), ([], {errno.ECONNREFUSED}))
            equal(d.counter(counter) >= 10, True, counter)
            for s in good:
                exchange(s)
            for s in good[:5]:
                s.close()
            wait_for("room", lambda: len(d.connections()) == most - 5)
            again, bad = connects(5, PORT)
            equal((len(again), bad), (5, []))
            for s in good[5:] + again:
                exchange(s)
                s.close()
            wait_for("all gone", lambda: not d.connections())
            w.settled()
        served(d)


def test_max_connections_of_a_group():
    full({"max-connections": 20})


def test_max_per_source():
    full({"max-per-source": 20}, counter="drop_source_full")


def test_max_connections_of_the_arena():
    """Without a record there is silence, so that a client tries again."""
    most = 128
    limit = budget(max_connections=most, streams=1)
    with Net(), Xtcpd({"echo": {"port": PORT}},
                      top={"max-connections": most}) as d, \
            Echod("-p", PORT, daemon=d) as _:
        wait_attached(d)
        with Watch(d, limit) as w:
            good, bad = connects(most, PORT)
            equal((len(good), bad), (most, []))
            # a client among those that wait has its turn when one goes
            late = begin(PORT)
            wait_for("no record", lambda: d.counter("drop_no_record"))
            for s in good:
                exchange(s)
            for s in good[:10]:
                s.close()
            equal(finish(late), 0)
            exchange(late)
            for s in good[10:] + [late]:
                exchange(s)
                s.close()
            wait_for("all gone", lambda: not d.connections())
            w.settled()
        served(d)


# --- handshakes

def syn(src, sport, seq):
    return packet.ip4(src, VIP4, packet.TCP, packet.tcp(
        src, VIP4, sport, PORT, flags="S", seq=seq,
        options=packet.tcp_options(mss=1460)))


def flood(cookies):
    rng = random.Random(4987)
    sources = [f"10.9.{rng.randrange(256)}.{rng.randrange(1, 255)}"
               for _ in range(4000)]
    top = {"half-open-max": 500, "syn-cookies": cookies}
    with Net(), Xtcpd({"echo": {"port": PORT}}, top=top) as d, Wire() as wire, \
            Echod("-p", PORT, daemon=d) as _:
        wait_attached(d)
        old = connect(PORT)
        exchange(old)
        with Watch(d, budget(streams=1)) as w:
            for i, src in enumerate(sources):
                wire.send(syn(src, 1024 + i, i << 16))
                if i % 100 == 0:
                    wire.echo(within=60)
            info = d.ask("show info")["connections"]
            if info["half_open"] > 500:
                raise AssertionError(f"half open: {info}")
            exchange(old)
            c = d.counters()
            if cookies == "auto":
                good, bad = connects(20, PORT)
                equal((len(good), bad), (20, []))
                for s in good:
                    exchange(s)
                    s.close()
                equal(c["cookies_sent"] >= 3000, True, "cookies")
                equal(d.counter("cookies_accepted") >= 20, True, "accepted")
            else:
                equal(c["drop_half_open"] >= 3000, True, "drops")
                equal(c["cookies_sent"], 0)
                # it tries on, and gets in when the handshakes have gone
                late = begin(PORT)
            for i, src in enumerate(sources):
                wire.send(packet.ip4(src, VIP4, packet.TCP, packet.tcp(
                    src, VIP4, 1024 + i, PORT, flags="R",
                    seq=(i << 16) + 1)))
                if i % 100 == 0:
                    wire.echo(within=60)
            wait_for("no handshake is left", lambda:
                     d.ask("show info")["connections"]["half_open"] == 0)
            if cookies == "never":
                equal(finish(late), 0)
                exchange(late)
                late.close()
            exchange(old)
            w.settled()
        old.close()
        served(d)


def test_syn_flood_with_cookies():
    flood("auto")


def test_syn_flood_without_cookies():
    flood("never")


# --- a worker

def saturated(workers):
    top = {"metrics": {"listen": f"127.0.0.1:{METRICS}"}}
    limit = budget(workers, streams=workers)
    with Net(), Xtcpd({"echo": {"port": PORT}}, workers, top=top) as d, \
            Echod("-p", PORT, daemon=d) as _:
        wait_attached(d)
        old = [connect(PORT) for _ in range(20)]
        for s in old:
            exchange(s)
        done, longest = [], 0.0
        with Watch(d, limit) as w:
            begun = d.counter("tun_packets_in")
            with flood_of(hostile_packets(old[0].getsockname(), PORT), 2):
                while len(done) < 500 or not lost(d):
                    took = time.monotonic()
                    done.append(scrape(METRICS))
                    longest = max(longest, time.monotonic() - took)
            if longest > 20 or not set(done) <= {200, 503}:
                raise AssertionError(f"{longest} s; metrics: {done}")
            packets = d.counter("tun_packets_in") - begun
            for s in old:
                exchange(s)
                s.close()
            w.settled()
        note(f"{packets} packets taken, {lost(d)} lost; {len(done)} times two "
             f"questions, the longest took {longest * 1000:.0f} ms; metrics "
             f"{done.count(200)} times; "
             f"silent: {d.stderr().count('does not answer')}")
        served(d)


def lost(d):
    return d.ask("show info")["device_dropped"]


@harness.serial
def test_worker_saturated_w1():
    saturated(1)


@harness.serial
def test_worker_saturated_w2():
    saturated(2)


def test_device_queue_full():
    """What the device had no room for is lost, counted, and sent again."""
    with Net(), Xtcpd({"echo": {"port": PORT}}) as d, \
            Echod("-p", PORT, daemon=d) as _:
        wait_attached(d)
        s = connect(PORT)
        exchange(s)
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        with Watch(d, budget(streams=1)) as w:
            os.kill(d.pid, signal.SIGSTOP)
            try:
                for _ in range(20000):
                    with contextlib.suppress(OSError):
                        raw.sendto(packet.echo_request(PEER4, VIP4),
                                   ("xtcp0", 0x0800))
                s.sendall(b"in the flood")
            finally:
                os.kill(d.pid, signal.SIGCONT)
            equal(recv_exactly(s, 12), b"in the flood")
            equal(d.ask("show info")["device_dropped"] > 0, True)
            s.close()
            w.settled()
        raw.close()
        served(d)


# --- a backend

def shared(n, port=PORT):
    """n connections that have exchanged something, by the backend's name."""
    socks = [connect(port) for _ in range(n)]
    for s in socks:
        exchange(s)
    return socks


def stuck(d, a, b, end):
    """Backend a is stopped, its socket full; end() is how that ends."""
    with Watch(d, budget(streams=3, groups=2)) as w:
        socks = shared(80)
        by_port = {c["remote"]: c["backend"] for c in d.connections()}
        mine = {s: by_port["%s:%d" % s.getsockname()] for s in socks}
        of_a = [s for s in socks if mine[s] == f"pid {a.pid}"]
        of_b = [s for s in socks if mine[s] == f"pid {b.pid}"]
        if not of_a or not of_b:
            raise AssertionError(f"one has all: {mine.values()}")
        os.kill(a.pid, signal.SIGSTOP)
        text = pattern(1, 400000)
        threads = [threading.Thread(target=s.sendall, args=(text,),
                                    daemon=True) for s in of_a]
        for t in threads:
            t.start()
        wait_for("connections wait for it", lambda: sum(
            g["waiting"] for g in d.ask("show groups")))
        for s in of_b:
            exchange(s)
        msgclient(f"{VIP4}:{OTHER}", "--connections", 5, "--messages", 500)
        end()
        for s in of_a:
            s.settimeout(60)
            equal(recv_exactly(s, len(text)) == text, True, "the echo")
        for t in threads:
            t.join(60)
        for s in socks:
            exchange(s)
            s.close()
        w.settled()
    served(d)


@contextlib.contextmanager
def two_backends():
    groups = {"im": {"port": PORT, "balance": "sticky"},
              "other": {"port": OTHER}}
    with Net(), Xtcpd(groups) as d, Echod("-p", OTHER, daemon=d) as _, \
            Echod("-p", PORT, daemon=d) as a:
        wait_attached(d, 1, "im")
        with Echod("-p", PORT, daemon=d) as b:
            wait_attached(d, 2, "im")
            wait_attached(d, 1, "other")
            try:
                yield d, a, b
            finally:
                if a.alive():
                    os.kill(a.pid, signal.SIGCONT)


def test_backend_stuck_goes_on():
    with two_backends() as (d, a, b):
        stuck(d, a, b, lambda: os.kill(a.pid, signal.SIGCONT))


def test_backend_stuck_is_replaced():
    with two_backends() as (d, a, b):
        stuck(d, a, b, a.kill)
        equal(len(backends(d, "im")), 1)


# --- the control plane

def test_control_clients():
    """Whoever says nothing, half of it, or reads nothing keeps nobody out."""
    with Net(), Xtcpd({"echo": {"port": PORT}}, top={
            "metrics": {"listen": f"127.0.0.1:{METRICS}"}}) as d, \
            Echod("-p", PORT, daemon=d) as _:
        wait_attached(d)
        with contextlib.ExitStack() as stack, \
                Watch(d, budget(streams=1)) as w:
            fds = len(os.listdir(f"/proc/{d.pid}/fd"))
            hostile_control(d, stack)
            hostile_metrics(stack)
            hostile_attach(d, stack)
            wait_for("xtcpctl is answered", lambda: d.ctl(
                "show", "info", check=False).returncode == 0)
            equal(scrape(METRICS), 200)
            exchange(stack.enter_context(connect(PORT)))
            now = len(os.listdir(f"/proc/{d.pid}/fd"))
            if now > fds + 32 + 32 + 64 + 8:
                raise AssertionError(f"{now} descriptors, {fds} before")
            with Echod("-p", PORT, daemon=d) as _:
                wait_attached(d, 2)
            stack.close()
            w.settled()
            wait_for("descriptors are closed", lambda: len(
                os.listdir(f"/proc/{d.pid}/fd")) <= fds + 1)
            c = d.counters()
            note(f"{c['control_clients']} control clients, "
                 f"{c['control_clients_evicted']} made room, "
                 f"{c['control_clients_refused']} refused")
        served(d)


def hostile_control(d, stack):
    line = b'{"command": "show counters"}\n'
    for i in range(200):
        try:
            c = Control(d.control_path)
        except OSError:
            continue
        stack.callback(c.close)
        c.sock.setblocking(False)
        with contextlib.suppress(OSError):
            if i % 3 == 0:
                c.sock.send(line * 2000)
            elif i % 3 == 1:
                c.sock.send(line[:10])


def hostile_metrics(stack):
    for i in range(200):
        s = socket.create_connection(("127.0.0.1", METRICS), timeout=10)
        stack.callback(s.close)
        with contextlib.suppress(OSError):
            s.send(b"GET /metrics HTTP/1.1\r\nX: " + b"y" * i)


def hostile_attach(d, stack):
    for _ in range(100):
        s = socket.socket(socket.AF_UNIX)
        stack.callback(s.close)
        s.setblocking(False)
        with contextlib.suppress(OSError):
            s.connect(d.attach_path)
            s.send(b"\0\0\0\x30\x01")


def test_lists_that_nobody_reads():
    """Replies together are bounded; whoever reads gets them."""
    with Net(), Xtcpd({"echo": {"port": PORT}}) as d, \
            Echod("-p", PORT, daemon=d) as _:
        wait_attached(d)
        socks, bad = connects(1000, PORT)
        equal((len(socks), bad), (1000, []))
        with Watch(d, budget(streams=1)) as w:
            idle = [Control(d.control_path) for _ in range(30)]
            for c in idle:
                c.sock.sendall(b'{"command": "show connections", '
                               b'"args": {"limit": 100000}}\n')
            equal(d.ask("show info")["connections"]["established"], 1000)
            wait_for("lists are refused",
                     lambda: d.counter("control_lists_refused"))
            for c in idle:
                answer = c.answer()
                if answer["ok"]:
                    equal(len(answer["result"]), 1000)
                c.close()
            equal(len(d.connections()), 1000)
            for s in socks:
                s.close()
            w.settled()
        served(d)


for name, test in list(globals().items()):
    if name.startswith("test_"):
        harness.timeout(200)(test)

if __name__ == "__main__":
    harness.main(globals())
