#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
#
# The machine has what `make install` installs; sanitizers add nothing.
# builds: gcc
# long
"""doc/guide: what it tells a reader to do works, as it stands.

Each page is done from its first block to the last in a machine with systemd
(guide.py, nspawn.py), with Debian's own redis, nginx and mosquitto. README.md
has a program of its own, test_readme.py.
"""

import atexit
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading

import harness
import plain
from guide import GUIDE, Reader, Stage, pattern_of, read_blocks, words_of
from harness import (
    BUILD, TOP, Dropper, Echod, Net, Xtcpd, connect, equal, recv_exactly, run,
    wait_attached, wait_for)
from overload import Taker
from runner import note, serial, timeout
from terminal import Tmux

README = TOP / "README.md"
PAGES = sorted(GUIDE.glob("*.md"))
# Whose commands have to be run somewhere when they stand in a sentence.
PORT = 5222
PROGRAMS = ("xtcpd", "xtcpctl", "xtcp-run", "xtcp-echod", "xtcp-swarm",
            "systemctl", "journalctl", "sysctl", "ip", "contrib/sizing")


def read(name):
    with Reader() as reader:
        reader.read(GUIDE / f"{name}.md")


# --- the pages

@timeout(240)
def test_getting_started():
    read("getting-started")


@timeout(240)
def test_redis():
    read("redis")


@timeout(240)
def test_nginx():
    read("nginx")


@timeout(240)
def test_mosquitto():
    read("mosquitto")


@timeout(240)
def test_ack_modes():
    read("ack-modes")


@timeout(240)
def test_sizing():
    read("sizing")


@timeout(240)
def test_tuning():
    read("tuning")


@timeout(240)
def test_operating():
    read("operating")


@timeout(240)
def test_backend():
    read("backend")


# --- what holds for all of them

def documents():
    listed = subprocess.run(
        ["git", "-C", str(TOP), "ls-files", "-co", "--exclude-standard",
         "*.md"], check=True, capture_output=True, text=True).stdout.split()
    return [TOP / name for name in listed]


def without_blocks(path):
    return re.sub(r"^```.*?^```|<!--.*?-->", "", path.read_text(),
                  flags=re.M | re.S)


def anchors(path):
    """As they are made of headings."""
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in
            re.findall(r"^#+ (.*)$", without_blocks(path), re.M)}


def links(path):
    """(target, anchor) of each link to a file of the source."""
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(path)):
        if not re.match(r"[a-z]+:", target):
            name, _, anchor = target.partition("#")
            yield (path.parent / name).resolve() if name else path, anchor


def test_links_between_documents():
    broken, found = [], 0
    for path in documents():
        for target, anchor in links(path):
            found += 1
            if not target.exists() or \
                    (anchor and anchor not in anchors(target)):
                broken.append(f"{path.relative_to(TOP)}: {target} {anchor}")
    equal(broken, [])
    assert found > 20, found


def test_every_page_is_found_from_the_readme_and_has_a_test():
    reached, new = set(), {README}
    while new:
        reached |= new
        new = {t for p in new for t, _ in links(p)
               if t.suffix == ".md"} - reached
    equal([p.name for p in PAGES if p not in reached], [])
    tests = {n[5:].replace("_", "-") for n in globals()
             if n.startswith("test_")}
    equal([p.name for p in PAGES if p.stem.lower() not in tests], [])


def test_pages_are_in_the_tarball():
    makefile = (TOP / "Makefile.am").read_text()
    equal([p.name for p in PAGES if f"doc/guide/{p.name}" not in makefile], [])


def test_commands_in_sentences_are_run_in_blocks():
    ran = "\n".join(b.text for p in (README, *PAGES) for b in read_blocks(p)
                    if not b.why)
    ran = re.sub(r"\s+", " ", ran)
    never = []
    for path in (README, *PAGES):
        for words in re.findall(r"`([^`]+)`", without_blocks(path)):
            words = " ".join(words.split())
            # ID, NAME stand for any word
            pattern = re.sub(r"\b[A-Z]{2,}\b", r"\\S+", re.escape(words))
            if words.startswith(tuple(p + " " for p in PROGRAMS)) and \
                    not re.search(pattern, ran):
                never.append(f"{path.name}: {words}")
    equal(never, [])


