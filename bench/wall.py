# SPDX-License-Identifier: BSD-2-Clause
"""The wall: xtcpd beside a reflector that does nothing with its packets.

Both are fed the same way: packets of a request's size go into the queue of
xtcp0 through a packet socket, the answers are forwarded to another TUN device;
as many under way at any time. With twice as many clients as requests under way
an ACK nearly always rides on the next request, so that an exchange is a packet
in and a packet out, too. The reflector is also fed one by one, at the rate of
`scale`: each packet has a wake-up of its own then, and no server on a TUN device
takes less of a core.
"""

import json
import os
import signal
import subprocess

from measure import (
    SWARM, VIP4, Ready, abandon, cpu_s, middle, ratio, run, swarm,
    trouble, turns, xtcpd_echo)
from harness import wait_for
from scale import RATE

DEVICE = "xtcp0"
FEEDER = "swarm0"


def link_is(device):
    return run("ip", "link", "show", device, check=False).returncode == 0


def reflector_round(vnet, outstanding, size, seconds, rate=0):
    flags = ["--vnet"] if vnet else []
    with Ready("reflector", DEVICE, *flags) as r:
        wait_for(DEVICE, lambda: link_is(DEVICE))
        run("ip", "link", "set", DEVICE, "up")
        run("ip", "route", "add", VIP4 + "/32", "dev", DEVICE)
        with Ready("blaster", "--to", DEVICE, "--device", FEEDER, *flags,
                   "--outstanding", outstanding, "--payload", size,
                   "--rate", rate, "--ms", int(seconds * 1000), stdin=subprocess.PIPE) as b:
            b.wait_ready()
            run("ip", "link", "set", FEEDER, "up")
            run("ip", "route", "add", SWARM, "dev", FEEDER)
            before = cpu_s(r.pid)
            b.p.stdin.write(b"go\n")
            b.p.stdin.flush()
            seen = json.loads(b.line())
            used = cpu_s(r.pid) - before
        os.kill(r.pid, signal.SIGTERM)
        pairs = json.loads(r.line())["pairs"]
        r.wait()
    return {"us": used * 1e6 / pairs if pairs else None,
            "per_s": seen["pairs"] / seen["seconds"],
            "share": used / seen["seconds"], "packets": 2.0,
            "lost": seen["lost"] + seen["send_failed"], "trouble": ""}


def xtcpd_round(outstanding, size, seconds):
    clients = 2 * outstanding
    with xtcpd_echo(clients) as (d, _):
        r = swarm(d, "--connections", clients, "--outstanding", outstanding,
                  "--request", size, "--duration", seconds, "--end", "vanish")
        abandon(d)
    c, (w,) = r["counters"], r["watched"]
    n = r["exchanges"]
    return {"us": w["load_us_per_exchange"], "per_s": r["exchanges_per_s"],
            "share": w["load_cpu_s"] / r["load_s"],
            "packets": (c["segments_sent"] + c["segments_received"]) / n,
            "lost": c["lost"] + c["unanswered"] + c["failed"],
            "trouble": trouble(r)}


def measure_wall(options):
    size, outstanding = 1024, 256
    who = {
        "reflector": lambda: reflector_round(
            True, outstanding, size, options["seconds"]),
        "reflector, no offload": lambda: reflector_round(
            False, outstanding, size, options["seconds"]),
        f"reflector, {RATE:,}/s": lambda: reflector_round(
            True, outstanding, size, options["seconds"], RATE),
        "xtcpd": lambda: xtcpd_round(outstanding, size, options["seconds"]),
    }
    rounds = []
    for n in range(options["rounds"]):
        for name in turns(list(who), n):
            rounds.append({"round": n, "who": name, **who[name]()})
    value = ratio(rounds, "xtcpd", "reflector", "us")
    return {
        "rounds": rounds,
        "columns": ["who", "us", "per_s", "share", "packets", "lost"],
        "rows": [{"who": name, **{k: middle(rounds, name, k) for k in (
            "us", "per_s", "share", "packets")},
            "lost": sum(r["lost"] for r in rounds if r["who"] == name)}
            for name in who],
        "figures": [["CPU per exchange against the reflector's per pair",
                     value, "<=", 2.0, "x"]],
        "trouble": [r["trouble"] for r in rounds if r["trouble"]],
        "lost": sum(r["lost"] for r in rounds),
        "note": f"{size} bytes each way, {outstanding} under way; us: CPU of "
                "the process per pair or exchange; share: of a core; packets: "
                "per pair or exchange",
    }
