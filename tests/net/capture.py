# SPDX-License-Identifier: BSD-2-Clause
"""Captures as tshark sees them, and why each retransmission was sent."""

import shutil

from harness import Skip, run

# what makes a packet unsound on any path: field -> values that say so (None:
# that it is there)
BAD = {
    "_ws.malformed": None,
    "_ws.short": None,
    "_ws.expert.severity": "8388608",  # an error
    "ip.checksum.status": "0",
    "tcp.checksum.status": "0",
    "icmp.checksum.status": "0",
    "icmpv6.checksum.status": "0",
    "tcp.option.len.invalid": None,
    "tcp.options.wscale.shift.invalid": None,
    "tcp.bogus_header_length": None,
    "tcp.short_segment": None,
}
# what has no place on a clean path
ANALYSIS = ["tcp.analysis." + name for name in (
    "retransmission", "fast_retransmission", "spurious_retransmission",
    "out_of_order", "lost_segment", "ack_lost_segment")]
OTHER = ["tcp.analysis." + name for name in (
    "keep_alive", "zero_window", "zero_window_probe", "window_full")]
FIELDS = [
    "frame.number", "frame.time_epoch", "ip.src", "ipv6.src", "tcp.srcport",
    "tcp.stream", "tcp.seq_raw", "tcp.ack_raw", "tcp.len", "tcp.flags.syn",
    "tcp.flags.fin", "_ws.expert.message", "tcp.options.sack_le", "tcp.options.sack_re",
    *BAD, *ANALYSIS, *OTHER]
# the payload is a pattern: what dissectors think to see in it is chance
CHECKS = ["-d", "tcp.port==1-65535,data", "-o", "tcp.desegment_tcp_streams:FALSE",
          "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE",
          "-o", "tcp.analyze_sequence_numbers:TRUE"]


class Packet(dict):
    """Fields that tshark found, by name; sets of flags."""

    def __init__(self, line):
        super().__init__((name, value) for name, value in
                         zip(FIELDS, line.split("\t")) if value)
        self.number = int(self["frame.number"])
        self.at = float(self["frame.time_epoch"])
        # an ICMP error has two: its own comes first
        self.source = self.get("ip.src", self.get("ipv6.src", "")).split(",")[0]
        self.length = int(self.get("tcp.len", "0"))

    def bad(self):
        return [f"{name} {self[name]}" for name, value in BAD.items()
                if name in self and (value is None or
                                     value in self[name].split(","))]

    def analysis(self):
        return [name for name in ANALYSIS if name in self]


class Capture:
    """All packets of a file; ours: the addresses that xtcpd sends from."""

    def __init__(self, pcap, ours):
        if not shutil.which("tshark"):
            raise Skip("tshark is not installed")
        text = run("tshark", "-n", "-r", pcap, *CHECKS, "-T", "fields",
                   *[a for f in FIELDS for a in ("-e", f)], timeout=100).stdout
        self.addresses = ours
        self.packets = [Packet(line) for line in text.splitlines()]
        self.ours = [p for p in self.packets if p.source in ours]

    def check_sound(self, least):
        """None of ours is malformed, has a bad checksum or breaks a rule."""
        if len(self.ours) < least:
            raise AssertionError(f"only {len(self.ours)} packets of xtcpd's")
        bad = [(p.number, p.bad(), p.get("_ws.expert.message"))
               for p in self.ours if p.bad()]
        if bad:
            raise AssertionError(f"{len(bad)} bad packets: {bad[:5]}")

    def check_clean(self, least=10):
        """And nothing is lost or out of order, nor sent again but by a timer.

        On a busy machine an ACK may take longer than a tail loss probe waits;
        a client probes also when an application does not acknowledge within
        some 10 ms.
        """
        self.check_sound(least)
        found = [(p.number, p.analysis()) for p in self.packets if any(
            not name.endswith("retransmission") for name in p.analysis())]
        for stream in {p.get("tcp.stream") for p in self.ours} - {None}:
            e = Explained(self, [], self.addresses, stream)
            found += e.wrong + [(n, "without a cause") for n in e.unexplained]
        if found:
            raise AssertionError(f"{len(found)} packets: {found[:5]}")

    def flagged(self, name):
        return [p for p in self.packets if f"tcp.analysis.{name}" in p]


class Segment:
    """A transmission of data of ours."""

    def __init__(self, at, start, length, frame):
        self.at, self.start, self.end, self.frame = \
            at, start, start + length, frame
        self.fate = None  # what the link did to it


