#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Backends that come, go, hang and lie under load: exactly once.

examples/ledger is the application that keeps offsets: kernel clients send it
bookings, a few at a time, and check each answer; in the end its log must have
each booking once. tests/tools/onced is one that keeps none.
"""
# builds: gcc asan tsan
# long

import os
import random
import selectors
import signal
import socket
import struct
import tempfile
import threading
import time
from collections import Counter

import harness
from frames import Backend, Closed, encode
from harness import (
    SCALE, VIP4, Echod, Net, Tool, Xtcpd, backends, connect, equal, msgclient,
    recv_exactly, streams_up, timeout, wait_attached, wait_for)
from runner import note, serial

PORT = 4000
SEED = int(os.environ.get("XTCP_TEST_SEED", "0")) or \
    int.from_bytes(os.urandom(4), "big")
RECORD = struct.Struct("=QQQQQqqq")


class Ledger(Tool):
    program = "examples/ledger"


class Onced(Tool):
    program = "tests/tools/onced"


def daemon(group=None, workers=2, **kw):
    return Xtcpd({"ledger": {"port": PORT, **(group or {})}}, workers, **kw)


# --- the clients

class Client:
    """One account: what was sent, and which answers must come, in order."""

    def __init__(self, sock, rng):
        self.sock, self.rng = sock, rng
        self.sent, self.answered = 0, 0  # requests
        self.balance = 0
        self.due = []  # answers that are to come
        self.data = b""

    def request(self):
        raise NotImplementedError

    def send(self, depth):
        while len(self.due) < depth:
            line, answer = self.request()
            self.sock.sendall(line)  # far less than a socket buffer
            self.sent += 1
            self.due.append(answer)

    def receive(self):
        part = self.sock.recv(65536)
        if not part:
            raise AssertionError(f"closed with {len(self.due)} answers due")
        self.data += part
        while self.due and len(self.data) >= len(self.due[0]):
            want = self.due.pop(0)
            got, self.data = self.data[:len(want)], self.data[len(want):]
            if got != want:
                raise AssertionError(f"request {self.answered + 1} of a client "
                                     f"was answered {got!r}, not {want!r}")
            self.answered += 1
        if self.data and not self.due:
            raise AssertionError(f"an answer that nobody asked for: "
                                 f"{self.data!r}")


class Account(Client):
    """Of examples/ledger: the answers say if a booking was made twice."""

    def request(self):
        amount = self.rng.randint(-1000, 1000)
        self.balance += amount
        return b"%d\n" % amount, b"%10d %20d\n" % (self.sent + 1, self.balance)


class Line(Client):
    """Of onced: each line comes back."""

    def request(self):
        line = b"%d %d\n" % (self.sent, self.rng.getrandbits(40))
        return line, line


class Load(threading.Thread):
    """n clients that keep a few requests under way each, until stop()."""

    def __init__(self, kind, n, depth=3, seed=SEED):
        super().__init__(daemon=True)
        rng = random.Random(seed)
        self.clients = [kind(connect(PORT), random.Random(rng.random()))
                        for _ in range(n)]
        self.depth, self.stopping, self.error = depth, False, None
        self.start()

    def answered(self):
        return sum(c.answered for c in self.clients)

    def sent(self):
        return sum(c.sent for c in self.clients)

    def run(self):
        try:
            self.work()
        except BaseException as e:  # told by check()
            self.error = e

    def work(self):
        with selectors.DefaultSelector() as sel:
            for c in self.clients:
                sel.register(c.sock, selectors.EVENT_READ, c)
                c.send(self.depth)
            while not self.stopping or any(c.due for c in self.clients):
                for key, _ in sel.select(0.1):
                    c = key.data
                    c.receive()
                    if not self.stopping:
                        c.send(c.rng.randint(1, self.depth))

    def check(self):
        if self.error:
            raise self.error

    def more(self, n, within=60):
        """n more answers come."""
        goal = self.answered() + n

        def there():
            self.check()
            return self.answered() >= goal
        wait_for(f"{n} more answers", there, within)

    def stop(self, within=60):
        """No more requests; all that were sent are answered."""
        self.stopping = True
        self.join(within)
        self.check()
        if self.is_alive():
            due = sum(len(c.due) for c in self.clients)
            raise AssertionError(f"{due} answers did not come in {within} s")
        equal(self.answered(), self.sent())

    def close(self):
        for c in self.clients:
            c.sock.close()


# --- the logs

def ledger_log(path):
    """Accounts (id -> (bookings, balance)), and records that don't count."""
    accounts, last, void = {}, {}, 0
    with open(path, "rb") as f:
        data = f.read()
    equal(len(data) % RECORD.size, 0, "torn record")
    for at in range(0, len(data), RECORD.size):
        _, epoch, conn, start, end, before, count, balance = \
            RECORD.unpack_from(data, at)
        key = epoch, conn
        done, place = last.get(key, (0, -1))
        if start != done or before != place:
            void += 1
            continue
        last[key] = end, at
        equal(count, accounts.get(key, (0, 0))[0] + 1, "bookings in a row")
        accounts[key] = count, balance
    return accounts, void


