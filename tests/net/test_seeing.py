#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# builds: gcc asan
"""What an operator sees of a running xtcpd: latency, one connection."""

import re
import socket
import threading
import time
import urllib.request

import harness
from harness import (
    VIP4, Echod, Net, Xtcpd, connect, contains, equal, msgclient, recv_exactly,
    wait_attached, wait_for)

PORT = 5222
GROUPS = {"im": {"port": PORT}}


def metrics(daemon):
    address = daemon.metrics_address
    with urllib.request.urlopen(f"http://{address}/metrics") as page:
        return page.read().decode()


def group(daemon, name="im"):
    return next(g for g in daemon.ctl("show", "groups") if g["name"] == name)


# --- latency

def test_latency_of_a_slow_backend_is_seen():
    top = {"metrics": {"listen": "127.0.0.1:9464"}}
    with Net(), Xtcpd(GROUPS, top=top) as d, \
         Echod("-p", PORT, "--delay", 50, daemon=d):
        d.metrics_address = "127.0.0.1:9464"
        wait_attached(d)
        with connect(PORT) as c:
            for i in range(10):
                c.sendall(b"hello")
                equal(recv_exactly(c, 5), b"hello")
        seen = group(d)["latency"]
        equal(seen["requests"], 10)
        for what in ("p50_us", "p90_us", "p99_us"):
            # an eighth less, as buckets are; a busy machine takes longer
            assert seen[what] >= 50000 * 7 / 8, seen
        assert seen["sum_us"] >= 500000, seen
        equal(sum(n for _, n in seen["buckets"]), 10)
        backend = harness.backends(d, "im")[0]
        equal(backend["requests"], 10)
        equal(backend["request_us"], seen["sum_us"])
        page = metrics(d)
        contains(page, 'xtcpd_request_seconds_count{group="im"} 10\n')
        contains(page, 'xtcpd_request_seconds_bucket{group="im",le="0.032768"} 0\n')
        contains(page, 'xtcpd_request_seconds_bucket{group="im",le="+Inf"} 10\n')
        counts = [int(n) for n in re.findall(
            r'xtcpd_request_seconds_bucket\{[^}]*\} (\d+)', page)]
        equal(counts, sorted(counts), "buckets are cumulative")
        table = harness.run(harness.BUILD / "xtcpctl", "-s", d.control_path,
                            "show", "groups").stdout
        contains(table.splitlines()[0], "P99")


def test_latency_is_added_up_over_workers():
    with Net(), Xtcpd(GROUPS, workers=2) as d, Echod("-p", PORT, daemon=d):
        wait_attached(d)
        msgclient(f"{VIP4}:{PORT}", "--connections", 20, "--messages", 200)
        equal(group(d)["latency"]["requests"], 200)


class Slow:
    """A plain server that takes 50 ms for what comes, and echoes it."""

    def __init__(self, port):
        self.sock = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            conn, _ = self.sock.accept()
            with conn:
                while data := conn.recv(65536):
                    time.sleep(0.05)
                    conn.sendall(data)


def test_latency_of_a_stream_backend_is_to_the_answer():
    groups = {"im": {"port": PORT, "backend": {"slow": {
        "address": "tcp:127.0.0.1:4000", "protocol": "stream"}}}}
    with Net(), Xtcpd(groups) as d:
        Slow(4000)
        with connect(PORT) as c:
            for _ in range(5):
                c.sendall(b"hello")
                equal(recv_exactly(c, 5), b"hello")
        seen = group(d)["latency"]
        equal(seen["requests"], 5)
        assert seen["sum_us"] >= 250000, seen
        assert seen["p50_us"] >= 50000 * 7 / 8, seen
        equal(harness.backends(d, "im")[0]["request_us"], seen["sum_us"])


# --- one connection

def test_show_connection_has_the_detail():
    with Net(), Xtcpd(GROUPS) as d, \
         Echod("-p", PORT, "--delay", 60000, daemon=d):
        wait_attached(d)
        with connect(PORT) as c:
            c.sendall(b"x" * 1000)
            conns = wait_for("the request is held", lambda: [
                x for x in d.connections() if x["rcv_held_bytes"] == 1000])
            c.sendall(b"y")
            one = wait_for("all of it", lambda: [
                x for x in [d.ctl("show", "connection", conns[0]["id"])]
                if x["rcv_position"] == 1001])[0]
            port = c.getsockname()[1]
            equal(one["remote"], f"{harness.CLIENT4}:{port}")
            equal(one["state"], "ESTABLISHED")
            equal(one["group"], "im")
            equal(one["congestion"], "cubic")
            equal(one["phase"], "open")
            equal(one["rcv_acked"], 0)
            equal(one["rcv_delivered"], 1001)
            equal(one["rcv_acked_to_client"], 0)
            equal(one["inflight"], True)
            equal(one["backend_knows"], True)
            assert one["rcv_pool_bytes"] >= 1001, one
            assert one["rcv_wscale"] > 0 and one["snd_wscale"] > 0, one
            assert one["request_ago_us"] > 0, one
            table = harness.run(
                harness.BUILD / "xtcpctl", "-s", d.control_path, "show",
                "connection", conns[0]["id"]).stdout
            contains(table, "request under way for")
            contains(table, "takes of the receive pool")


def test_show_connection_of_an_idle_one_says_its_timers():
    groups = {"im": {"port": PORT, "idle-timeout": 600000}}
    with Net(), Xtcpd(groups) as d, Echod("-p", PORT, daemon=d):
        wait_attached(d)
        with connect(PORT) as c:
            c.sendall(b"hello")
            recv_exactly(c, 5)
            idle = wait_for("the connection is idle", lambda: [
                x for x in d.connections() if not x["active"]])[0]
            one = d.ctl("show", "connection", idle["id"])
            equal(list(one["timers_ms"]), ["idle"])
            assert 0 < one["timers_ms"]["idle"] <= 600000, one
            equal("congestion" in one, False)
            equal(one["rcv_acked"], 5)
            table = harness.run(
                harness.BUILD / "xtcpctl", "-s", d.control_path, "show",
                "connection", idle["id"]).stdout
            contains(table, "timer: idle-timeout")
            equal("timer: retransmission" in table, False)


if __name__ == "__main__":
    harness.main(globals())
