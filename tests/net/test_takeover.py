#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""An xtcpd on the arena of one before it, with nobody who keeps descriptors."""

import contextlib
import os
import signal
from pathlib import Path

import harness
from harness import (
    BUILD, VIP4, VIP6, Echod, Net, Process, Xtcpd, connect, contains, equal,
    recv_exactly, run, wait_attached, wait_for)
from outlive import is_blackhole, link, queues, routes

PORT = 7
# In the arena's header.
LAYOUT_HASH = 16


def exchange(s, text):
    s.sendall(text)
    equal(recv_exactly(s, len(text)), text)


@contextlib.contextmanager
def killed(n=8, workers=2, **kw):
    """xtcpd was killed while it had n connections; the daemon, the clients."""
    with Net(), Xtcpd({"echo": {"port": PORT}}, workers, **kw) as d, \
            Echod("-p", PORT, daemon=d), contextlib.ExitStack() as stack:
        wait_attached(d)
        clients = [stack.enter_context(
            connect(PORT, VIP6 if i % 4 == 3 else VIP4)) for i in range(n)]
        for s in clients:
            exchange(s, b"before")
        d.kill()
        d.stopped = True
        wait_for("the device is gone", lambda: not link())
        equal(all(is_blackhole(r) for r in routes()), True)
        equal(arena(d).exists(), True)
        yield d, clients


def arena(d, name="arena"):
    return Path(f"{d.dir}/state/{name}")


class Next(Process):
    """The next xtcpd on what d left."""

    def __init__(self, d):
        super().__init__(BUILD / "xtcpd", "-f", "-c", d.conf)
        self.d = d

    def answers(self):
        self.check_alive()
        try:
            return self.d.ask("show info")
        except (OSError, ConnectionError):
            return None

    def __enter__(self):
        wait_for("it serves", self.answers, within=30)
        return self

    def stop(self):
        equal(self.kill(signal.SIGTERM), 0)

    def __exit__(self, kind, value, tb):
        if kind:
            print(f"# the next one's log:\n{self.stderr()[-4000:]}")
        super().__exit__(kind, value, tb)


def go_on(d, clients):
    for s in clients:
        exchange(s, b"after")
    info = d.ask("show info")
    equal((info["recovered_connections"], info["lost_in_recovery"]),
          (len(clients), 0))


def all_are_reset(clients):
    for s in clients:
        try:
            s.sendall(b"is anybody there?")
            s.recv(1)
        except ConnectionResetError:
            continue
        raise AssertionError("a connection was not reset")


def test_the_connections_of_a_killed_xtcpd_are_taken_over():
    with killed() as (d, clients):
        with Next(d) as new:
            go_on(d, clients)
            new.stop()
        equal(arena(d).exists(), False)
        equal((link(), routes()), (None, []))


def test_a_start_that_fails_keeps_what_a_crash_left():
    with killed() as (d, clients):
        text = Path(d.conf).read_text()
        # each fails at another step
        for wrong, why in (
                (("attach.sock", "nowhere/attach.sock"), "nowhere"),
                (("control.sock", "nowhere/control.sock"), "nowhere"),
                (('"xtcp0"', '"lo"'), "is no TUN")):
            Path(d.conf).write_text(text.replace(*wrong))
            p = run(BUILD / "xtcpd", "-f", "-c", d.conf, check=False)
            equal(p.returncode, 1, p.stderr)
            contains(p.stderr, why)
            equal(arena(d).exists(), True)
            equal(link(), None)
            equal([is_blackhole(r) for r in routes()], [True, True])
        Path(d.conf).write_text(text)
        with Next(d):
            go_on(d, clients)


def test_an_address_that_a_start_refuses_leaves_the_blackholes():
    with killed() as (d, clients):
        run("ip", "address", "add", VIP6 + "/128", "dev", "lo", "nodad")
        p = run(BUILD / "xtcpd", "-f", "-c", d.conf, check=False)
        equal(p.returncode, 1, p.stderr)
        contains(p.stderr, "take it off there")
        equal([is_blackhole(r) for r in routes()], [True, True])
        run("ip", "address", "del", VIP6 + "/128", "dev", "lo")
        with Next(d):
            go_on(d, clients)


def refused(spoil, why):
    with killed() as (d, clients):
        with open(arena(d), "r+b") as f:
            spoil(f)
        spoilt = os.stat(arena(d)).st_ino
        with Next(d) as new:
            contains(new.stderr(), why)
            contains(new.stderr(), "is set aside as")
            equal(os.stat(arena(d, "arena.old")).st_ino, spoilt)
            equal(d.ask("show info")["connections"]["established"], 0)
            all_are_reset(clients)
            wait_attached(d)
            with connect(PORT) as s:
                exchange(s, b"hello")


def test_an_arena_of_another_layout_is_set_aside():
    def other_layout(f):
        f.seek(LAYOUT_HASH)
        f.write(os.urandom(8))
    refused(other_layout, "it has another layout")


def test_an_arena_that_was_cut_is_set_aside():
    refused(lambda f: f.truncate(1 << 20), "not as long as its header says")


def test_what_is_no_file_is_set_aside():
    with killed() as (d, _):
        os.unlink(arena(d))
        os.mkfifo(arena(d))
        with Next(d) as new:
            contains(new.stderr(), "is set aside as")
            equal(arena(d, "arena.old").is_fifo(), True)


def test_sizes_of_the_arena_stay_while_it_has_connections():
    with killed(workers=3) as (d, clients):
        d.configure({"echo": {"port": PORT}}, 1,
                    top={"max-connections": 100, "transmit-buffer": "8M"},
                    pool={"receive-buffer": "512M"})
        with Next(d) as new:
            for key in ("workers", "max-connections", "transmit-buffer",
                        "receive-buffer"):
                contains(new.stderr(), f"{key}: not as configured")
            equal(queues(), (3, 0))
            equal(len(d.ask("show workers")), 3)
            go_on(d, clients)


def test_an_empty_arena_of_other_sizes_makes_room():
    with killed(n=0, workers=3) as (d, _):
        d.configure({"echo": {"port": PORT}}, 1)
        with Next(d) as new:
            equal(queues(), (1, 0))
            equal("not as configured" in new.stderr(), False)
            equal(arena(d, "arena.old").exists(), False)


def test_addresses_are_known_by_what_they_are_not_by_their_place():
    with killed() as (d, clients):
        text = Path(d.conf).read_text()
        Path(d.conf).write_text(text.replace(
            f'{{"{VIP4}", "{VIP6}"}}', f'{{"{VIP6}", "{VIP4}"}}'))
        contains(Path(d.conf).read_text(), f'{{"{VIP6}", "{VIP4}"}}')
        with Next(d):
            go_on(d, clients)


if __name__ == "__main__":
    harness.main(globals())