def check_ledger(load, path, may_race=False):
    """Each request of the clients was booked once."""
    accounts, void = ledger_log(path)
    equal(sorted(accounts.values()),
          sorted((c.sent, c.balance) for c in load.clients if c.sent))
    if not may_race:
        equal(void, 0, "bookings of what another one had booked")
    return void


def check_streams(d):
    """The counters add up: streams that came, less those lost, are up."""
    def settled():
        n = d.counters()
        return n["backend_connects"] - n["backend_lost"] == streams_up(d)
    wait_for("streams add up", settled)


# --- kill -9

def kill_at_random(start, n_backends, kills, load, rng):
    """Kills (some at once, now and then all) and restarts; the backends."""
    bs = [start() for _ in range(n_backends)]
    killed = 0
    while killed < kills:
        load.check()
        time.sleep(rng.uniform(0.02, 0.35))
        n = n_backends if rng.random() < 0.15 else rng.randint(1, 2)
        victims = rng.sample(range(n_backends), min(n, n_backends))
        for i in victims:
            bs[i].kill(signal.SIGKILL)
            bs[i].log.close()
        killed += len(victims)
        if rng.random() < 0.5:
            time.sleep(rng.uniform(0, 0.2))
        for i in victims:
            bs[i] = start()
    return bs, killed


def stop_all(bs):
    for b in bs:
        b.__exit__(None, None, None)


