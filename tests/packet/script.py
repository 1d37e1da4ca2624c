# SPDX-License-Identifier: BSD-2-Clause
"""The language of tests/packet/scripts: what a line says, taken apart.

A file holds cases. A case is a client's connection told packet by packet; `>`
is what the client sends, `<` what must come back next:

    case rfc5961-3.2-rst-within-the-window-is-challenged
      clause RFC 5961 3.2, RFC 9293 3.10.7.4
      group ack=immediate
      connect
      > R seq=11
      < A seq=1 ack=1
      > PA "hello"             # still alive
      backend data "hello"

What is not stated is not compared, but for these: `<` takes the very next
packet of the connection, its flags must be those stated (but for PSH), it has
no payload unless one is stated, and payload must be what the backend sent.
At the end of a case nothing may be left over, neither packets nor data.

Numbers. Sequence numbers are relative: 0 is the SYN of who sends, 1 its first
byte. `#k` is the first byte of the k-th full segment, and as a range the
segment itself; `unit` is the size of one (what the client's MSS leaves for
data, unless `unit N` says otherwise). Sums and products: #3+100, 4*1460.
Ranges: 1:11 (the end not included), #2, #2..#5. A range longer than a unit is
a series of full segments, in order. Times: 40ms, 1.5s, 2min, 2h, 25d; also
ranges, 40ms..80ms.

Lines of a case:

    clause RFC N SECTION[, ...]   what it shows; first line
    pending WHY             known to fail: not counted, until it passes
    only virtual WHY        needs the stack alone, not a running daemon
    set KEY=N ...           limits of the stack: mtu, half_open_max, connections,
                            rcv_window_max, snd_queue_max, ooo_chunks_max,
                            half_open_cookies, half_open_per_source,
                            syn_cookies (0 auto, 1 always, 2 never)
    pool BYTES [HIGH LOW]   the receive pool, per cent
    group KEY=VALUE ...     ack accept announce window deadline keepalive
                            idle_timeout user_timeout accept_timeout id port
                            priority max_connections max_per_source draining
                            congestion ecn
    unit N
    client NAME [v6] [port=N] [addr=A] [vip=A] [to=N] [isn=N] [window=BYTES]
                            from here on this client speaks; `a` is there at
                            the start; vip, to: our address and port
    again [isn=N]           it begins anew, from the same port
    connect [OPTIONS] [rtt=T]   a handshake; options as of `> S`; without any:
                            mss=1460 ws=7 sackok
    wait T                  time passes; timers go off
    skip T                  likewise, at one leap
    quiet [T]               nothing is sent, for so long
    state NAME              of the connection; NONE: there is none
    counter NAME N | NAME<OP>N  since the case began
    info NAME<OP>N          of stack_conn_info(): cwnd, ssthresh, rto, srtt ...
                            (bytes, microseconds), OP one of = < > <= >= !=
    isn N | isn != N        our ISN is N after that of the last handshake

    > FLAGS [RANGE] [WORDS]     the client sends; FLAGS of SFRPAUEW or 0
    >> FLAGS ...                likewise, in one batch with the next `>`
    > icmp TYPE/CODE [mtu=N] [quote=RANGE] [quotelen=N] [from=A] ["data"]
    > raw HEX
      words: "text" | len=N   payload; seq=N (default: goes on after all that
             was sent without seq=); ack=N (default: all that came in order);
             win=N (field) or wnd=N (bytes);
             urg=N xN (N times);
             options: mss=N ws=N sackok ts=VAL,ECR -ts sack=R,R opt=HEX -opts
             faults: badsum badipsum doff=N reserved=N
             IP: ect0 ect1 ce ttl=N ipopt=HEX ext=hbh|dst|rt|rtleft
             frag=A-B,C-D,...  bytes of the IP payload, as fragments, so ordered
    < FLAGS [RANGE] [WORDS]
      words: "text" | len=N, seq=N ack=N win<OP>N wnd<OP>N, xN,
             mss=N ws=N sackok -sackok -ws -mss ts -ts tsecr=N tsval=+N (since
             the packet before) sack=R,R -sack -opts psh -psh
             ect0 ect1 ce notect df -df ttl=N,
             lost     the client never saw it
             after T  came so long after the line before (exactly, but for a
                      tick of the timing wheel), or within a range of times
    < icmp TYPE/CODE ["data"]
    < any                   whatever was sent up to now

    backend data "text" | N     delivered since last asked, all of it
    backend nothing             no data was
    backend send N | "text"     a push: acknowledges nothing
    backend ack [N]             has processed N bytes, or all there are
    backend reply N | "text" [ackd=N]   both in one
    backend event NAME          open data eof reset acked: it was told
    backend close | shutdown | abort | accept | refuse | lost
    backend eager | lazy        acknowledges all at once; no longer
    backend busy | ready        takes no deliveries; takes them again
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

TIME_US = {"us": 1, "ms": 1000, "s": 10**6, "min": 60 * 10**6,
           "h": 3600 * 10**6, "d": 86400 * 10**6}
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')
OPERATORS = ("<=", ">=", "!=", "=", "<", ">")


class ScriptError(Exception):
    """The script itself is wrong."""


@dataclass
class Line:
    """One line of a case: its words, and where it stands."""
    where: str
    text: str
    words: list

    def fail(self, why):
        raise ScriptError(f"{self.where}: {why}: {self.text.strip()}")


@dataclass
class Case:
    name: str
    where: str
    clauses: list = field(default_factory=list)
    pending: str = ""
    virtual: str = ""  # why it needs the stack alone
    lines: list = field(default_factory=list)


def time_us(text):
    """Microseconds of 40ms, 1.5s ..."""
    m = re.fullmatch(r"([\d.]+)(us|ms|s|min|h|d)", text)
    if not m:
        raise ValueError(f"no time: {text}")
    return round(float(m[1]) * TIME_US[m[2]])


def time_range_us(text):
    """(least, most); both the same for a single time."""
    parts = text.split("..")
    return time_us(parts[0]), time_us(parts[-1])


def number(text, unit):
    """A sum of products of numbers and #k."""
    total, sign = 0, 1
    for part in re.findall(r"[+-]|[^+-]+", text):
        if part in "+-":
            sign = -1 if part == "-" else 1
            continue
        product = 1
        for factor in part.split("*"):
            if factor.startswith("#"):
                product *= 1 + (int(factor[1:]) - 1) * unit
            else:
                product *= int(factor, 0)
        total += sign * product
    return total


