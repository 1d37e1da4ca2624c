#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# builds: gcc
"""contrib/wireshark/xtcp-frame.lua: what tshark says of the frames of
tests/vectors/frames.txt, in packets of a user's link type and in TCP streams
that cut them anywhere."""

import json
import socket
import struct
import sys
import tempfile
from pathlib import Path

import harness
from harness import TOP, contains, equal, run

sys.path.insert(0, str(TOP / "bindings/python/src"))
sys.path.insert(0, str(TOP / "bindings/python/tests"))
import test_vectors as vectors  # noqa: E402

LUA = TOP / "contrib/wireshark/xtcp-frame.lua"
USER0, RAW = 147, 101
PORT = 7000
DLT = 'uat:user_dlts:"User 0 (DLT=147)","xtcp","0","","0",""'

CASES = vectors.read_vectors()[0]
GOOD = [c for c in CASES if not c.refuse]
# Which end reads a frame is not seen in a capture.
DIRECTION = ("-to-xtcpd", "-to-a-backend")


# --- captures

def pcap(path, linktype, packets):
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 262144,
                            linktype))
        for n, data in enumerate(packets):
            f.write(struct.pack("<IIII", n, 0, len(data), len(data)) + data)


def segment(seq, data, flags=0x18, ports=(40000, PORT)):
    """An IPv4 packet over loopback."""
    tcp = struct.pack("!HHIIBBHHH", *ports, seq, 1, 5 << 4, flags, 65535, 0, 0)
    address = socket.inet_aton("127.0.0.1")
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40 + len(data), 0, 0, 64, 6, 0,
                     address, address)
    return ip + tcp + data


def tshark(path, *args):
    return run("tshark", "-r", path, "-X", f"lua_script:{LUA}", *args).stdout


def dissected(path, *args):
    """The xtcp layers of each packet, as tshark's JSON has them."""
    text = tshark(path, "-T", "json", "--no-duplicate-keys", *args)
    found = []
    for packet in json.loads(text):
        layers = packet["_source"]["layers"].get("xtcp", [])
        found.append(layers if isinstance(layers, list) else [layers])
    return found


def flat(tree, found=None):
    """All fields of a layer by name, those of its parts too."""
    found = {} if found is None else found
    for key, value in tree.items():
        for v in value if isinstance(value, list) else [value]:
            if isinstance(v, dict):
                flat(v, found)
            else:
                found.setdefault(key, v)
    return found


# --- what must be there

def number(fields, key):
    return int(fields[f"xtcp.{key}"], 0)


def check_frame(case, fields):
    for key in ("length", "type", "flags", "group", "conn", "offset", "ackd",
                "aux"):
        equal(number(fields, key), case.fields[key], f"{case.name}: {key}")
    for key, want in case.fields.items():
        part, _, name = key.partition(".")
        if part in ("hello", "attach") or \
                key in ("addr.family", "addr.remote_port", "addr.local_port",
                        "addr.send_offset"):
            equal(number(fields, key), want, f"{case.name}: {key}")
        elif part == "addr":
            check_host(case, fields, name, want)
    check_rest(case, fields)
    check_positions(case, fields)
    for bit, flag in enumerate(("redelivered", "first", "waits", "fatal", "at",
                                "resumed", "short")):
        equal(number(fields, f"flags.{flag}"),
              case.fields["flags"] >> bit & 1, f"{case.name}: {flag}")
    equal(number(fields, "conn.worker"), case.fields["conn"] >> 56)
    equal(number(fields, "conn.generation"),
          case.fields["conn"] >> 32 & 0xffffff)
    equal(number(fields, "conn.record"), case.fields["conn"] & 0xffffffff)


def check_host(case, fields, name, want):
    v4 = case.fields["addr.family"] == 4
    got = fields[f"xtcp.addr.{name}{'' if v4 else '6'}"]
    equal(socket.inet_pton(socket.AF_INET if v4 else socket.AF_INET6, got),
          want[:4] if v4 else want, f"{case.name}: {name}")


def check_rest(case, fields):
    """What is left of the payload, under the name that it has."""
    kind = case.frame().type
    if not case.data:
        equal("xtcp.data" in fields, False, case.name)
    elif kind in (1, 4):
        got = fields["xtcp.hello.name" if kind == 1 else "xtcp.error.text"]
        equal(got.encode(), case.data, case.name)
    else:
        equal(fields["xtcp.data"].replace(":", ""), case.data.hex(), case.name)


def check_positions(case, fields):
    """Of request and reply, as xtcp-frame(7) says they follow."""
    f, kind = case.fields, vectors.frames.Type(case.frame().type).name
    want = {}
    at = f["flags"] & vectors.frames.AT
    if kind in ("DATA", "OPEN"):
        want["request.begin"] = f["offset"]
    if kind in ("DATA", "EOF"):
        want["request.end"] = f["offset"] + (
            len(case.data) if kind == "DATA" else 0)
    if kind == "REPLY":
        want["request.acked"] = f["offset"] + f["ackd"]
        if at:
            want["reply.begin"] = f["aux"]
            want["reply.end"] = (f["aux"] + len(case.data)) % 2**32
    if kind in ("CLOSE", "FIN", "ABORT", "REJECT") and at:
        want["reply.end"] = f["aux"]
    if "addr.send_offset" in f:
        want["reply.next"] = f["addr.send_offset"] + f["aux"]
    if kind == "CREDIT":
        want["reply.limit" if f["conn"] else "credit"] = \
            f["offset"] if f["conn"] else f["aux"]
    if kind in ("ERROR", "RESET"):
        want["errno"] = f["aux"]
    names = ("request.begin", "request.end", "request.acked", "reply.begin",
             "reply.end", "reply.next", "reply.limit", "credit", "errno")
    equal({k: number(fields, k) for k in names if f"xtcp.{k}" in fields}, want,
          case.name)


