#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Real clients: the kernel's TCP against xtcpd, every byte compared.

Backends and their loss are in test_backends.py, the operator's side in
test_operation.py.
"""
# builds: gcc asan tsan
# long

import contextlib
import os
import signal
import socket
import tempfile

import harness
from harness import (
    SCALE, VIP4, VIP6, Dropper, Echod, Httpd, Net, Xtcpd,
    connect, contains, equal, msgclient, recv_all, recv_exactly, run, serial,
    timeout, wait_attached, wait_for)

PORT = 7
MIB = 1 << 20
# The same at a fraction where everything is several times slower.
BULK = 100 * MIB // SCALE
MESSAGES = 100000 // SCALE


class Echo:
    """xtcpd with a group on port 7, and one xtcp-echod."""

    def __init__(self, workers=1, group=None, echod=(), **kw):
        self.d = Xtcpd({"echo": {"port": PORT, **(group or {})}}, workers, **kw)
        self.echod_args = echod

    def __enter__(self):
        self.d.__enter__()
        self.e = Echod("-p", PORT, *self.echod_args, daemon=self.d)
        wait_attached(self.d)
        return self.d

    def __exit__(self, kind, value, tb):
        try:
            if kind is None:
                self.e.check_alive()
            self.e.__exit__(kind, value, tb)
        finally:
            self.d.__exit__(kind, value, tb)


# --- messages and bulk

def messages(workers, address):
    n = MESSAGES
    with Net(), Echo(workers) as d:
        r = msgclient(address, "--connections", 200, "--messages", n,
                      "--size", 1024)
        equal((r["finished"], r["messages"], r["mismatches"]), (200, n, 0))
        info = d.ask("show info")
        equal(info["accepted"], 200)
        equal(info["bytes"], {"in": n * 1024, "out": n * 1024})
        if info["segments"]["pure_acks_out"] > n // 10 + 1000:
            raise AssertionError(f"many pure ACKs: {info['segments']}")
        wait_for("all is quiet", lambda:
                 d.memory()["transmit_buffer_bytes"] == 0 and
                 d.memory()["receive_pool_bytes"] == 0)


@serial
@timeout(250)
def test_100000_messages_of_200_clients_w1():
    messages(1, f"{VIP4}:{PORT}")


@serial
@timeout(250)
def test_100000_messages_of_200_clients_w2():
    messages(2, f"{VIP4}:{PORT}")


def test_messages_over_ipv6():
    with Net(), Echo(2):
        msgclient(f"[{VIP6}]:{PORT}", "--connections", 50, "--messages",
                  10000 // SCALE, "--size", 700)


def test_messages_of_many_sizes():
    with Net(), Echo(2):
        for size in (1, 2, 535, 536, 537, 1448, 1460, 4096, 65536, 300000):
            msgclient(f"{VIP4}:{PORT}", "--connections", 8, "--messages",
                      40, "--size", size)


def bulk(workers, address, size, connections=1, **kw):
    with Net(), Echo(workers, **kw) as d:
        r = msgclient(address, "--bulk", size, "--connections", connections)
        equal((r["bytes"], r["mismatches"]), (size * connections, 0))
        return d.counters()


@serial
@timeout(250)
def test_bulk_both_ways_w1():
    bulk(1, f"{VIP4}:{PORT}", BULK)


@serial
@timeout(250)
def test_bulk_both_ways_w2():
    bulk(2, f"[{VIP6}]:{PORT}", BULK // 4, 4)


def test_bulk_without_offload():
    bulk(1, f"{VIP4}:{PORT}", BULK // 10,
         top={"tun": {"xtcp0": {"vip": [VIP4, VIP6], "offload": False}}})


def test_bulk_with_a_small_mtu():
    bulk(1, f"[{VIP6}]:{PORT}", BULK // 20,
         top={"tun": {"xtcp0": {"vip": [VIP4, VIP6], "mtu": 1280}}})


def test_bulk_in_the_other_ack_modes():
    for ack in ("delivered", "immediate"):
        bulk(1, f"{VIP4}:{PORT}", BULK // 10, group={"ack": ack})


def test_bulk_with_a_pool_that_throttles():
    with Net(), Echo(2, pool={"receive-buffer": "256K"}) as d:
        msgclient(f"{VIP4}:{PORT}", "--bulk", BULK // 50, "--connections", 8,
                  timeout=60)
        if not d.counter("throttle_entered"):
            raise AssertionError("it was not throttled")


# --- loss

def lossy(workers, *args):
    """Each segment is a packet: of large ones too few would be dropped."""
    top = {"tun": {"xtcp0": {"vip": [VIP4, VIP6], "offload": False}}}
    with Net(), Echo(workers, top=top) as d, Dropper(percent=2) as drop:
        r = msgclient(f"{VIP4}:{PORT}", *args)
        to, came_from = drop.dropped()
        if to < 20 or came_from < 20:
            raise AssertionError(f"dropped {to} and {came_from} only")
        if not d.counter("segs_retransmitted"):
            raise AssertionError("nothing was retransmitted")
        return r


def lossy_messages(workers):
    lossy(workers, "--connections", 200, "--messages", MESSAGES, "--size", 1024)


@serial
@timeout(250)
def test_100000_messages_with_2_percent_loss_w1():
    lossy_messages(1)


@serial
@timeout(250)
def test_100000_messages_with_2_percent_loss_w2():
    lossy_messages(2)


@serial
@timeout(250)
def test_bulk_with_2_percent_loss_w1():
    lossy(1, "--bulk", BULK)


@serial
@timeout(250)
def test_bulk_with_2_percent_loss_w2():
    lossy(2, "--connections", 4, "--bulk", BULK // 4)


# --- life and death of clients

def test_client_that_sends_and_closes_at_once():
    """Its request is processed: that is what its FIN's ACK says."""
    with Net(), Echo(1) as d:
        for _ in range(20):
            s = connect(PORT)
            s.sendall(b"last words")
            s.shutdown(socket.SHUT_WR)
            equal(recv_all(s), b"last words")
            s.close()
        equal(d.counter("bytes_in"), 200)


