#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# builds: gcc
"""bench/run --quick: that it measures and loses nothing, never how fast."""

import glob
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from harness import BUILD, TOP, Process, contains, equal, run, wait_for
from runner import Skip, note, serial

sys.path.insert(0, str(TOP / "bench"))
from measure import cpu_s  # noqa: E402

PEERS = ("plain", "haproxy", "nginx", "xtcpd")


def bench(*args, check=True):
    """bench/run; (what it printed, what it wrote)."""
    with tempfile.TemporaryDirectory() as path:
        p = run(TOP / "bench/run", "--quick", "--json", f"{path}/json", *args,
                check=False, timeout=110,
                env={**os.environ, "XTCP_BUILD": str(BUILD)})
        if p.returncode and check:
            raise AssertionError(f"status {p.returncode}: "
                                 f"{p.stdout}{p.stderr}")
        with open(f"{path}/json") as f:
            return p.stdout, json.load(f)


def check_section(text, result, *titles):
    """Printed and written, with numbers in every column; nothing lost."""
    equal(list(result["sections"]), list(titles))
    equal(result["options"]["quick"], True)
    for title in titles:
        section = result["sections"][title]
        contains(text, f"\n{title}\n")
        for row in section["rows"]:
            for column in section["columns"]:
                if column not in row:
                    raise AssertionError(f"{title}: no {column} in {row}")
            numbers = [v for k, v in row.items() if k in section["columns"]
                       and isinstance(v, (int, float))]
            equal(len(numbers) >= 3, True, str(row))
            # what others do meanwhile can make the machine's sum anything
            equal(all(row[k] >= 0 for k in section["columns"] if isinstance(
                row[k], (int, float)) and k != "machine_us"), True, str(row))
        equal((section["lost"], section["trouble"]), (0, []))
        contains(text, section["note"])
    for figure in result["figures"]:
        contains(text, figure["name"])
        equal(sorted(figure), ["goal", "how", "name", "reached", "section",
                               "unit", "value"])
        equal(figure["reached"] is None, figure["value"] is None, str(figure))


def rows(result, title):
    return {r["who"]: r for r in result["sections"][title]["rows"]}


@serial
def test_bench_wall():
    text, result = bench("wall")
    check_section(text, result, "wall")
    seen = rows(result, "wall")
    paced = "reflector, 30,000/s"
    equal(list(seen), ["reflector", "reflector, no offload", paced, "xtcpd"])
    # never more than were asked for, but for what was under way at the end
    equal(0 < seen[paced]["per_s"] <= 30_100, True, seen[paced])
    for who, row in seen.items():
        equal(row["per_s"] > 0 and row["us"] > 0, True, f"{who} {row}")
    equal(seen["reflector"]["packets"], 2.0)


@serial
def test_bench_scale_connect_flood():
    text, result = bench("scale", "connect", "flood")
    check_section(text, result, "scale", "connect", "flood")
    by_ip = {r["ip"] for r in result["sections"]["scale"]["rows"]}
    equal(by_ip, {4, 6})
    equal({r["w"] for r in result["sections"]["scale"]["rows"]}, {1, 2})
    (flood,) = result["sections"]["flood"]["rows"]
    equal((flood["wanted"], flood["connected"]), (300, 300))
    equal(flood["flood_per_s"] > 0, True)


@serial
def test_bench_peers():
    for program in "haproxy", "nginx":
        if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin"):
            raise Skip(f"{program} is not installed: bench/run --install")
    text, result = bench("peers", "bulk")
    check_section(text, result, "peers-200", "bulk")
    seen = rows(result, "peers-200")
    equal(tuple(seen), PEERS)
    for who, row in seen.items():
        equal(row["per_s"] > 0 and row["all_us"] > 0, True, f"{who} {row}")
        equal(row["proxy_us"] is None, who == "plain")
    # a proxy has two sockets of the kernel's for a connection, the server one
    if seen["plain"]["kernel"] > 1000:
        equal(seen["haproxy"]["kernel"] > seen["plain"]["kernel"], True)
    equal(sorted(rows(result, "bulk")), sorted(
        f"{who} {way}" for who in ("plain", "xtcpd", "haproxy")
        for way in ("up", "down")))


@serial
def test_profile_tells_where_the_time_goes():
    with tempfile.TemporaryDirectory() as path:
        p = run(TOP / "bench/profile", "swarm", "--seconds", 0.5, "--json",
                f"{path}/json", timeout=110,
                env={**os.environ, "XTCP_BUILD": str(BUILD)})
        with open(f"{path}/json") as f:
            seen = json.load(f)["loads"]["swarm"]["xtcpd"]
    contains(p.stdout, "swarm: ns of CPU per message")
    for part in "read from the TUN device", "write to the TUN device":
        contains(p.stdout, part)
        equal(seen["parts"][part] > 0, True, part)
    # every sample is in one part, and their sum is what the process took
    equal(abs(sum(seen["parts"].values()) / seen["ns"] - 1) < 1e-6, True)


@serial
def test_bench_leaves_out_peers_that_are_missing():
    with tempfile.TemporaryDirectory() as empty:
        # all that it needs, but no proxy
        for name in "ip", "python3", "env":
            os.symlink(shutil.which(name), f"{empty}/{name}")
        p = run(TOP / "bench/run", "--quick", "bulk", timeout=110, env={
            **os.environ, "XTCP_BUILD": str(BUILD), "PATH": empty,
            "XTCP_BENCH_SBIN": empty})
    contains(p.stdout, "left out: haproxy is not installed: Debian package "
             "haproxy")
    contains(p.stdout, "xtcpd down")


