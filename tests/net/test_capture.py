#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# builds: gcc asan
"""xtcpctl capture: filters, files that tshark reads, live, and its limits."""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess

import harness
from harness import (
    BUILD, CLIENT4, CLIENT6, VIP4, VIP6, Control, Echod, Net, Process, Skip,
    Xtcpd, connect, contains, equal, msgclient, recv_exactly, run,
    wait_attached, wait_for)

PORT = 5222
GROUPS = {"im": {"port": PORT}}
RETURN_ALL = [[0x06, 0, 0, 1]]


def capture(d, *args, **kw):
    return Process(BUILD / "xtcpctl", "-s", d.control_path, "capture", *args,
                   **kw)


def started(d, n=1):
    """n captures were begun, and every worker knows of them."""
    wait_for(f"{n} captures", lambda: d.counter("captures") >= n)
    d.ask("show workers")


def exchange(n=1, address=VIP4, source=None, text=b"hello"):
    with socket.create_connection(
            (address, PORT), timeout=20,
            source_address=(source, 0) if source else None) as c:
        for _ in range(n):
            c.sendall(text)
            equal(recv_exactly(c, len(text)), text)
        return c.getsockname()[1]


def tshark(file, *args):
    if not shutil.which("tshark"):
        raise Skip("no tshark here")
    return run("tshark", "-r", file, *args).stdout


def fields(file, *names, match="tcp"):
    out = tshark(file, "-Y", match, "-T", "fields",
                 *[a for n in names for a in ("-e", n)])
    return [line.split("\t") for line in out.splitlines()]


def stopped(p, status=0):
    """Ended by SIGINT; what it said."""
    equal(p.kill(signal.SIGINT), status, p.stderr())
    return p.stderr()


# --- what is in the file

def test_capture_has_the_packets_of_the_filter_both_ways():
    with Net(), Xtcpd(GROUPS, workers=2) as d, Echod("-p", PORT, daemon=d):
        wait_attached(d)
        file = d.dir + "/a.pcapng"
        with capture(d, "-w", file, f"port {PORT} and host {CLIENT4}") as p:
            started(d)
            port = exchange(10)
            exchange(1, VIP6)
            contains(stopped(p), " 0 dropped")
        rows = fields(file, "ip.src", "tcp.srcport", "tcp.dstport",
                      "frame.packet_flags_direction", "frame.interface_name",
                      "tcp.len")
        assert len(rows) >= 22, rows
        for src, sport, dport, direction, name, _ in rows:
            equal(name, "xtcp0")
            inward = src == CLIENT4
            equal((int(dport if not inward else sport)), port)
            equal(int(direction, 0), 1 if inward else 2, "direction")
        # every byte of both streams is there
        for inward in (True, False):
            equal(sum(int(r[5]) for r in rows if (r[0] == CLIENT4) == inward),
                  50)
        equal(fields(file, "ipv6.src", match="ipv6"), [])
        equal(os.stat(file).st_mode & 0o777, 0o600)


def test_capture_without_a_filter_has_both_families():
    with Net(), Xtcpd(GROUPS) as d, Echod("-p", PORT, daemon=d):
        wait_attached(d)
        file = d.dir + "/a.pcapng"
        with capture(d, "-w", file) as p:
            started(d)
            exchange()
            exchange(1, VIP6)
            stopped(p)
        sources = {tuple(r) for r in fields(file, "ip.src", "ipv6.src")}
        equal(sources, {(CLIENT4, ""), (VIP4, ""), ("", CLIENT6), ("", VIP6)})


def test_capture_cuts_packets_at_snaplen():
    with Net(), Xtcpd(GROUPS) as d, Echod("-p", PORT, daemon=d):
        wait_attached(d)
        file = d.dir + "/a.pcapng"
        with capture(d, "-w", file, "-s", 60, "tcp") as p:
            started(d)
            exchange(1, text=b"x" * 1000)
            stopped(p)
        rows = [(int(a), int(b)) for a, b in
                fields(file, "frame.cap_len", "frame.len")]
        equal(max(a for a, _ in rows), 60)
        assert max(b for _, b in rows) > 1000, rows


def test_capture_file_is_ours_alone_whatever_was_there():
    with Net(), Xtcpd(GROUPS) as d:
        file = d.dir + "/a"
        with open(file, "w", encoding="ascii") as f:
            f.write("x" * 100000)
        os.chmod(file, 0o666)
        with capture(d, "-w", file, "-t", 1) as p:
            equal(p.wait(), 0)
        equal(os.stat(file).st_mode & 0o777, 0o600)
        assert os.stat(file).st_size < 1000
        os.chown(file, 12345, -1)
        with capture(d, "-w", file) as p:
            equal(p.wait(), 1)
            contains(p.stderr(), "not permitted")


def test_capture_ends_after_count_packets():
    with Net(), Xtcpd(GROUPS) as d, Echod("-p", PORT, daemon=d):
        wait_attached(d)
        file = d.dir + "/a.pcapng"
        with capture(d, "-w", file, "-c", 7) as p:
            started(d)
            exchange(20)
            equal(p.wait(), 0)
            contains(p.stderr(), "7 packets written")
        equal(len(fields(file, "frame.number")), 7)