def test_blocks_that_are_not_run_have_a_reason():
    every = [b for p in (README, *PAGES) for b in read_blocks(p)]
    not_run = [b for b in every if b.why]
    for b in not_run:
        note(f"{b.where}: {b.why}")
    note(f"{len(not_run)} of {len(every)} blocks are not run")
    equal([b.where for b in not_run if len(b.why) < 10], [])
    assert len(not_run) * 4 < len(every), "most have to be run"


# --- names that they name

def names_in(value):
    """Every key of what xtcpctl prints as JSON."""
    if isinstance(value, list):
        return set().union(*map(names_in, value))
    if isinstance(value, dict):
        return set(value) | set().union(*map(names_in, value.values()))
    return set()


def shown():
    """What each `show` of a daemon with something to show has: name -> names."""
    with Net(), Xtcpd({"im": {"port": PORT}}) as d, \
         Echod("-p", PORT, daemon=d):
        wait_attached(d)
        with connect(PORT) as c:
            c.sendall(b"hello")
            recv_exactly(c, 5)
            found = {what: names_in(d.ask(f"show {what}")) for what in (
                "info", "pools", "groups", "backends", "workers", "memory",
                "counters", "connections")}
    return found


def table_of_symptoms():
    """(name, the `show` that has it) of the second column, each."""
    for line in (GUIDE / "operating.md").read_text().splitlines():
        cells = line.split(" | ")
        if line.startswith("| ") and len(cells) == 4:
            yield from re.findall(r"`(\w+)`(?: of `show (\w+)`)?", cells[1])


def test_counters_are_the_daemons():
    there, wrong, found = shown(), [], 0
    for name, where in table_of_symptoms():
        found += 1
        if name not in there[where or "counters"]:
            wrong.append((name, where or "counters"))
    equal(wrong, [])
    assert found > 40, found
    every = set().union(*there.values()) | {"rp_filter", "proxy_protocol"}
    for path in (README, *PAGES):
        wrong += [(path.name, name) for name in re.findall(
            r"`([a-z]+(?:_[a-z0-9]+)+)`", without_blocks(path))
            if name not in every]
    equal(wrong, [])


def test_keys_are_those_of_the_manual():
    manual = (TOP / "man/xtcpd.conf.5").read_text()
    keys = set(re.findall(r"^\.It Cm (\S+)", manual, re.M))
    keys |= {k for line in re.findall(r"^\.It Cm (\S+) ,.*", manual, re.M)
             for k in line}
    wrong, found = [], 0
    for path in (README, *PAGES):
        for key in re.findall(r"`([a-z]+(?:-[a-z]+)*) = ",
                              without_blocks(path)):
            found += 1
            if key not in keys:
                wrong.append((path.name, key))
        wrong += [(path.name, key) for key in re.findall(
            r"`([a-z]+(?:-[a-z]+)+)`", without_blocks(path))
            if key not in keys and key not in PROGRAMS]
    equal(wrong, [])
    assert found > 5, found


# --- the picture of top

def shape(text):
    """Lines without their numbers and widths; in any order."""
    text = re.sub(r"\[[| ]*\]", "[]", text)
    text = re.sub(r"\d[\d.:]*( ?(?:[kKMGT]?i?B|[kKMGT]|[mun]?s|%|d|h)"
                  r"(?![A-Za-z]))?", "0", text)
    return sorted({" ".join(line.split()) for line in text.splitlines()
                   if line.strip()})


@contextlib.contextmanager
def talking(ports):
    """A client of each port that asks all the time."""
    over = threading.Event()

    def talk(port):
        with connect(port) as c:
            while not over.is_set():
                c.sendall(b"hello" * 20)
                recv_exactly(c, 100)
    threads = [threading.Thread(target=talk, args=(p,)) for p in ports]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def take_picture():
    groups = {"im": {"port": PORT}, "push": {"port": PORT + 1}}
    with Net(), Xtcpd(groups, workers=2) as d, \
         Echod("-p", PORT, "-d", 1, daemon=d), \
         Echod("-p", PORT + 1, "-d", 3, daemon=d), \
         talking([PORT, PORT + 1]), clients(98), \
         Tmux([str(BUILD / "xtcpctl"), "-s", d.control_path, "top", "-d",
               "0.5", "--sort", "name"], width=100, height=24) as t:
        wait_attached(d, group="im")
        wait_attached(d, group="push")
        # the first page has the rates since the start
        t.shows("rates of 0.")
        wait_for("both are timed", lambda: all(
            g["latency"]["requests"] > 20 for g in d.ask("show groups")))
        first = t.screen()
        t.wait_screen("the next page", lambda s: s != first)
        picture = t.screen()
    return "\n".join(x.rstrip() for x in picture.rstrip().splitlines()) + "\n"


