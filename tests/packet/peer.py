# SPDX-License-Identifier: BSD-2-Clause
"""A TCP peer on the wire: what the client says and what it must hear.

    with Net(), Xtcpd(...) as d, Wire() as wire:
        p = Peer(wire)
        p.syn(mss=1460, wscale=7)
        p.expect("SA", ack=1)
        p.ack()
        p.send(b"request")
        p.expect("PA", ack=8, payload=b"reply")

Sequence numbers are relative: seq 0 is the SYN of whoever sends, 1 its first
byte. A Peer has no TCP of its own: it sends what it is told, and only keeps
count (snd_nxt: what send() goes on with; rcv_nxt: what ack() acknowledges).

The packets go through the kernel's forwarding: pkt0 is a TUN device that this
process reads and writes, with subnets routed to it, so xtcpd's routes are
tested, too. Packets that the kernel would not forward are put on xtcp0's own
queue with Wire.inject().
"""

import collections
import fcntl
import itertools
import os
import random
import select
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "net"))

from harness import VIP4, VIP6, run, sysctl  # noqa: E402
import packet  # noqa: E402

TUNSETIFF = 0x400454ca
IFF_TUN_NO_PI = 0x1001
PEER4, PEER6 = "10.9.0.1", "2001:db8:9::1"
PEER4_NET, PEER6_NET = "10.9.0.0/16", "2001:db8:9::/48"
QUIET = """table ip6 quiet {
    chain out {
        type filter hook output priority 0
        ip6 daddr ff00::/8 drop
    }
}
"""
WITHIN_S = 5.0
# After so long an echo request is sent again.
ECHO_AGAIN_S = 1.0
MOD = 1 << 32


class Wire:
    """The TUN device pkt0, and the subnets behind it."""

    def __enter__(self):
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.fd, TUNSETIFF,
                    struct.pack("16sH22x", b"pkt0", IFF_TUN_NO_PI))
        sysctl("net/ipv4/ip_forward", 1)
        sysctl("net/ipv6/conf/all/forwarding", 1)
        for which in ("all", "default", "pkt0"):
            sysctl(f"net/ipv4/conf/{which}/rp_filter", 0)
        # the kernel's own multicast would be counted as an attack
        run("nft", "-f", "-", input=QUIET)
        run("ip", "link", "set", "pkt0", "addrgenmode", "none")
        run("ip", "link", "set", "pkt0", "mtu", "9000", "up")
        run("ip", "route", "add", PEER4_NET, "dev", "pkt0")
        run("ip", "-6", "route", "add", PEER6_NET, "dev", "pkt0")
        self.raw = None
        self.inboxes = {}
        self.others = collections.deque(maxlen=1000)
        self.echoes = 0
        return self

    def __exit__(self, kind, value, tb):
        os.close(self.fd)
        if self.raw:
            self.raw.close()

    def send(self, data):
        """A packet from the client's side."""
        os.write(self.fd, data)

    def inject(self, data):
        """A packet straight into xtcp0, past the kernel's forwarding."""
        if not self.raw:
            self.raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        proto = 0x86dd if data and data[0] >> 4 == 6 else 0x0800
        self.raw.sendto(data, ("xtcp0", proto))

    def inbox(self, key):
        return self.inboxes.setdefault(key, collections.deque())

    def read(self, seconds):
        """Take what came, up to one packet, into its inbox. False: nothing."""
        ready, _, _ = select.select([self.fd], [], [], max(0, seconds))
        if not ready:
            return False
        raw = os.read(self.fd, 65536)
        if raw[0] >> 4 == 6 and raw[24] == 0xff:
            return True  # the kernel's own multicast
        p = packet.parse(raw)
        key = (p.dst, p.dport, p.src, p.sport)
        if p.proto == packet.TCP and key in self.inboxes:
            self.inboxes[key].append(p)
        else:
            self.others.append(p)
        return True

    def wait_other(self, match, within=WITHIN_S):
        """The first packet of no Peer that match() likes."""
        deadline = time.monotonic() + within
        fresh = list(self.others)
        while True:
            for p in fresh:
                if match(p):
                    self.others.remove(p)
                    return p
            left = deadline - time.monotonic()
            before = self.others[-1] if self.others else None
            if left < 0 or not self.read(left) and left <= 0:
                raise AssertionError(
                    f"no such packet in {within} s; others: {self.others}")
            last = self.others[-1] if self.others else None
            fresh = [last] if last is not before else []

    def echo(self, family=4, data=b"ping", within=WITHIN_S):
        """Have an echo request answered.

        It is sent again now and then: in a flood the device's queue may drop
        it, or its answer, as it may any packet.
        """
        self.echoes += 1
        src, dst = (PEER4, VIP4) if family == 4 else (PEER6, VIP6)
        proto = packet.ICMP if family == 4 else packet.ICMP6
        want = struct.pack("!HH", 7, self.echoes) + data
        end = time.monotonic() + within
        while True:
            self.send(packet.echo_request(src, dst, 7, self.echoes, data))
            left = end - time.monotonic()
            try:
                return self.wait_other(
                    lambda p: p.proto == proto and p.payload[4:] == want,
                    max(min(left, ECHO_AGAIN_S), 0))
            except AssertionError:
                if left <= ECHO_AGAIN_S:
                    raise

    def settle(self):
        """All that was sent before has had its effect, and that is in.

        Packets are taken in order and what they make due leaves at the end
        of their batch: so the answer to the second of two echo requests is
        behind everything (with one worker).
        """
        self.echo()
        self.echo()


