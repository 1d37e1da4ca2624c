# SPDX-License-Identifier: BSD-2-Clause
"""xtcpd alone, with xtcp-swarm for clients: how it fares with more and more.

scale     memory, connects, exchanges with 10 thousand to 10 million clients
connect   new connections per second
flood     who gets in while SYNs pour down
"""

import json
import os

from measure import (
    VIP4, abandon, cpu_s, median, page_tables, swarm, trouble, xtcpd_echo)
from harness import VIP6

RATE = 30000
TEN_MILLION = 10_000_000
# Asked for: some are late, and a late one is not made up for.
FLOOD = 306_000
# SYNs of a client in the flood: it waits 1, 2, 4 seconds in between.
TRIES = 4


def watched(r):
    (w,) = r["watched"]
    return w


def run_one(n, family, seconds, load, workers, size=1024):
    """A daemon of its own with n clients, one load; what was seen."""
    address = VIP6 if family == 6 else VIP4
    with xtcpd_echo(n, workers) as (d, e):
        backend = cpu_s(e.pid)
        r = swarm(d, "--connections", n, "--hold", 1, "--duration", seconds,
                  "--request", size, "--end", "vanish", *load, address=address)
        memory, tables = d.memory(), page_tables(d.pid)
        backend = cpu_s(e.pid) - backend
        abandon(d)
    w, done = watched(r), r["exchanges"]
    return {
        "connections": n, "ip": family, "w": workers,
        "resident": w["resident_bytes_idle"],
        "before": w["resident_bytes_before"],
        "bytes": w["resident_bytes_idle"] / n,
        "page_tables": tables, "arena": memory["arena_resident_bytes"],
        "connects_per_s": r["connects_per_s"],
        "per_s": r["exchanges_per_s"], "us": w["load_us_per_exchange"],
        "swarm_us": r["load_cpu"]["us_per_exchange"],
        "backend_us": backend * 1e6 / done if done else None,
        "share": w["load_cpu_s"] / r["load_s"] if r["load_s"] else None,
        "p50_ms": r["latency_us"]["p50"] / 1000,
        "p99_ms": r["latency_us"]["p99"] / 1000,
        "late": r["late_requests"], "not_begun": r["counters"]["not_begun"],
        "lost": r["counters"]["lost"] + r["counters"]["unanswered"] +
        r["counters"]["failed"], "ok": r["ok"], "trouble": trouble(r),
        "who": f"{n}/{family}",
    }


def sizes_of(options):
    """(connections, IP version), the smallest at both ends."""
    if options["quick"]:
        return [(2000, 4), (10000, 4), (10000, 6), (2000, 4)]
    sizes = [(10_000, 4), (100_000, 4), (1_000_000, 4), (1_000_000, 6)]
    if options["ten_million"]:
        sizes.append((TEN_MILLION, 4))
    return sizes + [(10_000, 4)]


def scale_figures(peaks, at_rate):
    by = {}
    for p in peaks:
        if p["w"] != at_rate["w"]:
            continue
        by.setdefault((p["connections"], p["ip"]), []).append(p)
    largest, smallest = max(n for n, _ in by), min(n for n, _ in by)
    found = []
    for (n, ip), runs in sorted(by.items()):
        if n < 1_000_000 and n < largest:
            continue
        found.append([f"resident bytes per idle IPv{ip} connection, {n:,}",
                      median([r["bytes"] for r in runs]), "<=",
                      120 if ip == 6 else 100, "B"])
    found.append([f"peak exchanges/s, {at_rate['connections']:,} open",
                  max(p["per_s"] for p in by[at_rate["connections"], 4]),
                  ">=", 200_000, "/s"])
    # a rate that was not kept says nothing of what it would have cost
    kept = at_rate["per_s"] / at_rate["rate"]
    found += [
        [f"exchanges/s, of {at_rate['rate']:,} wanted", at_rate["per_s"], ">=",
         0.99 * at_rate["rate"], "/s"],
        [f"cores of xtcpd at {at_rate['rate']:,}/s", at_rate["share"] if
         kept >= 0.99 else None, "<=", 0.15, ""],
        [f"p99 at {at_rate['rate']:,}/s", at_rate["p99_ms"], "<=", 5.0, "ms"],
        [f"CPU per exchange at {largest:,} against {smallest:,}",
         median([r["us"] for r in by[largest, 4]]) /
         median([r["us"] for r in by[smallest, 4]]), "<=", 1.5, "x"]]
    return found


