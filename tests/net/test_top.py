#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# builds: gcc asan
"""xtcpctl top as a person sees it: in a terminal (tmux), and in a pipe."""

import os
import re
import signal
import subprocess

import harness
from harness import (
    BUILD, Echod, Net, Process, Xtcpd, connect, contains, equal, recv_exactly,
    run, wait_attached, wait_for)
from terminal import Tmux

PORT = 5222
GROUPS = {"im": {"port": PORT}, "push": {"port": PORT + 1}}


def top(d, *args):
    return [str(BUILD / "xtcpctl"), "-s", d.control_path, "top", "-d", "0.2",
            *args]


def say_hello(n=1):
    with connect(PORT) as c:
        for _ in range(n):
            c.sendall(b"hello")
            recv_exactly(c, 5)


def batch(d, *args, **kw):
    return run(BUILD / "xtcpctl", "-s", d.control_path, "top", "--batch",
               *args, check=False, **kw)


# --- in a terminal

def test_top_shows_what_there_is_and_quits():
    with Net(), Xtcpd(GROUPS, workers=2) as d, Echod("-p", PORT, daemon=d):
        wait_attached(d, group="im")
        with Tmux(top(d)) as t, connect(PORT) as c:
            t.shows("1 established")
            c.sendall(b"hello")
            recv_exactly(c, 5)
            for text in ("GROUP", "BACKEND", "WORKER", "POOL", "pid ", "push",
                         "main", "groups by messages"):
                t.shows(text)
            t.keys("q")
            t.ended(0)


def test_top_keys_sort_and_help():
    with Net(), Xtcpd(GROUPS) as d, Echod("-p", PORT, daemon=d):
        wait_attached(d, group="im")

        def order(screen):
            return re.findall(r"^(im|push) ", screen, re.M)
        with Tmux(top(d, "--sort", "name")) as t, connect(PORT):
            t.shows("groups by name")
            equal(order(t.screen()), ["im", "push"])
            t.keys("r")
            t.shows("groups by name, reversed")
            t.wait_screen("reversed", lambda s: order(s) == ["push", "im"])
            t.keys("r", "c")
            t.shows("groups by connections")
            t.wait_screen("by connections", lambda s: order(s) == ["im", "push"])
            t.keys("h")
            t.shows("sort groups by name")
            t.keys("h")
            t.shows("GROUP")
            t.keys("+")
            t.shows("rates of 0.4 s")
            t.keys("q")
            t.ended(0)


def test_top_follows_the_window():
    groups = {f"g{i}": {"port": PORT + i} for i in range(40)}
    with Net(), Xtcpd(groups) as d:
        with Tmux(top(d, "--sort", "name"), height=24) as t:
            t.shows("more groups")
            equal("g39" in t.screen(), False)
            t.resize(120, 80)
            t.shows("g39")
            equal("more groups" in t.screen(), False)
            t.resize(50, 12)
            t.wait_screen("twelve lines", lambda s: len(s.splitlines()) == 12
                          and "g0" in s and "g1" not in s)
            assert all(len(x) <= 50 for x in t.screen().splitlines())
            t.resize(20, 3)
            t.wait_screen("three lines", lambda s: len(s.splitlines()) == 3)
            t.resize(100, 30)
            t.shows("GROUP")
            equal(t.status(), None)


def test_top_says_that_xtcpd_is_gone_and_goes_on_when_it_is_back():
    with Net(), Xtcpd(GROUPS) as d:
        with Tmux(top(d)) as t:
            t.shows("GROUP")
            d.kill(signal.SIGKILL)
            t.shows("xtcpd is gone: ")
            # what was last seen stays
            contains(t.screen(), "push")
            d.spawn()
            wait_for("xtcpd answers", d.ready)
            t.wait_screen("it goes on", lambda s: "is gone" not in s and "push" in s)
            t.keys("q")
            t.ended(0)


def test_top_of_a_stopped_xtcpd_still_takes_keys():
    with Net(), Xtcpd(GROUPS) as d:
        with Tmux(top(d)) as t:
            t.shows("GROUP")
            os.kill(d.pid, signal.SIGSTOP)
            try:
                t.shows("does not answer: is it stopped?")
                t.keys("q")
                t.ended(0)
            finally:
                os.kill(d.pid, signal.SIGCONT)