class Peer:
    """The client's end of one connection."""

    ports = itertools.count(random.randint(10000, 30000))

    def __init__(self, wire, port=5222, family=4, sport=None, isn=None, src=None,
                 dst=None):
        self.wire = wire
        self.src = src or (PEER4 if family == 4 else PEER6)
        self.dst = dst or (VIP4 if family == 4 else VIP6)
        self.dport = port
        self.sport = sport or next(self.ports)
        self.isn = random.getrandbits(32) if isn is None else isn
        self.irs = 0
        self.snd_nxt = 0
        self.rcv_nxt = 0
        self.window = 65535
        self.wscale = 0  # ours, once both have agreed
        self.offer_wscale = None
        self.rcv_scale = 0  # theirs
        self.ts = None  # our clock, when the option is used
        self.ts_recent = 0
        self.inbox = wire.inbox((self.src, self.sport, self.dst, self.dport))

    # --- sending

    def build(self, flags="A", payload=b"", seq=None, ack=None, window=None,
              options=None, ts=None, ip=None, **tcp):
        """The bytes of a segment; ip and tcp: fields of packet.ip4(), tcp()."""
        bits = packet.flag_bits(flags) if isinstance(flags, str) else flags
        if seq is None:
            seq = self.snd_nxt
        if ack is None:
            ack = self.rcv_nxt
        if window is None:
            window = self.window >> (0 if bits & 2 else self.wscale)
        if options is None:
            if ts is None and self.ts is not None:
                self.ts += 1
                ts = (self.ts, self.ts_recent)
            options = packet.tcp_options(ts=ts) if ts else b""
        wire_ack = (self.irs + ack) % MOD if bits & 16 else 0
        segment = packet.tcp(
            self.src, self.dst, self.sport, self.dport, flags=bits,
            seq=(self.isn + seq) % MOD, ack=wire_ack,
            window=min(window, 65535), payload=payload, options=options, **tcp)
        return packet.ip(self.src, self.dst, packet.TCP, segment, **(ip or {}))

    def segment(self, *args, **kw):
        """Send one segment as it is given; keeps no count."""
        self.wire.send(self.build(*args, **kw))

    def syn(self, mss=1460, ts=None, wscale=None, sack_ok=False, flags="S",
            raw=b"", payload=b""):
        """ts: the first value of our timestamp clock."""
        if ts is True:
            ts = 1000000
        self.ts, self.offer_wscale = ts, wscale
        self.segment(flags, payload, seq=0, options=packet.tcp_options(
            mss=mss, ts=None if ts is None else (ts, 0), wscale=wscale,
            sack_ok=sack_ok, raw=raw))
        self.snd_nxt = 1

    def ack(self, **kw):
        self.segment("A", **kw)

    def send(self, payload=b"", flags="PA", **kw):
        """New data, or with seq= any; "F" in flags counts."""
        new = "seq" not in kw
        self.segment(flags, payload, **kw)
        if new:
            self.snd_nxt += len(payload) + ("F" in flags)

    def fin(self, payload=b"", **kw):
        self.send(payload, "FPA" if payload else "FA", **kw)

    def rst(self, seq=None, flags="R", **kw):
        self.segment(flags, seq=seq, **kw)

    def connect(self, **kw):
        self.syn(**kw)
        got = self.expect("SA", ack=1)
        self.ack()
        return got

    # --- receiving

    def receive(self, within=WITHIN_S):
        """The next segment for this connection, or None."""
        deadline = time.monotonic() + within
        while not self.inbox:
            left = deadline - time.monotonic()
            if not self.wire.read(left) and left <= 0:
                return None
        return self.took(self.inbox.popleft())

    def got(self, within=WITHIN_S):
        """The next segment; there has to be one."""
        p = self.receive(within)
        if p is None:
            raise AssertionError(f"nothing came in {within} s")
        return p

    def took(self, p):
        """Make its numbers relative and keep count."""
        if "S" in p.flags:
            self.irs = p.seq
            if "wscale" in p.options and self.offer_wscale is not None:
                self.wscale = self.offer_wscale
                self.rcv_scale = p.options["wscale"]
            if "ts" not in p.options:
                self.ts = None
        p.seq = (p.seq - self.irs) % MOD
        p.ack = (p.ack - self.isn) % MOD if "A" in p.flags else None
        if "ts" in p.options and "R" not in p.flags:
            self.ts_recent = p.options["ts"][0]
        size = len(p.payload) + ("S" in p.flags) + ("F" in p.flags)
        if "R" not in p.flags and p.seq <= self.rcv_nxt < p.seq + size:
            self.rcv_nxt = p.seq + size
        return p

    def expect(self, flags, within=WITHIN_S, **want):
        """The next segment must be this one. Returns it.

        want: seq, ack, window (as on the wire), payload, len, options (a
        dict whose items must be there).
        """
        p = self.receive(within)
        wish = f"{flags} {want}"
        if p is None:
            raise AssertionError(f"nothing came in {within} s; wanted {wish}")
        wrong = [k for k, v in want.items() if not self.matches(p, k, v)]
        if sorted(p.flags) != sorted(flags) or wrong:
            raise AssertionError(f"wanted {wish}; got {describe(p)}")
        return p

    @staticmethod
    def matches(p, key, value):
        if key == "len":
            return len(p.payload) == value
        if key == "options":
            return all(p.options.get(k) == v for k, v in value.items())
        return getattr(p, key) == value

    def expect_nothing(self, seconds=0):
        """Nothing came of what was sent; with seconds, for so long."""
        self.wire.settle()
        p = self.receive(seconds)
        if p is not None:
            raise AssertionError(f"wanted nothing; got {describe(p)}")

    def expect_bytes(self, n, ack_each=True, within=WITHIN_S):
        """Receive n bytes of payload in order, acknowledging."""
        data = b""
        while len(data) < n:
            have = self.rcv_nxt
            p = self.receive(within)
            if p is None:
                raise AssertionError(f"{len(data)} of {n} bytes came")
            if p.seq <= have < p.seq + len(p.payload):
                data += p.payload[have - p.seq:]
            if ack_each:
                self.ack()
        return data

    def close(self):
        """Both FINs, ours first; the backend has to close as well."""
        self.fin()
        self.expect("FA", ack=self.snd_nxt)
        self.ack()


def describe(p):
    return (f"{p.flags} seq={p.seq} ack={p.ack} window={p.window} "
            f"len={len(p.payload)} {p.payload[:40]!r} {p.options}")
