#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The link that impairs does what it says: numbered datagrams through it."""

import errno
import socket
import struct
import time

import harness
from harness import CLIENT4, CLIENT6, equal, wait_for
from referee import KERNEL4, KERNEL6, Path

COUNT = 400
PORT = 9
HEAD = struct.Struct("!IQ")
IP_TOS, IP_RECVTOS, ECT0, CE = 1, 13, 2, 3
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 23, 2


def receiver(ipv6=False, options=()):
    s = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET,
                      socket.SOCK_DGRAM)
    for option in options:
        s.setsockopt(*option)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    s.bind((KERNEL6 if ipv6 else KERNEL4, PORT))
    s.settimeout(0.1)
    return s


def sender(path, ipv6=False, options=()):
    with path.in_client():
        s = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET,
                          socket.SOCK_DGRAM)
        for option in options:
            s.setsockopt(*option)
        s.bind((CLIENT6 if ipv6 else CLIENT4, 0))
        s.connect((KERNEL6 if ipv6 else KERNEL4, PORT))
    return s


def now_ns():
    return time.monotonic_ns()


def through(path, count=COUNT, size=100, ipv6=False, gap=0.0, **kw):
    """Send numbered datagrams; (their numbers, when they were sent and when
    they came, in ns; the link's statistics)."""
    got = []
    with path.link(**kw) as link:
        to, out = receiver(ipv6), sender(path, ipv6)
        for i in range(count):
            out.send(HEAD.pack(i, now_ns()).ljust(size, b"."))
            if gap:
                time.sleep(gap)
        wait_for("all passed", lambda: arrived(to, got) or quiet(link, got))
        to.close()
        out.close()
        return got, link.stop()["ab"]


def arrived(to, got):
    """Take what is there; never true, so that quiet() decides."""
    try:
        while True:
            data = to.recv(65536)
            number, sent = HEAD.unpack_from(data)
            got.append((number, sent, now_ns()))
    except TimeoutError:
        return False


def quiet(link, got):
    """Whether all that the link let pass has arrived, or was spoiled."""
    stats = link.look()["ab"]
    dropped = sum(v for k, v in stats.items()
                  if k.endswith("lost") or k.endswith("dropped"))
    return stats["packets"] - dropped + stats["duplicated"] == \
        stats["delivered"] and len(got) >= stats["delivered"] - \
        stats["corrupted"]


def numbers(got):
    return [number for number, _, _ in got]


def between(value, low, high, what):
    if not low <= value <= high:
        raise AssertionError(f"{what}: {value}, not from {low} to {high}")


def test_without_settings_all_arrive_in_order():
    with Path() as path:
        for ipv6 in False, True:
            got, stats = through(path, both="delay=0ms", ipv6=ipv6)
            equal(numbers(got), list(range(COUNT)))
            equal((stats["packets"], stats["delivered"]), (COUNT, COUNT))


def test_one_seed_loses_the_same_packets():
    with Path() as path:
        runs = [numbers(through(path, both="delay=1ms,loss=10%", seed=seed)[0])
                for seed in (7, 7, 8)]
        equal(runs[0], runs[1])
        assert runs[0] != runs[2], "another seed lost the same"
        between(COUNT - len(runs[0]), COUNT * 0.05, COUNT * 0.16, "lost of 10 %")


def test_what_is_lost_does_not_depend_on_other_settings():
    with Path() as path:
        plain, _ = through(path, both="loss=10%", seed=3)
        more, stats = through(path, both="loss=10%,dup=20%,delay=3ms", seed=3)
        equal(sorted(set(numbers(more))), numbers(plain))
        assert stats["duplicated"] > COUNT * 0.1, stats
        equal(len(more), len(plain) + stats["duplicated"])


def test_the_other_direction_has_a_fate_of_its_own():
    with Path() as path:
        got, stats = through(path, both="delay=1ms", down="loss=100%")
        equal(len(got), COUNT)
        equal(stats["lost"], 0)


def test_bursts_are_bursts():
    with Path() as path:
        got, stats = through(path, both="burst=2%/20%", count=2000)
        lost = sorted(set(range(2000)) - set(numbers(got)))
        runs = sum(1 for i in lost if i - 1 not in lost)
        equal(len(lost), stats["burst_lost"])
        between(len(lost), 60, 400, "lost of 2000, 9 % expected")
        between(len(lost) / runs, 3, 8, "mean length of a burst, 5 expected")


def test_drop_names_packets():
    with Path() as path:
        got, stats = through(path, count=10, up="drop=0+3+4+9")
        equal(numbers(got), [1, 2, 5, 6, 7, 8])
        equal(stats["listed_lost"], 4)


def test_spared_packets_come_through():
    with Path() as path:
        got, _ = through(path, count=20, up="loss=100%,spare=5")
        equal(numbers(got), [0, 1, 2, 3, 4])


