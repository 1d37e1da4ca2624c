#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Backends: how connections are shared out, and what becomes of their loss."""
# builds: gcc asan tsan

import errno
import os
import signal
import socket
import subprocess
import tempfile

import harness
from frames import Backend
from harness import (
    BUILD, SCALE, VIP4, Echod, Net, Process, Tool, Xtcpd, backends, connect,
    contains, equal, msgclient, recv_all, recv_exactly, timeout, wait_attached,
    wait_for)

PORT = 7


def daemon(group=None, workers=1, **kw):
    return Xtcpd({"echo": {"port": PORT, **(group or {})}}, workers, **kw)


def dial(d, **kw):
    return Backend.dial(d.attach_path, PORT, **kw)


def listen(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen(16)
    return sock


# --- who dials

def test_xtcpd_dials_a_configured_backend():
    with Net(), tempfile.TemporaryDirectory() as t:
        address = f"unix:{t}/echo.sock"
        with daemon({"backend": {"a": {"address": address}}}, 2) as d:
            with Echod("-l", address):
                wait_attached(d)
                equal([b["name"] for b in backends(d)], ["a"])
                msgclient(f"{VIP4}:{PORT}", "--connections", 10,
                          "--messages", 1000)


def test_xtcpd_dials_a_tcp_backend():
    with Net():
        address = "tcp:127.0.0.1:4000"
        with daemon({"backend": {"a": {"address": address, "streams": 2}}},
                    2) as d, Echod("-l", address):
            wait_for("4 streams", lambda:
                     backends(d)[0]["streams_up"] == 4)
            msgclient(f"{VIP4}:{PORT}", "--connections", 10,
                      "--messages", 1000)


def test_backend_that_comes_late():
    with Net(), tempfile.TemporaryDirectory() as t:
        address = f"unix:{t}/echo.sock"
        with daemon({"backend": {"a": {"address": address}}}) as d:
            s = connect(PORT)
            s.sendall(b"is anybody there?")
            wait_for("it was tried", lambda:
                     d.counter("backend_connect_failed") >= 2)
            with Echod("-l", address):
                equal(recv_exactly(s, 17), b"is anybody there?")


# --- accept = application

def test_accept_application():
    with Net(), daemon({"accept": "application"}) as d, \
            Echod("-p", PORT, daemon=d):
        wait_attached(d)
        msgclient(f"{VIP4}:{PORT}", "--connections", 50, "--messages", 500)
        equal(d.counter("conn_accepted"), 50)


def test_accept_application_without_a_backend_is_refused():
    with Net(), daemon({"accept": "application", "accept-timeout": 300}) as d:
        try:
            connect(PORT)
        except ConnectionRefusedError:
            equal(d.counter("conn_accept_expired"), 1)
            return
        raise AssertionError("connected")


# --- groups of one port

def two_groups(**second):
    return {"first": {"port": PORT, "max-connections": 3, "priority": 10},
            "second": {"port": PORT, **second}}


def group_counts(d):
    return {g["name"]: g["connections"] for g in d.ask("show groups")}


def test_priority_of_groups_on_one_port():
    """The higher one takes connections until it is full, then the other."""
    with Net(), Xtcpd(two_groups()) as d:
        socks = [connect(PORT) for _ in range(5)]
        equal(group_counts(d), {"first": 3, "second": 2})
        socks[0].close()
        del socks


def test_equal_groups_take_turns():
    with Net(), Xtcpd({"a": {"port": PORT}, "b": {"port": PORT}}) as d:
        socks = [connect(PORT) for _ in range(20)]
        counts = group_counts(d)
        if min(counts.values()) < 8:
            raise AssertionError(f"not in turn: {counts}")
        del socks


def test_all_groups_full_is_a_refusal():
    with Net(), Xtcpd(two_groups(**{"max-connections": 1})) as d:
        socks = [connect(PORT) for _ in range(4)]
        try:
            connect(PORT)
        except ConnectionRefusedError:
            equal(d.counter("drop_group_full"), 1)
            del socks
            return
        raise AssertionError("connected to full groups")


def test_group_on_one_address_only():
    with Net(), Xtcpd({"v4": {"port": PORT, "vip": [VIP4]}}):
        connect(PORT).close()
        try:
            connect(PORT, harness.VIP6)
        except ConnectionRefusedError:
            return
        raise AssertionError("connected to an address that is not the group's")


# --- balance

def served(d, balance, n_backends=3, connections=30):
    """How many first requests each of n scripted backends got."""
    bs = [dial(d) for _ in range(n_backends)]
    socks = [connect(PORT) for _ in range(connections)]
    for i, s in enumerate(socks):
        s.sendall(b"request %d" % i)
    wait_for("all arrived",
             lambda: d.counter("msgs_in") >= connections)
    return bs, socks, [[f for f in b.sync() if f.type == "DATA"] for b in bs]


def test_balance_shares_out():
    for balance in ("sticky", "any", "least"):
        with Net(), daemon({"balance": balance}) as d:
            bs, socks, got = served(d, balance)
            equal(sorted(len(g) for g in got), [10, 10, 10], balance)
            for b in bs:
                b.close()
            del socks


def test_balance_sticky_keeps_its_backend():
    with Net(), daemon({"balance": "sticky"}) as d:
        bs, socks, got = served(d, "sticky")
        for _ in range(3):
            for b, frames in zip(bs, got):
                for f in frames:
                    b.reply(f.conn, b"ok", ackd=len(f.payload))
            for s in socks:
                equal(recv_exactly(s, 2), b"ok")
            for s in reversed(socks):  # not in step with any turn
                s.sendall(b"again")
            for i, b in enumerate(bs):
                again = [b.expect("DATA") for _ in got[i]]
                equal({f.conn for f in again}, {f.conn for f in got[i]})
                got[i] = again


def test_balance_any_moves_on():
    with Net(), daemon({"balance": "any"}) as d:
        bs = [dial(d) for _ in range(2)]
        s = connect(PORT)
        by = []
        for _ in range(6):
            s.sendall(b"request")
            found = []
            while not found:
                for b in bs:
                    found += [(b, f) for f in b.sync() if f.type == "DATA"]
            (b, f), = found
            b.reply(f.conn, b"ok", ackd=7, offset=f.offset)
            equal(recv_exactly(s, 2), b"ok")
            by.append(bs.index(b))
        equal(set(by), {0, 1})


def test_balance_least_prefers_the_idle_one():
    with Net(), daemon({"balance": "least"}) as d:
        busy, idle = dial(d), dial(d)
        first = [connect(PORT) for _ in range(2)]
        for s in first:
            s.sendall(b"busy")
        wait_for("both", lambda: d.counter("msgs_in") == 2)
        (f,) = [f for f in idle.sync() if f.type == "DATA"]
        idle.reply(f.conn, b"", ackd=4)
        idle.sync()
        more = [connect(PORT) for _ in range(5)]
        for s in more:
            s.sendall(b"next")
            f = idle.expect("DATA", payload=b"next")
            idle.reply(f.conn, b"ok", ackd=4)
            equal(recv_exactly(s, 2), b"ok")
        equal(len([f for f in busy.sync() if f.type == "DATA"]), 1)


def test_max_inflight_makes_others_wait():
    with Net(), tempfile.TemporaryDirectory() as t:
        sock = listen(f"{t}/b.sock")
        with daemon({"backend": {"a": {"address": f"unix:{t}/b.sock",
                                       "max-inflight": 2}}}) as d:
            with Backend.serve(sock) as b:
                socks = [connect(PORT) for _ in range(5)]
                for s in socks:
                    s.sendall(b"request")
                wait_for("all arrived", lambda: d.counter("msgs_in") == 5)
                frames = [f for f in b.sync() if f.type == "DATA"]
                equal(len(frames), 2)
                done = 0
                while done < 5:
                    f = frames.pop(0) if frames else b.expect("DATA")
                    b.reply(f.conn, b"ok", ackd=7)
                    done += 1
                for s in socks:
                    equal(recv_exactly(s, 2), b"ok")


# --- loss

def test_requests_of_a_lost_backend_go_to_another():
    with Net(), daemon() as d:
        first = dial(d)
        s = connect(PORT)
        s.sendall(b"request")
        f = first.expect("DATA", payload=b"request", redelivered=False)
        with dial(d) as second:
            first.close()
            g = second.expect("DATA", payload=b"request", conn=f.conn, offset=0)
            equal((g.redelivered, g.first), (True, True))
            second.reply(g.conn, b"done", ackd=7)
            equal(recv_exactly(s, 4), b"done")
        equal(d.counter("loss_undelivered"), 1)
        equal(d.counter("redelivered"), 1)


def test_partly_acknowledged_request_goes_on_where_it_was():
    with Net(), daemon() as d:
        first = dial(d)
        s = connect(PORT)
        s.sendall(b"0123456789")
        f = first.expect("DATA", payload=b"0123456789")
        first.reply(f.conn, b"half", ackd=4)
        equal(recv_exactly(s, 4), b"half")
        first.sync()
        first.close()
        with dial(d) as second:
            g = second.expect("DATA", payload=b"456789", offset=4)
            equal(g.addr.send_offset + g.aux, 4)
            second.reply(g.conn, b"done", ackd=6, offset=4)
            equal(recv_exactly(s, 4), b"done")


def test_requests_wait_for_a_backend():
    with Net(), daemon() as d:
        s = connect(PORT)
        s.sendall(b"request")
        wait_for("it waits", lambda: d.ask("show groups")[0]["waiting"] == 1)
        with dial(d) as b:
            f = b.expect("DATA", payload=b"request", redelivered=False)
            b.reply(f.conn, b"done", ackd=7)
            equal(recv_exactly(s, 4), b"done")


def test_end_of_stream_is_told_again():
    with Net(), daemon() as d:
        first = dial(d)
        s = connect(PORT)
        s.sendall(b"bye")
        s.shutdown(socket.SHUT_WR)
        f = first.expect("DATA")
        first.expect("EOF", conn=f.conn, offset=3)
        first.reply(f.conn, b"", ackd=3)
        first.sync()
        first.close()
        with dial(d) as second:
            second.expect("EOF", conn=f.conn, offset=3)
            second.reply(f.conn, b"farewell", offset=3)
            second.close_conn(f.conn)
            equal(recv_all(s), b"farewell")


def test_on_backend_loss_reset():
    with Net(), daemon({"on-backend-loss": "reset"}) as d:
        b = dial(d)
        held, idle = connect(PORT), connect(PORT)
        for s in (held, idle):
            s.sendall(b"request")
            f = b.expect("DATA")
            last = f.conn
        b.reply(last, b"ok", ackd=7)
        equal(recv_exactly(idle, 2), b"ok")
        b.sync()
        b.close()
        try:
            got = held.recv(10)
        except ConnectionResetError:
            got = None
        equal(got, None, "the one with a request in hand")
        equal(d.counter("loss_reset"), 1)
        with dial(d) as again:  # the idle one lives on
            idle.sendall(b"more")
            f = again.expect("DATA", payload=b"more")
            again.reply(f.conn, b"ok", ackd=4, offset=7)
            equal(recv_exactly(idle, 2), b"ok")


def test_on_backend_loss_reset_all():
    """What the backend knew goes with it, and only that."""
    with Net(), daemon({"on-backend-loss": "reset-all"}) as d:
        b = dial(d)
        idle = [connect(PORT) for _ in range(50)]
        for s in idle:
            s.sendall(b"request")
            f = b.expect("DATA")
            b.reply(f.conn, b"ok", ackd=7)
            equal(recv_exactly(s, 2), b"ok")
        unknown = connect(PORT)
        b.sync()
        with dial(d) as other:
            b.close()
            for s in idle:
                try:
                    got = s.recv(10)
                except ConnectionResetError:
                    got = None
                equal(got, None, "an idle one")
            equal(d.counter("loss_reset"), 50)
            unknown.sendall(b"more")
            f = other.expect("DATA", payload=b"more")
            other.reply(f.conn, b"ok", ackd=4)
            equal(recv_exactly(unknown, 2), b"ok")


@timeout(200)
def killed_under_load(workers, others):
    """-9 to a backend while messages flow; no client notices."""
    n = 20000 // SCALE
    with Net(), daemon(workers=workers) as d:
        es = [Echod("-p", PORT, daemon=d) for _ in range(2)]
        wait_attached(d, 2)
        with Process(BUILD / "tests/tools/msgclient", "--connect",
                     f"{VIP4}:{PORT}", "--connections", 50, "--messages", n,
                     "--timeout", 150, stdout=subprocess.PIPE) as client:
            wait_for("traffic", lambda: d.counter("msgs_in") > n // 10)
            es[0].kill(signal.SIGKILL)
            if not others:
                es[1].kill(signal.SIGKILL)
            wait_for("loss is noticed", lambda: len(backends(d)) == others)
            if not others:
                before = d.counter("msgs_in")
                es.append(Echod("-p", PORT, daemon=d))
                wait_for("traffic goes on",
                         lambda: d.counter("msgs_in") > before)
            out = client.p.communicate(timeout=170)[0]
        equal(client.p.returncode, 0, out)
        contains(out.decode(), '"mismatches": 0')
        for e in es:
            e.__exit__(None, None, None)


@timeout(200)
def test_backend_killed_under_load_another_goes_on_w1():
    killed_under_load(1, 1)


@timeout(200)
def test_backend_killed_under_load_another_goes_on_w2():
    killed_under_load(2, 1)


@timeout(200)
def test_all_backends_killed_under_load_wait_for_return():
    killed_under_load(2, 0)


def test_backend_that_stops_is_given_up():
    """SIGSTOP: no PONG, so its requests go to another."""
    with Net(), daemon() as d:
        with Echod("-p", PORT, daemon=d) as e:
            wait_attached(d)
            os.kill(e.pid, signal.SIGSTOP)
            s = connect(PORT)
            s.sendall(b"request")
            wait_for("it is silent", lambda: d.counter("backend_silent") == 1,
                     within=60, every=0.5)
            with dial(d) as b:
                f = b.expect("DATA", payload=b"request", redelivered=True)
                b.reply(f.conn, b"done", ackd=7)
                equal(recv_exactly(s, 4), b"done")
            e.kill(signal.SIGKILL)


# --- the chat example

class Chat(Tool):
    program = "examples/chat"


def test_chat_example():
    with Net(), daemon() as d, Chat("-p", PORT, daemon=d):
        wait_attached(d)
        ncs = [subprocess.Popen(["nc", "-N", VIP4, str(PORT)],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                preexec_fn=harness.die_with_parent)
               for _ in range(3)]
        outs = [b"", b"", b""]
        for p in ncs:
            os.set_blocking(p.stdout.fileno(), False)

        def heard(i, what):
            outs[i] += ncs[i].stdout.read() or b""
            return what in outs[i]

        wait_for("3 connections", lambda: len(d.connections()) == 3)
        # the room knows a client from its first line on
        for i, p in enumerate(ncs):
            p.stdin.write(b"/nick n%d\n" % i)
            p.stdin.flush()
            wait_for(f"{i} is in", lambda i=i: heard(i, b"you are n%d" % i))
        ncs[0].stdin.write(b"to all of you\n")
        ncs[0].stdin.flush()
        wait_for("heard by 1", lambda: heard(1, b"to all of you"))
        wait_for("heard by 2", lambda: heard(2, b"to all of you"))
        for p in ncs:
            p.stdin.close()
        for p in ncs:
            equal(p.wait(20), 0)
            p.stdout.close()


# --- libxtcp alone

def test_listening_application_without_a_daemon():
    """xtcp_open_group() fails with -ENOENT when nobody listens."""
    with Net(), Process(BUILD / "tests/tools/apicall", stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        env={"XTCP_ATTACH": "/nonexistent/sock"}) as p:
        p.p.stdin.write(b"init 0\nopen 4 7\n")
        p.p.stdin.close()
        equal(p.p.stdout.read().split(), [b"0", b"%d" % -errno.ENOENT])
        p.p.stdout.close()


if __name__ == "__main__":
    harness.main(globals())
