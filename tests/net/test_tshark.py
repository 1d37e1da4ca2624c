#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What xtcpd captured of itself, as tshark's expert analysis sees it.

xtcpd --pcap writes each packet as the stack got and sent it: here without
offload, as on a wire. On any path
tshark must find nothing malformed and no bad checksum. On a clean path it must
find no retransmission, nothing out of order and no lost segment either. On a
lossy path each retransmission must have a cause, which the log of the link and
the acknowledgements in the capture tell: class Explained in capture.py.
"""

import contextlib
import os
import socket
import tempfile
from pathlib import Path as FilePath

import harness
from harness import (
    SCALE, VIP4, VIP6, Echod, Net, Xtcpd, connect, equal, msgclient, recv_all,
    recv_exactly, wait_attached, wait_for)
from capture import Capture, Explained
from referee import Path, Servers
from runner import note

PORT = 7
OURS = VIP4, VIP6
# With offload, what never goes over a wire has no checksum, and is not cut.
WIRE = {"tun": {"xtcp0": {"vip": list(OURS), "offload": False}}}
RST = b"\1\0\0\0\0\0\0\0"


@contextlib.contextmanager
def pcap_file():
    with tempfile.TemporaryDirectory() as directory:
        yield f"{directory}/xtcpd.pcap"


@contextlib.contextmanager
def echo(pcap, group=None, echod=()):
    """xtcpd with a capture, and an echo server. Stopped when left."""
    with Net(), Xtcpd({"echo": {"port": PORT, **(group or {})}},
                      top=WIRE, args=["--pcap", pcap]) as d, \
            Echod("-p", PORT, *echod, daemon=d):
        wait_attached(d)
        yield d
        wait_for("all is over", lambda: all(
            c["state"] == "TIME-WAIT" for c in d.connections()))
        d.stop()


def exchange(s, data=b"hello"):
    s.sendall(data)
    equal(recv_exactly(s, len(data)), data)


# --- a clean path

def test_messages_and_bulk():
    for address in f"{VIP4}:{PORT}", f"[{VIP6}]:{PORT}":
        with pcap_file() as pcap:
            with echo(pcap):
                msgclient(address, "--connections", 20, "--messages", 400,
                          "--size", 900)
                msgclient(address, "--bulk", (1 << 20) // SCALE)
            Capture(pcap, OURS).check_clean()


def test_closing_in_all_orders():
    with pcap_file() as pcap:
        with echo(pcap):
            for i in range(12):
                s = connect(PORT, VIP4 if i % 2 else VIP6)
                if i % 4 < 3:
                    exchange(s, b"x" * (1 + i * 700))
                if i % 3 == 0:
                    s.shutdown(socket.SHUT_WR)
                    recv_all(s)
                elif i % 3 == 1:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
                s.close()
            for address in OURS:
                try:
                    connect(81, address).close()
                except ConnectionRefusedError:
                    continue
                raise AssertionError("connected to a port that no group has")
        Capture(pcap, OURS).check_clean()


def test_close_by_the_operator():
    with pcap_file() as pcap:
        with echo(pcap) as d:
            s = connect(PORT)
            exchange(s)
            d.ctl("close", d.connections()[0]["id"])
            try:
                recv_all(s)
            except ConnectionResetError:
                pass
            s.close()
        Capture(pcap, OURS).check_clean(least=3)


def test_replies_in_parts_and_pushes():
    """A server that acknowledges half, and answers in its own time."""
    with pcap_file() as pcap:
        with echo(pcap, echod=["--ack", "half"]):
            for _ in range(5):
                s = connect(PORT)
                exchange(s, b"y" * 3000)
                exchange(s, b"z" * 5)
                s.close()
        Capture(pcap, OURS).check_clean()


def test_slow_application():
    """Deferred ACKs that a reply carries, 50 ms later."""
    with pcap_file() as pcap:
        with echo(pcap, echod=["--delay", "50"]):
            msgclient(f"{VIP4}:{PORT}", "--connections", 3, "--messages", 30,
                      "--size", 300)
        Capture(pcap, OURS).check_clean(least=30)


def test_keepalive_probes():
    with pcap_file() as pcap:
        with echo(pcap, {"keepalive": 1000}) as d:
            s = connect(PORT)
            exchange(s)
            wait_for("probes", lambda: d.counter("keepalive_probes"),
                     within=40)
            exchange(s)
            s.close()
        capture = Capture(pcap, OURS)
        capture.check_clean(least=4)
        if not capture.flagged("keep_alive"):
            raise AssertionError("tshark saw no keepalive probe")


def test_zero_window_and_its_probes():
    with pcap_file() as pcap:
        with echo(pcap) as d:
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.settimeout(60)
            s.connect((VIP4, PORT))
            s.sendall(b"z" * 60000)
            wait_for("it is probed",
                     lambda: d.counter("zero_window_probes") > 1, within=60)
            equal(recv_exactly(s, 60000), b"z" * 60000)
            s.close()
        capture = Capture(pcap, OURS)
        capture.check_sound(10)
        for name in "lost_segment", "ack_lost_segment", "fast_retransmission":
            equal(len(capture.flagged(name)), 0, name)
        if not capture.flagged("zero_window"):
            raise AssertionError("tshark saw no closed window")


def test_the_analysis_sees_what_is_wrong():
    """A byte changed, or a packet left out, in a capture that was clean.

    On a busy machine the client may probe, which tshark takes for a segment
    out of order: then there is another capture.
    """
    with pcap_file() as pcap:
        for attempt in range(5):
            with echo(pcap):
                s = connect(PORT)
                exchange(s, b"q" * 20000)
                s.close()
            if attempt == 4 or not Capture(pcap, OURS).flagged("out_of_order"):
                break
        Capture(pcap, OURS).check_clean()
        good = FilePath(pcap).read_bytes()
        at = good.rindex(b"qqqq")
        for bad in good[:at] + b"?" + good[at + 1:], without_a_packet(good):
            FilePath(pcap).write_bytes(bad)
            try:
                Capture(pcap, OURS).check_clean()
            except AssertionError:
                continue
            raise AssertionError("it was found clean")


def without_a_packet(data):
    """The capture without the first packet of 1000 bytes and more."""
    at = 24
    while True:
        size = int.from_bytes(data[at + 8:at + 12], "little")
        if size >= 1000:
            return data[:at] + data[at + 16 + size:]
        at += 16 + size


# --- a lossy path

def lossy(sends, nbytes, ipv6=False, **link):
    """A transfer over a link ("down": XTCP sends); the capture is sound, and
    what was sent again is explained, as it is not without the link's log.
    Returns causes, the log, and the capture."""
    with pcap_file() as pcap:
        xtcpd = {"args": ["--pcap", pcap], "top": WIRE}
        with Path() as path, Servers(path, xtcpd=xtcpd) as servers:
            with path.link(log=True, **link) as impair:
                r = servers.transfer("deferred", sends == "down", nbytes,
                                     ipv6=ipv6)
                equal(r["ok"], True, r)
                servers.quiet()
                log = impair.log_lines()
            servers.d.stop()
        capture = Capture(pcap, OURS)
        capture.check_sound(10)
        found = Explained(capture, log, OURS)
        note(f"{sends} {impair.spec}: {len(found.sent)} segments, sent again: "
             f"{found.causes}, unexplained {len(found.unexplained)}, wrong "
             f"{len(found.wrong)}; the link changed {len(log)}")
        equal(found.wrong, [], "sent again for nothing, frames")
        equal(found.unexplained, [], "without a cause, frames")
        if found.causes.get("lost", 0) > 3 and \
                not Explained(capture, [], OURS).unexplained:
            raise AssertionError("explained without the link's log, too")
        return found.causes, log, capture


def lossy_down(nbytes, ipv6=False, **link):
    return lossy("down", nbytes, ipv6, **link)


def some_lost(causes):
    if not causes.get("lost"):
        raise AssertionError(f"nothing was sent again after a loss: {causes}")


def test_loss_of_single_segments():
    """Each is lost once, and sent again once for it."""
    causes, log, _ = lossy_down(400_000, both="delay=10ms",
                             down="drop=20+60+61+130+250")
    equal(len(log), 5)
    equal(causes["lost"], 5)


def test_random_loss():
    for seed, ipv6 in (1, False), (2, True), (3, False):
        causes, _, _ = lossy_down(600_000, ipv6, both="delay=10ms,loss=2%",
                                  seed=seed)
        some_lost(causes)


def test_bursts_of_loss():
    causes, _, _ = lossy_down(600_000, both="delay=10ms", seed=4,
                              down="burst=1%/25%")
    some_lost(causes)


def test_full_queue():
    causes, _, _ = lossy_down(2_000_000,
                              both="delay=10ms,rate=20mbit,queue=30k")
    some_lost(causes)


def test_loss_of_acknowledgements():
    """ACKs are cumulative: that some of them are lost is no loss of data."""
    causes, log, _ = lossy_down(600_000, both="delay=10ms", up="loss=20%",
                                seed=5)
    equal(causes.get("lost", 0), 0)
    if len(log) < 10:
        raise AssertionError(f"{len(log)} ACKs were lost: too few to show it")


def test_loss_of_what_the_client_sends():
    """XTCP as the receiver: its ACKs and SACK blocks are sound."""
    _, log, capture = lossy("up", 600_000, both="delay=10ms,loss=2%", seed=6)
    sacks = [p for p in capture.ours if "tcp.options.sack_le" in p]
    if len(log) < 5 or not sacks:
        raise AssertionError(f"{len(log)} lost, {len(sacks)} with SACK blocks")


def test_reordering_is_not_taken_for_loss():
    """RFC 8985: once it was seen that this happens, a segment that comes a
    little late is not sent again."""
    causes, log, _ = lossy_down(1_500_000, both="delay=20ms",
                             down="reorder=2%/3ms", seed=7)
    equal(causes.get("lost", 0), 0)
    if len(log) < 20 or causes.get("reordered", 0) > len(log) // 4:
        raise AssertionError(f"{len(log)} came late, sent again: {causes}")


if __name__ == "__main__":
    harness.main(globals())