class Explained:
    """Why was each of our retransmissions sent? For one connection.

    capture is that of the daemon itself: what it sent, and what reached it; log
    is that of the link. A retransmission of [a, b) at t has one of these
    causes, which are looked for in this order.

    lost      the last transmission of one of its bytes before t was dropped
    asked     the client sent again what it had sent before: figure 5c
    ack lost  an ACK was dropped between that transmission and t
    timer     that transmission was RTO_MIN or longer ago: RFC 6298
    reordered the last transmission of it was made late
    probe     it is the end of what was sent, once for each end: RFC 8985 7.3

    causes counts them; unexplained has the frames without one. wrong has those
    that nothing can explain: all of [a, b) had been acknowledged, or
    selectively so, before t.
    """

    RTO_MIN_S = 0.200
    DROPPED = "lost", "burst", "queue", "listed", "corrupt"
    LOG_DELAY_S = 0.5  # what happens is logged at most this long after the sending

    def __init__(self, capture, log, ours, stream="0"):
        self.ours, self.base = ours, None
        self.sent, self.edge, self.sacked, self.probed = [], 0, [], set()
        self.client_end, self.client_base, self.asked_at = 0, None, 0.0
        self.causes, self.unexplained, self.wrong = {}, [], []
        log = [line for line in log if line[5] == "tcp" and line[3] in (
            *self.DROPPED, "reorder")]
        self.lost_acks = [float(line[0]) for line in log
                          if line[1] == "ab" and line[3] in self.DROPPED]
        self.fates = [line for line in log
                      if line[1] == "ba" and int(line[13])]
        for p in capture.packets:
            if p.get("tcp.stream") == stream:
                self.look(p)

    def look(self, p):
        if "tcp.flags.syn" in p and p["tcp.flags.syn"] in ("1", "True"):
            return
        if p.source not in self.ours:
            if not p.bad():
                self.arrived(p)
                self.arrived_data(p)
        elif p.length:
            self.transmitted(p)

    def relative(self, number):
        """Counted from the first one, across the wrap."""
        if self.base is None:
            self.base = number
        return (number - self.base + (1 << 31)) % (1 << 32) - (1 << 31)

    def arrived(self, p):
        self.edge = max(self.edge, self.relative(int(p["tcp.ack_raw"])))
        blocks = zip(p.get("tcp.options.sack_le", "").split(","),
                     p.get("tcp.options.sack_re", "").split(","))
        for left, right in blocks:
            if left and self.relative(int(left)) >= self.edge:
                self.add_sacked(self.relative(int(left)),
                                self.relative(int(right)))

    def arrived_data(self, p):
        """Is it a retransmission of the client's?"""
        if not p.length:
            return
        seq = int(p["tcp.seq_raw"])
        if self.client_base is None:
            self.client_base = seq
        end = (seq - self.client_base) % (1 << 32) + p.length
        if end <= self.client_end:
            self.asked_at = p.at
        self.client_end = max(self.client_end, end)

    def add_sacked(self, left, right):
        """Blocks kept apart and merged."""
        keep = []
        for a, b in self.sacked:
            if b < left or right < a:
                if b > self.edge:
                    keep.append((a, b))
            else:
                left, right = min(a, left), max(b, right)
        self.sacked = keep + [(left, right)]

    def transmitted(self, p):
        s = Segment(p.at, self.relative(int(p["tcp.seq_raw"])), p.length,
                    p.number)
        earlier = [e for e in self.sent if e.start < s.end and s.start < e.end]
        if earlier:
            self.judge(s, earlier)
        self.sent.append(s)
        s.fate = self.take_fate(s)

    def take_fate(self, s):
        """What the link did to this transmission."""
        for i, line in enumerate(self.fates):
            if self.relative(int(line[10])) == s.start and \
                    -0.001 <= float(line[0]) - s.at <= self.LOG_DELAY_S:
                return self.fates.pop(i)[3]
        return None

    def judge(self, s, earlier):
        if s.end <= self.edge:
            self.wrong.append((s.frame, "acknowledged before"))
        elif any(a <= max(s.start, self.edge) and s.end <= b
                 for a, b in self.sacked):
            self.wrong.append((s.frame, "selectively acknowledged before"))
        elif cause := self.cause(s, earlier):
            self.causes[cause] = self.causes.get(cause, 0) + 1
        else:
            self.unexplained.append(s.frame)

    def cause(self, s, earlier):
        fates = [e.fate for e in self.latest(s, earlier)]
        if any(fate in self.DROPPED for fate in fates):
            return "lost"
        if earlier[-1].at < self.asked_at:
            return "asked"
        if any(earlier[-1].at < at < s.at for at in self.lost_acks):
            return "ack lost"
        if s.at - earlier[-1].at >= self.RTO_MIN_S:
            return "timer"
        if "reorder" in fates:
            return "reordered"
        end = max(e.end for e in self.sent)
        if s.end == end and end not in self.probed:
            self.probed.add(end)
            return "probe"
        return None

    @staticmethod
    def latest(s, earlier):
        """The latest transmissions of each of its bytes, before it."""
        at = s.start
        while at < s.end:
            having = [e for e in earlier if e.start <= at < e.end]
            if having:
                yield having[-1]
            at = min([edge for e in earlier for edge in (e.start, e.end)
                      if edge > at], default=s.end)