def test_capture_ends_after_its_time():
    with Net(), Xtcpd(GROUPS) as d:
        with capture(d, "-w", d.dir + "/a", "-t", 1) as p:
            equal(p.wait(), 0)
            contains(p.stderr(), "0 packets written")


def test_capture_counts_are_in_the_file():
    with Net(), Xtcpd(GROUPS) as d, Echod("-p", PORT, daemon=d):
        wait_attached(d)
        file = d.dir + "/a.pcapng"
        with capture(d, "-w", file, "tcp[tcpflags] & tcp-syn != 0") as p:
            started(d)
            exchange(10)
            said = stopped(p)
            contains(said, "2 packets written, 0 dropped")
            contains(said, " 2 matched")
        data = open(file, "rb").read()
        # the last block: interface statistics, options from its 20th byte on
        size, = struct.unpack("=I", data[-4:])
        block = data[-size:]
        equal(struct.unpack("=I", block[:4])[0], 5)
        options, at = {}, 20
        while True:
            code, length = struct.unpack_from("=HH", block, at)
            if code == 0:
                break
            options[code], = struct.unpack_from("=Q", block, at + 4)
            at += 4 + length
        equal((options[6], options[7], options[8]), (2, 0, 2))
        assert options[4] >= 22, options


# --- live

def test_capture_is_read_live_through_a_pipe():
    if not shutil.which("tshark"):
        raise Skip("no tshark here")
    with Net(), Xtcpd(GROUPS) as d, Echod("-p", PORT, daemon=d):
        wait_attached(d)
        with capture(d, "-w", "-", "tcp", stdout=subprocess.PIPE) as p, \
             Process("tshark", "-l", "-n", "-i", "-", stdin=p.p.stdout,
                     stdout=subprocess.PIPE) as shark:
            p.p.stdout.close()
            started(d)
            os.set_blocking(shark.p.stdout.fileno(), False)
            seen = []

            def sees(text):
                seen.append((shark.p.stdout.read() or b"").decode())
                return text in "".join(seen)
            with connect(PORT) as c:
                wait_for("the handshake is seen", lambda: sees("[SYN, ACK]"))
                c.sendall(b"x" * 321)
                wait_for("the request is seen", lambda: sees("Len=321"))
            # who reads goes, and with it the capture
            shark.kill(signal.SIGTERM)
            wait_for("the capture ends", lambda: (
                exchange() and not p.alive()))
            equal(p.wait(), 0, p.stderr())


def test_capture_of_an_xtcpd_that_dies_leaves_a_whole_file():
    with Net(), Xtcpd(GROUPS) as d, Echod("-p", PORT, daemon=d):
        wait_attached(d)
        file = d.dir + "/a.pcapng"
        with capture(d, "-w", file) as p:
            started(d)
            exchange(5)
            wait_for("it was written", lambda: len(fields(
                file, "frame.number")) >= 10)
            d.kill(signal.SIGKILL)
            equal(p.wait(), 1)
            contains(p.stderr(), "did xtcpd end?")
        assert len(fields(file, "frame.number")) >= 10
        d.spawn()
        wait_for("xtcpd answers", d.ready)


# --- limits

def test_capture_that_is_not_read_drops_and_stalls_nobody():
    with Net(), Xtcpd(GROUPS) as d, Echod("-p", PORT, daemon=d):
        wait_attached(d)
        slow = Control(d.control_path)
        equal(slow.ask("capture")["ok"], True)
        msgclient(f"{VIP4}:{PORT}", "--connections", 20, "--messages", 10000)
        # clients are served, the socket answers, and the rest is counted
        equal(d.ask("show info")["messages"]["in"] >= 10000, True)
        slow.sock.shutdown(socket.SHUT_WR)
        got, packets, end = b"", 0, None
        while end is None:
            part = slow.file.read1(1 << 20)
            assert part, "closed before the end"
            got += part
            at = 0
            while len(got) - at >= 8:
                kind, size = struct.unpack_from("=II", got, at)
                if len(got) - at < 8 + size:
                    break
                if kind == 1:
                    packets += 1
                else:
                    equal(kind, 2)
                    end = struct.unpack_from("=QQQQ", got, at + 8)
                at += 8 + size
            got = got[at:]
        seen, matched, dropped, delivered = end
        equal(matched, seen)
        assert dropped > 0, end
        equal(delivered, packets)
        equal(matched - dropped, delivered)
        equal(slow.file.read(), b"")
        wait_for("the counter", lambda: d.counter("capture_dropped") == dropped)
        slow.close()


