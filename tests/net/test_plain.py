#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Backends of protocol "stream": a server that is linked statically."""
# builds: gcc asan tsan

import shutil
import signal
import tempfile

import harness
from harness import (
    BUILD, SCALE, VIP4, VIP6, Net, Xtcpd, connect, contains, equal, run, timeout,
    wait_for)
from killing import Mortal, Wire
from plain import (
    CLIENTS, PORT, ROUNDS, Lines, Staticd, backend, checksum, daemon, group,
    pattern, state, wait_links)
from test_sandbox import refused_calls

BULK = 20_000_000 // SCALE


# --- who is it?

def check_who(address, where, *args, **keys):
    with Net(), Staticd(where, *args), daemon({"a": backend(where, **keys)}):
        c = Lines(address=address)
        client, port = c.sock.getsockname()[:2]
        equal(c.ask("who"), f"{client} {port} {address} {PORT}" if args
              else "nobody")


def test_proxy_v1():
    check_who(VIP4, 4000, "-P", proxy_protocol="v1")
    check_who(VIP6, 4000, "-P", proxy_protocol="v1")


def test_proxy_v2():
    check_who(VIP4, 4000, "-P", proxy_protocol="v2")
    check_who(VIP6, 4000, "-P", proxy_protocol="v2")


def test_no_proxy_header():
    check_who(VIP4, 4000)


def test_unix_socket():
    with tempfile.TemporaryDirectory() as t:
        check_who(VIP4, f"unix:{t}/s", "-P", proxy_protocol="v2")


def test_server_that_speaks_first():
    with Net(), Staticd(4000, "-g", "220 ready"), daemon(announce=True):
        equal(Lines().hear(), "220 ready")


# --- many

def rounds(clients, n):
    """Each client asks something of its own n times, all at once."""
    for i in range(n):
        for k, c in enumerate(clients):
            c.say(f"echo {i} of {k}")
        for k, c in enumerate(clients):
            equal(c.hear(), f"{i} of {k}")


@timeout(250)
def test_500_clients_10000_answers():
    with Net(), Staticd(), daemon(workers=2) as d:
        clients = [Lines() for _ in range(CLIENTS)]
        equal(state(d)["streams_up"], 0)
        rounds(clients, ROUNDS)
        equal(state(d)["streams_up"], CLIENTS)
        equal(clients[0].ask("open"), str(CLIENTS))
        equal(d.counter("plain_connects"), CLIENTS)
        for c in clients:
            c.close()
        wait_links(d, 0)
        equal(state(d)["failures"], 0)


@timeout(250)
def test_quiet_clients_lose_their_servers_and_find_them_again():
    with Net(), Staticd(), daemon(
            {"a": backend(stream_idle_close=400)}, 2) as d:
        clients = [Lines() for _ in range(CLIENTS)]
        for again in range(2):
            rounds(clients, 1)
            wait_links(d, 0)
            # nothing is left of them but their records
            wait_for("they are idle", lambda: d.memory()["active_blocks"] == 0)
            equal(d.ask("show info")["connections"]["established"], CLIENTS)
            equal(d.counter("plain_idle_closed"), CLIENTS * (again + 1))
        numbers = {int(c.ask("conn")) for c in clients}
        equal(numbers, set(range(2 * CLIENTS + 1, 3 * CLIENTS + 1)))
        equal(d.counter("plain_reopened"), 2 * CLIENTS)


def test_unanswered_request_is_not_quiet():
    with Net(), Staticd(), daemon({"a": backend(stream_idle_close=100)}) as d:
        slow, quick = Lines(), Lines()
        slow.say("hang")
        quick.ask("echo x")
        wait_for("the quick one's is closed",
                 lambda: d.counter("plain_idle_closed") == 1)
        equal(state(d)["streams_up"], 1)
        equal(slow.ask("conn"), "1")


# --- ends

def test_half_close():
    """The client ends; the server still answers. And the other way round."""
    with Net(), Staticd(), daemon() as d:
        c = Lines()
        c.say("echo first")
        c.sock.shutdown(1)
        equal(c.hear(), "first")
        equal(c.hear(), "end 11")
        c.ended()
        c = Lines()
        c.say("end")
        c.ended()
        c.say("sink 5\n12345")
        c.say("close")
        wait_for("the server has all", lambda: state(d)["bytes"]["in"] ==
                 11 + 4 + 13 + 6)
        c.close()
        wait_links(d, 0)
        equal(d.counter("plain_broken"), 0)


def test_servers_ends():
    with Net(), Staticd(), daemon() as d:
        c = Lines()
        equal(c.ask("echo x"), "x")
        c.say("close")
        c.ended()
        c = Lines()
        equal(c.ask("echo x"), "x")
        c.say("abort")
        c.was_reset()
        equal(d.counter("plain_broken"), 1)


