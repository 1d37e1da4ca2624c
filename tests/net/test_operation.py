#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The operator's side: xtcpctl, reload, metrics, capture, start and stop."""
# builds: gcc asan tsan

import contextlib
import json
import os
import re
import signal
import socket
import tempfile

import harness
from frames import Backend
from harness import (
    BUILD, VIP4, VIP6, Echod, Net, Xtcpd, connect, contains, equal, recv_exactly,
    run, wait_attached, wait_for)

PORT = 7


def daemon(group=None, workers=1, **kw):
    return Xtcpd({"echo": {"port": PORT, **(group or {})}}, workers, **kw)


@contextlib.contextmanager
def running(workers=2, **kw):
    """xtcpd, an echo server, and a connection that has exchanged something."""
    with Net(), daemon(workers=workers, **kw) as d, \
            Echod("-p", PORT, daemon=d) as e:
        wait_attached(d)
        s = connect(PORT)
        s.sendall(b"hello")
        equal(recv_exactly(s, 5), b"hello")
        yield d, e, s
        s.close()


def still_echoes(s):
    s.sendall(b"still there?")
    equal(recv_exactly(s, 12), b"still there?")


def peer_name(s):
    return "%s:%d" % s.getsockname()


# --- xtcpctl show

def test_show_info():
    with running() as (d, _, s):
        info = d.ctl("show", "info")
        for key in ("version", "uptime_ms", "connections", "accepted", "refused",
                    "messages", "bytes", "segments", "recovered_connections",
                    "lost_in_recovery"):
            if key not in info:
                raise AssertionError(f"{key} is missing: {info}")
        equal(set(info["connections"]) >= {"established", "active", "half_open",
                                           "time_wait"}, True)
        equal(info["connections"]["established"], 1)
        equal((info["accepted"], info["messages"]["in"], info["bytes"]),
              (1, 1, {"in": 5, "out": 5}))
        equal(set(info["segments"]) >= {"in", "out", "retransmitted",
                                        "pure_acks_out"}, True)


def test_show_lists():
    with running() as (d, _, s):
        equal([p["name"] for p in d.ctl("show", "pools")], ["main"])
        equal([(g["name"], g["port"], g["connections"])
               for g in d.ctl("show", "groups")], [("echo", PORT, 1)])
        equal([(b["group"], b["streams_up"]) for b in d.ctl("show", "backends")],
              [("echo", 2)])
        equal([w["worker"] for w in d.ctl("show", "workers")], [0, 1])
        memory = d.ctl("show", "memory")
        for key in ("arena_resident_bytes", "records", "bytes_per_record",
                    "active_blocks", "receive_pool_bytes",
                    "transmit_buffer_bytes", "process_resident_bytes"):
            if key not in memory:
                raise AssertionError(f"{key} is missing: {memory}")
        equal(memory["records"], 1)
        counters = d.ctl("show", "counters")
        equal(counters["conn_accepted"], 1)


def test_show_connections():
    with running() as (d, _, s):
        (c,) = d.ctl("show", "connections")
        equal((c["group"], c["state"], c["remote"], c["local"]),
              ("echo", "ESTABLISHED", peer_name(s), f"{VIP4}:{PORT}"))
        one = d.ctl("show", "connection", c["id"])
        equal((one["remote"], one["rcv_acked"], one["snd_acked"]),
              (peer_name(s), 5, 5))
        more = [connect(PORT, VIP6) for _ in range(9)]
        equal(len(d.ctl("show", "connections")), 10)
        equal(len(d.ctl("show", "connections", "--limit", "3")), 3)
        equal(len(d.ctl("show", "connections", "--group", "echo")), 10)
        equal(len(d.ctl("show", "connections", "--state", "ESTABLISHED")), 10)
        equal(d.ctl("show", "connections", "--state", "TIME-WAIT"), [])
        del more


def test_tables_for_people():
    with running() as (d, _, s):
        for what in ("info", "pools", "groups", "backends", "workers", "memory",
                     "counters", "connections"):
            p = run(BUILD / "xtcpctl", "-s", d.control_path, "show", what)
            if not p.stdout.strip():
                raise AssertionError(f"show {what} prints nothing")
        p = run(BUILD / "xtcpctl", "-s", d.control_path, "show", "connections")
        contains(p.stdout, peer_name(s))


