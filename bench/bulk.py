# SPDX-License-Identifier: BSD-2-Clause
"""One bulk stream of a kernel client, up and down: xtcpd beside HAProxy.

The server is tests/tools/bulkd behind both, and alone; the client is bulkc,
which compares every byte.
"""

import contextlib
import json
import tempfile
from pathlib import Path

from measure import (
    BUILD, VIP4, Missing, cpu_s, machine_busy_s, middle, need, ratio, run,
    turns)
from harness import Process, Tool, Xtcpd, sysctl, wait_attached
from peers import HAPROXY, LO, answers

GROUP_PORT, KERNEL_PORT, HAPROXY_PORT = 5001, 5002, 5003


class Bulkd(Tool):
    program = "tests/tools/bulkd"


@contextlib.contextmanager
def haproxy_before(server_port):
    program = need("haproxy", "haproxy")
    with tempfile.TemporaryDirectory() as path:
        conf = Path(path) / "conf"
        conf.write_text(HAPROXY.format(lo=LO, front=HAPROXY_PORT,
                                       back=server_port, maxconn=100))
        with Process(program, "-db", "-f", conf) as proxy:
            answers(HAPROXY_PORT)
            yield proxy


def one(address, direction, proxy, server, ms, seed):
    watched = [p.pid for p in (proxy, server) if p]
    before = [cpu_s(pid) for pid in watched]
    busy = machine_busy_s()
    p = run(BUILD / "tests/tools/bulkc", "--connect", address,
            f"--{direction}", "--ms", ms, "--seed", seed, check=False,
            timeout=120)
    if p.returncode not in (0, 1) or not p.stdout:
        raise AssertionError(f"bulkc: {p.returncode}: {p.stderr}")
    r = json.loads(p.stdout)
    busy = machine_busy_s() - busy
    used = [cpu_s(pid) - b for pid, b in zip(watched, before)]
    megabytes = max(r["bytes"], 1) / 1e6
    return {"mb_per_s": r["mbit_per_s"] / 8, "proxy_us_per_mb":
            used[0] * 1e6 / megabytes if proxy else None,
            "machine_us_per_mb": busy * 1e6 / megabytes,
            "bytes": r["bytes"], "lost": 0 if r["ok"] else 1,
            "trouble": "" if r["ok"] else json.dumps(r)}


def measure_bulk(options):
    ms, missing, rounds = int(options["seconds"] * 1000), [], []
    groups = {"bulk": {"port": GROUP_PORT}}
    # Of all but xtcpd, and not what this machine happens to prefer: BBR would
    # pace. Any namespace may have this one, and here nothing is lost.
    sysctl("net/ipv4/tcp_congestion_control", "reno")
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        d = enter(Xtcpd(groups, top={"transmit-buffer": "64M"},
                        pool={"receive-buffer": "64M"}))
        app = enter(Bulkd("--group", GROUP_PORT, daemon=d))
        wait_attached(d)
        server = enter(Process(BUILD / "tests/tools/bulkd", "--listen",
                               KERNEL_PORT, "reno"))
        answers(KERNEL_PORT)
        who = {"plain": (f"{LO}:{KERNEL_PORT}", None, server),
               "xtcpd": (f"{VIP4}:{GROUP_PORT}", d, app)}
        try:
            proxy = enter(haproxy_before(KERNEL_PORT))
            who["haproxy"] = (f"{LO}:{HAPROXY_PORT}", proxy, server)
        except Missing as e:
            missing.append(str(e))
        for n in range(options["rounds"]):
            for direction in "up", "down":
                for name in turns(list(who), n):
                    address, p, s = who[name]
                    rounds.append({
                        "round": n, "who": f"{name} {direction}",
                        **one(address, direction, p, s, ms, n + 1)})
    return report(rounds, list(who), missing)


def report(rounds, names, missing):
    figures = [] if missing else [
        [f"one bulk stream {way} against HAProxy",
         ratio(rounds, f"xtcpd {way}", f"haproxy {way}", "mb_per_s"), ">=",
         1.0, "x"] for way in ("up", "down")]
    rows = []
    for way in "up", "down":
        for name in names:
            who = f"{name} {way}"
            rows.append({"who": who, **{k: middle(rounds, who, k) for k in (
                "mb_per_s", "proxy_us_per_mb", "machine_us_per_mb")},
                "lost": sum(r["lost"] for r in rounds if r["who"] == who)})
    return {
        "rounds": rounds,
        "columns": ["who", "mb_per_s", "proxy_us_per_mb", "machine_us_per_mb",
                    "lost"],
        "rows": rows, "figures": figures, "missing_peers": missing,
        "trouble": [r["trouble"] for r in rounds if r["trouble"]],
        "lost": sum(r["lost"] for r in rows),
        "note": "the kernel's clients, with Reno, over lo (MTU 65536), and "
                "over xtcp0 (MTU 1500); each byte is compared where it "
                "arrives",
    }
