#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
#
# The unit's hardening is for programs without sanitizers.
# builds: gcc
"""xtcpd under a real systemd: the unit as it is installed, systemctl as an
operator uses it. See nspawn.py for the machine.

Clients are holdc's, in a namespace that is routed to the machine's: no reset,
no wrong byte, no connection lost over a restart, a kill, a watchdog's kill.
"""

import atexit
import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import tempfile
import threading

import harness
from harness import VIP4, VIP6, conf_block, contains, equal, wait_for
from killing import Holders, Wire, check_held, longest_ms
from nspawn import Machine, install
from runner import Skip, note, timeout

PORT = 7
CONF = "usr/local/etc/xtcpd.conf"
UNIT = "xtcpd.service"
CLIENTS = 300
RECOVER_S = 60


class Stage:
    """What `make install` installs, once for all tests of this program."""

    path = None

    @classmethod
    def make(cls):
        cls.path = tempfile.mkdtemp(prefix="stage-")
        atexit.register(shutil.rmtree, cls.path, ignore_errors=True)
        install(cls.path)


def conf(more=None, **group):
    """The configuration of a machine; more: another group."""
    groups = {"echo": {"port": PORT, **group}}
    if more:
        groups["more"] = more
    return conf_block({
        "max-connections": 20000,
        "workers": 2,
        "tun": {"xtcp0": {"vip": [VIP4, VIP6]}},
        "control": {}, "attach": {},
        "pool": {"main": {"group": groups}},
    })


@contextlib.contextmanager
def machine(text=None, started=True):
    """A booted machine with xtcpd installed, configured, and started."""
    with Machine(Stage.path) as m:
        m.write(CONF, text or conf())
        m.boot()
        if started:
            m.run("systemctl", "start", "xtcpd")
        yield m


def ctl(m, *args):
    return json.loads(m.run("xtcpctl", "--json", *args).stdout)


def info(m):
    return ctl(m, "show", "info")


def pid_of(m):
    return int(m.show(UNIT, "MainPID")["MainPID"])


def device_of(m):
    return json.loads(m.run("ip", "-j", "link", "show", "xtcp0").stdout)[0][
        "ifindex"]


def start_backend(m):
    """xtcp-echod as a unit of its own, that serves."""
    m.run("systemd-run", "--quiet", "--unit=echod", "xtcp-echod", "-p", PORT)
    wait_for("the backend is attached", lambda: [
        b for b in ctl(m, "show", "backends") if b["streams_up"] >= 2])


@contextlib.contextmanager
def traffic(m, clients=CLIENTS):
    """Clients beside the machine, all connected and busy; checked at the end."""
    start_backend(m)
    with Wire(m.network()) as wire, Holders(
            wire, [PORT], clients, "--bulk", 2, "--churn", clients // 10,
            "--think", "20:4000", "--timeout", RECOVER_S,
            within=RECOVER_S) as holders:
        holders.ready(RECOVER_S)
        holders.busy(clients)
        yield holders
        result = holders.finish(RECOVER_S + 10)
        check_held(result)
        note(f"{result['opened']} connections, {result['requests']} requests")


def disturb(m, clients, what, times=3):
    """Do it, and wait until the clients have what they waited for."""
    pauses, device = [], device_of(m)
    for _ in range(times):
        before = pid_of(m)
        clients.mark()
        what()
        wait_for("another process serves", lambda old=before: (
            m.show(UNIT, "ActiveState")["ActiveState"] == "active" and
            pid_of(m) not in (0, old)), within=40)
        clients.recovered(RECOVER_S)
        pauses.append(longest_ms(clients.stat()))
        clients.busy(CLIENTS)
        equal(device_of(m), device, "the device that was there all the time")
    note("longest pauses: " + " ".join(f"{p:.0f}" for p in pauses) + " ms")


def none_lost(m):
    said = info(m)
    equal(said["lost_in_recovery"], 0, "lost in recovery")
    if said["recovered_connections"] < CLIENTS * 8 // 10:
        raise AssertionError(f"few connections were recovered: {said}")


# --- start

def test_start_returns_when_it_serves():
    with machine() as m:
        said = info(m)  # at once: no waiting here
        equal(said["connections"]["established"], 0)
        shown = m.show(UNIT, "ActiveState", "SubState", "Type", "StatusText")
        equal((shown["ActiveState"], shown["SubState"], shown["Type"]),
              ("active", "running", "notify"))
        contains(m.run("ip", "route").stdout, f"{VIP4} dev xtcp0")
        if not shown["StatusText"]:
            raise AssertionError("no status text for systemctl status")
        note(f"status: {shown['StatusText']}")
        equal(m.run("systemctl", "is-enabled", "xtcpd", check=False)
              .stdout.strip(), "disabled")
        m.run("systemctl", "enable", "xtcpd")


def test_security_score():
    with machine() as m:
        out = m.run("systemd-analyze", "security", "--no-pager", "xtcpd").stdout
        score = re.search(r"exposure level for \S+ ([\d.]+) (\w+)", out)
        if not score:
            raise AssertionError(out[-500:])
        note(f"systemd-analyze security: {score[1]} {score[2]}")
        # it got what it needs, under all that hardening
        status = m.run("cat", f"/proc/{pid_of(m)}/status").stdout
        equal(re.search(r"NoNewPrivs:\s*(\d)", status)[1], "1")
        equal(re.search(r"Seccomp:\s*(\d)", status)[1], "2")


