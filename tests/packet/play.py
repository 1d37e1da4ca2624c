# SPDX-License-Identifier: BSD-2-Clause
"""Plays the cases of script.py, line by line, against a world.

A world is what xtcpd is for the script: virtual.py (the stack alone, with a
clock of its own) or live.py (a running daemon). Both give a
client's packets to the stack, hand out what it sent, and play the backend:
after each batch they take the events and the data as the daemon would.
"""

import re

from client import Client, Mismatch, describe
from script import (ScriptError, compare, number, split_op, string,
                    time_range_us, time_us)
from virtual import EVENTS, StackDied

TICK_US = 1100  # the timing wheel's grain, and a little
CONNECT = ["mss=1460", "ws=7", "sackok"]
GROUP_TIMES = ("deadline", "keepalive", "idle_timeout", "user_timeout",
               "accept_timeout")
GROUP_WORDS = {"ack": ("deferred", "delivered", "immediate"),
               "accept": ("auto", "application"),
               "congestion": ("cubic", "reno")}
ACK_WINDOW_AUTO = 0xffffffff


def group_settings(words):
    """group ack=immediate ... as the world takes it."""
    out = {}
    for word in words:
        name, _, value = split_op(word)
        if value is None:
            raise ValueError(f"{word}: KEY=VALUE")
        if name in GROUP_WORDS:
            value = GROUP_WORDS[name].index(value)
        elif name in GROUP_TIMES:
            value = time_us(value) if value != "0" else 0
        elif name == "window":
            value = ACK_WINDOW_AUTO if value == "auto" else int(value)
        if name in ("window", "deadline"):
            name = "ack_" + name
        out[name] = int(value)
    return out


