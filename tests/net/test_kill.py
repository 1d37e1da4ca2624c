#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# long
"""kill -9 of the daemon, or of the backend, under thousands of clients.

No client may notice more than a pause: no reset, no byte lost, repeated or
wrong, no connection gone. holdc compares every byte; at the end each of its
connections, the idle ones too, sends a last request and closes in order.

When to kill is drawn from a seed, which is printed; XTCP_KILL_SEED repeats it.
Some kills strike while the one before is being recovered from.
"""

import contextlib
import os
import random
import signal
import time

import harness
from harness import (
    BUILD, SCALE, Echod, equal, serial, timeout, wait_attached, wait_for)
from killing import (
    FAILURES, Holders, Mortal, Wire, check_held, longest_ms)
from runner import note

# One backend echoes at once. The other lets each request wait, so that there
# are always some that are delivered and not acknowledged.
PORT, SLOW_PORT, SLOW_MS = 7, 8, 60
KILLS = 20
# Sanitizers make all slower, and kills are as many.
CONNECTIONS = (5000 if BUILD.name == "gcc" else 1000) // min(SCALE, 4)
# Kills in a hundred that don't wait until all has recovered.
IMPATIENT = 25
RECOVER_S = 60
TOP = {"max-connections": 20000, "half-open-per-source": 0,
       "transmit-buffer": "64M"}
POOL = {"receive-buffer": "64M"}


def seed():
    value = int(os.environ.get("XTCP_KILL_SEED",
                               random.SystemRandom().randrange(1 << 31)))
    note(f"seed {value}")
    return value


def holders(wire, number, connections=CONNECTIONS):
    """Clients of which most are idle and many are in the middle of something."""
    return Holders(
        wire, (PORT, SLOW_PORT), connections, "--bulk", connections // 200,
        "--bulk-bytes", 256 << 10, "--churn", connections // 10, "--think",
        "200:60000", "--seed", number, "--timeout", RECOVER_S,
        within=RECOVER_S)


class Killing:
    """A series of kills at random moments, and the pauses that they cost."""

    def __init__(self, clients, rng, kills):
        self.clients, self.rng, self.kills = clients, rng, kills
        self.pauses = []

    def moment(self):
        """Wait for the next moment to kill: any, so there is no condition."""
        time.sleep(self.rng.choice((0.05, 0.3, 1)) * self.rng.random())

    def run(self, kill, look):
        """kill() does it, at once; look() judges what came after it, once the
        clients have all that they waited for."""
        for n in range(self.kills):
            self.moment()
            self.pauses.append(longest_ms(self.clients.mark()))
            kill()
            if self.rng.randrange(100) >= IMPATIENT or n == self.kills - 1:
                self.clients.recovered(RECOVER_S)
                look()
        self.pauses.append(longest_ms(self.clients.mark()))

    def finish(self, what):
        """End the clients, judge what they saw; print the pauses, the first of
        which is from before the first kill."""
        result = self.clients.finish(RECOVER_S + 10)
        note(f"{what}: {self.kills} kills, {result['connections']} clients, "
             f"{result['opened']} connections, {result['requests']} requests, "
             f"{result['bytes_in'] >> 20} MiB echoed")
        note(f"longest pause before any kill {self.pauses[0]:.0f} ms, after "
             f"each: {' '.join(f'{p:.0f}' for p in self.pauses[1:])} ms")
        pause = result["pause"]
        note(f"of all pauses: median {pause['p50_ms']} ms, 99 % "
             f"{pause['p99_ms']} ms, longest {pause['max_ms']} ms")
        check_held(result)


@contextlib.contextmanager
def scene(workers, supervised=False, **group):
    with Wire() as wire, \
            Mortal({"echo": {"port": PORT, **group},
                    "slow": {"port": SLOW_PORT, **group}}, workers=workers,
                   top=TOP, pool=POOL, supervised=supervised) as d:
        yield wire, d


class Echoes:
    """The two backends."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.running = []

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        for args in (("-p", PORT), ("-p", SLOW_PORT, "--delay", SLOW_MS)):
            self.running.append(self.stack.enter_context(
                Echod(*args, daemon=self.daemon)))
        for group in ("echo", "slow"):
            wait_attached(self.daemon, group=group)
        return self

    def __exit__(self, kind, value, tb):
        return self.stack.__exit__(kind, value, tb)


def nothing_left(d):
    """All of the clients ended: neither connections nor their bytes stay."""
    wait_for("no connection but in TIME-WAIT", lambda: not [
        c for c in d.connections() if c["state"] != "TIME-WAIT"])
    memory = d.memory()
    equal((memory["receive_pool_bytes"], memory["transmit_buffer_bytes"]),
          (0, 0), "bytes without a connection")


def daemon_killed(workers, connections, kills, supervised):
    number = seed()
    with scene(workers, supervised) as (wire, d), Echoes(d), \
            holders(wire, number, connections) as clients:
        clients.ready(RECOVER_S)
        killing = Killing(clients, random.Random(number), kills)
        fewest = connections

        def look():
            nonlocal fewest
            said = d.serving()
            equal(said["lost_in_recovery"], 0, "lost in recovery")
            fewest = min(fewest, said["recovered_connections"])
            if said["recovered_connections"] < connections // 2:
                raise AssertionError(f"few were recovered: {said}")

        killing.run(d.murder, look)
        killing.finish(f"daemon with {workers} workers, started again " +
                       ("by --supervise" if supervised else "anew"))
        note(f"at least {fewest} connections recovered, none lost")
        nothing_left(d)


@serial
@timeout(250)
def test_supervised_daemon_with_two_workers_is_killed():
    daemon_killed(2, CONNECTIONS, KILLS, True)


@serial
@timeout(250)
def test_daemon_with_one_worker_is_killed():
    """Nobody keeps the device: it goes, and is made anew."""
    daemon_killed(1, CONNECTIONS // 2, KILLS // 2, False)


@serial
@timeout(250)
def test_backends_are_killed():
    """echod acknowledges a byte in the frame that echoes it, so its clients may
    neither lose a byte nor see one twice."""
    number = seed()
    with scene(2) as (wire, d), Echoes(d) as echoes, \
            holders(wire, number) as clients:
        clients.ready(RECOVER_S)
        rng = random.Random(number)
        killing = Killing(clients, rng, KILLS)

        def kill():
            victim = rng.choice(echoes.running)
            victim.check_alive()
            victim.kill(signal.SIGKILL)
            victim.spawn()

        killing.run(kill, d.check_alive)
        if d.counter("redelivered") == 0:
            raise AssertionError("no kill struck a request: nothing was shown")
        killing.finish("backends")
        nothing_left(d)


@serial
def test_holdc_notices():
    """A daemon that is stopped for good: the clients say so, each of them."""
    with scene(1) as (wire, d), Echoes(d), \
            Holders(wire, (PORT,), 20, "--think", "5:20", "--timeout", 2) as c:
        c.ready(RECOVER_S)
        os.kill(d.pid, signal.SIGKILL)
        d.p.wait()
        d.configure({"other": {"port": 9}})
        os.truncate(f"{d.dir}/state/arena", 0)
        d.spawn()
        result = c.finish(RECOVER_S)
        equal(result["ok"], False)
        equal(sum(result[what] for what in FAILURES), 20, f"failed: {result}")


if __name__ == "__main__":
    harness.main(globals())
