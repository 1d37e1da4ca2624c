#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Another configuration while xtcpd runs: what changes, and what must not.

In each test clients of a group "other" go on exchanging messages over a backend
stream that xtcpd dialled. still() says that they do, on the same connections
and over the same streams.
"""
# builds: gcc asan tsan

import contextlib
import os
import random
import signal
import socket
import subprocess
import tempfile
import threading

import harness
from frames import Backend
from harness import (
    CLIENT4, SCALE, VIP4, VIP6, Echod, Net, Xtcpd, backends, connect, contains,
    equal, recv_exactly, run, serial, timeout, wait_attached, wait_for)
from runner import die_with_parent

PORT, OTHER = 7, 9
VIP_NEW = "192.0.2.77"
WORKERS = 2
CLIENTS = 4


class Traffic:
    """Clients of "other" that send, and want it back, until told to stop."""

    def __init__(self):
        self.socks = [connect(OTHER) for _ in range(CLIENTS)]
        self.rounds = 0
        self.error = None
        self.stopping = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        rng = random.Random(1)
        try:
            while not self.stopping:
                for s in self.socks:
                    message = rng.randbytes(rng.choice((1, 100, 5000)))
                    s.sendall(message)
                    if recv_exactly(s, len(message)) != message:
                        raise AssertionError("other bytes came back")
                self.rounds += 1
        except BaseException as e:  # pylint: disable=broad-except
            self.error = e

    def flows(self, rounds=3):
        """It did so some times more, from now on."""
        begin = self.rounds
        wait_for("the other group's clients are served", lambda:
                 self.error or self.rounds >= begin + rounds)
        if self.error:
            raise self.error

    def stop(self):
        self.stopping = True
        self.thread.join(harness.WAIT_S)
        if self.error:
            raise self.error
        for s in self.socks:
            s.close()


def ask_all(d, command):
    """The answer of all workers: a slow one may be left out, with a warning."""
    def answer():
        control = harness.Control(d.control_path)
        try:
            reply = control.ask(command)
        finally:
            control.close()
        return None if "warning" in reply else reply
    return wait_for(f"all workers answer {command}", answer)["result"]


class World:
    """xtcpd with the group "other" under traffic, and what a test adds."""

    def __init__(self, d, echo):
        self.d, self.echo = d, echo
        self.attended = []  # Backends that answer PING in still()
        self.traffic = Traffic()
        self.streams = {"streams_up": WORKERS, "reconnects": 0,
                        "redelivered": 0, "address": echo}

    def other_streams(self):
        b, = backends(self.d, "other")
        return {k: b[k] for k in ("streams_up", "reconnects", "redelivered",
                                  "address")}

    def still(self):
        self.traffic.flows()
        # A worker that is slow to answer is not in the sum.
        wait_for("other's streams are as they were",
                 lambda: self.other_streams() == self.streams)
        for b in self.attended:
            b.sync()

    def configure(self, groups=None, pools=None, top=None, pool=None,
                  first=True):
        """The file: "other", and groups in its pool; more pools."""
        other = {"other": {"port": OTHER, "backend": {
            "echo": {"address": self.echo}}}}
        groups = groups or {}
        inner = {**other, **groups} if first else {**groups, **other}
        main = {"main": {"receive-buffer": "16M", **(pool or {}),
                         "group": inner}}
        pools = pools or {}
        self.d.configure(None, WORKERS, top=top,
                         pools={**main, **pools} if first
                         else {**pools, **main})

    def reload(self, *wanted, **kw):
        """Configure and reload; these lines, and no others, are said."""
        self.configure(**kw)
        equal(sorted(self.d.ctl("reload")["messages"]), sorted(wanted))
        self.still()

    def ids(self):
        return {g["name"]: g["id"] for g in ask_all(self.d, "show groups")}


@contextlib.contextmanager
def world(**kw):
    with Net(), tempfile.TemporaryDirectory() as t:
        address = f"unix:{t}/echo.sock"
        with Echod("-l", address), Xtcpd(workers=WORKERS, pools={
                "main": {"receive-buffer": "16M", "group": {
                    "other": {"port": OTHER,
                              "backend": {"echo": {"address": address}}}}}},
                **kw) as d:
            wait_attached(d, 1, "other")
            w = World(d, address)
            yield w
            w.still()
            w.traffic.stop()


def is_reset(s):
    s.settimeout(harness.WAIT_S)
    try:
        rest = s.recv(1)
    except ConnectionResetError:
        return
    raise AssertionError(f"not reset: {rest!r}")


def refused(port, address=VIP4):
    try:
        connect(port, address).close()
    except ConnectionRefusedError:
        return True
    return False


def reach(port):
    """A connection, once the workers have the group."""
    def reached():
        try:
            return connect(port)
        except ConnectionRefusedError:
            return None
    return wait_for(f"port {port} is served", reached)


def exchange(s, text=b"hello"):
    s.sendall(text)
    equal(recv_exactly(s, len(text)), text)


# --- groups

def test_group_comes_and_goes():
    with world() as w:
        w.reload(f"group x: added (port {PORT})",
                 groups={"x": {"port": PORT}})
        with Echod("-p", PORT, daemon=w.d):
            wait_attached(w.d, 1, "x")
            s, idle = connect(PORT), connect(PORT, VIP6)
            exchange(s)
            w.reload("group x: removed, its connections end")
            is_reset(s)
            is_reset(idle)
        equal(refused(PORT), True)
        equal([b["group"] for b in backends(w.d)], ["other"])
        equal(w.d.counter("group_removed"), 2)
        w.reload(f"group x: added (port {PORT})",
                 groups={"x": {"port": PORT}})
        with Echod("-p", PORT, daemon=w.d):
            exchange(connect(PORT))


def test_backend_of_a_removed_group_is_told():
    with world() as w:
        w.reload(f"group x: added (port {PORT})", groups={"x": {"port": PORT}})
        with Backend.dial(w.d.attach_path, PORT) as b:
            w.reload("group x: removed, its connections end")
            b.expect_closed()
            contains(b.error.payload.decode(), "removed")


def test_order_of_the_file_is_of_no_account():
    groups = {n: {"port": 100 + i} for i, n in enumerate("abc")}
    back = dict(reversed(groups.items()))
    empty = {"empty": {"receive-buffer": "1M"}}
    with world() as w:
        w.reload("pool empty: added (receive-buffer 1M)",
                 *(f"group {n}: added (port {g['port']})"
                   for n, g in groups.items()), groups=groups, pools=empty)
        ids = w.ids()
        socks = {n: connect(g["port"]) for n, g in groups.items()}
        w.reload(groups=back, pools=empty, first=False)
        equal(w.ids(), ids)
        equal({g["name"]: g["connections"] for g in ask_all(w.d, "show groups")
               if g["name"] != "other"}, {"a": 1, "b": 1, "c": 1})
        # One in the middle goes: the others keep theirs.
        del back["b"]
        w.reload("group b: removed, its connections end", groups=back,
                 pools=empty, first=False)
        is_reset(socks["b"])
        del ids["b"]
        equal(w.ids(), ids)
        equal(w.d.counter("group_removed"), 1)


def test_renaming_is_removing_and_adding():
    with world() as w:
        w.reload(f"group x: added (port {PORT})", groups={"x": {"port": PORT}})
        s = connect(PORT)
        w.reload("group x: removed, its connections end",
                 f"group y: added (port {PORT})", groups={"y": {"port": PORT}})
        is_reset(s)
        s = connect(PORT)
        w.reload(f"group y: port {PORT} -> {PORT + 1}: another group, the "
                 "connections of the old one end",
                 groups={"y": {"port": PORT + 1}})
        is_reset(s)
        equal(refused(PORT), True)
        connect(PORT + 1).close()


def test_settings_apply_to_connections_that_are_there():
    with world() as w:
        w.reload(f"group x: added (port {PORT})", groups={"x": {"port": PORT}})
        with Backend.dial(w.d.attach_path, PORT, 0) as a, \
                Backend.dial(w.d.attach_path, PORT, 1) as b:
            s = connect(PORT)
            w.reload("group x: idle-timeout 0 -> 500",
                     groups={"x": {"port": PORT, "idle-timeout": 500}})
            is_reset(s)
            equal(w.d.counter("conn_idle_closed"), 1)
            w.reload("group x: idle-timeout 500 -> 0",
                     "group x: max-connections 0 -> 1",
                     "group x: on-backend-loss redeliver -> reset",
                     groups={"x": {"port": PORT, "max-connections": 1,
                                   "on-backend-loss": "reset"}})
            s = connect(PORT)
            equal(refused(PORT), True)
            s.sendall(b"request")
            served = wait_for("it is delivered", lambda: next(
                (x for x in (a, b) if x.receive(0.05)), None), every=0)
            served.close()
            is_reset(s)


# --- pools

def pool(w, name):
    return next((p for p in ask_all(w.d, "show pools") if p["name"] == name),
                None)


@contextlib.contextmanager
def holding(w, port, n=20, size=1000):
    """Clients whose requests an application has and does not acknowledge."""
    streams = [Backend.dial(w.d.attach_path, port, i) for i in range(WORKERS)]
    socks = [connect(port) for _ in range(n)]
    for s in socks:
        s.sendall(b"x" * size)
    found = []

    def delivered():
        for b in streams:
            f = b.receive(0.01)
            while f:
                found.append((b, f))
                f = b.receive(0.01)
        return sum(len(f.payload) for _, f in found) >= n * size

    wait_for("all is delivered", delivered, every=0)
    w.attended += streams

    def release():
        for b, f in found:
            b.echo(f)
        for s in socks:
            equal(recv_exactly(s, size), b"x" * size)

    yield release
    w.attended.clear()
    for x in streams + socks:
        x.close()


def test_group_moves_to_another_pool_with_what_it_holds():
    with world() as w:
        first = {"p": {"receive-buffer": "4M",
                       "group": {"x": {"port": PORT}}},
                 "q": {"receive-buffer": "4M"}}
        then = {"p": {"receive-buffer": "4M"},
                "q": {"receive-buffer": "4M",
                      "group": {"x": {"port": PORT}}}}
        w.reload("pool p: added (receive-buffer 4M)",
                 "pool q: added (receive-buffer 4M)",
                 f"group x: added (port {PORT})", pools=first)
        with holding(w, PORT) as release:
            held = pool(w, "p")["used_bytes"]
            equal((held >= 20 * 1000, pool(w, "q")["used_bytes"]), (True, 0))
            w.reload("group x: pool p -> q", pools=then)
            equal((pool(w, "p")["used_bytes"], pool(w, "q")["used_bytes"]),
                  (0, held))
            # The old one may go at once.
            del then["p"]
            w.reload("pool p: removed", pools=then)
            equal(pool(w, "p"), None)
            release()
            wait_for("all is given back",
                     lambda: pool(w, "q")["used_bytes"] == 0)


def test_pool_grows_and_shrinks():
    def pools(size):
        return {"p": {"receive-buffer": size, "group": {"x": {"port": PORT}}}}

    with world() as w:
        w.reload("pool p: added (receive-buffer 4M)",
                 f"group x: added (port {PORT})", pools=pools("4M"))
        with holding(w, PORT, 100, 1000) as release:
            equal(pool(w, "p")["throttled_workers"], 0)
            w.reload("pool p: receive-buffer 4M -> 64K", pools=pools("64K"))
            equal(pool(w, "p")["limit_bytes"], 64 * 1024)
            wait_for("it is throttled",
                     lambda: pool(w, "p")["throttled_workers"] > 0)
            w.reload("pool p: receive-buffer 64K -> 8M", pools=pools("8M"))
            equal(pool(w, "p")["throttled_workers"], 0)
            release()
        # 512M is what an arena for small pools has, 16M are main's.
        w.configure(pools=pools("497M"))
        p = w.d.ctl("reload", check=False)
        equal(p.returncode, 1)
        for part in ("nothing was changed", "receive-buffer", "stop xtcpd"):
            contains(p.stderr, part)
        equal(pool(w, "p")["limit_bytes"], 8 << 20)
        w.reload("pool p: receive-buffer 8M -> 496M", pools=pools("496M"))


# --- backends

def test_backends_come_change_and_go():
    with world() as w, tempfile.TemporaryDirectory() as t:
        def at(**streams):
            return {"x": {"port": PORT, "balance": "any", "backend": {
                n: {"address": f"unix:{t}/{n}.sock", "streams": s}
                for n, s in streams.items()}}}

        def show(name):
            return next((b for b in backends(w.d, "x") if b["name"] == name),
                        None)

        def up(name, n):
            wait_for(f"{name} has {n} streams", lambda: show(name) and
                     show(name)["streams_up"] == n * WORKERS)

        with Echod("-l", f"unix:{t}/a.sock"), Echod("-l", f"unix:{t}/b.sock"), \
                Echod("-l", f"unix:{t}/c.sock"):
            w.reload(f"group x: added (port {PORT})", groups=at(a=1))
            up("a", 1)
            socks = [connect(PORT) for _ in range(8)]
            w.reload(f"group x: backend b: added (unix:{t}/b.sock)",
                     groups=at(a=1, b=1))
            up("b", 1)
            w.reload("group x: backend b: streams 1 -> 3",
                     groups=at(a=1, b=3))
            up("b", 3)
            w.reload("group x: backend b: streams 3 -> 2",
                     groups=at(a=1, b=2))
            up("b", 2)
            moved = at(a=1, b=2)
            moved["x"]["backend"]["b"]["address"] = f"unix:{t}/c.sock"
            w.reload(f"group x: backend b: address unix:{t}/b.sock -> "
                     f"unix:{t}/c.sock", groups=moved)
            wait_for("b is dialled elsewhere", lambda:
                     show("b")["address"].endswith("c.sock"))
            up("b", 2)
            for s in socks:
                exchange(s)
            equal(show("a")["reconnects"], 0)
            w.reload("group x: backend b: removed", groups=at(a=1))
            wait_for("b is gone", lambda: show("b") is None)
            for s in socks:
                exchange(s)
            equal((show("a")["reconnects"], show("a")["streams_up"]),
                  (0, WORKERS))


# --- addresses

def with_vips(*vips):
    return {"tun": {"xtcp0": {"vip": [VIP4, VIP6, *vips]}}}


def routes():
    return run("ip", "route", "show", "table", "all").stdout


def test_address_comes_and_goes():
    with world() as w:
        here = connect(OTHER)
        w.reload(f"vip {VIP_NEW}: added", top=with_vips(VIP_NEW))
        contains(routes(), f"blackhole {VIP_NEW}")
        s = connect(OTHER, VIP_NEW)
        exchange(s)
        # In another order it is the same.
        w.reload(top={"tun": {"xtcp0": {"vip": [VIP_NEW, VIP6, VIP4]}}})
        exchange(s)
        w.reload(f"vip {VIP_NEW}: removed")
        is_reset(s)
        equal(w.d.counter("vip_removed"), 1)
        equal(VIP_NEW in routes(), False)
        exchange(here)
        # Removed and back: at once, and with another one in its place.
        w.reload(f"vip {VIP_NEW}: added", top=with_vips(VIP_NEW))
        exchange(connect(OTHER, VIP_NEW))
        w.reload(f"vip {VIP_NEW}: removed", "vip 192.0.2.78: added",
                 top=with_vips("192.0.2.78"))
        exchange(connect(OTHER, "192.0.2.78"))


def test_group_of_an_address_keeps_it():
    """Masks are by number, lists by address."""
    with world() as w:
        groups = {"x": {"port": PORT, "vip": [VIP_NEW]}}
        w.reload(f"vip {VIP_NEW}: added", f"group x: added (port {PORT})",
                 top=with_vips(VIP_NEW), groups=groups)
        w.reload(top={"tun": {"xtcp0": {"vip": [VIP_NEW, VIP4, VIP6]}}},
                 groups=groups)
        connect(PORT, VIP_NEW).close()
        equal(refused(PORT, VIP4), True)
        w.reload(f"group x: vip {VIP_NEW} -> (all)", top=with_vips(VIP_NEW),
                 groups={"x": {"port": PORT}})
        connect(PORT, VIP4).close()


def test_first_ipv6_address():
    with world(top={"tun": {"xtcp0": {"vip": [VIP4]}}}) as w:
        w.reload(f"vip {VIP6}: added")
        exchange(connect(OTHER, VIP6))
        w.reload(f"vip {VIP6}: removed", top={"tun": {"xtcp0": {
            "vip": [VIP4]}}})


# --- limits

def test_limits_of_the_whole():
    with world() as w:
        w.reload("max-connections 4096 -> 1", "syn-cookies auto -> never",
                 top={"max-connections": 1, "syn-cookies": "never"})
        # Each worker has one or more already: it keeps them, and takes none.
        more = [socket.socket() for _ in range(20)]
        for s in more:
            s.setblocking(False)
            s.connect_ex((VIP4, OTHER))
        wait_for("max-connections is in force", lambda:
                 w.d.counter("drop_no_record") > 0)
        for s in more:
            s.close()
        w.reload("max-connections 1 -> 2000", "syn-cookies never -> always",
                 "half-open-max 65536 -> 100",
                 top={"max-connections": 2000, "syn-cookies": "always",
                      "half-open-max": 100})
        exchange(connect(OTHER))
        equal(w.d.counter("cookies_accepted") > 0, True)
        w.reload("max-connections 2000 -> 5000000: needs a restart with a new "
                 "arena: stop xtcpd, then start it",
                 "syn-cookies always -> auto", "half-open-max 100 -> 65536",
                 top={"max-connections": 5000000})
        # The running value is kept: said again, and nothing else.
        w.reload("max-connections 2000 -> 5000000: needs a restart with a new "
                 "arena: stop xtcpd, then start it",
                 top={"max-connections": 5000000})


def test_what_needs_a_restart_is_named_and_kept():
    with world() as w:
        w.reload("tun xtcp0: mtu 1500 -> 1400: needs a restart",
                 "transmit-buffer 16M -> 32M: needs a restart with a new "
                 "arena: stop xtcpd, then start it",
                 "control: mode 0660 -> 0600: needs a restart",
                 "metrics: added: needs a restart",
                 f"group x: added (port {PORT})",
                 top={"tun": {"xtcp0": {"vip": [VIP4, VIP6], "mtu": 1400}},
                      "transmit-buffer": "32M",
                      "metrics": {"listen": "127.0.0.1:9464"},
                      "control": {"socket": w.d.control_path, "mode": "0600",
                                  "group": "root"}},
                 groups={"x": {"port": PORT}})
        contains(run("ip", "link", "show", "xtcp0").stdout, "mtu 1500")
        connect(PORT).close()
        equal(refused(9464, "127.0.0.1"), True)


# --- files that are no good

def bad_files(w):
    """(what is wrong, part of what is said): the file has a good change, too."""
    good = {"groups": {"x": {"port": PORT}}, "top": with_vips(VIP_NEW)}
    with open(w.d.conf) as f:
        text = f.read()
    w.configure(**good)
    with open(w.d.conf) as f:
        wanted = f.read()
    lines = wanted.splitlines()
    at = 1 + next(i for i, line in enumerate(lines) if f"= {PORT}" in line)
    yield wanted + "frobnicate = 1\n", (f":{len(lines) + 1}:", "frobnicate")
    yield wanted.replace(f"port = {PORT}", "port = 99999"), \
        (f":{at}:", "port", "99999", "1 to 65535")
    yield wanted[:len(wanted) // 2], ("syntax", "not closed")
    yield "", ("tun",)
    yield wanted.replace(VIP_NEW, CLIENT4), \
        (f"vip {CLIENT4}", "Address already in use")
    yield wanted + 'metrics { listen = "here:80" }\n', ("listen", "here:80")
    yield wanted.replace('"16M"\n    group', '"3G"\n    group'), \
        ("receive-buffer", "stop xtcpd")
    yield text + 'pool "big" { receive-buffer = "600M" }\n', \
        ("receive-buffer",)


def test_bad_file_changes_nothing():
    with world() as w:
        before = (w.ids(), routes(), ask_all(w.d, "show pools"))
        limits = [p["limit_bytes"] for p in before[2]]
        for text, parts in bad_files(w):
            with open(w.d.conf, "w") as f:
                f.write(text)
            p = w.d.ctl("reload", check=False)
            equal(p.returncode, 1, text[-200:])
            contains(p.stderr, "nothing was changed")
            for part in parts:
                contains(p.stderr, part)
            w.still()
            equal((w.ids(), routes()), before[:2])
            equal([p["limit_bytes"] for p in ask_all(w.d, "show pools")], limits)
            equal(refused(PORT), True)
            equal(refused(9464, "127.0.0.1"), True)
        os.unlink(w.d.conf)
        p = w.d.ctl("reload", check=False)
        equal(p.returncode, 1)
        contains(p.stderr, "No such file")
        # And the next good one is taken.
        w.reload(f"group x: added (port {PORT})", f"vip {VIP_NEW}: added",
                 groups={"x": {"port": PORT}}, top=with_vips(VIP_NEW))


# --- many

def some_configuration(rng):
    """Groups in two pools, settings and addresses, as chance has it."""
    pools = {"p": {}, "q": {}}
    for name in "abcdef":
        if rng.random() < 0.6:
            pools[rng.choice("pq")][name] = {
                "port": 100 + ord(name) + 10 * rng.randrange(2),
                "idle-timeout": rng.choice((0, 60000)),
                "max-per-source": rng.choice((0, 1000)),
                "backend": {f"b{i}": {
                    "address": f"unix:/nowhere/{rng.randrange(3)}",
                    "streams": rng.randrange(1, 4)}
                    for i in range(rng.randrange(3))}}
    shown = {n: {"receive-buffer": f"{rng.choice((1, 2, 4))}M", "group": g}
             for n, g in pools.items() if g}
    items = list(shown.items())
    rng.shuffle(items)
    vips = [VIP4, VIP6] + rng.sample([f"192.0.2.{i}" for i in range(80, 88)],
                                     rng.randrange(4))
    rng.shuffle(vips)
    return {"pools": dict(items), "first": rng.random() < 0.5,
            "top": {"tun": {"xtcp0": {"vip": vips}},
                    "half-open-max": rng.choice((1000, 2000))}}


@timeout(300)
def test_a_hundred_reloads_under_traffic():
    rng = random.Random(42)
    with world() as w:
        for i in range(max(100 // SCALE, 10)):
            settings = some_configuration(rng)
            w.configure(**settings)
            n = w.d.stderr().count("configuration reloaded")
            if i % 2:
                os.kill(w.d.pid, signal.SIGHUP)
                wait_for("it is reloaded", lambda: w.d.stderr().count(
                    "configuration reloaded") > n)
            else:
                w.d.ctl("reload")
            ports = [g["port"] for p in settings["pools"].values()
                     for g in p["group"].values()]
            socks = [reach(p) for p in ports[:3]]
            if rng.random() < 0.3:
                for s in socks:
                    s.close()
            equal(sorted(g["port"] for g in ask_all(w.d, "show groups")),
                  sorted(ports + [OTHER]))
            w.traffic.flows(1)
        w.still()
        # What came and went has left nothing.
        w.configure()
        w.d.ctl("reload")
        equal(w.ids().keys(), {"other"})
        equal(ask_all(w.d, "show info")["connections"]["established"], CLIENTS)
        equal(pool(w, "p"), None)


def test_own_group_is_not_touched():
    with world() as w:
        with Backend.dial(w.d.attach_path, PORT, 0, 7, pool_bytes=1 << 20) as a, \
                Backend.dial(w.d.attach_path, PORT, 1, 7,
                             pool_bytes=1 << 20) as b:
            socks = [connect(PORT) for _ in range(8)]
            w.attended += [a, b]
            w.reload("group x: added (port 100)", groups={"x": {"port": 100}})
            w.reload("group x: removed, its connections end")
            w.attended.clear()
            for s in socks:
                s.sendall(b"hello")
            left = len(socks)
            while left:
                for x in (a, b):
                    f = x.receive(0.05)
                    if f:
                        x.echo(f)
                        left -= 1
            for s in socks:
                equal(recv_exactly(s, 5), b"hello")


# --- a restart with another file

def kill_and_start(d):
    """kill -9, and a new process with the file as it is now."""
    d.kill()
    with open(d.log.name, "a") as log:
        d.p = subprocess.Popen(d.args, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=log,
                               preexec_fn=die_with_parent)
    d.pid = d.p.pid
    wait_for("xtcpd answers", d.ready, within=30)


def echo_own(d, socks, text, instance=7):
    """An application with a pool of its own attaches, and answers them all."""
    streams = [Backend.dial(d.attach_path, 102, i, instance,
                            pool_bytes=1 << 20) for i in range(WORKERS)]
    for s in socks:
        s.sendall(text)
    left = len(socks)
    while left:
        for b in streams:
            f = b.receive(0.05)
            if f and f.type == "DATA":
                b.reply(f.conn, f.payload, len(f.payload), offset=f.offset)
                left -= 1
    for s in socks:
        equal(recv_exactly(s, len(text)), text)
    return streams


def test_groups_are_found_again_after_a_restart_with_another_file():
    with world() as w, tempfile.TemporaryDirectory() as t, \
            Echod("-l", f"unix:{t}/a.sock"):
        a = {"a": {"port": PORT, "backend": {
            "a": {"address": f"unix:{t}/a.sock"}}}}
        w.configure(groups={**a, "b": {"port": 100}, "gone": {"port": 101}},
                    top=with_vips("192.0.2.76", VIP_NEW))
        w.d.ctl("reload")
        socks = [connect(PORT), connect(PORT, VIP6), connect(PORT, VIP_NEW)]
        for s in socks:
            exchange(s)
        gone, no_vip = connect(101), connect(PORT, "192.0.2.76")
        exchange(no_vip)
        streams = echo_own(w.d, [], b"")
        own = [connect(102) for _ in range(4)]
        for b in streams:
            b.close()
        streams = echo_own(w.d, own, b"two")
        before = w.ids()
        # In another order; "gone" and an address went, others came.
        w.configure(groups={"new": {"port": 99}, "b": {"port": 100}, **a},
                    top={"tun": {"xtcp0": {"vip": [
                        "192.0.2.78", VIP_NEW, VIP6, VIP4]}}}, first=False)
        kill_and_start(w.d)
        for s in socks:
            exchange(s, b"again")
        is_reset(gone)
        is_reset(no_vip)
        w.still()
        after = w.ids()
        for name in "other", "a", "b":
            equal(after[name], before[name], name)
        equal(after["new"] in before.values(), False)
        for b in streams:
            b.close()
        streams = echo_own(w.d, own, b"three")
        equal(w.d.counter("recovered_connections"),
              CLIENTS + len(socks) + len(own) + 2)
        equal((w.d.counter("group_removed"), w.d.counter("vip_removed"),
               w.d.counter("lost_in_recovery")), (1, 1, 0))
        exchange(connect(PORT, "192.0.2.78"))
        equal("192.0.2.76" in routes(), False)
        for s in socks + own + streams:
            s.close()


@serial
def test_group_of_many_connections_ends_a_batch_at_a_time():
    """More than a turn takes; the others' clients are served meanwhile."""
    n = 3000
    with world(top={"max-connections": 20000}) as w:
        top = {"max-connections": 20000}
        w.reload(f"group x: added (port {PORT})", groups={"x": {"port": PORT}},
                 top=top)
        socks = [connect(PORT) for _ in range(n)]
        w.reload("group x: removed, its connections end", top=top)
        for s in socks:
            is_reset(s)
        equal(w.d.counter("group_removed"), n)
        equal(ask_all(w.d, "show info")["connections"]["established"], CLIENTS)


if __name__ == "__main__":
    harness.main(globals())
