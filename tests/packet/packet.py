# SPDX-License-Identifier: BSD-2-Clause
"""IP, TCP and ICMP packets as bytes, right or wrong in any field.

build() makes a right packet unless it is told otherwise: each field that is
normally computed (lengths, header sizes, checksums) can be given.
"""

import ipaddress
import struct
from dataclasses import dataclass, field

FLAG_BITS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32, "E": 64, "W": 128}
TCP, ICMP, ICMP6 = 6, 1, 58


def flag_bits(text):
    return sum(FLAG_BITS[c] for c in text)


def flag_text(bits):
    return "".join(c for c in "SFRPAUEW" if bits & FLAG_BITS[c])


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def address(text):
    return ipaddress.ip_address(text).packed


def ip4(src, dst, proto, payload, *, ihl=None, total=None, frag=0x4000, ttl=64,
        csum=None, options=b"", version=4, ident=0, tos=0):
    """An IPv4 packet. ihl is in words, frag the flags and offset field."""
    options += b"\0" * (-len(options) % 4)
    size = 20 + len(options)
    head = struct.pack(
        "!BBHHHBBH", version << 4 | (size // 4 if ihl is None else ihl), tos,
        size + len(payload) if total is None else total, ident, frag, ttl,
        proto, 0) + address(src) + address(dst) + options
    if csum is None:
        csum = checksum(head)
    return head[:10] + struct.pack("!H", csum) + head[12:] + payload


def ip6(src, dst, proto, payload, *, length=None, hops=64, extensions=b"",
        version=6, tos=0):
    """An IPv6 packet; proto is the next header, that of extensions if any."""
    body = extensions + payload
    return struct.pack("!IHBB", version << 28 | tos << 20,
                       len(body) if length is None else length, proto, hops) + \
        address(src) + address(dst) + body


def pseudo(src, dst, proto, size):
    src, dst = address(src), address(dst)
    if len(src) == 4:
        return src + dst + struct.pack("!BBH", 0, proto, size)
    return src + dst + struct.pack("!II", size, proto)


def tcp_options(mss=None, wscale=None, ts=None, sack_ok=False, raw=b""):
    out = b""
    if mss is not None:
        out += struct.pack("!BBH", 2, 4, mss)
    if sack_ok:
        out += b"\x04\x02"
    if ts is not None:
        out += struct.pack("!BBII", 8, 10, *ts)
    if wscale is not None:
        out += struct.pack("!BBB", 3, 3, wscale)
    out += raw
    return out + b"\x01" * (-len(out) % 4)


def tcp(src, dst, sport, dport, *, flags="A", seq=0, ack=0, window=65535,
        payload=b"", options=b"", doff=None, csum=None, urgent=0, reserved=0):
    """A TCP segment; flags as text or as bits; doff in words; reserved: the
    four bits beside it."""
    bits = flag_bits(flags) if isinstance(flags, str) else flags
    if doff is None:
        doff = (20 + len(options)) // 4
    head = struct.pack("!HHIIBBHHH", sport, dport, seq & 0xffffffff,
                       ack & 0xffffffff, doff << 4 | reserved, bits, window, 0,
                       urgent)
    segment = head + options + payload
    if csum is None:
        csum = checksum(pseudo(src, dst, TCP, len(segment)) + segment)
    return segment[:16] + struct.pack("!H", csum) + segment[18:]


def ip(src, dst, proto, payload, **how):
    make = ip6 if ":" in src else ip4
    return make(src, dst, proto, payload, **how)


def echo_request(src, dst, ident=1, number=1, data=b"ping", csum=None):
    v6 = ":" in src
    proto = ICMP6 if v6 else ICMP
    body = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, ident, number) + data
    if csum is None:
        csum = checksum((pseudo(src, dst, proto, len(body)) if v6 else b"") + body)
    return ip(src, dst, proto, body[:2] + struct.pack("!H", csum) + body[4:])


@dataclass
class Packet:
    """What was received; numbers as on the wire."""
    src: str = ""
    dst: str = ""
    proto: int = 0
    sport: int = 0
    dport: int = 0
    seq: int = 0
    ack: int = 0
    flags: str = ""
    window: int = 0
    options: dict = field(default_factory=dict)
    urgent: int = 0
    payload: bytes = b""
    tos: int = 0
    ttl: int = 0
    df: bool = False
    raw: bytes = b""


def parse_options(data):
    found = {}
    i = 0
    while i < len(data) and data[i]:
        if data[i] == 1:
            i += 1
            continue
        kind, size = data[i], data[i + 1]
        value = data[i + 2:i + size]
        if kind == 2:
            found["mss"] = struct.unpack("!H", value)[0]
        elif kind == 3:
            found["wscale"] = value[0]
        elif kind == 4:
            found["sack_ok"] = True
        elif kind == 8:
            found["ts"] = struct.unpack("!II", value)
        elif kind == 5:
            edges = struct.unpack(f"!{len(value) // 4}I", value)
            found["sack"] = list(zip(edges[::2], edges[1::2]))
        else:
            found[kind] = value
        i += size
    return found


def parse(raw):
    """A Packet; what xtcpd sends has to be right, so checksums are checked."""
    p = Packet(raw=raw)
    if raw[0] >> 4 == 4:
        ihl = (raw[0] & 15) * 4
        total, p.proto = struct.unpack("!H", raw[2:4])[0], raw[9]
        p.tos, p.ttl, p.df = raw[1], raw[8], bool(raw[6] & 0x40)
        src, dst, body = raw[12:16], raw[16:20], raw[ihl:total]
        if checksum(raw[:ihl]):
            raise AssertionError("IPv4 header checksum is wrong")
        if total != len(raw):
            raise AssertionError(f"total length {total}, {len(raw)} came")
    else:
        p.proto, p.ttl = raw[6], raw[7]
        p.tos = struct.unpack("!I", raw[:4])[0] >> 20 & 0xff
        src, dst, body = raw[8:24], raw[24:40], raw[40:]
    p.src, p.dst = str(ipaddress.ip_address(src)), str(ipaddress.ip_address(dst))
    if p.proto == TCP:
        if checksum(pseudo(p.src, p.dst, TCP, len(body)) + body):
            raise AssertionError("TCP checksum is wrong")
        (p.sport, p.dport, p.seq, p.ack, doff, bits,
         p.window, _, p.urgent) = struct.unpack("!HHIIBBHHH", body[:20])
        if doff & 15:
            raise AssertionError("reserved bits are set")
        doff = (doff >> 4) * 4
        p.flags, p.options = flag_text(bits), parse_options(body[20:doff])
        p.payload = body[doff:]
    else:
        p.payload = body
    return p
