#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""chat - an instant messaging room on xtcpd, to be copied from.

    /nick NAME      change your name
    /who            who is here
    /quit           leave
    anything else   goes to all others as "<name> text"

It keeps no half lines: the rest of a line that is on its way stays
unacknowledged, in conn.pending. The answer to a line carries the acknowledgement
of exactly that line. If this server dies, no line was lost: xtcpd has every
byte that wasn't processed, and gives it to the next instance, as `redelivered`.

Try it:  pool "chat" { group "im" { port = 5222 } }     in xtcpd.conf
         PYTHONPATH=../src ./chat.py -p 5222
         nc VIP 5222                                    twice
"""

import argparse
import asyncio
import itertools
import json
import signal
import sys

import xtcp

LINE_MAX = 1024  # bytes of a line; who sends longer ones is cut off
NICK_MAX = 31


class Room:
    def __init__(self, journal=None):
        self.nicks = {}  # by connection
        self.numbers = itertools.count(1)
        self.journal = journal

    def member(self, conn):
        """Its name; whoever is heard for the first time becomes a member."""
        if conn not in self.nicks:
            self.nicks[conn] = b"guest%d" % next(self.numbers)
        return self.nicks[conn]

    def say_to_others(self, but, text):
        """Whoever doesn't keep up is cut off."""
        for conn in [c for c in self.nicks if c is not but]:
            try:
                conn.push(text)
            except ConnectionError:
                del self.nicks[conn]
                conn.abort()

    def leave(self, conn):
        self.say_to_others(conn, b"* %s has left\n" % self.member(conn))
        del self.nicks[conn]
        conn.close()

    def line(self, conn, line):
        """One line of a member: the answer, and whether the member stays."""
        nick = self.member(conn)
        if line.startswith(b"/nick ") and line[6:]:
            new = line[6:6 + NICK_MAX]
            self.say_to_others(conn, b"* %s is now %s\n" % (nick, new))
            self.nicks[conn] = new
            return b"* you are %s\n" % new, True
        if line == b"/who":
            return b"".join(b"* %s\n" % n for n in self.nicks.values()), True
        if line == b"/quit":
            return b"* bye\n", False
        self.say_to_others(conn, b"<%s> %s\n" % (nick, line))
        return b"", True

    def data(self, conn):
        """Process the whole lines of what is pending, and acknowledge them."""
        stays = True
        while stays and (end := conn.pending.find(b"\n", 0, LINE_MAX)) >= 0:
            line = conn.pending[:end]
            self.note(conn, line)
            answer, stays = self.line(conn, line.removesuffix(b"\r"))
            # This line is processed: its bytes go with the answer.
            conn.reply(answer, ackd=end + 1)
        if not stays or len(conn.pending) >= LINE_MAX:
            self.leave(conn)

    def note(self, conn, line):
        """For who wants to know, in the end, what was processed twice."""
        if self.journal is None:
            return
        print(json.dumps({
            "epoch": conn.epoch, "conn": conn.id, "offset": conn.offset,
            "again": conn.offset < conn.redelivered,
            "line": line.decode("utf-8", "replace")}), file=self.journal,
            flush=True)

    def event(self, event):
        match event:
            case xtcp.Open(conn, waits):
                if waits:
                    conn.accept()
                self.say_to_others(
                    conn, b"* %s has joined\n" % self.member(conn))
            case xtcp.Data(conn):
                try:
                    self.data(conn)
                except ConnectionError:  # doesn't keep up with the answers
                    self.leave(conn)
            case xtcp.Eof(conn) | xtcp.Reset(conn):
                if conn in self.nicks:
                    self.leave(conn)


async def serve(args):
    room = Room(open(args.journal, "a") if args.journal else None)
    backend = await (xtcp.listen(args.listen) if args.listen
                     else xtcp.dial(args.port))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(
            number, lambda: asyncio.ensure_future(backend.close()))
    async with backend:
        async for event in backend:
            room.event(event)


HINTS = {
    FileNotFoundError: "is xtcpd running?",
    ConnectionRefusedError: "is xtcpd running?",
    PermissionError: "run as root, or as a member of the group of the socket",
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-p", "--port", type=int, default=5222)
    parser.add_argument("-l", "--listen", metavar="unix:PATH",
                        help="let xtcpd connect there instead")
    parser.add_argument("-j", "--journal", metavar="FILE",
                        help="note there each line that is processed")
    args = parser.parse_args()
    try:
        asyncio.run(serve(args))
    except (OSError, ValueError) as e:
        hint = HINTS.get(type(e))
        sys.exit(f"chat: {e}" + (f": {hint}" if hint else ""))


if __name__ == "__main__":
    main()
