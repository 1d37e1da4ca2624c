# SPDX-License-Identifier: BSD-2-Clause
"""tests/vectors/frames.txt of the tree: every case, both ways."""

import os
import unittest
from pathlib import Path

from xtcp import frames
from xtcp.frames import Addr, Attach, Frame, FrameError, Hello, Reader, Side

VECTORS = Path(os.environ.get("XTCP_VECTORS") or
               Path(__file__).parents[3] / "tests/vectors/frames.txt")
NUMBERS = {"EPROTO": 71, "EMSGSIZE": 90}


class Case:
    def __init__(self, name):
        self.name = name
        self.side = None
        self.max_payload = frames.PAYLOAD_MAX
        self.bytes = self.data = b""
        self.refuse = None
        self.fields = {}

    def line(self, key, value):
        if key == "to":
            self.side = Side[value.upper()]
        elif key == "max_payload":
            self.max_payload = int(value, 0)
        elif key in ("bytes", "data"):
            setattr(self, key, getattr(self, key) + bytes.fromhex(value))
        elif key == "refuse":
            self.refuse = value
        elif key == "type":
            name, self.fields["type"] = value.split()[0], int(value.split()[1])
            assert frames.Type(self.fields["type"]).name == name
        elif key in ("addr.remote", "addr.local"):
            self.fields[key] = bytes.fromhex(value)
        else:
            self.fields[key] = int(value, 0)

    def part(self, prefix):
        """The fields of a part of the payload."""
        return {k.split(".")[1]: v for k, v in self.fields.items()
                if k.startswith(prefix + ".")}

    def payload(self):
        """Encoded from the fields."""
        if "hello.magic" in self.fields:
            return Hello(**self.part("hello"), name=self.data).encode()
        if "attach.port" in self.fields:
            return Attach(**self.part("attach")).encode()
        if "addr.family" in self.fields:
            return Addr(**self.part("addr")).encode() + self.data
        return self.data

    def frame(self):
        """Of the fields."""
        header = {k: self.fields[k] for k in (
            "type", "flags", "group", "conn", "offset", "ackd", "aux")}
        return Frame(**header, payload=self.payload())


def read_vectors():
    cases, limits = [], []
    for line in VECTORS.read_text().splitlines():
        key, _, value = line.strip().partition(" ")
        if not key or key.startswith("#"):
            continue
        if key == "frame":
            cases.append(Case(value))
        elif key == "limit":
            limits.append([int(n) for n in value.split()])
        elif key != "end":
            cases[-1].line(key, value)
    return cases, limits


def decode(case, step):
    """The frame of the bytes, fed in steps; None: not whole yet."""
    reader = Reader(case.side, case.max_payload)
    f = reader.next()
    for at in range(0, len(case.bytes), step):
        assert f is None
        reader.feed(case.bytes[at:at + step])
        f = reader.next()
    if f is not None:
        check_payload(case, f)
    return f


def check_payload(case, f):
    """What is to be checked by the type."""
    if f.type == frames.Type.HELLO:
        Hello.decode(f.payload).check(case.side)
    elif f.type == frames.Type.OPEN or f.flags & frames.FIRST:
        Addr.decode(f.payload)


class Vectors(unittest.TestCase):
    def test_every_case_is_as_it_says(self):
        cases, _ = read_vectors()
        for case in cases:
            for step in (1, 31, 1 << 20):
                with self.subTest(case.name, step=step):
                    self.check(case, step)
        self.assertGreater(sum(c.refuse is None for c in cases), 30)
        self.assertGreater(sum(c.refuse is not None for c in cases), 30)

    def check(self, case, step):
        if case.refuse == "nothing-yet":
            self.assertIsNone(decode(case, step))
        elif case.refuse:
            with self.assertRaises(FrameError) as caught:
                decode(case, step)
            self.assertEqual(caught.exception.errno, NUMBERS[case.refuse])
        else:
            self.assertEqual(decode(case, step), case.frame())
            self.assertEqual(len(case.payload()), case.fields["length"])
            self.assertEqual(case.frame().encode(), case.bytes)

    def test_parts_come_back(self):
        for case in read_vectors()[0]:
            if case.refuse:
                continue
            with self.subTest(case.name):
                f = decode(case, 1 << 20)
                if "hello.magic" in case.fields:
                    self.assertEqual(Hello.decode(f.payload), Hello(
                        **case.part("hello"), name=case.data))
                if "attach.port" in case.fields:
                    self.assertEqual(Attach.decode(f.payload),
                                     Attach(**case.part("attach")))
                if "addr.family" in case.fields:
                    self.assertEqual(Addr.decode(f.payload),
                                     Addr(**case.part("addr")))

    def test_limits(self):
        _, limits = read_vectors()
        self.assertTrue(limits)
        for una, half, limit in limits:
            self.assertEqual(frames.send_limit(una, half), limit)

    def test_an_error_is_for_ever(self):
        reader = Reader(Side.BACKEND)
        reader.feed(Frame(99).encode())
        for _ in range(2):
            with self.assertRaises(FrameError):
                reader.next()
            reader.feed(Frame(frames.Type.PING).encode())


if __name__ == "__main__":
    unittest.main()