def test_a_bad_configuration_fails_the_start():
    with machine(conf() + "frobnicate = 1\n", started=False) as m:
        p = m.run("systemctl", "start", "xtcpd", check=False)
        equal(p.returncode, 1)
        lines = [e["MESSAGE"] for e in m.journal("-u", UNIT)]
        if not any("frobnicate" in line and "xtcpd.conf:" in line
                   for line in lines):
            raise AssertionError(f"the journal does not say why: {lines}")
        # what is mended starts
        m.write(CONF, conf())
        m.run("systemctl", "reset-failed", "xtcpd", check=False)
        m.run("systemctl", "start", "xtcpd")
        info(m)


# --- the journal

def test_journal_fields():
    with machine(conf(backend={"a": {"address": "unix:/run/nobody.sock"}})) as m:
        entries = wait_for("a line about the group", lambda: m.journal(
            "-u", UNIT, "XTCP_GROUP=echo"))
        entry = entries[0]
        contains(entry["MESSAGE"], "echo")
        equal(entry["XTCP_BACKEND"], "a")
        equal(entry["PRIORITY"], "4")
        equal(entry["_PID"], str(pid_of(m)))
        # all lines of the daemon have a level of their own
        serving = [e for e in m.journal("-u", UNIT) if "serving" in e["MESSAGE"]]
        equal([e["PRIORITY"] for e in serving], ["6"])


# --- restarts of all kinds, with clients

@timeout(150)
def test_restart_under_traffic():
    with machine() as m, traffic(m) as clients:
        disturb(m, clients, lambda: m.run("systemctl", "restart", "xtcpd"))
        none_lost(m)


@timeout(150)
def test_kill_under_traffic():
    with machine() as m, traffic(m) as clients:
        disturb(m, clients, lambda: m.run("systemctl", "kill", "-s", "KILL",
                                          "xtcpd"))
        none_lost(m)
        equal(int(m.show(UNIT, "NRestarts")["NRestarts"]), 3)


def short_watchdog(m):
    """So that the test need not wait for ten seconds."""
    m.run("mkdir", "-p", "/run/systemd/system/xtcpd.service.d")
    m.run("sh", "-c", "printf '[Service]\\nWatchdogSec=2\\n' "
          ">/run/systemd/system/xtcpd.service.d/test.conf")
    m.run("systemctl", "daemon-reload")
    m.run("systemctl", "restart", "xtcpd")


def by_watchdog(m):
    return [e for e in m.journal("-t", "systemd", f"UNIT={UNIT}")
            if "Watchdog timeout" in e["MESSAGE"]]


@timeout(150)
def test_watchdog_restarts_a_stopped_daemon():
    with machine(started=False) as m:
        short_watchdog(m)
        with traffic(m) as clients:
            disturb(m, clients, lambda: os.kill(m.outer_pid(pid_of(m)),
                                                signal.SIGSTOP), times=1)
            equal(len(by_watchdog(m)), 1)
            none_lost(m)


PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
WALL = 0x40000000


def hang_thread(tid):
    """Stop one thread of a process, as one that is stuck would be; and see to
    it, as its tracer, that it can die."""
    libc = harness.libc
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p,
                            ctypes.c_void_p]
    for request in PTRACE_SEIZE, PTRACE_INTERRUPT:
        if libc.ptrace(request, tid, None, None):
            raise OSError(ctypes.get_errno(), "ptrace")

    def reap():
        while not os.WIFSIGNALED(os.waitpid(tid, WALL)[1]):
            pass
    threading.Thread(target=reap, daemon=True).start()


@timeout(150)
def test_watchdog_restarts_a_daemon_with_a_stuck_worker():
    with machine(started=False) as m:
        short_watchdog(m)
        with traffic(m) as clients:
            pid = m.outer_pid(pid_of(m))
            worker = max(int(t) for t in os.listdir(f"/proc/{pid}/task"))
            if worker == pid:
                raise AssertionError("no worker threads")
            disturb(m, clients, lambda: hang_thread(worker), times=1)
            equal(len(by_watchdog(m)), 1)
            none_lost(m)


@timeout(150)
def test_reload_under_traffic():
    with machine() as m, traffic(m) as clients:
        before = pid_of(m)
        m.write(CONF, conf(more={"port": PORT + 1}))
        m.run("systemctl", "reload", "xtcpd")
        wait_for("the new group is there", lambda: [
            g["name"] for g in ctl(m, "show", "groups")] == ["echo", "more"])
        m.write(CONF, "frobnicate = 1\n")
        m.run("systemctl", "reload", "xtcpd", check=False)
        wait_for("the journal says what is wrong", lambda: [
            e for e in m.journal("-u", UNIT) if "frobnicate" in e["MESSAGE"]])
        equal(pid_of(m), before)
        equal(m.show(UNIT, "ActiveState")["ActiveState"], "active")
        clients.mark()
        clients.busy(CLIENTS)


def test_stop_leaves_nothing():
    with machine(started=False) as m:
        def state():
            return (m.run("ip", "-o", "link").stdout.count("xtcp0"),
                    m.run("ip", "route", "show", "table", "all").stdout,
                    m.run("ip", "-6", "route", "show", "table", "all").stdout)
        before = state()
        m.run("systemctl", "start", "xtcpd")
        start_backend(m)
        m.run("systemctl", "stop", "xtcpd")
        equal(m.show(UNIT, "ActiveState", "Result"),
              {"ActiveState": "inactive", "Result": "success"})
        equal(state(), before)
        left = m.run("find", "/run/xtcpd", "-name", "arena*", check=False).stdout
        equal(left, "")


if __name__ == "__main__":
    with contextlib.suppress(Skip):
        Stage.make()
    harness.main(globals())