def measure_scale(options):
    seconds, outstanding = options["seconds"], options["outstanding"]
    workers = options["workers"]
    peaks = [run_one(n, ip, seconds, ("--outstanding", outstanding), workers)
             for n, ip in sizes_of(options)]
    # one worker against two, with everything else as it was
    n, other = max(p["connections"] for p in peaks if p["connections"] <
                   TEN_MILLION), 2 if workers == 1 else 1
    peaks.append(run_one(n, 4, seconds, ("--outstanding", outstanding), other))
    n, rate = (10000, 3000) if options["quick"] else (1_000_000, RATE)
    at_rate = run_one(n, 4, max(seconds, 0 if options["quick"] else 10),
                      ("--rate", rate), workers)
    at_rate["rate"] = rate
    rows = [{"load": f"{outstanding} under way", **p} for p in peaks]
    processors = len(os.sched_getaffinity(0))
    rows.append({"load": f"{rate:,}/s", **at_rate})
    return {
        "rounds": peaks + [at_rate],
        "columns": ["connections", "ip", "w", "load", "bytes",
                    "connects_per_s", "per_s", "us", "backend_us", "swarm_us",
                    "share", "p50_ms", "p99_ms", "lost"],
        "rows": rows,
        "figures": scale_figures(peaks, at_rate),
        "trouble": [r["trouble"] for r in peaks + [at_rate] if r["trouble"]],
        "lost": sum(r["lost"] for r in peaks) + at_rate["lost"],
        "note": "bytes: all that is resident of the process, idle, by "
                "connection (page tables are not in it: at most "
                f"{max(r['page_tables'] / r['connections'] for r in peaks):.1f}"
                "); w: workers; us: CPU of xtcpd per exchange, and so of backend "
                f"and swarm: all three share {processors} processors; 1024 "
                f"bytes each way over random connections; at {rate:,}/s {at_rate['late']:,} "
                f"requests were begun late, {at_rate['not_begun']:,} never",
    }


def measure_connect(options):
    n = 5000 if options["quick"] else 300_000
    rounds = []
    for number in range(options["rounds"]):
        with xtcpd_echo(n, options["workers"]) as (d, _):
            r = swarm(d, "--connections", n, "--end", "vanish")
            abandon(d)
        rounds.append({
            "round": number, "who": "xtcpd", "per_s": r["connects_per_s"],
            "us": watched(r)["connect_cpu_s"] * 1e6 / n,
            "p99_ms": r["connect_latency_us"]["p99"] / 1000,
            "lost": r["failed"] + r["lost"], "trouble": trouble(r)})
    row = {k: median([r[k] for r in rounds]) for k in (
        "per_s", "us", "p99_ms")}
    row.update(who="xtcpd", connections=n,
               best_per_s=max(r["per_s"] for r in rounds),
               lost=sum(r["lost"] for r in rounds))
    return {
        "rounds": rounds,
        "columns": ["who", "connections", "per_s", "best_per_s", "us",
                    "p99_ms", "lost"],
        "rows": [row],
        "figures": [["new connections/s", row["per_s"], ">=", 100_000, "/s"]],
        "trouble": [r["trouble"] for r in rounds if r["trouble"]],
        "lost": row["lost"],
        "note": "512 handshakes under way; us: CPU of xtcpd per connection",
    }


def measure_flood(options):
    n, rate, flood = (300, 1000, 20000) if options["quick"] else (
        5000, 1000, FLOOD)
    # room for what the flood leaves half open (half-open-max: 65536), too
    with xtcpd_echo(200_000, options["workers"]) as (d, _):
        r = swarm(d, "--connections", n, "--connect-rate", rate, "--syn-flood",
                  flood, "--tries", TRIES, "--outstanding", 10, "--duration",
                  1, "--end", "vanish")
        counters = d.counters()
        abandon(d)
    lasted = r["connect_s"] + r["load_s"]
    row = {
        "who": "xtcpd", "wanted": n, "connected": r["connected"],
        "succeeded": r["connected"] / n, "flood_per_s": r["flood_sent"] / lasted,
        "p50_ms": r["connect_latency_us"]["p50"] / 1000,
        "p99_ms": r["connect_latency_us"]["p99"] / 1000,
        "sent_again": r["counters"]["retransmissions_sent"],
        "cookies": counters["cookies_sent"],
        "cpu": watched(r)["connect_cpu_s"] / r["connect_s"],
        "lost": r["lost"] + r["unanswered"], "trouble": trouble(r)}
    return {
        "rounds": [{"round": 0, **row, "counters": {
            k: v for k, v in counters.items() if v}}],
        "columns": ["who", "wanted", "succeeded", "flood_per_s", "p50_ms",
                    "p99_ms", "sent_again", "cookies", "cpu"],
        "rows": [row],
        "figures": [
            [f"connects that succeed under {row['flood_per_s']:,.0f} SYNs/s",
             row["succeeded"], ">=", 0.99, ""],
            ["SYNs/s of the flood", row["flood_per_s"], ">=", 300_000 if not
             options["quick"] else 1000, "/s"]],
        "trouble": [] if not r["violations"]["total"] else [
            json.dumps(r["violations"])],
        "lost": row["lost"],
        "note": f"{rate:,} connects/s wanted, a SYN that is not answered goes "
                "again after 1, 2 and 4 s; ms: of connects; cpu: cores "
                f"of xtcpd; a flood of {flood:,}/s was asked for",
    }
