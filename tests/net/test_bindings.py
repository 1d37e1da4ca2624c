#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The chat servers in Python and Node behind a running xtcpd.

The daemon is killed: nobody may notice; each message reaches everybody once,
and in order. The server is killed: each message is processed, and one that is
processed again is known by its position.
"""

import contextlib
import os
import random
import signal
import tempfile

import harness
from harness import Net, equal, serial, timeout, wait_attached
from chatters import Chat, Crowd
from killing import Mortal
from runner import note

PORTS = {"python": 5222, "node": 5223}
PEOPLE = 50
MESSAGES = 20


def daemon(workers, directory=None):
    """directory: xtcpd dials the servers, which listen there, and these
    decide on each connection."""
    groups = {name: {"port": port, "announce": True}
              for name, port in PORTS.items()}
    if directory:
        groups = {name: {"port": port, "accept": "application", "backend": {
            "a": {"address": f"unix:{directory}/{name}"}}}
            for name, port in PORTS.items()}
    return Mortal(groups, workers=workers)


@contextlib.contextmanager
def rooms(workers, directory=None):
    """The daemon, and by language the server and its clients, all in."""
    with Net(), daemon(workers, directory) as d, \
            contextlib.ExitStack() as stack:
        found = {}
        for name, port in PORTS.items():
            chat = stack.enter_context(Chat(
                name, d, port, directory and f"{directory}/{name}"))
            wait_attached(d, group=name)
            crowd = stack.enter_context(Crowd(port, PEOPLE))
            crowd.enter()
            found[name] = chat, crowd
        yield d, found


def all_heard_once(crowd, n):
    """Everybody has heard n messages of everybody else, once and in order."""
    for c in crowd.clients:
        for other in crowd.clients:
            want = [] if other is c else list(range(n))
            equal(c.order[other.number], want,
                  f"what {c.number} heard of {other.number}")


def processed_once(chat, crowd):
    """... and the server has processed each of their lines once."""
    found = {}
    for entry in chat.journal(1):
        key = entry["conn"], entry["offset"]
        if key in found:
            raise AssertionError(f"processed twice: {entry}")
        found[key] = entry["line"].encode()
    wanted = sorted((at, line) for c in crowd.clients
                    for at, line in c.said.items())
    equal(sorted((at, line) for (_, at), line in found.items()), wanted)


def pump_all(found, what, condition):
    crowds = [crowd for _, crowd in found.values()]

    def each():
        for crowd in crowds[1:]:
            crowd.pump(0.005)
        return condition()
    crowds[0].until(what, each)


def daemon_is_killed(*args):
    with rooms(*args) as (d, found):
        crowds = [crowd for _, crowd in found.values()]
        share = PEOPLE * (PEOPLE - 1) * MESSAGES
        for kill in range(3):
            for crowd in crowds:
                crowd.all_say(MESSAGES)
            # in the midst of it, and at the end once more in silence
            some = share * kill + share // 4 * (kill + 1)
            pump_all(found, "some were heard",
                     lambda: all(c.deliveries() >= some for c in crowds))
            d.murder()
            equal(d.serving()["lost_in_recovery"], 0)
            pump_all(found, "all were heard", lambda: all(
                c.deliveries() >= share * (kill + 1) for c in crowds))
        for chat, crowd in found.values():
            crowd.settled()
            all_heard_once(crowd, 3 * MESSAGES)
            processed_once(chat, crowd)
        note(f"{3 * share * len(crowds)} deliveries, 3 kills")


@serial
@timeout(240)
def test_daemon_is_killed_and_nobody_notices():
    daemon_is_killed(2)


@serial
@timeout(240)
def test_daemon_that_dials_is_killed_and_nobody_notices():
    with tempfile.TemporaryDirectory(prefix="listen-") as directory:
        daemon_is_killed(2, directory)


class Lives:
    """What became of each line, over the lives of a server."""

    def __init__(self, chat, crowd):
        self.last = {}  # (client, number): who else is known where it ended
        self.times = {}  # (client, number): how often it was processed
        self.twice = self.again = 0
        self.clients = {}  # conn: client
        seen = {}
        for life, journal in enumerate(chat.journals()):
            # the first one was told of everybody who came
            known = set() if life else {c.number for c in crowd.clients}
            for entry in journal:
                self.entry(entry, seen, known, crowd)
        for c in crowd.clients:
            said = {(c.number, at) for at in c.said}
            equal({k for k in seen if k[0] == c.number}, said,
                  f"lines of {c.number} that were processed")

    def entry(self, entry, seen, known, crowd):
        line, at = entry["line"].encode(), entry["offset"]
        who = self.who(entry["conn"], line)
        equal(line, crowd.clients[who].said.get(at), f"at {at} of {who}")
        if (who, at) in seen:
            equal(entry["again"], True, f"{entry} comes again, and is known")
            self.twice += 1
        seen[who, at] = True
        self.again += entry["again"]
        known.add(who)
        if line.startswith(b"m "):
            key = who, int(line.split()[2])
            self.last[key] = known - {who}
            self.times[key] = self.times.get(key, 0) + 1

    def who(self, conn, line):
        """Whose connection it is: each line tells it."""
        number = int(line.split()[1].lstrip(b"c"))
        equal(self.clients.setdefault(conn, number), number,
              "whose connection it is")
        return number

    def check_heard(self, crowd):
        """Who was in the room heard it, and nobody more often than it was
        said."""
        for (sender, number), known in self.last.items():
            for c in crowd.clients:
                n = c.heard[sender, number]
                if c.number in known and n < 1 or \
                        n > self.times[sender, number]:
                    raise AssertionError(
                        f"{c.number} heard message {number} of {sender} {n} "
                        f"times, and it was processed "
                        f"{self.times[sender, number]} times")


def server_is_killed(name):
    seed = int(os.environ.get("XTCP_TEST_SEED",
                              random.SystemRandom().randrange(1 << 31)))
    note(f"seed {seed}")
    rng = random.Random(seed)
    with Net(), daemon(1) as d, Chat(name, d, PORTS[name]) as chat:
        wait_attached(d, group=name)
        with Crowd(PORTS[name], PEOPLE) as crowd:
            crowd.enter()
            for kill in range(6):
                crowd.all_say(MESSAGES)
                if kill == 0:
                    # lines that the first life is given and never looks at
                    os.kill(chat.pid, signal.SIGSTOP)
                    crowd.until("they are with xtcpd", lambda: d.memory()[
                        "receive_pool_bytes"] > 0 and not any(
                            c.to_send for c in crowd.clients))
                else:
                    lines = rng.randrange(1, PEOPLE * MESSAGES)
                    crowd.until(f"{lines} lines are processed", lambda: len(
                        chat.journal(chat.lives)) >= lines)
                chat.again()
            crowd.settled()
            # a last word, which everybody hears behind all others
            crowd.enter()
            crowd.all_say(1)
            crowd.until("the last is heard", lambda: all(
                c.heard[o.number, o.messages - 1]
                for c in crowd.clients for o in crowd.clients if o is not c))
            lives = Lives(chat, crowd)
            lives.check_heard(crowd)
            if not lives.again:
                raise AssertionError("nothing was delivered again: no kill "
                                     "struck, and nothing was shown")
            note(f"{name}: {len(lives.times)} messages, delivered again "
                 f"{lives.again}, processed twice {lives.twice}")


@serial
@timeout(240)
def test_python_server_is_killed():
    server_is_killed("python")


@serial
@timeout(240)
def test_node_server_is_killed():
    server_is_killed("node")


if __name__ == "__main__":
    harness.main(globals())