def test_xtcpctl_errors():
    with running() as (d, _, _s):
        for args in (("show", "connection", "ffffffffffffffff"),
                     ("close", "0000000000000001"), ("drain", "backend", "nobody"),
                     ("drain", "group", "nobody"),
                     ("show", "connections", "--group", "nobody")):
            p = d.ctl(*args, check=False)
            equal((args, p.returncode), (args, 1))
            if not p.stderr.strip():
                raise AssertionError(f"{args}: it says nothing")
        for args in (("frobnicate",), ("show",), ("show", "nothing"), ("close",)):
            p = d.ctl(*args, check=False)
            equal((args, p.returncode), (args, 2))
    p = run(BUILD / "xtcpctl", "-s", "/nonexistent.sock", "show", "info",
            check=False)
    equal(p.returncode, 1)
    contains(p.stderr, "/nonexistent.sock")


# --- xtcpctl that changes something

def test_close_a_connection():
    with running() as (d, _, s):
        (c,) = d.ctl("show", "connections")
        d.ctl("close", c["id"])
        equal(s.recv(10), b"")
        s.close()
        wait_for("it is closed", lambda: d.ask("show info")
                 ["connections"]["established"] == 0)


def test_drain_and_resume_a_backend():
    with Net(), tempfile.TemporaryDirectory() as t:
        paths = [f"{t}/{name}.sock" for name in "ab"]
        group = {"backend": {name: {"address": f"unix:{path}"}
                             for name, path in zip("ab", paths)}}
        socks = []
        for path in paths:
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(path)
            sock.listen(8)
            socks.append(sock)
        with daemon(group) as d:
            a, b = [Backend.serve(sock) for sock in socks]
            wait_attached(d, 2)
            old = connect(PORT)
            while True:  # one that a has
                old.sendall(b"mine")
                found = [f for f in a.sync() if f.type == "DATA"]
                if found:
                    a.reply(found[0].conn, b"ok", ackd=len(found[0].payload))
                    equal(recv_exactly(old, 2), b"ok")
                    break
                old.close()
                old = connect(PORT)
            for f in b.sync():
                if f.type == "DATA":
                    b.reply(f.conn, b"", ackd=len(f.payload))
            d.ctl("drain", "backend", "a")
            a.expect("DRAIN")
            new = [connect(PORT) for _ in range(6)]
            for s in new:
                s.sendall(b"new")
                f = b.expect("DATA", payload=b"new")
                b.reply(f.conn, b"ok", ackd=3)
                equal(recv_exactly(s, 2), b"ok")
            old.sendall(b"more")  # what it had stays with it
            f = a.expect("DATA", payload=b"more")
            a.reply(f.conn, b"ok", ackd=4)
            equal(recv_exactly(old, 2), b"ok")
            d.ctl("resume", "backend", "a")
            more = [connect(PORT) for _ in range(6)]
            for s in more:
                s.sendall(b"again")
            wait_for("a has some", lambda: [
                f for f in a.sync() if f.type == "DATA"])
            a.close()
            b.close()


def test_drain_a_group():
    with running() as (d, _, s):
        d.ctl("drain", "group", "echo")
        with contextlib.suppress(ConnectionRefusedError):
            connect(PORT)
            raise AssertionError("connected to a drained group")
        still_echoes(s)


# --- reload

def test_reload_changes_what_can_change():
    with running() as (d, _, s):
        d.configure({"echo": {"port": PORT, "max-connections": 1}}, 2)
        d.ctl("reload")
        with contextlib.suppress(ConnectionRefusedError):
            connect(PORT)
            raise AssertionError("max-connections is not in force")
        still_echoes(s)
        d.configure({"echo": {"port": PORT}, "other": {"port": 9}}, 2)
        d.ctl("reload")
        wait_for("connected", lambda: connect(PORT) is not None)
        still_echoes(s)


def test_reload_says_what_needs_a_restart():
    with running() as (d, _, s):
        d.configure({"echo": {"port": PORT}}, 2,
                    top={"max-connections": 77000})
        p = d.ctl("reload", check=False)
        contains(p.stdout + p.stderr, "max-connections")
        contains(p.stdout + p.stderr, "restart")
        still_echoes(s)


def test_reload_of_a_bad_file_changes_nothing():
    with running() as (d, _, s):
        with open(d.conf, "a") as f:
            f.write("frobnicate = 1\n")
        p = d.ctl("reload", check=False)
        equal(p.returncode, 1)
        contains(p.stdout + p.stderr, "frobnicate")
        still_echoes(s)
        connect(PORT).close()


