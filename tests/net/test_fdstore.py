#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Descriptors that a manager keeps: what is put there, taken, refused."""

import contextlib
import fcntl
import os
import struct
import subprocess
import tempfile

import harness
from harness import VIP4, VIP6, Net, Xtcpd, contains, equal, run, wait_for
from outlive import Manager, is_blackhole, link, queues, routes

PORT = 7
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI, IFF_MULTI_QUEUE, IFF_VNET_HDR = 1, 0x1000, 0x100, 0x4000


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


OURS = IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE | IFF_VNET_HDR


def new_queue(name="xtcp0", flags=OURS):
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
            flags=OURS & ~IFF_VNET_HDR))],
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