def processes_in(namespace):
    """Ids of those in a namespace of mounts, which goes with the last one."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/ns/mnt") == namespace:
                found.append(pid)
        except OSError:
            pass # it has ended
    return found


@serial
def test_bench_killed_leaves_nothing():
    def arena():
        """Of the section, which is bench/run's only child."""
        path = Path(f"/proc/{p.pid}/task/{p.pid}/children")
        for child in path.read_text().split():
            if glob.glob(f"/proc/{child}/root/dev/shm/*/state/arena*"):
                return os.readlink(f"/proc/{child}/ns/mnt")
        return None

    for sig in signal.SIGTERM, signal.SIGKILL:
        before = os.listdir("/dev/shm")
        with Process(TOP / "bench/run", "--quick", "scale",
                     env={"XTCP_BUILD": str(BUILD)}) as p:
            namespace = wait_for("an arena", arena)
            equal(namespace != os.readlink("/proc/self/ns/mnt"), True)
            equal(len(processes_in(namespace)) > 1, True)
            equal(os.listdir("/dev/shm"), before)
            p.kill(sig)
            wait_for("all have ended", lambda: not processes_in(namespace))


@serial
def test_bench_counts_instructions():
    if not shutil.which("valgrind"):
        # without it, the program alone: it checks what it receives
        p = run(BUILD / "bench/exchange", 320)
        contains(p.stdout, "320 exchanges")
        raise Skip("valgrind is not installed; bench/exchange ran by itself")
    p = run(TOP / "bench/instructions", "--exchanges", 320, timeout=100,
            env={**os.environ, "XTCP_BUILD": str(BUILD)})
    contains(p.stdout, "instructions per exchange")
    contains(p.stdout, ".c: ")
    note(p.stdout.splitlines()[0])


def test_bench_plots():
    if not shutil.which("gnuplot"):
        raise Skip("gnuplot is not installed")
    row = {"connections": 1000, "ip": 4, "w": 1, "load": "256 under way",
           "bytes": 100.0, "us": 3.5}
    peer = {"who": "xtcpd", "proxy_us": 1.0, "backend_us": 1.5, "all_us": 7.0}
    sections = {"scale": {"rows": [row, {**row, "connections": 10000}]},
                "peers-200": {"connections": 200, "rows": [peer]},
                "wall": {"error": "there was none"}}
    with tempfile.TemporaryDirectory() as path:
        with open(f"{path}/json", "w") as f:
            json.dump({"sections": sections}, f)
        p = run(TOP / "bench/plot", f"{path}/json", f"{path}/plots")
        equal(p.stdout.split(), ["memory.svg", "cpu.svg", "peers-200.svg"])
        for name in p.stdout.split():
            with open(f"{path}/plots/{name}") as f:
                contains(f.read(), "</svg>")


def test_cpu_of_threads_that_have_ended_counts():
    """While they come and go it is there to be read, and never goes back."""
    ran, seen = [], []

    def work():
        while time.thread_time() < 0.002:
            pass
        ran.append(time.thread_time())

    before = cpu_s(os.getpid())
    for _ in range(20):
        threads = [threading.Thread(target=work) for _ in range(2)]
        for t in threads:
            t.start()
        while any(t.is_alive() for t in threads):
            seen.append(cpu_s(os.getpid()))
        for t in threads:
            t.join()
    used = cpu_s(os.getpid()) - before
    equal(seen, sorted(seen))
    equal(used >= sum(ran), True, f"{used} s of {sum(ran)}")


def test_cpu_of_no_process_is_an_error():
    with Process("sleep", 60) as p:
        cpu_s(p.pid)
    try:
        cpu_s(p.pid)
    except ProcessLookupError as e:
        contains(str(e), f"process {p.pid}: ")
    else:
        raise AssertionError("a process that is gone has no CPU time")


def fails(text, *args, program="run", status=2):
    p = run(TOP / "bench" / program, *args, check=False)
    equal(p.returncode, status, p.stderr)
    contains(p.stderr, text)


def test_bench_bad_usage_says_what_to_do():
    fails("no section nothing; there are wall, scale", "nothing")
    fails("--rounds: at least 1", "--rounds", 0)
    fails("--seconds: from 0.1", "--seconds", 0)
    fails("not what bench/run --json writes", "/dev/null", program="plot",
          status=1)
    fails("cannot be read", "/nowhere/json", program="plot", status=1)
    with tempfile.TemporaryDirectory() as path:
        for text in "[]", '{"sections": {"scale": {"rows": [1]}}}':
            Path(f"{path}/json").write_text(text)
            fails("not what bench/run --json writes", f"{path}/json",
                  f"{path}/plots", program="plot", status=1)
        fails("no directory for the plots", f"{path}/json", f"{path}/json",
              program="plot", status=1)
    # before anything is measured, not after
    for program in "run", "profile":
        fails("--json /nowhere/json: No such file", "--json", "/nowhere/json",
              program=program, status=1)
    fails("multiples of 32", "--exchanges", 33, program="instructions")


if __name__ == "__main__":
    import harness

    harness.main(globals())