def test_top_ends_with_a_signal_and_leaves_the_terminal_as_it_was():
    with Net(), Xtcpd(GROUPS) as d:
        command = ["sh", "-c", 'trap : INT; stty -a > "$0.1"; "$@"; '
                   'stty -a > "$0.2"',
                   d.dir + "/stty", *top(d)]
        with Tmux(command) as t:
            t.shows("GROUP")
            t.keys("C-c")
            t.ended(0)
        with open(d.dir + "/stty.1") as a, open(d.dir + "/stty.2") as b:
            equal(b.read(), a.read())


def test_top_on_a_dumb_terminal_is_plain_text():
    with Net(), Xtcpd(GROUPS) as d:
        for term in ("dumb", "no-such-terminal"):
            command = ["env", "TERM=" + term, *top(d, "-n", "2")]
            with Tmux(command, height=60) as t:
                t.ended(0)
                seen = t.screen(history=True)
                contains(seen, "going on as with --batch")
                equal(seen.count("\nGROUP"), 2)


# --- in a pipe

def test_top_in_batch_mode_prints_pages():
    with Net(), Xtcpd(GROUPS) as d, Echod("-p", PORT, daemon=d):
        wait_attached(d, group="im")
        say_hello(5)
        p = batch(d, "-n", "3", "-d", "0.1")
        equal((p.returncode, p.stderr), (0, ""))
        equal(p.stdout.count("xtcpd "), 3)
        equal(p.stdout.count("\nGROUP"), 3)
        equal("\x1b" in p.stdout, False)


def test_top_in_batch_mode_has_the_rates_of_the_interval():
    with Net(), Xtcpd(GROUPS) as d, Echod("-p", PORT, daemon=d):
        wait_attached(d, group="im")
        say_hello(5)
        # what was before does not count
        p = batch(d, "-n", "1", "-d", "0.1")
        row = re.search(r"^im .*$", p.stdout, re.M).group(0).split()
        equal(row[2:4], ["0", "0"])
        equal(row[6:8], ["-", "-"])


def test_top_in_batch_mode_goes_on_without_xtcpd():
    with Net(), Xtcpd(GROUPS) as d:
        with Process(*top(d, "--batch"), stdout=subprocess.PIPE) as p:
            os.set_blocking(p.p.stdout.fileno(), False)
            seen = []

            def more(text):
                data = p.p.stdout.read()
                seen.append((data or b"").decode())
                return text in "".join(seen)
            wait_for("a page", lambda: more("GROUP"))
            d.kill(signal.SIGKILL)
            wait_for("it says so", lambda: more("xtcpd is gone: "))
            d.spawn()
            wait_for("xtcpd answers", d.ready)
            seen.clear()
            wait_for("it goes on", lambda: more("\n\nxtcpd 0"))
            equal(p.kill(signal.SIGTERM), 0)


def test_top_ends_with_its_reader():
    with Net(), Xtcpd(GROUPS) as d:
        p = run("bash", "-c", '"$@" | head -n 1; exit ${PIPESTATUS[0]}', "-",
                *top(d, "--batch"))
        contains(p.stdout, "xtcpd ")


def test_top_says_what_is_wrong():
    with Net(), Xtcpd(GROUPS) as d:
        for args, status, text in (
                (["-b", "-d", "0"], 2, "--delay is from 0.1"),
                (["-b", "-d", "nan"], 2, "--delay is from 0.1"),
                (["-b", "-n", "1.5"], 2, "--iterations is a number"),
                (["-b", "--sort", "size"], 2, "--sort is one of name"),
                (["-b", "extra"], 2, "unexpected argument extra"),
                (["--frobnicate"], 2, "unrecognized option"),
                ([], 2, "no terminal: use --batch")):
            p = run(BUILD / "xtcpctl", "-s", d.control_path, "top", *args,
                    check=False)
            equal((p.returncode, p.stdout), (status, ""))
            contains(p.stderr, text)
        p = run(BUILD / "xtcpctl", "-s", d.control_path, "--json", "top", "-b",
                check=False)
        equal(p.returncode, 2)
        contains(p.stderr, "no JSON")
        p = run(BUILD / "xtcpctl", "-s", d.dir + "/none", "top", "-b",
                check=False)
        equal(p.returncode, 1)
        contains(p.stderr, "start it, or name its control socket")


if __name__ == "__main__":
    harness.main(globals())
