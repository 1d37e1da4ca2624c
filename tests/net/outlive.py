# SPDX-License-Identifier: BSD-2-Clause
"""What outlives a process: looking at it, and a stand-in for systemd."""

import array
import json
import os
import socket
from pathlib import Path

from harness import equal, run

def link(name="xtcp0"):
    p = run("ip", "-j", "-d", "link", "show", "dev", name, check=False)
    return json.loads(p.stdout)[0] if p.returncode == 0 else None


def queues(name="xtcp0"):
    info = link(name)["linkinfo"]["info_data"]
    return info["numqueues"], info.get("numdisabled", 0)


def routes():
    """Our routes: (type, destination, device)."""
    found = []
    for family in "-4", "-6":
        text = run("ip", "-j", "-N", family, "route", "show", "table",
                   "main").stdout or "[]"
        found += [(r.get("type", "unicast"), r["dst"], r.get("dev"))
                  for r in json.loads(text) if r.get("protocol") == "120"]
    return sorted(found, key=str)


def is_blackhole(route):
    return route[0] in ("blackhole", "6")


def children(pid):
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(p) for p in text.split()]


def is_running(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rsplit(") ", 1)[1][0] not in "ZX"


class Manager:
    """Does what systemd does with a unit: a socket for notices, descriptors."""

    def __init__(self, directory):
        self.path = f"{directory}/notify.sock"
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.sock.setblocking(False)
        self.said = []
        self.kept = {}

    def hear(self):
        """All messages so far; what they store is kept."""
        while True:
            try:
                data, ancillary, _, _ = self.sock.recvmsg(
                    4096, socket.CMSG_SPACE(16))
            except BlockingIOError:
                return self.said
            fds = array.array("i")
            for level, kind, body in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds.frombytes(body[:len(body) - len(body) % 4])
            lines = dict(line.split("=", 1)
                         for line in data.decode().splitlines())
            if "FDSTOREREMOVE" in lines:
                for fd in self.kept.pop(lines["FDNAME"], []):
                    os.close(fd)
            if "FDSTORE" in lines:
                equal(lines["FDPOLL"], "0")
                self.kept.setdefault(lines["FDNAME"], []).extend(fds)
            self.said.append(lines)

    def heard(self, **what):
        return [m for m in self.hear() if what.items() <= m.items()]

    def close(self):
        for fds in self.kept.values():
            for fd in fds:
                os.close(fd)
        self.sock.close()