def test_killed_server_and_its_successor():
    with Net(), daemon() as d:
        with Staticd():
            c = Lines()
            equal(c.ask("echo x"), "x")
        # killed: its kernel closes for it
        c.ended()
        refused = Lines()
        refused.say("echo y")
        refused.was_reset()
        equal(d.counter("plain_refused"), 1)
        equal(state(d)["state"], "down")
        with Staticd():
            equal(Lines().ask("echo z"), "z")
            equal(state(d)["state"], "up")


def test_other_backend_takes_over():
    with Net(), Staticd(4001) as b, daemon(
            {"a": backend(4000), "b": backend(4001)}) as d:
        clients = [Lines() for _ in range(20)]
        rounds(clients, 2)
        equal(state(d, "b")["streams_up"], 20)
        equal(state(d, "a")["state"], "down")
        equal(d.counter("plain_refused"), 0)
        b.kill()
        for c in clients:
            c.ended()


def test_refused_client_of_accept_application():
    with Net(), daemon(accept="application") as d:
        try:
            connect(PORT)
            raise AssertionError("connected to nobody")
        except ConnectionRefusedError:
            pass
        with Staticd():
            equal(Lines().ask("echo x"), "x")
        equal(d.counter("conn_accepted"), 1)


def test_server_that_never_answers():
    with Net(), Staticd(), daemon(backend_timeout=300) as d:
        c = Lines()
        c.say("hang")
        c.was_reset()
        equal(d.counter("plain_stuck"), 1)


# --- flow control

def test_slow_reader():
    with Net(), Staticd(), daemon() as d:
        c = Lines()
        c.say(f"send {BULK}")
        wait_for("the server has to wait",
                 lambda: d.counter("plain_stalled") > 0)
        # the rest is in the kernel, or not even there
        if d.memory()["transmit_buffer_bytes"] > 4 << 20:
            raise AssertionError(f"held: {d.memory()}")
        other = Lines()
        equal(other.ask("echo nobody waits for others"),
              "nobody waits for others")
        got = c.file.read(BULK)
        if got != pattern(BULK):
            raise AssertionError(f"{len(got)} bytes, not those that were sent")
        equal(c.ask("echo x"), "x")


