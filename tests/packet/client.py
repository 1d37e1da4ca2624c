# SPDX-License-Identifier: BSD-2-Clause
"""A client of a script: `>` lines become packets, `<` lines are compared.

It has no TCP of its own: it keeps count of what was sent and came in, so that
lines may leave out sequence and acknowledgement numbers.
"""

import ipaddress
import struct

import packet
from script import (compare, is_range, number, seq_range, split_op, string)

VIP4, VIP6 = "192.0.2.10", "2001:db8::10"
ROUTER4, ROUTER6 = "203.0.113.1", "2001:db8:ffff::1"
MOD = 1 << 32
ECN = {"notect": 0, "ect1": 1, "ect0": 2, "ce": 3}
TS_BASE = 1000  # the client's timestamp clock, unless its SYN says otherwise
SACK_KIND = 5


def signed(n):
    """n modulo 2^32 as a number around 0."""
    return (n + (MOD >> 1)) % MOD - (MOD >> 1)


def pattern(first, end):
    """What is at positions first..end-1 of either stream, unless told."""
    return bytes((p * 31 + (p >> 8)) & 0xff for p in range(first, end))


class Mismatch(AssertionError):
    """The stack did something else than the line says."""


class Client:
    def __init__(self, name, clock, v6=False, port=20000, addr=None, to=5222,
                 isn=None, window=65535, vip=None):
        self.name, self.clock = name, clock  # clock(): ms since the case began
        self.v6 = v6
        self.addr = addr or ("2001:db8:9::7" if v6 else "10.9.0.7")
        self.vip = vip or (VIP6 if v6 else VIP4)
        self.port, self.to, self.window = port, to, window
        self.isn = 0xfffffff0 if isn is None else isn
        self.fresh()

    def fresh(self):
        """A new connection begins."""
        self.irs, self.snd_nxt, self.rcv_nxt = 0, 0, 0
        self.snd_scale, self.rcv_scale = 0, 0
        self.offers_ws = None
        self.ts = False
        self.ts_base = TS_BASE
        self.ts_recent, self.last_tsval = 0, None
        self.unit = 1460
        self.came = []  # ranges beyond rcv_nxt
        self.said = {}  # what we sent, by position
        self.replies = bytearray()  # what the backend sent
        self.delivered = 0  # bytes that the backend was given
        self.undrained = bytearray()
        self.acked = 0  # bytes that the backend acknowledged
        self.events = set()
        self.eager = self.busy = False
        self.ident = 100

    @property
    def key(self):
        return (packet.address(self.addr), self.port,
                packet.address(self.vip), self.to)

    # --- what the client sends

    def options(self, words, flags):
        """The TCP options that the words of a line ask for."""
        want = {}
        for word in words:
            name, _, value = split_op(word)
            if name in ("mss", "ws", "sackok", "ts", "-ts", "sack", "opt",
                        "-opts"):
                want[name] = value
        if "-opts" in want:
            return b""
        syn = "S" in flags and "A" not in flags
        ts = None
        if want.get("ts"):
            ts = tuple(int(v) % MOD for v in want["ts"].split(","))
        elif "ts" in want or self.ts and not syn and "-ts" not in want:
            ts = ((self.ts_base + self.clock()) % MOD,
                  0 if syn else self.ts_recent)
        if syn:
            if ts:
                self.ts_base = ts[0] - self.clock()
            self.ts = ts is not None
            self.offers_ws = None if "ws" not in want else int(want["ws"])
        raw = b""
        if "sack" in want:
            blocks = [seq_range(r, self.unit) for r in want["sack"].split(",")]
            raw = struct.pack("!BB", SACK_KIND, 2 + 8 * len(blocks)) + \
                b"".join(struct.pack("!II", (self.irs + a) % MOD,
                                     (self.irs + b) % MOD) for a, b in blocks)
        raw += bytes.fromhex(want.get("opt") or "")
        return packet.tcp_options(
            mss=None if "mss" not in want else int(want["mss"]),
            wscale=self.offers_ws if syn else None, ts=ts,
            sack_ok="sackok" in want, raw=raw)

    def ip_words(self, words):
        """(keywords of packet.ip(), fragments or None)."""
        how, frags = {}, None
        for word in words:
            name, _, value = split_op(word)
            if name in ECN:
                how["tos"] = ECN[name]
            elif name == "ttl":
                how["hops" if self.v6 else "ttl"] = int(value)
            elif name == "ipopt":
                how["options"] = bytes.fromhex(value)
            elif name == "badipsum":
                how["csum"] = 0xbad
            elif name == "frag":
                frags = [r.split("-") for r in value.split(",")]
        return how, frags

    def extended(self, words, proto, body):
        """Put IPv6 extension headers, the first outermost, before the body."""
        kinds = {"hbh": 0, "rt": 43, "rtleft": 43, "dst": 60}
        names = [v for w in words for n, _, v in [split_op(w)] if n == "ext"]
        for name in reversed(names):
            routing = bytes([253, name == "rtleft"]) + bytes(4)
            head = bytes([proto, 0]) + \
                (routing if name.startswith("rt") else b"\x01\x04" + bytes(4))
            proto, body = kinds[name], head + body
        return proto, body

    def ip_packets(self, words, proto, body, src=None):
        """The packets that carry body: one, or fragments."""
        how, frags = self.ip_words(words)
        src = src or self.addr
        proto, body = self.extended(words, proto, body)
        if frags is None:
            return [packet.ip(src, self.vip, proto, body, **how)]
        self.ident += 1
        out = []
        for first, end in frags:
            a, b = int(first), int(end or len(body))
            more = not (end == "" or b >= len(body))
            if self.v6:
                head = struct.pack("!BBHI", proto, 0, a | more, self.ident)
                out.append(packet.ip(src, self.vip, 44, head + body[a:b], **how))
            else:
                out.append(packet.ip(src, self.vip, proto, body[a:b],
                                     frag=a // 8 | more << 13,
                                     ident=self.ident, **how))
        return out

    def text(self, words, seq):
        """The payload of a line, or None: it states none; and the rest."""
        rest, text = [], None
        for word in words:
            name, _, value = split_op(word)
            if word.startswith('"'):
                text = string(word)
            elif name == "len":
                text = pattern(seq, seq + number(value, self.unit))
            else:
                rest.append(word)
        return text, rest

    def segment(self, flags, words, seq, text):
        """One segment's packets."""
        ack, window = self.rcv_nxt, None
        tcp, how_many = {}, 1
        for word in words:
            name, _, value = split_op(word)
            if name == "ack":
                ack = number(value, self.unit)
            elif name == "win":
                window = number(value, self.unit)
            elif name == "wnd":
                self.window = number(value, self.unit)
            elif name == "urg":
                tcp["urgent"] = int(value)
            elif name == "badsum":
                tcp["csum"] = 0xbad
            elif name in ("doff", "reserved"):
                tcp[name] = int(value)
            elif word[0] == "x" and word[1:].isdigit():
                how_many = int(word[1:])
        if window is None:
            window = min(self.window >> (0 if "S" in flags else self.snd_scale),
                         65535)
        bits = packet.flag_bits("" if flags == "0" else flags)
        wire_ack = (self.irs + ack) % MOD if bits & 16 else 0
        segment = packet.tcp(
            self.addr, self.vip, self.port, self.to, flags=bits,
            seq=(self.isn + seq) % MOD, ack=wire_ack, window=window,
            payload=text, options=self.options(words, flags), **tcp)
        for i, byte in enumerate(text):
            self.said.setdefault(seq + ("S" in flags) + i, byte)
        return self.ip_packets(words, packet.TCP, segment) * how_many

    def take_seq(self, words):
        """(first, end or None, the rest, whether it was stated)."""
        first, end, stated, rest = self.snd_nxt, None, False, []
        for i, word in enumerate(words):
            name, _, value = split_op(word)
            if i == 0 and is_range(word):
                (first, end), stated = seq_range(word, self.unit), True
            elif name == "seq":
                first, stated = number(value, self.unit), True
            else:
                rest.append(word)
        return first, end, rest, stated

    def build(self, words):
        """The packets of a `>` line."""
        if words[0] == "raw":
            return [bytes.fromhex(words[1])]
        if words[0] == "icmp":
            return self.build_icmp(words[1:])
        flags = words[0]
        if "S" in flags and "A" not in flags and self.snd_nxt == 0:
            self.set_unit(words[1:])
        seq, end, rest, stated = self.take_seq(words[1:])
        text, rest = self.text(rest, seq + ("S" in flags))
        if text is None:
            text = pattern(seq, end) if end is not None else b""
        out = []
        while True:
            piece = text[:self.unit] if end is not None else text
            text = text[len(piece):]
            last = not text
            out += self.segment(
                flags if last else flags.replace("F", "").replace("P", ""),
                rest, seq, piece)
            seq += len(piece)
            if last:
                break
        if not stated or end is not None and seq > self.snd_nxt:
            self.snd_nxt = seq + ("S" in flags) + ("F" in flags)
        return out

    def set_unit(self, words):
        """A full segment is what the client's MSS leaves beside timestamps."""
        self.unit = 1220 if self.v6 else 536
        for word in words:
            name, _, value = split_op(word)
            if name == "mss":
                self.unit = min(int(value), 1440 if self.v6 else 1460)
        if any(split_op(w)[0] == "ts" for w in words):
            self.unit -= 12

    def build_icmp(self, words):
        """An ICMP message: an error about a segment of ours, or an echo."""
        kind, code = (int(n) for n in words[0].split("/"))
        quoted, size, mtu, data, src = None, None, 0, b"", None
        for word in words[1:]:
            name, _, value = split_op(word)
            if word.startswith('"'):
                data = string(word)
            elif name == "mtu":
                mtu = int(value)
            elif name == "quote":
                quoted = number(value, self.unit)
            elif name == "quotelen":
                size = int(value)
            elif name == "from":
                src = value
        rest = struct.pack("!I", mtu)
        if quoted is not None:
            tcp = packet.tcp(self.vip, self.addr, self.to, self.port,
                             seq=(self.irs + quoted) % MOD,
                             payload=bytes(1400))
            data = packet.ip(self.vip, self.addr, packet.TCP, tcp)[:size or (
                88 if self.v6 else 28)]
            src = src or (ROUTER6 if self.v6 else ROUTER4)
        body = bytes([kind, code]) + bytes(2) + rest + data
        proto = packet.ICMP6 if self.v6 else packet.ICMP
        pseudo = packet.pseudo(src or self.addr, self.vip, proto, len(body)) \
            if self.v6 else b""
        csum = struct.pack("!H", packet.checksum(pseudo + body))
        return self.ip_packets(words[1:], proto, body[:2] + csum + body[4:], src)

    # --- what it must hear

    def relative(self, p):
        """Numbers of a received segment, made relative."""
        if "S" in p.flags:
            self.irs = p.seq
            if "wscale" in p.options and self.offers_ws is not None:
                self.snd_scale = min(self.offers_ws, 14)
                self.rcv_scale = p.options["wscale"]
            self.ts = self.ts and "ts" in p.options
        p.seq = signed(p.seq - self.irs)
        p.ack = signed(p.ack - self.isn) if "A" in p.flags else 0
        p.options = dict(p.options)
        if "sack" in p.options:
            p.options["sack"] = [(signed(a - self.isn), signed(b - self.isn))
                                 for a, b in p.options["sack"]]

    def count(self, p):
        """It came in: acknowledgement numbers may go on."""
        space = len(p.payload) + ("S" in p.flags) + ("F" in p.flags)
        if "R" in p.flags:
            return
        if "ts" in p.options and p.seq <= self.rcv_nxt:
            self.ts_recent = p.options["ts"][0]
        self.came.append((p.seq, p.seq + space))
        for first, end in sorted(self.came):
            if first <= self.rcv_nxt < end:
                self.rcv_nxt = end

    def check_payload(self, p):
        """Whatever comes must be what the backend sent."""
        first = p.seq - 1 + ("S" in p.flags)
        want = bytes(self.replies[first:first + len(p.payload)])
        if p.payload != want:
            raise Mismatch(f"payload at {p.seq} is not what the backend sent")

    def expected_ranges(self, words):
        """What a `<` line asks for: [(seq or None, payload length or None)]."""
        repeat = [int(w[1:]) for w in words if w[0] == "x" and w[1:].isdigit()]
        if words[1:] and is_range(words[1]):
            first, end = seq_range(words[1], self.unit)
            out = []
            while True:
                size = min(self.unit, end - first)
                out.append((first, size))
                first += size
                if first >= end:
                    return out
        return [(None, None)] * (repeat[0] if repeat else 1)

    def match_words(self, words, p, seq, size):
        """Compare all that is stated."""
        flags = p.flags.replace("P", "") or "0"
        want = "".join(sorted(words[0].replace("P", "")))
        if "".join(sorted(flags)) != want:
            raise Mismatch(f"flags {p.flags}")
        rest = words[2:] if seq is not None else words[1:]
        text = None
        for word in rest:
            name, op, value = split_op(word)
            if word.startswith('"'):
                text = string(word)
            elif name == "len":
                size = number(value, self.unit)
            elif name == "seq":
                seq = number(value, self.unit)
            else:
                self.match_word(p, word, name, op, value)
        if seq is not None and p.seq != seq:
            raise Mismatch(f"seq {p.seq}, not {seq}")
        if text is not None and p.payload != text:
            raise Mismatch(f"payload {p.payload[:60]!r}")
        if text is None and len(p.payload) != (size or 0):
            raise Mismatch(f"{len(p.payload)} bytes of payload, not {size or 0}")
        self.check_payload(p)

    def match_word(self, p, word, name, op, value):
        o = p.options
        if name in ("ack", "win", "wnd", "ttl", "mss", "ws", "tsecr", "tsval",
                    "urg"):
            got = {"ack": p.ack, "win": p.window, "ttl": p.ttl,
                   "wnd": p.window << (0 if "S" in p.flags else self.rcv_scale),
                   "mss": o.get("mss"), "ws": o.get("wscale"), "urg": p.urgent,
                   "tsecr": o.get("ts", (None, None))[1],
                   "tsval": self.since_last_ts(o)}[name]
            want = number(value, self.unit)
            if got is None or not compare(got, op, want):
                raise Mismatch(f"{name} is {got}, not {op}{want}")
        elif name == "sack" and value:
            want = [seq_range(r, self.unit) for r in value.split(",")]
            if o.get("sack") != want:
                raise Mismatch(f"sack is {o.get('sack')}, not {want}")
        elif not self.match_flag(p, word, o):
            if word not in ("lost",) and not word.startswith("x"):
                raise ValueError(f"unknown word {word}")

    def since_last_ts(self, o):
        if "ts" not in o or self.last_tsval is None:
            return None
        return signed(o["ts"][0] - self.last_tsval)

    def match_flag(self, p, word, o):
        """A word without value; False: there is no such word."""
        have = {"sackok": "sack_ok" in o, "ts": "ts" in o, "psh": "P" in p.flags,
                "df": p.df, "opts": bool(o), "sack": "sack" in o,
                "ws": "wscale" in o, "mss": "mss" in o}
        if word in ECN:
            if p.tos & 3 != ECN[word]:
                raise Mismatch(f"ECN field is {p.tos & 3}, not {word}")
            return True
        if word.lstrip("-") not in have:
            return False
        if have[word.lstrip("-")] == word.startswith("-"):
            raise Mismatch(f"not {word}")
        return True

    def match(self, words, p, seq, size):
        """A received packet against a `<` line; it counts when it fits."""
        if words[0] == "icmp":
            self.match_icmp(words, p)
            return
        if p.proto != packet.TCP:
            raise Mismatch("no TCP segment")
        self.relative(p)
        self.match_words(words, p, seq, size)
        if "ts" in p.options:
            self.last_tsval = p.options["ts"][0]
        if "lost" not in words:
            self.count(p)

    def match_icmp(self, words, p):
        kind, code = (int(n) for n in words[1].split("/"))
        if p.proto == packet.TCP or tuple(p.payload[:2]) != (kind, code):
            raise Mismatch(f"protocol {p.proto}, type {p.payload[:2].hex()}")
        for word in words[2:]:
            if word.startswith('"') and p.payload[8:] != string(word):
                raise Mismatch(f"data {p.payload[8:]!r}")


def describe(p):
    """A packet for the trace, its numbers as they are in it."""
    if p.proto != packet.TCP:
        return f"icmp {p.payload[0]}/{p.payload[1]} {len(p.payload)} bytes"
    text = f"{p.flags or '0'} {p.seq}:{p.seq + len(p.payload)}"
    if "A" in p.flags:
        text += f" ack={p.ack}"
    text += f" win={p.window}"
    for name, value in p.options.items():
        if name == "sack":
            value = ",".join(f"{a}:{b}" for a, b in value)
        text += f" {name}={value}"
    if p.tos & 3:
        text += f" ecn={p.tos & 3}"
    return text


def addresses(p):
    """The key of the client whose packet this is."""
    return (ipaddress.ip_address(p.dst).packed, p.dport,
            ipaddress.ip_address(p.src).packed, p.sport)