def expert(fields):
    """What is said to be wrong with a frame."""
    return sorted(k.removeprefix("xtcp.") for k in fields
                  if k.startswith(("xtcp.bad_", "xtcp.truncated")))


# --- the tests

def in_packets(cases, *args):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "user0.pcap"
        pcap(path, USER0, [c.bytes for c in cases])
        return dissected(path, "-o", DLT, *args)


def test_every_vector_in_a_packet_of_its_own():
    found = in_packets(GOOD)
    equal(len(found), len(GOOD))
    for case, layers in zip(GOOD, found):
        equal(len(layers), 1, case.name)
        fields = flat(layers[0])
        check_frame(case, fields)
        equal(expert(fields), [], case.name)


def test_what_is_refused_is_marked():
    cases = [c for c in CASES if c.refuse and c.bytes and
             not c.name.endswith(DIRECTION) and
             "too-little" not in c.name and "window" not in c.name]
    for case, layers in zip(cases, in_packets(cases)):
        wrong = expert(flat(layers[0]))
        if case.refuse == "nothing-yet":
            wanted = ["truncated"]
        elif case.refuse == "EMSGSIZE":
            # how much the reader agreed to is not seen
            wanted = ["bad_length"] if case.max_payload == 131072 else \
                ["truncated"]
        elif case.name.startswith("hello"):
            wanted = ["bad_hello"]
        elif case.name.startswith("type"):
            wanted = ["bad_type"]
        else:
            wanted = ["bad_addr"]
        equal(wrong, wanted, case.name)


def test_several_frames_in_a_packet():
    joined = vectors.Case("joined")
    joined.bytes = b"".join(c.bytes for c in GOOD)
    layers, = in_packets([joined])
    equal(len(layers), len(GOOD))
    for case, layer in zip(GOOD, layers):
        check_frame(case, flat(layer))


def stream(directory, size, flags=0x18):
    """A TCP stream of all frames, in segments of some size."""
    data = b"".join(c.bytes for c in GOOD)
    path = Path(directory) / "tcp.pcap"
    pcap(path, RAW, [segment(0, b"", flags=2)] + [
        segment(1 + at, data[at:at + size])
        for at in range(0, len(data), size)])
    return path


def test_tcp_streams_are_put_together():
    for size in (7, 33, 100, 1460, 4000):
        with tempfile.TemporaryDirectory() as directory:
            found = dissected(stream(directory, size),
                              "-o", f"xtcp.ports:6999,{PORT}")
            layers = [layer for packet in found for layer in packet]
            equal(len(layers), len(GOOD), f"segments of {size}")
            for case, layer in zip(GOOD, layers):
                fields = flat(layer)
                check_frame(case, fields)
                equal(expert(fields), [], case.name)


def test_other_ports_are_left_alone():
    with tempfile.TemporaryDirectory() as directory:
        path = stream(directory, 1460)
        for args in (), ("-o", "xtcp.ports:1-6999"):
            equal([p for p in dissected(path, *args) if p], [])
        as_asked = dissected(path, "-d", f"tcp.port=={PORT},xtcp")
        equal(sum(len(p) for p in as_asked), len(GOOD))


def test_a_line_says_what_is_in_a_packet():
    wanted = {
        "attach-to-xtcpd": "ATTACH port 5222",
        "data-redelivered": "DATA 100000200000003 [1000+5] again",
        "reply": "REPLY 100000200000003 [9+17] ack 18",
        "reset": "RESET 100000200000003 errno 104",
        "credit-of-a-stream": "CREDIT 4294967295",
        "open-that-waits": "OPEN 100000200000003 waits",
        "ping-to-a-backend": "PING 1",
    }
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "user0.pcap"
        pcap(path, USER0, [c.bytes for c in GOOD if c.name in wanted])
        lines = tshark(path, "-o", DLT)
    for text in wanted.values():
        contains(lines, text)
    contains(lines, "XTCP")


def test_fields_can_be_filtered_for():
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "user0.pcap"
        pcap(path, USER0, [c.bytes for c in GOOD])
        for text, names in (
                ("xtcp.flags.redelivered == 1 && xtcp.type == 17",
                 ["data-redelivered"]),
                ("xtcp.conn == 0xff0000fffffffffe",
                 ["open-of-one-that-was-served-before"]),
                ("xtcp.hello.name == \"chat\"", ["hello-from-a-backend"]),
                ("xtcp.errno == 104", ["reset"])):
            lines = tshark(path, "-o", DLT, "-Y", text, "-T", "fields", "-e",
                           "frame.number").split()
            equal([GOOD[int(n) - 1].name for n in lines], names, text)


if __name__ == "__main__":
    harness.main(globals())
