#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Which queue of the device a packet comes in on, and who owns it."""
# builds: gcc asan

import contextlib
import fcntl
import os
import select
import signal
import socket
import struct

import harness
from harness import (
    CLIENT4, VIP4, VIP6, Echod, Net, Xtcpd, connect, contains, equal,
    recv_exactly, run, wait_attached, wait_for)
from outlive import children

PORT = 7
CLIENTS = 200
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI, IFF_MULTI_QUEUE, IFF_VNET_HDR = 1, 0x1000, 0x100, 0x4000
GROUPS = {"echo": {"port": PORT}}


def steering(how):
    return {"tun": {"xtcp0": {"vip": [VIP4, VIP6], "steering": how}}}


@contextlib.contextmanager
def echo(workers=2, how="auto", **kw):
    with Net(), Xtcpd(GROUPS, workers, top=steering(how), **kw) as d:
        if how == "auto" and workers > 1 and not kw.get("wrap") and \
                d.ask("show info")["steering"] != "ebpf":
            contains(d.stderr(), "does not take our choice of queues")
            raise harness.Skip("the kernel takes no eBPF program")
        with Echod("-p", PORT, daemon=d):
            wait_attached(d)
            yield d


def exchange(clients):
    """Each sends, and gets it back."""
    for i, s in enumerate(clients):
        s.sendall(b"%08d" % i)
    for i, s in enumerate(clients):
        equal(recv_exactly(s, 8), b"%08d" % i)


@contextlib.contextmanager
def clients(n=CLIENTS):
    """Connections that have been used, half of them over IPv6."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(connect(PORT, (VIP4, VIP6)[i % 2]))
                 for i in range(n)]
        exchange(found)
        yield found


def both_have_some(d):
    """Both workers have a good share: 200 coins fall otherwise once in 10^11."""
    shares = [w["connections"]["established"] for w in d.ask("show workers")]
    equal(sum(shares), CLIENTS)
    equal(min(shares) > CLIENTS // 4, True, shares)


def test_packets_come_in_where_their_connection_is():
    with echo() as d:
        with clients() as found:
            both_have_some(d)
            exchange(found)
            equal(d.counter("handover_out"), 0)
        equal(d.ctl("show", "info")["steering"], "ebpf")


def test_many_short_connections_come_in_where_they_belong():
    with echo(3) as d:
        for _ in range(CLIENTS):
            with connect(PORT) as s:
                exchange([s])
        d.wait_counter("conn_accepted", CLIENTS)
        equal(d.counter("handover_out"), 0)


def test_where_the_kernel_chooses_workers_hand_over():
    with echo(how="kernel") as d, clients() as found:
        both_have_some(d)
        exchange(found)
        equal(d.ask("show info")["steering"], "kernel")
        equal(d.counter("handover_out") > 0, True)


def test_one_worker_needs_no_choice():
    with echo(1) as d, clients():
        equal(d.ask("show info")["steering"], "none")
        equal(d.counter("handover_out"), 0)


def test_without_the_capability_workers_hand_over():
    with open("/proc/sys/kernel/unprivileged_bpf_disabled") as f:
        if f.read().strip() == "0":
            raise harness.Skip("the kernel lets everybody load programs")
    with echo(wrap=("setpriv", "--bounding-set", "-bpf,-sys_admin")) as d, \
            clients() as found:
        exchange(found)
        contains(d.stderr(), "info: tun xtcp0: the kernel does not take our "
                 "choice of queues (Operation not permitted, CAP_BPF would "
                 "permit it)")
        equal(d.ask("show info")["steering"], "kernel")
        equal(d.counter("handover_out") > 0, True)


def test_two_capabilities_are_enough():
    with echo(wrap=("setpriv", "--bounding-set", "-all,+net_admin,+bpf")) as d, \
            clients() as found:
        exchange(found)
        if d.ask("show info")["steering"] != "ebpf":
            raise harness.Skip("the kernel takes no eBPF program")
        equal(d.counter("handover_out"), 0)


def next_process(d):
    """Kill the one that serves; the next one takes the queues over."""
    old = wait_for("a process serves", lambda: d.ready() and children(d.pid))
    os.kill(old[0], signal.SIGKILL)
    wait_for("the next one serves", lambda: children(d.pid) not in ([], old) and
             "(2 taken over)" in d.stderr() and d.ready())
    wait_attached(d)


def test_the_next_process_goes_on_with_it():
    with echo(mode="--supervise") as d, clients() as found:
        next_process(d)
        exchange(found)
        with clients():
            pass
        equal(d.ask("show info")["steering"], "ebpf")
        equal(d.counter("handover_out"), 0)


def test_the_next_process_may_leave_it_to_the_kernel():
    with echo(mode="--supervise") as d, clients() as found:
        d.configure(GROUPS, 2, top=steering("kernel"))
        next_process(d)
        exchange(found)
        with clients():
            pass
        equal(d.ask("show info")["steering"], "kernel")
        equal(d.counter("handover_out") > 0, True)


def queue():
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    flags = IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE | IFF_VNET_HDR
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"xtcp0", flags))
    return fd


def test_a_device_of_before_is_given_back_without_it():
    """Our program puts all datagrams of an address on one queue."""
    with Net():
        run("ip", "tuntap", "add", "dev", "xtcp0", "mode", "tun",
            "multi_queue", "vnet_hdr")
        with Xtcpd(GROUPS, 2, top=steering("auto")) as d:
            if d.ask("show info")["steering"] != "ebpf":
                raise harness.Skip("the kernel takes no eBPF program")
        run("ip", "link", "set", "xtcp0", "up")
        run("ip", "route", "replace", VIP4, "dev", "xtcp0")
        fds = [queue(), queue()]

        def reached():
            """Some are lost while the device does not run yet."""
            for port in range(2000, 2064):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                    s.bind((CLIENT4, port))
                    s.sendto(b"hello", (VIP4, 9))
            return select.select(fds, [], [], 0)[0] == fds
        wait_for("both queues get some", reached)
        for fd in fds:
            os.close(fd)


if __name__ == "__main__":
    harness.main(globals())