def test_sighup_reloads():
    with running() as (d, _, s):
        d.configure({"echo": {"port": PORT, "max-connections": 1}}, 2)
        os.kill(d.pid, signal.SIGHUP)

        def refused():
            try:
                connect(PORT).close()
            except ConnectionRefusedError:
                return True
            return False

        wait_for("max-connections is in force", refused)
        still_echoes(s)
        with open(d.conf, "a") as f:
            f.write("frobnicate = 1\n")
        os.kill(d.pid, signal.SIGHUP)
        wait_for("it is logged", lambda: "frobnicate" in d.stderr())
        still_echoes(s)


# --- start and stop

def routes():
    return "".join(run("ip", *family, "route", "show", "table", "all").stdout
                   for family in ((), ("-6",)))


def test_routes_and_device():
    with Net():
        before = routes()
        with daemon() as d:
            text = routes()
            for vip in (VIP4, VIP6):
                if not re.search(rf"^{vip}\S* dev xtcp0", text, re.M):
                    raise AssertionError(f"no route to {vip}: {text}")
                if not re.search(rf"^blackhole {vip}", text, re.M):
                    raise AssertionError(f"no blackhole of {vip}: {text}")
            addresses = run("ip", "-j", "addr", "show", "dev", "xtcp0").stdout
            local = [a["local"] for a in json.loads(addresses)[0]["addr_info"]]
            if VIP4 in local or VIP6 in local:
                raise AssertionError("a virtual address is on the interface")
            d.stop()
        equal(routes(), before)
        equal(run("ip", "link", "show", "xtcp0", check=False).returncode, 1)


def test_stop_under_load():
    with Net(), daemon(workers=2) as d, Echod("-p", PORT, daemon=d):
        wait_attached(d)
        with harness.Process(
                BUILD / "tests/tools/msgclient", "--connect", f"{VIP4}:{PORT}",
                "--connections", 20, "--messages", 10000000, "--timeout", 60):
            wait_for("traffic", lambda: d.counter("msgs_in") > 500)
            d.stop()


def test_start_again():
    with Net():
        for _ in range(3):
            with daemon(workers=2) as d, Echod("-p", PORT, daemon=d):
                wait_attached(d)
                s = connect(PORT)
                s.sendall(b"hello")
                equal(recv_exactly(s, 5), b"hello")


def test_sigint_stops_cleanly():
    with Net(), daemon() as d:
        os.kill(d.pid, signal.SIGINT)
        equal(d.wait(), 0)
        d.stopped = True


# --- metrics, capture

def test_metrics():
    top = {"metrics": {"listen": "127.0.0.1:9464"}}
    with running(top=top) as (d, _, s):
        p = run("curl", "-sS", "--fail", "--max-time", 10, "--noproxy", "*",
                "-D", "-", "http://127.0.0.1:9464/metrics")
        contains(p.stdout, "text/plain")
        values = dict(re.findall(r"^(xtcpd_\w+) ([0-9.e+]+)$", p.stdout, re.M))
        accepted = [v for k, v in values.items() if "conn_accepted" in k]
        equal(accepted, ["1"])
        for line in p.stdout.split("\n\n", 1)[1].splitlines():
            if not re.match(r"(# (HELP|TYPE) xtcpd_\w+ .|xtcpd_\w+(\{.*\})? \S+$)",
                            line):
                raise AssertionError(f"not Prometheus' text form: {line!r}")
        p = run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}",
                "--max-time", 10, "--noproxy", "*",
                "http://127.0.0.1:9464/nothing")
        equal(p.stdout, "404")
        still_echoes(s)


def test_metrics_hostile():
    top = {"metrics": {"listen": "127.0.0.1:9464"}}
    with running(top=top) as (d, _, s):
        for data in (b"\0" * 100, b"GET", b"x" * 100000, b"POST / HTTP/9\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", 9464), 10) as m:
                with contextlib.suppress(OSError):
                    m.sendall(data)
                    m.shutdown(socket.SHUT_WR)
                    m.recv(65536)
        d.check_alive()
        still_echoes(s)


def test_pcap():
    with tempfile.TemporaryDirectory() as t:
        with running(args=("--pcap", f"{t}/x.pcap")) as (d, _, s):
            still_echoes(s)
            port = s.getsockname()[1]
        # one file for each worker
        out = "".join(run("tcpdump", "-nn", "-r", f"{t}/{name}",
                          f"tcp port {port}").stdout
                      for name in sorted(os.listdir(t)))
        contains(out, f"{VIP4}.{PORT}")
        contains(out, "Flags [S.]")
        contains(out, "length 12")


if __name__ == "__main__":
    harness.main(globals())