def test_picture_of_top_is_as_it_is():
    """XTCP_GUIDE_UPDATE=1 puts the one that was taken into the page."""
    page = GUIDE / "operating.md"
    (block,) = [b for b in read_blocks(page) if b.words.get("capture")]
    picture = take_picture()
    if os.environ.get("XTCP_GUIDE_UPDATE"):
        lines = page.read_text().splitlines(keepends=True)
        start, n = block.line, block.text.count("\n")
        if not block.text.strip():
            n = lines.index("```\n", start) - start
        lines[start:start + n] = [picture]
        page.write_text("".join(lines))
        return
    equal(shape(block.text), shape(picture))


# --- sizing

SIZING = TOP / "contrib/sizing"
WITHIN = 0.2  # as doc/guide/sizing.md says
CLIENTS, PLAIN_CLIENTS = 5000, 2000


def sizing(*args):
    return json.loads(run(SIZING, "--json", *args).stdout)


def near(what, got, want, slack=0):
    note(f"{what}: {got}, computed {want}")
    if abs(got - want) > max(WITHIN * want, slack):
        raise AssertionError(f"{what}: {got}, computed {want}")


@contextlib.contextmanager
def clients(n, port=PORT):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connect(port)) for _ in range(n)]


def open_files(d):
    return len(os.listdir(f"/proc/{d.pid}/fd"))


def sized(groups, workers=1):
    return Xtcpd(groups, workers, pool={"receive-buffer": "16M"}, top={
        "max-connections": 20000, "transmit-buffer": "16M",
        "half-open-per-source": 0})


def ask_all(d, socks, size):
    for c in socks:
        c.sendall(bytes(size))
    wait_for("all wait", lambda: d.memory()["active_blocks"] >= len(socks) and
             d.counters()["bytes_in"] >= len(socks) * size)


def test_sizing_budget():
    for workers, pool, top in (
            (1, "16M", {}), (2, "64M", {"max-connections": 200000}),
            (4, "256M", {"max-connections": 1000000,
                         "transmit-buffer": "64M"})):
        settings = {"max-connections": 50000, "transmit-buffer": "32M", **top}
        with Net(), Xtcpd({"im": {"port": PORT}}, workers,
                          pool={"receive-buffer": pool}, top=settings) as d, \
             Echod("-p", PORT, daemon=d):
            wait_attached(d)
            said = d.memory()["budget"]
        computed = sizing(
            "--connections", 1000, "--workers", workers, "--max-connections",
            settings["max-connections"], "--receive-buffer", pool,
            "--transmit-buffer", settings["transmit-buffer"])["budget"]
        equal(sorted(said), sorted(computed))
        for part, n in said.items():
            near(f"{workers} workers, {part}", n, computed[part])


@serial
def test_sizing_idle_clients():
    n = 8000
    with Net(), sized({"im": {"port": PORT}}) as d, \
         Echod("-p", PORT, daemon=d), clients(n):
        wait_attached(d)
        wait_for("all are idle", lambda: d.memory()["records"] == n and
                 not d.memory()["active_blocks"])
        want = sizing("--connections", n, "--max-connections", 20000,
                      "--rate", 0)["expected"]
        said = d.memory()
        for name in "arena_resident_bytes", "process_resident_bytes":
            near(name, said[name], want[name], slack=1 << 20)
        near("descriptors", open_files(d), want["descriptors"], slack=8)


@serial
def test_sizing_requests_that_wait():
    with Net(), sized({"im": {"port": PORT, "ack-deadline": 10}}) as d, \
         Taker(d, PORT), clients(CLIENTS) as socks:
        ask_all(d, socks, 700)
        want = sizing("--connections", CLIENTS, "--max-connections", 20000,
                      "--rate", CLIENTS, "--process", 1000, "--request", 700,
                      "--reply", 0)["expected"]
        said = d.memory()
        for name in "active_blocks", "receive_pool_bytes":
            near(name, said[name], want[name])
        near("arena_resident_bytes", said["arena_resident_bytes"],
             want["arena_resident_bytes"], slack=1 << 20)
        near("process_resident_bytes", said["process_resident_bytes"],
             want["process_resident_bytes"], slack=2 << 20)


