#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""xtcp-run, call by call: what sockprobe.py sees of a virtual connection has to
be what it sees of the kernel's own."""
# builds: gcc

import contextlib
import hashlib
import json
import socket
import struct
import sys
from pathlib import Path

import harness
import sockprobe
from harness import VIP4, VIP6, Net, Xtcpd, equal, recv_all, recv_exactly, wait_for
from servers import LOCAL, Server, needs

PORT = 7000
PROBE = Path(__file__).with_name("sockprobe.py")


class Probe(Server):
    def __init__(self, daemon=None, address="0.0.0.0", how=()):
        super().__init__(sys.executable, "-u", PROBE, PORT, address, *how,
                         daemon=daemon)

    def __enter__(self):
        wait_for("the probe serves", lambda: self.served(PORT))
        return self


# --- the client's part of each case; what it returns is compared, too

def sends(data):
    def client(s):
        s.sendall(data)
        return recv_all(s).decode()
    return client


def listens(s):
    return recv_all(s).decode()


def waitall(s):
    recv_exactly(s, 2)
    for _ in range(3):
        s.sendall(b"0123456789")
        s.sendall(b"")
    s.shutdown(socket.SHUT_WR)
    return listens(s)


def half_close(s):
    s.sendall(b"x")
    s.shutdown(socket.SHUT_WR)
    return listens(s)


def half_close_data(data):
    def client(s):
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        return listens(s)
    return client


def after_eof(s):
    got = recv_all(s).decode()
    s.sendall(b"more")
    s.shutdown(socket.SHUT_WR)
    return got


def resets(s):
    recv_exactly(s, 2)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def is_reset(s):
    s.sendall(b"go")
    try:
        return recv_all(s).decode()
    except ConnectionResetError:
        return "reset"


def big(s):
    data = recv_all(s)
    return [len(data), hashlib.sha256(data).hexdigest()]


def big_when_full(s):
    wait_for("it is full", lambda: '["full"' in s.probe.stdout())
    return big(s)


def answers(s):
    """Sends its bytes once it was asked to."""
    recv_exactly(s, 2)
    s.sendall(b"abc")
    return listens(s)


def epolls(s):
    recv_exactly(s, 2)
    s.sendall(b"abc")
    recv_exactly(s, 2)
    s.shutdown(socket.SHUT_WR)
    return listens(s)


CLIENTS = {
    "fresh": listens,
    "options": listens,
    "nonblock": listens,
    "timeouts": listens,
    "peek": sends(b"hello"),
    "waitall": waitall,
    "readv": sends(b"0123456789"),
    "trickle": half_close_data(sockprobe.pattern(20000)),
    "upload": half_close_data(sockprobe.pattern(sockprobe.BIG)),
    "big_blocking": big,
    "big_nonblocking": big_when_full,
    "writev": listens,
    "sendfile": big,
    "half_close": half_close,
    "shutdown_write": after_eof,
    "shutdown_read": listens,
    "reset_poll": resets,
    "reset_read": resets,
    "reset_write": resets,
    "abort": is_reset,
    "dup": sends(b"data"),
    "file": sends(b"a line\n"),
    "subprocess": listens,
    "fork": sends(b"data"),
    "shut_listener": listens,
    "fork_waiting": answers,
    "handlers": listens,
    "restart": answers,
    "closerange": sends(b"data"),
    "threads": answers,
    "select": answers,
    "epoll_level": epolls,
    "epoll_edge": epolls,
    "epoll_once": epolls,
    "epoll_mixed": answers,
    "epoll_asleep": answers,
    "epoll_pool": half_close_data(sockprobe.pattern(sockprobe.BIG)),
    "epoll_closed": listens,
    "epoll_reset": resets,
}


class Client(socket.socket):
    """A socket that knows the probe it talks to."""


def play(probe, address):
    """{case: what both sides saw}"""
    equal(sorted(CLIENTS), sorted(sockprobe.CASES))
    seen = {}
    for name, client in CLIENTS.items():
        with Client(socket.AF_INET6 if ":" in address else
                    socket.AF_INET) as s:
            s.settimeout(20)
            s.probe = probe
            s.connect((address, PORT))
            s.sendall(name.encode() + b"\n")
            recv_exactly(s, 1)
            try:
                seen[name] = [client(s)]
            except OSError as e:
                seen[name] = [repr(e)]
        wait_for(f"{name} is reported",
                 lambda want=f'["{name}", ': want in probe.stdout())
    for line in probe.stdout().splitlines():
        name, server = json.loads(line)
        if name in seen:
            seen[name].append(server)
    return seen


def compare(listen, local, vip):
    needs()
    with Net():
        with Probe(address=listen) as p:
            want = play(p, local)
        with Xtcpd({"probe": {"port": PORT}}, 2) as d, Probe(d, listen) as p:
            got = play(p, vip)
        bad = [f"{name}: got {got.get(name)!r}\n# directly {want[name]!r}"
               for name in want if got.get(name) != want[name]]
        if bad:
            print("\n".join(bad))
            raise AssertionError(f"{len(bad)} of {len(want)} cases differ")


def test_a_virtual_connection_is_like_a_real_one():
    compare("0.0.0.0", LOCAL, VIP4)


def test_ipv6():
    compare("::", "::1", VIP6)


def test_ipv4_at_a_listener_for_both():
    compare("::", LOCAL, VIP4)


def echoes(how):
    """Many clients of an echo server, and each of them again and again."""
    needs()
    with Net(), Xtcpd({"probe": {"port": PORT}}, 2) as d, \
            Probe(d, how=[how]), contextlib.ExitStack() as stack:
        socks = [stack.enter_context(
            socket.create_connection((VIP4, PORT), timeout=20))
            for _ in range(20)]
        for n in range(50):
            for s in socks:
                s.sendall(b"hello %02d" % n)
            for s in socks:
                equal(recv_exactly(s, 8), b"hello %02d" % n)


def test_a_socket_is_in_an_epoll_set_before_it_listens():
    echoes("late")


def test_an_epoll_set_in_an_epoll_set():
    echoes("nested")


if __name__ == "__main__":
    harness.main(globals())
