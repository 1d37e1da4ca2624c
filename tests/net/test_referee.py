#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Real kernel clients over an impaired path, every byte compared.

Each profile is a link with troubles of one kind. A kernel client moves bytes
both ways, over IPv4 and IPv6, with each way to acknowledge, and with a kernel
server on the same link, which shows that the link lets TCP through at all.
Goodput is not judged here but shown: bench/referee measures it.
"""

import contextlib

import harness
from harness import SCALE, equal, timeout
from referee import Path, Servers, cell, measure
from runner import note

NBYTES = 400_000 // min(SCALE, 4)
RTT = "delay=5ms"


@contextlib.contextmanager
def profile(seed=1, sysctls=None, xtcpd=None, **kw):
    """The servers behind a link; check() moves bytes and compares them."""
    with Path() as path, Servers(path, xtcpd=xtcpd) as servers:
        path.sysctls(sysctls or {})
        with path.link(seed=seed, **kw) as link:
            yield Check(servers, link)


class Check:
    def __init__(self, servers, link):
        self.servers, self.link = servers, link

    def one(self, who, down, ipv6, nbytes):
        result = self.servers.transfer(who, down, nbytes, ipv6=ipv6)
        if not result["ok"]:
            raise AssertionError(f"{who} {'down' if down else 'up'} "
                                 f"{'IPv6' if ipv6 else 'IPv4'}: {result}")
        equal((result["total"], result["mismatches"]), (nbytes, 0))
        return result

    def all(self, nbytes=NBYTES, kernel=True):
        """Both ways, both families, all servers."""
        for ipv6 in False, True:
            for down, who in ((True, "deferred"), (False, "deferred"),
                              (False, "immediate")):
                self.one(who, down, ipv6, nbytes)
            for down in (True, False) if kernel else ():
                self.one("kernel", down, ipv6, nbytes)
        self.servers.quiet()
        stats = self.link.stop()
        counters = self.servers.d.counters()
        note(f"{self.link.spec}: "
             + ", ".join(f"{k} {stats['ba'][k]}" for k in (
                 "packets", "lost", "burst_lost", "queue_dropped",
                 "mtu_dropped", "duplicated", "reordered", "corrupted",
                 "ce_marked") if stats["ba"][k])
             + f"; {counters['segs_retransmitted']} retransmitted by XTCP, "
             f"{counters['rto_fired']} time-outs")
        return stats, counters


def happened(stats, *names):
    """The link did it, in both directions."""
    for way in "ab", "ba":
        for name in names:
            if not stats[way][name]:
                raise AssertionError(f"no packet was {name}: {stats[way]}")


# --- profiles

def test_clean():
    with profile(both=RTT) as check:
        stats, counters = check.all()
        equal(stats["ba"]["delivered"], stats["ba"]["packets"])
        equal(counters["fast_retransmits"], 0)
        # A busy machine may let a timer fire; nothing else sends again.
        if not counters["rto_fired"] and not counters["tlp_probes"]:
            equal(counters["segs_retransmitted"], 0)


def test_loss():
    with profile(both=RTT + ",loss=3%") as check:
        happened(check.all()[0], "lost")


def test_heavy_loss():
    with profile(both=RTT + ",loss=10%", seed=3) as check:
        happened(check.all(NBYTES // 4)[0], "lost")


def test_bursts_of_loss():
    with profile(both=RTT + ",burst=1%/30%") as check:
        happened(check.all()[0], "burst_lost")


def test_reordering():
    with profile(both=RTT + ",reorder=5%/4ms") as check:
        happened(check.all()[0], "reordered")


def test_heavy_reordering():
    with profile(both=RTT + ",reorder=30%/12ms") as check:
        happened(check.all()[0], "reordered")


def test_jitter():
    with profile(both=RTT + ",jitter=20ms") as check:
        check.all()


def test_duplication():
    with profile(both=RTT + ",dup=10%") as check:
        happened(check.all()[0], "duplicated")


def test_corruption():
    with profile(both=RTT + ",corrupt=2%") as check:
        happened(check.all()[0], "corrupted")


def test_short_queue():
    with profile(both=RTT + ",rate=20mbit,queue=20k") as check:
        stats, _ = check.all()
        if not stats["ba"]["queue_dropped"]:
            raise AssertionError("the queue was never full")


def test_slow_link():
    with profile(both=RTT + ",rate=2mbit,queue=300ms") as check:
        check.all(NBYTES // 2)


def test_ecn_marks():
    """A client that asks for ECN, and a queue that marks."""
    with profile(both=RTT + ",rate=20mbit,queue=100ms,ce=5ms",
                 sysctls={"ipv4/tcp_ecn": 1}) as check:
        check.all()


def test_small_mtu_on_the_way_with_icmp():
    """The link's MTU is smaller than both ends', and it says so."""
    with profile(both=RTT + ",mtu=1300/icmp") as check:
        stats, _ = check.all()
        happened(stats, "mtu_dropped", "icmp")


def test_small_mtu_on_the_way_in_silence():
    """A black hole: RFC 4821, RFC 8899 is what helps."""
    with profile(both=RTT + ",mtu=1300",
                 sysctls={"ipv4/tcp_mtu_probing": 1}) as check:
        stats, _ = check.all(NBYTES // 4)
        happened(stats, "mtu_dropped")
        equal(stats["ba"]["icmp"], 0)


def test_all_at_once():
    with profile(both="delay=10ms,jitter=3ms,loss=1%,burst=1%/40%,"
                 "reorder=2%/5ms,dup=2%,corrupt=0.5%,rate=20mbit,queue=60k",
                 seed=5) as check:
        happened(check.all()[0], "lost", "burst_lost", "reordered",
                 "duplicated", "corrupted")


def test_many_seeds_of_all_at_once():
    """Short transfers over many links."""
    with Path() as path, Servers(path) as servers:
        for seed in range(1, 3 + 12 // SCALE):
            with path.link(both="delay=2ms,jitter=2ms,loss=3%,reorder=5%/3ms,"
                           "dup=3%,corrupt=1%", seed=seed) as link:
                check = Check(servers, link)
                for down in True, False:
                    check.one("deferred", down, seed % 2, 60_000)
                check.one("immediate", False, seed % 2, 60_000)
                servers.quiet()


# --- beside the kernel

@timeout(150)
def test_goodput_beside_the_kernel():
    """All goes through and is right; the ratio is shown, not judged."""
    with Path() as path, Servers(path) as servers:
        for c in (cell(direction, 20, loss) for loss in (0.1, 1)
                  for direction in ("down", "up")):
            runs = {who: measure(path, servers, c, who, 1, 2000)
                    for who in ["kernel"] + c.competitors()}
            for who, r in runs.items():
                if not r["ok"] or not r["bytes"]:
                    raise AssertionError(f"{c.name} {who}: {r}")
            note(f"{c.name}: " + ", ".join(
                f"{who} {r['mbit_per_s']:.2f} Mbit/s"
                + ("" if who == "kernel" else
                   f" ({r['mbit_per_s'] / runs['kernel']['mbit_per_s']:.2f})")
                for who, r in runs.items()))


if __name__ == "__main__":
    harness.main(globals())