def test_client_that_closes_without_reading():
    with Net(), Echo(1) as d:
        for _ in range(20):
            s = connect(PORT)
            s.sendall(b"x" * 5000)
            s.close()
        wait_for("they are gone", lambda: not d.connections(), within=90)
        wait_for("memory is given back", lambda:
                 d.memory()["receive_pool_bytes"] == 0 and
                 d.memory()["transmit_buffer_bytes"] == 0)


def test_half_close():
    with Net(), Echo(2):
        msgclient(f"{VIP4}:{PORT}", "--half-close", "--connections", 20,
                  "--bulk", 100000)


def test_client_that_resets():
    with Net(), Echo(1) as d:
        s = connect(PORT)
        s.sendall(b"hello")
        equal(recv_exactly(s, 5), b"hello")
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                     b"\1\0\0\0\0\0\0\0")
        s.close()
        wait_for("it is gone", lambda: not d.connections())
        equal(d.counter("conn_reset_in"), 1)


def test_client_that_vanishes():
    """user-timeout: its packets end, and so does its connection."""
    with Net(), contextlib.ExitStack() as stack:
        echo = Echo(1, {"user-timeout": 2000})
        d = stack.enter_context(echo)
        s = connect(PORT)
        os.kill(echo.e.pid, signal.SIGSTOP)
        s.sendall(b"hello")
        wait_for("it arrived", lambda: d.counter("bytes_in") == 5)
        with Dropper() as drop:
            os.kill(echo.e.pid, signal.SIGCONT)
            wait_for("given up", lambda: d.counter("conn_timed_out") == 1,
                     within=40)
            wait_for("it is gone", lambda: not d.connections())
            wait_for("drops", lambda: sum(drop.dropped()) > 0)
        equal(d.memory()["transmit_buffer_bytes"], 0)
        s.close()


def test_many_short_connections():
    with Net(), Echo(2) as d:
        for i in range(300 // min(SCALE, 3)):
            s = connect(PORT, VIP4 if i % 2 else VIP6)
            s.sendall(b"%d" % i)
            equal(recv_exactly(s, len(b"%d" % i)), b"%d" % i)
            s.close()
        wait_for("none is established", lambda: d.ask("show info")
                 ["connections"]["established"] == 0)
        equal(d.counter("conn_accepted"), 300 // min(SCALE, 3))


def test_refused_port():
    with Net(), Echo(1):
        try:
            connect(81)
        except ConnectionRefusedError:
            return
        raise AssertionError("connected to a port that no group has")


def test_urgent_data_of_a_kernel_client():
    with Net(), Echo(1):
        s = connect(PORT)
        s.send(b"abc", socket.MSG_OOB)
        equal(recv_exactly(s, 3), b"abc")


# --- HTTP

def test_curl_over_ipv4_and_ipv6():
    with Net(), Xtcpd({"web": {"port": 80}}, 2) as d, \
            tempfile.TemporaryDirectory() as files:
        page = f"{files}/page"
        with open(page, "wb") as f:
            f.write(os.urandom(40000))
        with Httpd(80, page, daemon=d):
            wait_attached(d)
            for url, client in ((f"http://{VIP4}/", harness.CLIENT4),
                                (f"http://[{VIP6}]/", harness.CLIENT6)):
                got = f"{files}/got"
                p = run("curl", "-sS", "--fail", "--max-time", 30, "--noproxy",
                        "*", "-D", "-", "-o", got, url)
                contains(p.stdout, f"X-Client: {client}")
                with open(got, "rb") as f, open(page, "rb") as want:
                    equal(f.read() == want.read(), True)


def test_curl_keeps_a_connection():
    with Net(), Xtcpd({"web": {"port": 80}}, 2) as d, Httpd(80, daemon=d):
        wait_attached(d)
        p = run("curl", "-sS", "--fail", "--max-time", 30, "--noproxy", "*",
                *[f"http://{VIP4}/{i}" for i in range(20)])
        equal(p.stdout, "Hello from behind xtcpd.\n" * 20)
        equal(d.counter("conn_accepted"), 1)
        p = run("curl", "-sS", "-X", "DELETE", "-o", "/dev/null", "-w",
                "%{http_code}", "--max-time", 30, "--noproxy", "*",
                "-H", "Connection: close", f"http://{VIP4}/")
        equal(p.stdout, "405")


if __name__ == "__main__":
    harness.main(globals())