@serial
def test_sizing_replies_on_their_way():
    with Net(), sized({"im": {"port": PORT}}) as d, \
         Taker(d, PORT, answer=lambda data: bytes(800)) as taker, \
         clients(CLIENTS) as socks:
        ask_all(d, socks, 100)
        with Dropper(inbound=False):
            taker.work.set()
            wait_for("all are answered", lambda: d.counters()["msgs_out"] >=
                     CLIENTS)
            want = sizing("--connections", CLIENTS, "--max-connections", 20000,
                          "--rate", CLIENTS, "--process", 0, "--rtt", 960,
                          "--request", 100, "--reply", 800)["expected"]
            # what held the requests goes back to the kernel by and by
            wait_for("the requests' memory is back", lambda: d.memory()[
                "arena_resident_bytes"] < want["arena_resident_bytes"] +
                (1 << 20))
            said = d.memory()
        for name in "active_blocks", "transmit_buffer_bytes":
            near(name, said[name], want[name])
        near("arena_resident_bytes", said["arena_resident_bytes"],
             want["arena_resident_bytes"], slack=1 << 20)


@serial
def test_sizing_plain_streams():
    with Net(), plain.Staticd(), sized({"im": plain.group(port=PORT)}) as d, \
         clients(PLAIN_CLIENTS) as socks:
        for c in socks:
            c.sendall(b"id\n")
        wait_for("each has one", lambda: sum(
            b["streams_up"] for b in d.ask("show backends")) == PLAIN_CLIENTS)
        want = sizing("--plain", "--connections", PLAIN_CLIENTS, "--rate",
                      PLAIN_CLIENTS, "--process", 1000)["expected"]
        near("descriptors", open_files(d), want["descriptors"])


def test_sizing_refuses_what_cannot_be():
    for args, why in ((["--connections", "0"], "whole number from 1 to"),
                      (["--rate", "much"], "must be a number from 0"),
                      (["--rate", "nan"], "must be a number from 0"),
                      (["--ipv6", "101"], "from 0 to 100"),
                      (["--workers", "65"], "from 1 to 64"),
                      (["--receive-buffer", "16X"], "from 64K to 1024G"),
                      (["--receive-buffer=-1M"], "from 64K to 1024G"),
                      (["--transmit-buffer", "1"], "from 1M to 1024G"),
                      (["--connections", "10", "--max-connections", "5"],
                       "is less than")):
        p = run(SIZING, *args, check=False)
        equal(p.returncode, 2)
        harness.contains(p.stderr, why)


def test_sizing_prints_the_keys_that_were_given():
    text = run(SIZING, "--receive-buffer", "100K", "--transmit-buffer",
               "1536K").stdout
    harness.contains(text, 'receive-buffer = "100K"')
    harness.contains(text, 'transmit-buffer = "1536K"')


def test_sizing_says_that_it_cannot_write():
    with open("/dev/full", "w") as full:
        p = subprocess.run([SIZING], stdout=full, stderr=subprocess.PIPE,
                           text=True, check=False)
    equal((p.returncode, p.stderr),
          (1, "sizing: cannot write: No space left on device\n"))


# --- the reader of pages

def test_reader_compares_output():
    assert pattern_of("a...c\n...\nend\n", False).fullmatch("abc\nx\ny\nend\n")
    assert not pattern_of("a...c\nend\n", False).fullmatch("abd\nend\n")
    assert not pattern_of("PONG\n", False).fullmatch("PONG\nmore\n")
    assert pattern_of("n  12 of\n", True).fullmatch("n 7 of\n")
    assert not pattern_of("n 12 of\n", False).fullmatch("n 7 of\n")
    for wrong in "fil /x", "file", "skipped why":
        try:
            words_of(wrong, "here")
        except AssertionError:
            continue
        raise AssertionError(f"{wrong} was taken")


if __name__ == "__main__":
    if "--list" not in sys.argv[1:]:
        Stage.path = tempfile.mkdtemp(prefix="stage-")
        atexit.register(shutil.rmtree, Stage.path, ignore_errors=True)
    harness.main(globals())