class Play:
    """One case on its way."""

    def __init__(self, world, case):
        self.world, self.case = world, case
        self.trace = []
        self.batch = []
        self.clients = {}
        self.group = {}
        self.last_isn = None

    @property
    def now_us(self):
        return self.world.now_us

    def clock_ms(self):
        return self.world.clock_us() // 1000

    def say(self, arrow, text, at_us=None):
        name = f"{self.client.name} " if len(self.clients) > 1 else ""
        at_s = ((at_us or self.now_us) - self.start_us) / 1e6
        self.trace.append(f"{at_s:11.6f} {name}{arrow} {text}")

    def run(self):
        """Raises Mismatch, ScriptError or StackDied with the line in it."""
        self.world.begin(self)
        self.start_us = self.mark_us = self.now_us
        self.do_client(["a"])
        line = None
        try:
            for line in self.case.lines:
                self.step(line)
            self.end()
            self.world.finish()
        except (Mismatch, StackDied, ScriptError) as e:
            e.line = line
            self.world.abandon()
            raise
        except (ValueError, IndexError, KeyError, TypeError) as e:
            self.world.abandon()
            raise ScriptError(f"{line.where}: {type(e).__name__} {e}: "
                              f"{line.text.strip()}") from e

    def end(self):
        """Nothing may be left over."""
        left = self.world.leftovers()
        if left:
            p = left[0]
            raise Mismatch(f"at the end {len(left)} packets are left, the "
                           f"first: {describe(p)}")
        for client in self.clients.values():
            if client.undrained and not client.eager:
                raise Mismatch(f"at the end {len(client.undrained)} bytes were "
                               "delivered that no line speaks of")

    def step(self, line):
        words = line.words
        verbs = {">": self.do_send, ">>": self.do_batch, "<": self.do_expect}
        do = verbs.get(words[0]) or getattr(self, "do_" + words[0], None)
        if not do:
            line.fail("no such line")
        do(words[1:])

    # --- settings

    def do_set(self, words):
        self.world.set_limits(words)

    def do_pool(self, words):
        self.world.set_pool(words)

    def do_group(self, words):
        settings = group_settings(words)
        if settings.get("id", 1) == 1:
            self.group.update(settings)
            settings = self.group
        self.world.set_group(settings)

    def do_unit(self, words):
        self.client.unit = int(words[0])

    def do_client(self, words):
        name = words[0]
        spoke = name in self.clients and self.clients[name].snd_nxt
        if name not in self.clients or len(words) > 1 and not spoke:
            how = {}
            for word in words[1:]:
                key, _, value = split_op(word)
                how[key] = True if value is None else \
                    value if key in ("addr", "vip") else int(value, 0)
            how.setdefault("port", 20000 + len(self.clients) - (
                name in self.clients))
            self.clients[name] = Client(name, self.clock_ms, **how)
            self.world.add_client(self.clients[name])
        elif len(words) > 1:
            raise ValueError("this client is there already")
        self.client = self.clients[name]

    # --- packets and time

    def do_connect(self, words):
        rtt = [w for w in words if w.startswith("rtt=")]
        options = [w for w in words if w not in rtt]
        if "ts" in options and len(options) == 1:
            options = CONNECT + ["ts"]
        self.do_send(["S"] + (options or CONNECT))
        self.do_expect(["SA", "seq=0", "ack=1"])
        if rtt:
            self.do_wait([rtt[0][4:]])
        self.do_send(["A"])
        self.world.connected(self.client)

    def do_send(self, words):
        client = self.client
        if words[0] == "S" and client.snd_nxt and "seq=" not in " ".join(words):
            raise ValueError("the connection is open: use another client, or "
                             "`again`")
        packets = client.build(words)
        self.say(">", " ".join(words))
        if self.batch:
            self.world.turn(self.batch + packets)
            self.batch = []
        else:
            for i, p in enumerate(packets):
                if i:
                    self.world.between()
                self.world.turn([p])
        self.mark_us = self.now_us

    def do_batch(self, words):
        self.say(">>", " ".join(words))
        self.batch += self.client.build(words)

    def do_again(self, words):
        """The client begins anew, from the same port."""
        old = self.client
        isn = int(words[0].split("=")[1], 0) if words else \
            (old.isn + old.snd_nxt + 1000) % (1 << 32)
        irs, unit = old.irs, old.unit
        old.isn = isn
        old.fresh()
        old.irs, old.unit = irs, unit

    def do_expect(self, words):
        after = words.index("after") if "after" in words else None
        least, most = 0, 0
        if after is not None:
            least, most = time_range_us(words[after + 1])
            most += TICK_US
            words = words[:after] + words[after + 2:]
        if words[0] == "any":
            self.expect_any()
            return
        for seq, size in self.client.expected_ranges(words):
            p = self.expect_one(words, seq, size, most)
            took = p.at_us - self.mark_us
            if self.world.exact and not least <= took <= most:
                raise Mismatch(f"it came after {took} us")
            least, most = 0, 0
            self.mark_us = p.at_us
            if "S" in p.flags and "A" in p.flags:
                self.isn_before, self.last_isn = self.last_isn, self.client.irs

    def expect_one(self, words, seq, size, most):
        """The next packet, which has to be as the line says."""
        while True:
            p = self.world.receive(self.client, words[0] == "icmp",
                                   self.mark_us + most - self.now_us, True)
            if p is None:
                raise Mismatch("nothing was sent" +
                               (f" within {most} us" if most else ""))
            try:
                self.client.match(words, p, seq, size)
                self.world.saw(self.client, p)
                return p
            except Mismatch:
                if not self.world.ignorable(self.client, p):
                    raise
            finally:
                self.say("<", describe(p), p.at_us)

    def expect_any(self):
        """Whatever came, if anything: only its payload is compared."""
        while True:
            p = self.world.receive(self.client, False, 0)
            if p is None:
                return
            self.client.relative(p)
            self.say("<", describe(p), p.at_us)
            self.client.check_payload(p)
            self.client.count(p)
            self.world.saw(self.client, p)

    def do_quiet(self, words):
        if words:
            self.world.pass_quiet(time_us(words[0]))
            self.mark_us = self.now_us
        p = self.world.receive(self.client, False, 0)
        if p:
            self.client.relative(p)
            self.say("<", describe(p), p.at_us)
            if not self.world.ignorable(self.client, p):
                raise Mismatch(f"this was sent: {describe(p)}")

    def do_wait(self, words):
        self.world.pass_time(time_us(words[0]))
        self.mark_us = self.now_us

    def do_skip(self, words):
        self.world.pass_time(time_us(words[0]), leap=True)
        self.mark_us = self.now_us

    # --- looking inside

    def do_state(self, words):
        if not self.world.exact:
            return
        got = self.world.info(self.client)["state"]
        if got != words[0]:
            raise Mismatch(f"the state is {got}")

    def do_counter(self, words):
        if not self.world.exact:
            return
        name, op, want = (words[0], "=", words[1]) if words[1:] else \
            split_op(words[0])
        got = self.world.counter(name)
        if not compare(got, op, number(want, self.client.unit)):
            raise Mismatch(f"counter {name} is {got}")

    def do_info(self, words):
        if not self.world.exact:
            return
        info = self.world.info(self.client)
        for word in words:
            name, op, value = split_op(word)
            want = time_us(value) if re.search("[a-z]$", value) else \
                number(value, self.client.unit)
            if not compare(int(info[name]), op, want):
                raise Mismatch(f"{name} is {info[name]}")

    def do_isn(self, words):
        if not self.world.exact:
            return
        got = (self.last_isn - self.isn_before) % (1 << 32)
        if compare(got, "=", int(words[-1])) != (words[0] != "!="):
            raise Mismatch(f"the ISN moved by {got}")

    # --- the backend

    def do_backend(self, words):
        verb, args = words[0], words[1:]
        do = getattr(self, "back_" + verb, None)
        if do:
            do(args)
        elif verb in ("close", "shutdown", "abort", "accept", "refuse", "lost"):
            self.world.backend(self.client, verb)
        else:
            raise ValueError(f"no such verb {verb}")
        self.mark_us = self.now_us

    def amount(self, word, first):
        """The data that a backend line speaks of."""
        if word.startswith('"'):
            return string(word)
        n = number(word, self.client.unit)
        return bytes((p * 31 + (p >> 8) + 7) & 0xff for p in range(first, first + n))

    def back_data(self, args):
        client = self.client
        self.world.settle_data(client, len(self.amount(args[0], 0)))
        first = client.delivered - len(client.undrained)
        got, client.undrained = bytes(client.undrained), bytearray()
        want = string(args[0]) if args[0].startswith('"') else bytes(
            client.said.get(1 + first + i, 0)
            for i in range(number(args[0], client.unit)))
        if got != want:
            raise Mismatch(f"{len(got)} bytes were delivered, "
                           f"{len(want)} were to be: {got[:40]!r}")

    def back_nothing(self, args):
        self.world.settle()
        if self.client.undrained:
            raise Mismatch(f"{len(self.client.undrained)} bytes were delivered")

    def back_send(self, args):
        data = self.amount(args[0], len(self.client.replies))
        self.say("|", f"the backend sends {len(data)}")
        took = self.world.reply(self.client, 0, data)
        if took != len(data):
            raise Mismatch(f"{took} bytes of {len(data)} were taken")

    def back_ack(self, args):
        self.world.settle_said(self.client)
        n = self.client.delivered - self.client.acked
        if args:
            n = number(args[0], self.client.unit)
        self.say("|", f"the backend acknowledges {n}")
        self.client.undrained.clear()
        self.world.reply(self.client, n, b"")

    def back_reply(self, args):
        self.world.settle_said(self.client)
        n = self.client.delivered - self.client.acked
        for word in args[1:]:
            name, _, value = split_op(word)
            if name != "ackd":
                raise ValueError(f"unknown word {word}")
            n = number(value, self.client.unit)
        data = self.amount(args[0], len(self.client.replies))
        self.say("|", f"the backend acknowledges {n}, sends {len(data)}")
        self.client.undrained.clear()
        took = self.world.reply(self.client, n, data)
        if took != len(data):
            raise Mismatch(f"{took} bytes of {len(data)} were taken")

    def back_event(self, args):
        if args[0] not in EVENTS:
            raise ValueError("no such event")
        self.world.settle_event(self.client, args[0])
        if args[0] not in self.client.events:
            raise Mismatch(f"not told of {args[0]}, but of "
                           f"{sorted(self.client.events)}")
        self.client.events.discard(args[0])

    def back_eager(self, args):
        self.client.eager = True

    def back_lazy(self, args):
        self.client.eager = False

    def back_busy(self, args):
        self.client.busy = True

    def back_ready(self, args):
        self.client.busy = False
        self.world.ready(self.client)