def killed_at_random(kind, start, n_backends, clients, kills, finish):
    rng = random.Random(SEED)
    with Net(), tempfile.TemporaryDirectory() as t, daemon() as d:
        log = f"{t}/log"
        load = Load(kind, clients)
        bs, killed = kill_at_random(lambda: start(d, log), n_backends,
                                    kills // min(SCALE, 4), load, rng)
        load.more(clients)
        load.stop()
        check_streams(d)
        n = d.counters()
        if not n["loss_undelivered"] or not n["redelivered"]:
            raise AssertionError("no kill met a request in hand")
        note(f"seed {SEED}: {killed} kills, {load.sent()} requests of "
             f"{clients} clients, {n['redelivered']} redelivered frames"
             f"{finish(load, log)}")
        load.close()
        stop_all(bs)


@serial
@timeout(150)
def test_killed_at_random_with_offsets_is_exactly_once():
    def start(d, log):
        return Ledger("-w", 200, "-p", PORT, log, daemon=d)

    def finish(load, log):
        check_ledger(load, log)
        return ", each booked once"
    killed_at_random(Account, start, 4, 300, 60, finish)


@serial
@timeout(150)
def test_killed_at_random_without_offsets_is_at_least_once():
    def start(d, log):
        return Onced(PORT, log, daemon=d)

    def finish(load, log):
        times, ends = Counter(), {}
        with open(log) as f:
            for text in f:
                epoch, conn, first, end, again = text.split()
                key = epoch, conn, int(first, 16)
                times[key] += 1
                if times[key] > 1:
                    equal(again, "1", "a request was executed again unmarked")
                ends[key] = int(end, 16)
        equal(len(times), load.sent(), "requests executed")
        twice = sum(n - 1 for n in times.values())
        if not twice:
            raise AssertionError("no kill came between doing and saying so")
        return f", {twice} executed again"
    killed_at_random(Line, start, 3, 200, 40, finish)


# --- stopped, and back

@serial
@timeout(150)
def test_stopped_and_continued_comes_too_late():
    """SIGSTOP: given up, its requests answered by others; then SIGCONT. What
    it still says reaches nobody, and nothing is booked twice."""
    rng = random.Random(SEED)
    with Net(), tempfile.TemporaryDirectory() as t, \
            daemon({"backend-timeout": 700, "balance": "any"}) as d:
        log = f"{t}/log"
        load = Load(Account, 100)
        bs = [Ledger("-w", 200, "-p", PORT, log, daemon=d)
              for _ in range(3)]
        wait_attached(d, 3)
        for _ in range(8 // min(SCALE, 4)):
            victim = rng.choice(bs)
            load.more(300 // min(SCALE, 10))
            before = d.counter("backend_stuck")
            os.kill(victim.pid, signal.SIGSTOP)
            wait_for("it is given up",
                     lambda b=before: d.counter("backend_stuck") > b)
            load.more(300 // min(SCALE, 10))
            if rng.random() < 0.3:  # and those that took over die as well
                for i, b in enumerate(bs):
                    if b is not victim:
                        b.kill(signal.SIGKILL)
                        b.log.close()
                        bs[i] = Ledger("-w", 200, "-p", PORT, log, daemon=d)
            os.kill(victim.pid, signal.SIGCONT)
            wait_attached(d, 3)
        load.more(300 // min(SCALE, 10))
        load.stop()
        check_streams(d)
        void = check_ledger(load, log, may_race=True)
        n = d.counters()
        note(f"seed {SEED}: {load.sent()} requests, {n['redelivered']} "
             f"redelivered frames, {n['frame_not_owner']} frames too late, "
             f"{void} bookings too late")
        load.close()
        stop_all(bs)


@timeout(150)
def test_stopped_misses_its_pings():
    """Without backend-timeout it takes two missed PINGs' time."""
    with Net(), tempfile.TemporaryDirectory() as t, daemon() as d:
        log = f"{t}/log"
        load = Load(Account, 20, depth=1)
        bs = [Ledger("-p", PORT, log, daemon=d) for _ in range(2)]
        wait_attached(d, 2)
        load.more(100)
        os.kill(bs[0].pid, signal.SIGSTOP)
        wait_for("it is silent", lambda:
                 d.counter("backend_silent") == d.workers, 60, 0.2)
        load.more(100)
        os.kill(bs[0].pid, signal.SIGCONT)
        wait_attached(d, 2)
        load.stop()
        check_ledger(load, log, may_race=True)
        load.close()
        stop_all(bs)


def test_what_a_stopped_one_says_late_reaches_nobody():
    """The zombie comes back by the letter: with all that it may say."""
    with Net(), daemon(workers=1) as d:
        zombie = Backend.dial(d.attach_path, PORT, instance=77)
        s = connect(PORT)
        s.sendall(b"request")
        f = zombie.expect("DATA", payload=b"request")
        heir = Backend.dial(d.attach_path, PORT)
        zombie.close()
        g = heir.expect("DATA", payload=b"request", redelivered=True)
        equal((g.conn, g.offset), (f.conn, 0))
        with Backend.dial(d.attach_path, PORT, instance=77,
                          resumes=True) as zombie:
            at = {"flags": 16, "aux": 0}  # FRAME_F_AT
            for kind, payload, more in (
                    ("REPLY", b"late", {}), ("REPLY", b"late", {"ackd": 7}),
                    ("REPLY", b"", {}), ("FIN", b"", {}), ("CLOSE", b"", {}),
                    ("ABORT", b"", {})):
                zombie.send(kind, payload, conn=f.conn, **at, **more)
                zombie.expect("RESET", conn=f.conn)
            heir.reply(g.conn, b"done", ackd=7)
            equal(recv_exactly(s, 4), b"done")
            s.sendall(b"again")
            heir.expect("DATA", payload=b"again")
            heir.close()
            # nobody has it, but what the zombie has to say is of before
            wait_for("the loss is noticed", lambda: streams_up(d) == 1)
            zombie.send("REPLY", b"much later", conn=f.conn, ackd=7, **at)
            zombie.expect("RESET", conn=f.conn)
            equal(zombie.resumed(), [])
            again = zombie.expect("DATA", payload=b"again", conn=f.conn,
                                  offset=7, first=True, redelivered=True)
            equal(again.addr.send_offset + again.aux, 4)
            zombie.reply(f.conn, b"well", ackd=5, offset=7, flags=16, aux=4)
            equal(recv_exactly(s, 4), b"well")


# --- read, and never answered

@serial
@timeout(120)
def test_one_that_never_answers_is_given_up():
    """It reads and answers PINGs; backend-timeout gives its requests on."""
    with Net(), tempfile.TemporaryDirectory() as t, \
            daemon({"backend-timeout": 500}) as d:
        log = f"{t}/log"
        with Onced(PORT, f"{t}/hangs", "hang", daemon=d) as hangs:
            wait_attached(d)
            load = Load(Account, 50)
            wait_for("requests are in hand", lambda:
                     backends(d)[0]["inflight"] == 50)
            with Ledger("-p", PORT, log, daemon=d):
                load.more(500)
                equal(d.counter("backend_silent"), 0)
                if d.counter("backend_stuck") < d.workers:
                    raise AssertionError("nothing was given up")
                hangs.kill(signal.SIGKILL)
                load.stop()
                check_ledger(load, log)
                load.close()


def test_one_that_never_answers_holds_up_nobody_else():
    """A group and its pool are stuck; others go on, and xtcpctl answers."""
    pools = {
        "stuck": {"receive-buffer": "1M", "group": {"stuck": {"port": PORT}}},
        "well": {"receive-buffer": "4M", "group": {"well": {"port": 7}}},
    }
    with Net(), tempfile.TemporaryDirectory() as t, \
            Xtcpd(pools=pools, workers=2) as d, \
            Onced(PORT, f"{t}/hangs", "hang", daemon=d), \
            Echod("-p", 7, daemon=d):
        wait_attached(d, 2)
        socks = [connect(PORT) for _ in range(20)]
        for s in socks:
            s.setblocking(False)
            try:
                while s.send(bytes(65536)):
                    pass
            except BlockingIOError:
                pass
        wait_for("its pool is full", lambda: [
            p for p in d.ask("show pools")
            if p["name"] == "stuck" and p["throttled_workers"]])
        msgclient(f"{VIP4}:7", "--connections", 20, "--messages", 2000)
        equal(len(d.ctl("show", "backends")), 2)
        for s in socks:
            s.close()


def test_max_inflight_keeps_new_requests_from_it():
    """What one that hangs has in hand is bounded; others get the rest."""
    with Net(), tempfile.TemporaryDirectory() as t:
        path = f"{t}/b.sock"
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        sock.listen(4)
        conf = {"a": {"address": f"unix:{path}", "max-inflight": 3}}
        with daemon({"backend": conf, "balance": "any"}, workers=1) as d, \
                Backend.serve(sock) as hangs:
            with Ledger("-p", PORT, f"{t}/log", daemon=d):
                wait_for("both are up", lambda: streams_up(d) == 2)
                load = Load(Account, 20, depth=1)
                wait_for("it has its share", lambda: sum(
                    b["inflight"] for b in backends(d)
                    if b["name"] == "a") == 3)
                load.more(200)
                equal(len([f for f in hangs.sync() if f.type == "DATA"]), 3)
                hangs.close()
                sock.close()
                load.stop()
                check_ledger(load, f"{t}/log")
                load.close()


# --- lies

@serial
@timeout(120)
def test_liars_among_honest_ones_harm_nobody():
    """Garbage, wrong frames, half frames: closed, redelivered, not dialled
    in a spin; every request is booked once by the honest one."""
    noise = bytearray(random.Random(SEED).randbytes(4096))
    noise[4] = 250  # the type; one that the log may name
    lies = [
        lambda group: noise,
        lambda group: b"HTTP/1.1 200 OK\r\n\r\n" * 10,
        lambda group: encode("REPLY", group=group, conn=1, length=1 << 31),
        lambda group: encode(99, group=group),
        lambda group: encode("REPLY", group=group, conn=1, ackd=1),
    ]
    with Net(), tempfile.TemporaryDirectory() as t:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(f"{t}/liar.sock")
        sock.listen(16)
        conf = {"liar": {"address": f"unix:{t}/liar.sock"}}
        with daemon({"backend": conf, "balance": "any"}) as d, \
                Ledger("-p", PORT, f"{t}/log", daemon=d):
            wait_for("it is up", lambda: streams_up(d) == d.workers)
            load = Load(Account, 50)
            for i in range(12):
                try:
                    with Backend.serve(sock, within=30) as liar:
                        if i % 2 == 0:  # with requests in hand
                            liar.expect("DATA", within=30)
                        liar.send_raw(lies[i % len(lies)](liar.group))
                        liar.expect_closed()
                except (Closed, BrokenPipeError, ConnectionResetError):
                    pass  # at once
                load.check()
            sock.close()
            load.more(100)
            load.stop()
            check_ledger(load, f"{t}/log")
            n = d.counters()
            if n["frame_bad_length"] + n["frame_unknown_type"] + \
                    n["frame_bad_conn"] < 6:
                raise AssertionError(f"lies were not noticed: {n}")
            load.close()


# --- on purpose

@serial
@timeout(120)
def test_rolling_restart_redelivers_nothing():
    """vacate, wait until nothing is in hand, stop, start, resume: each."""
    for balance in ("sticky", "least"):
        with Net(), tempfile.TemporaryDirectory() as t:
            names = ["a", "b", "c"]
            address = {n: f"unix:{t}/{n}.sock" for n in names}
            conf = {n: {"address": address[n]} for n in names}

            def start(name):
                return Ledger("-l", address[name], f"{t}/log")

            def of(d, name):
                return [b for b in backends(d) if b["name"] == name][0]

            with daemon({"backend": conf, "balance": balance}) as d:
                bs = {n: start(n) for n in names}
                wait_attached(d, 3)
                load = Load(Account, 100)
                load.more(300)
                for n in names:
                    d.ctl("vacate", "backend", n)
                    equal(of(d, n)["state"], "vacating")
                    wait_for("nothing is in hand",
                             lambda n=n: of(d, n)["inflight"] == 0)
                    load.more(50)
                    equal(of(d, n)["inflight"], 0)
                    bs[n].__exit__(None, None, None)
                    wait_for("it is gone",
                             lambda n=n: of(d, n)["streams_up"] == 0)
                    load.more(100)
                    bs[n] = start(n)
                    wait_attached(d, 3)
                    d.ctl("resume", "backend", n)
                    load.more(100)
                load.stop()
                check_ledger(load, f"{t}/log")
                n = d.counters()
                equal((n["redelivered"], n["loss_undelivered"]), (0, 0))
                load.close()
                stop_all(bs.values())


if __name__ == "__main__":
    harness.main(globals())
