#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""xtcp-swarm against xtcpd, and against a kernel's server that lies."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import threading

from harness import (
    BUILD, SCALE, VIP4, VIP6, Echod, Net, Process, Xtcpd, contains, equal, run,
    sysctl, wait_attached, wait_for)
from runner import note

PORT = 7
N = max(100, 3000 // SCALE)
KERNEL = "203.0.113.1"


@contextlib.contextmanager
def served(workers=1, group=None, top=None):
    """xtcpd and an echo server, in a namespace that forwards IPv6, too."""
    with Net():
        sysctl("net/ipv6/conf/all/forwarding", 1)
        top = {"max-connections": 20000, **(top or {})}
        with Xtcpd({"echo": {"port": PORT, **(group or {})}}, workers,
                   top=top) as d, Echod("-p", PORT, daemon=d):
            wait_attached(d)
            yield d


def swarm(*args, connect=f"{VIP4}:{PORT}", status=0):
    """Runs xtcp-swarm; its report. Its word on stderr is in "stderr"."""
    p = run(BUILD / "xtcp-swarm", "--connect", connect, *args, check=False)
    if p.returncode != status:
        raise AssertionError(f"status {p.returncode}: {p.stderr}{p.stdout}")
    report = json.loads(p.stdout)
    report["stderr"] = p.stderr
    return report


def all_well(r, connections=N):
    """Nothing was lost, and the sums agree."""
    c = r["counters"]
    equal(r["ok"], True, json.dumps(r))
    equal(r["violations"]["total"], 0)
    equal((c["failed"], c["lost"], c["unanswered"]), (0, 0, 0))
    equal(c["connected"], connections + c["churned"])
    equal(c["exchanges"], c["requests"])
    equal(c["bytes_sent"], c["requests"] * r["config"]["request_bytes"])
    equal(c["bytes_received"], c["exchanges"] * r["config"]["reply_bytes"])
    equal(r["latency_us"]["n"], c["exchanges"])
    equal(c["replies_with_ack"] + c["replies_after_ack"] +
          c["replies_before_ack"], c["exchanges"])


def no_connections(d):
    wait_for("xtcpd has no connections",
             lambda: d.memory()["records"] == 0)


# --- what it does

def test_swarm_exchanges_as_fast_as_its_number_allows():
    with served() as d:
        r = swarm("--connections", N, "--outstanding", 50, "--duration", 1)
        all_well(r)
        c = r["counters"]
        if c["exchanges"] < 100:
            raise AssertionError(f"{c['exchanges']} exchanges only")
        # the acknowledgement is the application's: none without its reply
        equal((c["replies_with_ack"], c["pure_acks"]), (c["exchanges"], 0))
        equal(c["retransmissions_seen"], 0)
        equal(d.counter("msgs_in"), c["exchanges"])
        equal(d.counter("conn_accepted"), N)
        equal(c["closed"], N)
        no_connections(d)


def test_swarm_sends_directly():
    with served() as d:
        for connect in (f"{VIP4}:{PORT}", f"[{VIP6}]:{PORT}"):
            for how in (("--direct",), ("--direct", "--no-offload")):
                before = d.counter("msgs_in")
                r = swarm("--connections", 200, "--outstanding", 20,
                          "--duration", 0.3, "--request", 3000, *how,
                          connect=connect)
                all_well(r, 200)
                equal(d.counter("msgs_in") - before >= r["exchanges"], True)
    with Net():
        run("ip", "addr", "add", KERNEL + "/32", "dev", "lo")
        fails("behind a TUN device", "--connect", f"{KERNEL}:{PORT}",
              "--connections", "1", "--direct", status=1)


def test_swarm_keeps_its_rate():
    with served() as d:
        r = swarm("--connections", N, "--rate", 500, "--duration", 2,
                  "--request", 1)
        all_well(r)
        equal((r["exchanges"], d.counter("bytes_in")), (1000, 1000))


def test_swarm_rate_that_is_too_high_is_no_secret():
    with served():
        r = swarm("--connections", 10, "--rate", 1000000, "--duration", 0.3,
                  status=1)
        c = r["counters"]
        equal(c["not_begun"] + c["requests"], 300000)
        equal(c["exchanges"], c["requests"])
        # from the scheduled time: the wait for an idle client counts
        equal(r["latency_us"]["p99"] > 100000, True, str(r["latency_us"]))


def test_swarm_sizes_beyond_a_segment():
    with served():
        for how in ((), ("--no-offload",), ("--mtu", 65535),
                    ("--no-timestamps", "--no-verify")):
            r = swarm("--connections", 200, "--outstanding", 10, "--duration",
                      0.5, "--request", 20000, *how)
            all_well(r, 200)
            if r["exchanges"] < 10:
                raise AssertionError(f"{r['exchanges']} exchanges")
            # with offload they may come as one large packet
            if "--no-offload" in how and (
                    r["counters"]["data_segments_received"] <
                    2 * r["exchanges"]):
                raise AssertionError("replies of 20000 bytes in one segment")


def test_swarm_ipv6_on_two_workers():
    with served(workers=2) as d:
        r = swarm("--connections", N, "--outstanding", 20, "--duration", 0.5,
                  connect=f"[{VIP6}]:{PORT}")
        all_well(r)
        equal(d.counter("conn_accepted"), N)
        no_connections(d)


def test_swarm_churns():
    with served() as d:
        r = swarm("--connections", 500, "--outstanding", 5, "--churn", 500,
                  "--duration", 1)
        all_well(r, 500)
        c = r["counters"]
        # fewer if the one that was drawn is busy
        if not 50 <= c["churned"] <= 500:
            raise AssertionError(f"{c['churned']} connections churned")
        equal(d.counter("conn_accepted"), 500 + c["churned"])
        equal(c["closed"], 500 + c["churned"])
        equal(c["retransmissions_sent"], 0)
        no_connections(d)


def test_swarm_ends_as_it_is_told():
    with served() as d:
        for how, left in (("vanish", N), ("reset", 0), ("fin", 0)):
            r = swarm("--connections", N, "--end", how,
                      "--sources", {"vanish": "10.64.0.0/16",
                                    "reset": "10.65.0.0/16",
                                    "fin": "10.66.0.0/16"}[how])
            all_well(r)
            equal(r["counters"]["closed"], N if how == "fin" else 0)
            # those that vanished stay
            wait_for(f"N connections after {how}",
                     lambda: d.memory()["records"] == N)
        equal(d.counter("conn_reset_in"), N)


def test_swarm_memory_is_a_record_per_client():
    with served():
        few = swarm("--connections", 1, "--vanish")["memory"]
        many = swarm("--connections", 15000, "--end", "reset",
                     "--sources", "10.65.0.0/16")["memory"]
        equal(many["record_bytes"], 32)
        equal(many["established"], 15000)
        grown = many["resident_bytes"] - few["resident_bytes"]
        # records, an entry for each handshake under way, pages of 2 MiB
        if grown > 15000 * 32 + (3 << 20) and "asan" not in BUILD.name:
            raise AssertionError(f"{grown} bytes more: {few} {many}")


# --- trouble

def test_swarm_floods_and_connects_all_the_same():
    top = {"half-open-max": 1000, "max-connections": 20000}
    with served(top=top) as d:
        r = swarm("--connections", 500, "--connect-rate", 500, "--syn-flood",
                  max(200, 10000 // SCALE), "--outstanding", 5, "--duration", 1,
                  "--rto", 200)
        all_well(r, 500)
        equal(r["flood_sent"] > 500, True, f"flood of {r['flood_sent']}")
        if d.counter("cookies_sent") + d.counter("conn_accepted") < 500:
            raise AssertionError(f"{d.counters()}")
        # what was answered to the flood was swallowed
        equal(r["counters"]["strays"], 0)
        equal(run("ip", "-4", "route", "show", "type", "blackhole",
                  "10.128.0.0/9").stdout, "")
        note(f"flood of {r['flood_sent']} SYNs, "
             f"{d.counter('cookies_sent')} cookies")


DROPS = """
table inet drops {
    counter to_xtcpd {}
    counter from_xtcpd {}
    chain forward {
        type filter hook forward priority 0
        oifname xtcp0 numgen random mod 100 < 3 counter name to_xtcpd drop
        iifname xtcp0 numgen random mod 100 < 3 counter name from_xtcpd drop
    }
}
"""


def dropped():
    out = json.loads(run("nft", "-j", "list", "counters").stdout)
    return [c["counter"]["packets"] for c in out["nftables"] if "counter" in c]


def test_swarm_survives_loss():
    with served() as d:
        run("nft", "-f", "-", input=DROPS)
        r = swarm("--connections", 500, "--outstanding", 50, "--duration", 1,
                  "--request", 3000, "--rto", 100, "--tries", 20)
        all_well(r, 500)
        c = r["counters"]
        equal([n > 0 for n in dropped()], [True, True], "packets dropped")
        for name in ("retransmissions_sent", "retransmissions_seen"):
            equal(c[name] > 0, True, name)
        equal(d.counter("msgs_in") >= c["exchanges"], True)


class KernelServer:
    """Kernel TCP: per connection, whole requests in, answers out."""

    def __init__(self, request, answer):
        self.request, self.answer = request, answer
        run("ip", "addr", "add", KERNEL + "/32", "dev", "lo")
        self.listener = socket.create_server((KERNEL, PORT), backlog=1000)
        self.stop_r, self.stop_w = os.pipe()
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def serve(self):
        poll = select.epoll()
        poll.register(self.listener, select.EPOLLIN)
        poll.register(self.stop_r, select.EPOLLIN)
        conns = {}
        while True:
            for fd, _ in poll.poll():
                if fd == self.stop_r:
                    return
                if fd == self.listener.fileno():
                    s, _ = self.listener.accept()
                    conns[s.fileno()] = (s, bytearray())
                    poll.register(s, select.EPOLLIN)
                    continue
                s, held = conns[fd]
                data = s.recv(65536)
                held += data
                if not data:
                    poll.unregister(fd)
                    s.close()
                    del conns[fd]
                while len(held) >= self.request:
                    s.sendall(self.answer(bytes(held[:self.request])))
                    del held[:self.request]

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, value, tb):
        os.write(self.stop_w, b"x")
        self.thread.join()
        self.listener.close()


def kernel_swarm(*args, **kw):
    return swarm("--connections", 20, "--rate", 100, "--duration", 0.5, *args,
                 connect=f"{KERNEL}:{PORT}", **kw)


def test_swarm_with_a_kernels_server():
    with Net(), KernelServer(1024, lambda r: r):
        r = kernel_swarm()
        all_well(r, 20)
        r = kernel_swarm("--no-offload")
        all_well(r, 20)


def test_swarm_replies_of_another_size():
    with Net(), KernelServer(10, lambda r: b"z" * 5000):
        r = kernel_swarm("--request", 10, "--reply", 5000)
        all_well(r, 20)
        equal(r["bytes_received"], r["exchanges"] * 5000)


def flipped(request):
    answer = bytearray(request)
    answer[len(answer) // 2] ^= 0x40
    return bytes(answer)


def test_swarm_finds_a_flipped_bit():
    with Net(), KernelServer(1024, flipped):
        r = kernel_swarm(status=1)
        equal(r["ok"], False)
        equal(r["violations"]["wrong_bytes"], r["exchanges"])
        equal(r["violations"]["total"], r["exchanges"])
        contains(r["stderr"], "violation wrong_bytes")
        contains(r["stderr"], "client 10.64.0.")


def test_swarm_finds_bytes_too_many():
    with Net(), KernelServer(1024, lambda r: r + b"!"):
        r = kernel_swarm(status=1)
        equal(r["violations"]["unexpected_bytes"] > 0, True)


def test_swarm_counts_what_is_refused():
    with Net():
        run("ip", "addr", "add", KERNEL + "/32", "dev", "lo")
        r = swarm("--connections", 30, connect=f"{KERNEL}:{PORT}", status=1)
        c = r["counters"]
        equal((c["failed"], c["refused"], c["connected"]), (30, 30, 0))
        equal(r["violations"]["total"], 0)


def test_swarm_answers_that_never_come_are_counted():
    with Net(), KernelServer(1 << 20, lambda r: r):
        for how in ("fin", "vanish"):
            r = kernel_swarm("--grace", "0.5", "--end", how, status=1)
            equal(r["unanswered"], r["counters"]["requests"])
            equal(r["unanswered"] > 0, True)
            equal(r["violations"]["total"], 0)


# --- handling

def test_swarm_ends_at_a_signal_with_a_report():
    with served() as d, Process(
            BUILD / "xtcp-swarm", "--connect", f"{VIP4}:{PORT}",
            "--connections", "200", "--rate", "100", "--duration", "3600",
            "--progress", stdout=subprocess.PIPE) as p:
        wait_for("exchanges", lambda: d.counter("msgs_in") > 20)
        wait_for("progress", lambda: "exchanges/s" in p.stderr())
        os.kill(p.pid, signal.SIGINT)
        r = json.loads(p.p.stdout.read())
        equal(p.wait(), 0, p.stderr())
        all_well(r, 200)
        no_connections(d)


def test_swarm_watches_processes():
    with served() as d:
        r = swarm("--connections", 100, "--outstanding", 10, "--duration", 0.5,
                  "--watch", d.pid)
        (w,) = r["watched"]
        equal((w["pid"], w["name"], w["alive"]), (d.pid, "xtcpd", True))
        equal(w["resident_bytes_idle"] > 1 << 20, True)


def test_swarm_report_goes_to_a_file():
    with served() as d:
        path = f"{d.dir}/report.json"
        p = run(BUILD / "xtcp-swarm", "--connect", f"{VIP4}:{PORT}",
                "--connections", 10, "--json", path)
        equal(p.stdout, "")
        with open(path) as f:
            equal(json.load(f)["connected"], 10)


def fails(text, *args, status=2):
    p = run(BUILD / "xtcp-swarm", *args, check=False)
    if p.returncode != status or text not in p.stderr or p.stdout or \
            p.stderr.count("\n") != 1:
        raise AssertionError(f"{args}: {p.returncode} {p.stderr!r} {p.stdout}")


def test_swarm_bad_usage_is_one_line():
    ok = ("--connect", "192.0.2.1:7", "--connections", "5")
    fails("--connect and --connections are needed")
    fails("--connect and --connections are needed", "--connections", "5")
    fails("must be ADDRESS:PORT", "--connect", "localhost:7")
    fails("\"0\": must be a number from 1 to 100000000", "--connections", "0")
    fails("\"1e6\": must be a number", "--connections", "1e6")
    fails("only one of them", *ok, "--rate", "1", "--outstanding", "1")
    fails("must be at most --connections", *ok, "--outstanding", "6")
    fails("must be fin, reset or vanish", *ok, "--end", "never")
    fails("must be ADDRESS/LENGTH", *ok, "--sources", "10.0.0.1/8")
    fails("must be IPv4", *ok, "--sources", "fd00::/64")
    fails("must not hold the server's address", *ok, "--sources",
          "192.0.2.0/24")
    fails("must not overlap", *ok, "--syn-flood", "1", "--flood-sources",
          "10.64.0.0/16")
    fails("must have room for 200000 connections", "--connect", "192.0.2.1:7",
          "--connections", "200000", "--sources", "10.0.0.0/30")
    fails("--duration: \"-1\": must be a number from 0 to 86400", *ok,
          "--duration=-1")
    fails("--duration: \"nan\"", *ok, "--duration", "nan")
    fails("letters, digits", *ok, "--device", "a/b")
    fails("unexpected argument", *ok, "more")


def test_swarm_says_what_is_missing():
    args = ("--connect", f"{VIP4}:{PORT}", "--connections", "5")
    with Net():
        fails("no way to it from here", *args, status=1)
    with served():
        # what was left is cleaned up
        swarm("--connections", 5, "--syn-flood", 10)
        run("ip", "tuntap", "add", "dev", "swarm0", "mode", "tun")
        fails("exists already", *args, status=1)
        fails("must not hold", "--connect", f"{VIP4}:{PORT}", "--connections",
              "5", "--sources", "192.0.0.0/8")
    with served():
        sysctl("net/ipv6/conf/all/forwarding", 0)
        args = ("--connect", f"[{VIP6}]:{PORT}", "--connections", "5")
        fails("net.ipv6.conf.all.forwarding is 0", *args, status=1)
        r = swarm(*args[2:], "--set-forwarding", connect=args[1])
        all_well(r, 5)


def test_swarm_help_and_version():
    contains(run(BUILD / "xtcp-swarm", "--help").stdout, "--syn-flood=PPS")
    contains(run(BUILD / "xtcp-swarm", "--version").stdout, "xtcp-swarm ")


if __name__ == "__main__":
    import harness

    harness.main(globals())