def test_slow_server():
    """What it does not read is not acknowledged; all of it arrives."""
    data = pattern(BULK // 10)
    with Net(), Staticd() as server, daemon() as d:
        c = Lines()
        equal(c.ask("echo x"), "x")
        server.p.send_signal(signal.SIGSTOP)
        c.sock.settimeout(0.5)
        sent = 0
        with_head = f"sink {len(data)}\n".encode() + data
        try:
            while sent < len(with_head):
                sent += c.sock.send(with_head[sent:])
        except TimeoutError:
            pass
        c.sock.settimeout(harness.WAIT_S)
        server.p.send_signal(signal.SIGCONT)
        c.sock.sendall(with_head[sent:])
        equal(c.hear(), f"sunk {len(data)} {checksum(data)}")
        wait_for("all is consumed",
                 lambda: d.memory()["receive_pool_bytes"] == 0)


def test_streams_is_a_bound():
    with Net(), Staticd(), daemon({"a": backend(streams=3)}) as d:
        first = [Lines() for _ in range(3)]
        rounds(first, 1)
        rest = [Lines() for _ in range(3)]
        for c in rest:
            c.say("conn")
        wait_for("they wait", lambda: d.counter("conn_waited") == 3)
        equal(state(d)["streams_up"], 3)
        equal(state(d)["streams_wanted"], 3)
        for c in first:
            c.close()
        equal(sorted(c.hear() for c in rest), ["4", "5", "6"])


def test_descriptors_run_out():
    """The others wait, and the operator still gets in."""
    with Net(), Staticd(), Xtcpd({"g": group()}, wrap=(
            "prlimit", "--nofile=80:80")) as d:
        clients = [Lines() for _ in range(50)]
        for c in clients:
            c.say("hang")
        wait_for("some wait", lambda: d.counter("plain_no_socket") > 0)
        served = state(d)["streams_up"]
        if not 25 <= served < 50:
            raise AssertionError(f"{served} are served")
        for c in clients[:served]:
            c.close()
        for c in clients[served:]:
            equal(c.ask("echo x"), "x")


# --- while it runs

def test_reload():
    with Net(), Staticd(4000), Staticd(4001, "-P") as p, daemon() as d:
        old = Lines()
        equal(old.ask("conn"), "1")
        d.configure({"g": group({"b": backend(4001, proxy_protocol="v2")})})
        d.ctl("reload")
        new = Lines()
        contains(new.ask("who"), f" {VIP4} {PORT}")
        # who has a connection to the old one keeps it
        equal(old.ask("conn"), "1")
        equal(state(d)["state"], "removed")
        old.close()
        wait_for("it is gone", lambda: [b["name"] for b in d.ask(
            "show backends")] == ["b"])
        d.configure({"g": group({"b": backend(
            4001, proxy_protocol="v2", stream_idle_close=100)})})
        d.ctl("reload")
        wait_links(d, 0, "b")
        equal(new.ask("conn"), "2")
        # frames instead: another group
        d.configure({"g": {"port": PORT}})
        contains(" ".join(d.ctl("reload")["messages"]), "another protocol")
        new.was_reset()
        p.check_alive()


def test_applications_cannot_attach():
    with Net(), daemon() as d:
        p = run(BUILD / "xtcp-echod", "-p", PORT, check=False, timeout=10,
                env={"XTCP_ATTACH": d.attach_path})
        contains(d.stderr(), 'has backends of protocol "stream"')
        if p.returncode == 0:
            raise AssertionError("attached")


def test_what_the_operator_sees():
    with Net(), Staticd(), daemon() as d:
        equal(state(d)["state"], "idle")
        c = Lines()
        equal(c.ask("echo hello"), "hello")
        want = {"protocol": "stream", "state": "up", "streams_up": 1,
                "streams_wanted": 0, "inflight": 0, "connects": 1,
                "failures": 0, "bytes": {"in": 11, "out": 6},
                "messages": {"in": 1, "out": 1}}
        equal({k: v for k, v in state(d).items() if k in want}, want)
        (conn,) = d.connections()
        equal(conn["backend"], "a")
        c.say("hang")
        wait_for("an answer is due", lambda: state(d)["inflight"] == 1)
        table = run(BUILD / "xtcpctl", "-s", d.control_path, "show",
                    "backends").stdout
        contains(table, "FAILURES")
        d.ctl("close", conn["id"])
        c.ended()
        wait_links(d, 0)


def test_sandbox_refuses_nothing():
    """strace sees each call that fails; ENOSYS is what the filter says."""
    if not shutil.which("strace"):
        raise harness.Skip("strace is missing")
    with Net(), tempfile.TemporaryDirectory() as t:
        wrap = ("strace", "-D", "-f", "-Z", "-qq", "-o", f"{t}/strace", "-e",
                "trace=!read,write,writev,futex,recvmsg,recvfrom,accept4")
        groups = {"tcp": group({"a": backend(stream_idle_close=100)}),
                  "unix": group({"u": backend(f"unix:{t}/s")}, 8)}
        with Staticd(), Staticd(f"unix:{t}/s"), Xtcpd(
                groups, wrap=wrap, env={"ASAN_OPTIONS": "detect_leaks=0"}) as d:
            contains(d.ask("show info")["sandbox"], "seccomp")
            for port in PORT, 8:
                c = Lines(port)
                equal(c.ask("echo x"), "x")
                c.sock.shutdown(1)
                equal(c.hear(), "end 7")
                c = Lines(port)
                equal(c.ask("echo x"), "x")
                (conn,) = [x for x in d.connections()
                           if x["state"] == "ESTABLISHED"]
                d.ctl("close", conn["id"])
                c.ended()
            c = Lines()
            equal(c.ask("echo x"), "x")
            wait_for("it is quiet", lambda: d.counter("plain_idle_closed"))
            d.stop()
        equal(refused_calls(f"{t}/strace"), [])


# --- another process

def scene(**keys):
    return Mortal({"g": group({"a": backend(**keys)})}, workers=2)


@timeout(250)
def test_quiet_clients_do_not_notice_a_kill():
    with Wire() as wire, Staticd(), scene(stream_idle_close=300) as d:
        with wire.in_client():
            clients = [Lines() for _ in range(100)]
        rounds(clients, 1)
        wait_links(d, 0)
        for _ in range(3):
            d.murder()
            d.serving()
            rounds(clients, 1)
            equal(d.counter("plain_lost"), 0)
            wait_links(d, 0)


@timeout(250)
def test_kill_resets_who_waits_for_an_answer():
    with Wire() as wire, Staticd(), scene(stream_idle_close=300) as d:
        with wire.in_client():
            quiet, busy, fresh = Lines(), Lines(), Lines()
        equal(quiet.ask("echo x"), "x")
        wait_links(d, 0)
        busy.say("hang")
        wait_links(d, 1)
        busy.wait_acked()
        d.murder()
        d.serving()
        busy.was_reset()
        equal(quiet.ask("echo y"), "y")
        equal(fresh.ask("echo z"), "z")
        equal(d.counter("plain_lost"), 1)


if __name__ == "__main__":
    harness.main(globals())