def seq_range(text, unit):
    """(first, end) of A:B, #k, #k..#m."""
    if ".." in text:
        first, last = text.split("..")
        return number(first, unit), number(last, unit) + unit
    if ":" in text:
        first, end = text.split(":")
        return number(first, unit), number(end, unit)
    if text.startswith("#"):
        return number(text, unit), number(text, unit) + unit
    raise ValueError(f"no range: {text}")


def is_range(text):
    return bool(re.match(r"#\d+(\.\.#\d+)?$", text) or
                re.match(r"[\d#+*-]+:[\d#+*-]+$", text))


def string(text):
    """The bytes of a quoted word."""
    return text[1:-1].encode().decode("unicode_escape").encode("latin-1")


def split_op(word):
    """(name, operator, value) of name<OP>value; value None without one."""
    for op in OPERATORS:
        name, found, value = word.partition(op)
        if found and re.fullmatch(r"-?\w+", name):
            return name, op, value
    return word, "", None


def compare(got, op, want):
    return {"=": got == want, "!=": got != want, "<": got < want,
            ">": got > want, "<=": got <= want, ">=": got >= want}[op]


def strip_comment(text):
    """Without a comment; # is one at the beginning or before a space."""
    out, quoted = [], False
    for i, c in enumerate(text):
        if c == '"' and text[i - 1:i] != "\\":
            quoted = not quoted
        alone = text[i + 1:i + 2] in ("", " ", "#")
        if c == "#" and not quoted and alone:
            break
        out.append(c)
    return "".join(out).rstrip()


def take_heading(case, line):
    """Lines that say something about the case; False: it is another one."""
    word = line.words[0]
    if word == "clause":
        rest = " ".join(line.words[1:])
        case.clauses += [c.strip() for c in rest.split(",")]
        for c in case.clauses:
            if not re.fullmatch(r"RFC \d+( [\w.-]+)?", c):
                line.fail("a clause is RFC N SECTION")
    elif word == "pending":
        case.pending = " ".join(line.words[1:])
    elif word == "only":
        case.virtual = " ".join(line.words[2:])
        if line.words[1:2] != ["virtual"] or not case.virtual:
            line.fail("only virtual WHY")
    else:
        return False
    return True


def parse(path):
    """The cases of one file."""
    cases = []
    for n, text in enumerate(Path(path).read_text().splitlines(), 1):
        bare = strip_comment(text)
        if not bare.strip():
            continue
        line = Line(f"{Path(path).name}:{n}", bare, TOKEN.findall(bare))
        if not bare.startswith(" "):
            if line.words[0] != "case" or len(line.words) != 2:
                line.fail("case NAME, or an indented line of one")
            if not re.fullmatch(r"[a-z0-9.-]+", line.words[1]):
                line.fail("a name is of a-z 0-9 . -")
            cases.append(Case(line.words[1], line.where))
            continue
        if not cases:
            line.fail("no case yet")
        if not take_heading(cases[-1], line):
            cases[-1].lines.append(line)
    for case in cases:
        if not case.clauses or not case.lines:
            raise ScriptError(f"{case.where}: {case.name}: no clause, or empty")
    return cases


def load(paths):
    """All cases of several files; names are unique."""
    cases, seen = [], {}
    for path in sorted(paths):
        for case in parse(path):
            if case.name in seen:
                raise ScriptError(f"{case.where}: {case.name} is also at "
                                  f"{seen[case.name]}")
            seen[case.name] = case.where
            cases.append(case)
    return cases