def test_delay_and_jitter():
    with Path() as path:
        got, _ = through(path, both="delay=20ms,jitter=10ms", gap=0.001)
        equal(numbers(got), list(range(COUNT)), "jitter keeps the order")
        delays = [came - sent for _, sent, came in got]
        shortest = min(delays)
        assert shortest >= 20_000_000, f"{shortest} ns"
        assert max(delays) > shortest + 3_000_000, \
            "there is no jitter"


def test_reordered_packets_come_later():
    with Path() as path:
        got, stats = through(path, both="delay=1ms,reorder=5%/8ms", gap=0.001)
        equal(sorted(numbers(got)), list(range(COUNT)))
        assert stats["reordered"] > 5, stats
        late = sum(1 for a, b in zip(numbers(got), numbers(got)[1:]) if b < a)
        between(late, 1, stats["reordered"], "places where the order breaks")


def test_one_flipped_bit_is_noticed():
    with Path() as path:
        for ipv6 in False, True:
            got, stats = through(path, both="corrupt=20%", ipv6=ipv6)
            assert stats["corrupted"] > COUNT * 0.1, stats
            equal(stats["delivered"], COUNT)
            # IPv6 does not protect its hop limit, class and label
            between(COUNT - len(got), stats["corrupted"] * (0.5 if ipv6 else 1),
                    stats["corrupted"], "thrown away by the kernel")


def test_rate_and_queue():
    with Path() as path:
        # 1028 bytes each: 8.2 ms at 1 Mbit/s
        got, stats = through(path, size=1000, count=60,
                             both="rate=1mbit,queue=20k")
        equal(stats["queue_dropped"] + len(got), 60)
        between(len(got), 19, 59, "of a burst of 60 into a queue of 20 KiB")
        # one more did not fit; what is being sent counts by its rest
        between(stats["queue_max_bytes"], 20 * 1024 - 1028, 20 * 1024, "queue")
        took = got[-1][2] - got[0][1]
        assert took >= len(got) * 8_224_000, f"{len(got)} in {took} ns"


def test_queue_above_the_threshold_marks_ce():
    with Path() as path, path.link(
            both="rate=1mbit,queue=60ms,ce=20ms") as link:
        recv_tos = (socket.IPPROTO_IP, IP_RECVTOS, 1)
        to = receiver(options=[recv_tos])
        out = sender(path, options=[(socket.IPPROTO_IP, IP_TOS, ECT0)])
        plain = sender(path)
        for _ in range(6):
            out.send(b"x" * 972)
        plain.send(b"x" * 10)
        seen = []
        to.settimeout(harness.WAIT_S)
        for _ in range(7):
            _, cmsg, _, _ = to.recvmsg(2000, 100)
            seen.append(cmsg[0][2][0] & CE)
        equal(seen[:2] + seen[5:], [ECT0, ECT0, CE, 0])
        equal(seen.count(CE), link.stop()["ab"]["ce_marked"])
        for s in to, out, plain:
            s.close()


def too_big_sender(path, ipv6):
    return sender(path, ipv6, [
        (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_DO) if ipv6 else
        (socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)])


def refused_as_too_big(out):
    try:
        out.send(b"x" * 1350)
    except OSError as e:
        return e.errno == errno.EMSGSIZE
    return False


def test_too_big_with_an_icmp_error():
    with Path() as path:
        for ipv6 in False, True:
            with path.link(both="mtu=1300/icmp") as link:
                out = too_big_sender(path, ipv6)
                wait_for("the sender is told", lambda: refused_as_too_big(out))
                out.close()
                stats = link.stop()["ab"]
                assert stats["icmp"] == stats["mtu_dropped"] >= 1, stats


def test_too_big_into_a_black_hole():
    with Path() as path:
        for ipv6 in False, True:
            got, stats = through(path, size=1350, both="mtu=1300", ipv6=ipv6)
            equal(got, [])
            equal((stats["mtu_dropped"], stats["icmp"]), (COUNT, 0))


def test_log_names_what_was_dropped():
    with Path() as path, path.link(up="drop=1", log=True) as link:
        server = socket.create_server((KERNEL4, 5001))
        with path.in_client():
            client = socket.create_connection((KERNEL4, 5001), timeout=20)
        conn, _ = server.accept()
        client.sendall(b"once more")
        equal(harness.recv_exactly(conn, 9), b"once more")
        equal(len(link.log_lines()), 1)
        line = link.log_lines()[0]
        # TIME ab 1 listed 52 tcp source port destination port ...
        equal(line[1:4], ["ab", "1", "listed"])
        equal(line[5:7] + line[8:10], ["tcp", CLIENT4, KERNEL4, "5001"])
        for s in conn, client, server:
            s.close()


def test_bad_settings_are_refused():
    for bad in ("loss=2", "loss=x", "delay=5", "speed=1", "rate=1mbit",
                "reorder=1%", "burst=1%", "mtu=1300/udp", "loss"):
        p = harness.run(harness.BUILD / "tests/tools/impair", "--a", "x", "--b",
                        "y", "--both", bad, check=False)
        equal(p.returncode, 2, bad)


if __name__ == "__main__":
    harness.main(globals())