def test_captures_are_bounded_and_independent():
    with Net(), Xtcpd(GROUPS, workers=2) as d, Echod("-p", PORT, daemon=d):
        wait_attached(d)
        files = [f"{d.dir}/{i}.pcapng" for i in range(4)]
        filters = ["tcp", "udp", f"host {CLIENT4}", "tcp[13] & 2 != 0"]
        ps = [capture(d, "-w", f, t) for f, t in zip(files, filters)]
        try:
            started(d, 4)
            p = run(BUILD / "xtcpctl", "-s", d.control_path, "capture", "-w",
                    d.dir + "/5", check=False)
            equal(p.returncode, 1)
            contains(p.stderr, "there are 4 already")
            equal(os.path.exists(d.dir + "/5"), False)
            exchange(5)
            wait_for("the last ACK", lambda: not d.connections())
            for p in ps:
                stopped(p)
        finally:
            for p in ps:
                p.kill()
        n = [len(fields(f, "frame.number")) for f in files]
        equal((n[1], n[3]), (0, 2))
        equal(n[0], n[2])
        assert n[0] > 10, n
        # there is room again
        with capture(d, "-w", d.dir + "/5", "-c", 1) as p:
            started(d, 5)
            exchange()
            equal(p.wait(), 0)


def test_capture_of_who_hangs_up_ends():
    with Net(), Xtcpd(GROUPS, workers=2) as d, Echod("-p", PORT, daemon=d):
        wait_attached(d)
        for i in range(20):
            c = Control(d.control_path)
            wait_for("there is room for a capture",
                     lambda: c.ask("capture")["ok"])
            exchange()
            c.close()
        wait_for("xtcpd answers", d.ready)


def test_hostile_filters_are_refused_and_harm_nothing():
    long = [[0x20, 0, 0, 0]] * 2049
    with Net(), Xtcpd(GROUPS) as d:
        c = Control(d.control_path)
        for args, text in (
                ({"filter": []}, "1 to 2048"),
                ({"filter": long}, "1 to 2048"),
                ({"filter": "tcp"}, "list of instructions"),
                ({"filter": [[6, 0, 0]]}, "list of instructions"),
                ({"filter": [[6, 0, 0, -1]]}, "list of instructions"),
                ({"filter": [[6, 256, 0, 1]]}, "list of instructions"),
                ({"filter": [[6, 0, 0, 1 << 32]]}, "list of instructions"),
                ({"filter": [[6, 0, 0, 1.5]]}, "list of instructions"),
                ({"filter": [[5, 0, 0, 0xffffffff], [6, 0, 0, 1]]}, "jumps"),
                ({"filter": [[0x61, 0, 0, 16], [6, 0, 0, 1]]}, "16 words"),
                ({"filter": [[0x20, 0, 0, 0]]}, "no return"),
                ({"filter": [[0xffff, 0, 0, 0], [6, 0, 0, 1]]}, "no such"),
                ({"snaplen": 0}, "262144"),
                ({"snaplen": 262145}, "262144"),
                ({"count": 0}, "packets"),
                ({"seconds": 604801}, "604800"),
                ({"seconds": "1"}, "604800"),
                ({"port": 1}, "no argument")):
            reply = c.ask("capture", **args)
            equal(reply["ok"], False, json.dumps(args)[:100])
            contains(reply["error"], text)
        equal(d.counter("captures"), 0)
        # the connection is as good as before
        equal(c.ask("capture", filter=RETURN_ALL)["ok"], True)
        c.close()


def test_capture_says_what_is_wrong():
    with Net(), Xtcpd(GROUPS) as d:
        keep = d.dir + "/keep"
        with open(keep, "w", encoding="ascii") as f:
            f.write("before")
        link = d.dir + "/link"
        os.symlink(keep, link)
        ctl = [BUILD / "xtcpctl", "-s", d.control_path]
        for args, status, text in (
                (["tcp"], 2, "-w is missing"),
                (["-w", keep, "port", "http", "and", "("], 2, "syntax error"),
                (["-w", keep, "porte 5"], 2, "filter \"porte 5\""),
                (["-w", keep, "vlan 5"], 2, "no VLAN support"),
                (["-w", keep, "ip6 protochain 6"], 1, "jumps back"),
                (["-w", keep, "-c", "0"], 2, "--count is a number"),
                (["-w", keep, "-c", "x"], 2, "--count is a number"),
                (["-w", keep, "-s", "262145"], 2, "--snaplen is from 1"),
                (["-w", keep, "-t", "0"], 2, "--time is from 1"),
                (["-w", keep, "x " * 5000], 2, "too long"),
                (["--nope"], 2, "unrecognized option"),
                (["-w", d.dir + "/no/such"], 1, "No such file"),
                (["-w", link], 1, "Too many levels"),
                (["-w", "/dev/full", "-t", "1"], 1, "No space left")):
            p = run(*ctl, "capture", *args, check=False)
            equal(p.returncode, status, str(args)[:80])
            contains(p.stderr, text)
        p = run(BUILD / "xtcpctl", "-s", d.dir + "/none", "capture", "-w",
                keep, check=False)
        equal(p.returncode, 1)
        contains(p.stderr, "start it, or name its control socket")
        with open(keep, encoding="ascii") as f:
            equal(f.read(), "before", "nothing wrong touches the file")


if __name__ == "__main__":
    harness.main(globals())
