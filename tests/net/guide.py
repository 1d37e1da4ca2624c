# SPDX-License-Identifier: BSD-2-Clause
"""Documents whose commands are run: what test_guide.py reads, and where it runs.

A page is Markdown. Its fenced blocks are done in their order, by language:

    ```sh        commands, by bash -eu -o pipefail; all have to go well
    ```console   "$ COMMAND", and behind it what it prints; "..." stands for
                 any text, or alone for any lines
    ```text      a picture; nothing is done
    others       need a comment that says what they are for

A comment before a block, words separated by spaces, says more:

    <!-- test: file PATH -->        write the block to PATH
    <!-- test: conf group|pool -->  the lines are good in a group (a pool)
    <!-- test: client -->           on the client's machine
    <!-- test: until -->            repeat until it prints what it should
    <!-- test: numbers -->          other numbers, and so widths, will do
    <!-- test: background -->       runs until the page ends
    <!-- test: skip WHY -->         cannot be run here; counted, and printed

A comment "<!-- run" has commands of its own, up to "-->": what a reader does not
need to see, such as waiting. An unknown word is an error, as is a block that
nothing is known of.
"""

import fcntl
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from harness import BUILD, TOP, run, wait_for
from nspawn import Machine
from runner import note

GUIDE = TOP / "doc/guide"
WITHIN_S = 30
COMMAND_S = 60
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
WORDS = {"file": 1, "conf": 1, "client": 0, "until": 0, "numbers": 0,
         "background": 0, "capture": 1}
# What a part of a configuration stands in when it is checked.
CONF = 'tun "xtcp0" { vip = {"192.0.2.10", "2001:db8::10"} }\n%s\n'
CONF_IN = {
    "file": CONF,
    "pool": CONF % 'pool "a" {\n%s\n}',
    "group": CONF % 'pool "a" {\ngroup "a" {\nport = 1\n%s\n}\n}',
}


@dataclass
class Block:
    page: str
    line: int  # of its fence, or of the comment
    language: str  # "run" for a comment's commands
    text: str
    words: dict = field(default_factory=dict)
    why: str = ""  # it is not run

    @property
    def where(self):
        return f"{self.page}:{self.line}"


def words_of(text, where):
    """(words, why) of a comment's text."""
    if text.startswith("skip "):
        return {}, text[5:].strip()
    found, rest = {}, text.split()
    while rest:
        word = rest.pop(0)
        if word not in WORDS or len(rest) < WORDS[word]:
            raise AssertionError(f"{where}: {word!r} of \"test: {text}\"")
        found[word] = rest.pop(0) if WORDS[word] else True
    return found, ""


def check_block(b):
    if not b.why and b.language not in ("sh", "console", "text", "run") and \
            not {"file", "conf", "capture"} & set(b.words):
        raise AssertionError(f"{b.where}: what is this block for?")
    return b


def read_blocks(path):
    """All blocks of a page, in their order."""
    name = str(path.relative_to(TOP))
    blocks, lines = [], path.read_text().splitlines()
    words, why, n = {}, "", 0
    while n < len(lines):
        line, start = lines[n], n + 1
        n += 1
        if m := re.fullmatch(r"<!-- test: (.*) -->", line):
            words, why = words_of(m[1], f"{name}:{start}")
            if n == len(lines) or not lines[n].startswith("```"):
                raise AssertionError(f"{name}:{start}: no block behind it")
            continue
        m = re.fullmatch(r"```(\w*)", line)
        if m or line == "<!-- run":
            end = lines.index("```" if m else "-->", n)
            blocks.append(check_block(Block(
                name, start, m[1] if m else "run",
                "\n".join(lines[n:end]) + "\n", words, why)))
            n, words, why = end + 1, {}, ""
        elif re.match(r"(    |\t)\S", line) and not lines[n - 2].strip():
            raise AssertionError(f"{name}:{start}: an indented block; fence it")
    return blocks


def commands_of(block):
    """[(command, wanted output or None)]"""
    if block.language != "console":
        return [(block.text, None)]
    found = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append([line[2:], ""])
        elif not found:
            raise AssertionError(f"{block.where}: output without a command")
        elif found[-1][0].endswith("\\"):
            found[-1][0] += "\n" + line
        else:
            found[-1][1] += line + "\n"
    return found


def pattern_of(wanted, numbers):
    """What the output of a command has to match, whole."""
    def part(text):
        text = re.escape(text)
        if numbers:
            text = re.sub(r"\d+(\\\.\d+)?", r"[0-9.]+", text)
            text = re.sub(r"(\\ )+", r" +", text)
        return text
    lines = [(r"(?:.*\n)*?" if line == "..." else
              ".*?".join(map(part, line.split("..."))) + r" *\n")
             for line in (x.rstrip() for x in wanted.splitlines())]
    return re.compile("".join(lines))


class Stage:
    """What is installed as the Debian packages do it, once for a program.

    By the first test that needs it; the tests are processes of their own.
    """

    path = None
    build = BUILD / "tests/guide"

    @classmethod
    def get(cls):
        with open(f"{cls.path}/lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            root = Path(cls.path) / "root"
            if not (root / "usr/src/xtcpd/examples/ledger").exists():
                cls.make(root)
            return root

    @classmethod
    def make(cls, root):
        """In a build of its own, as the paths are built in."""
        cls.build.mkdir(parents=True, exist_ok=True)
        if not (cls.build / "Makefile").exists():
            run(TOP / "configure", "-q", "--prefix=/usr", "--sysconfdir=/etc",
                "--disable-lto", "CFLAGS=-O1", cwd=cls.build, timeout=300)
        run("make", "-s", "-j2", "-C", cls.build, timeout=600)
        run("make", "-s", "-C", cls.build, "install", f"DESTDIR={root}",
            timeout=240)
        source = root / "usr/src/xtcpd"
        source.mkdir(parents=True)
        for name in "bindings", "contrib", "doc", "etc", "examples":
            shutil.copytree(TOP / name, source / name)
        for name in "chat", "ledger":
            run(cls.build / "libtool", "--mode=install", "install",
                cls.build / "examples" / name, source / "examples" / name)


# A machine at a network, with a client at the other end of it.
NETWORK = """
ip netns add client
ip link add eth0 type veth peer name eth0 netns client
ip addr add 198.51.100.1/24 dev eth0
ip addr add 2001:db8:1::1/64 dev eth0 nodad
ip link set eth0 up
ip -n client link set lo up
ip -n client addr add 198.51.100.7/24 dev eth0
ip -n client addr add 2001:db8:1::7/64 dev eth0 nodad
ip -n client link set eth0 up
ip -n client route add default via 198.51.100.1
ip -n client -6 route add default via 2001:db8:1::1
"""


class Reader(Machine):
    """Somebody who does what a page says, in a machine of its own."""

    def __init__(self):
        super().__init__(Stage.get())
        self.background = []
        self.done = self.skipped = 0

    def __enter__(self):
        super().__enter__()
        # systemd's own programs are asked by the units that a page starts
        for unit in "redis-server", "nginx", "mosquitto":
            Path(f"{self.root}/etc/systemd/system/{unit}.service").unlink(
                missing_ok=True)
        self.boot()
        self.bash(NETWORK)
        return self

    def command(self, script, client=False):
        where = ["ip", "netns", "exec", "client"] if client else []
        return ["nsenter", "-t", str(self.leader), "-a", "env", "-i",
                "--chdir=/usr/src/xtcpd", f"PATH={PATH}", "HOME=/tmp",
                "LANG=C.UTF-8", "TERM=screen", *where, "bash", "-eu", "-o",
                "pipefail", "-c", script]

    def bash(self, script, client=False, check=True):
        return run(*self.command(script, client), check=check,
                   timeout=COMMAND_S)

    def start(self, block):
        self.background.append(subprocess.Popen(
            self.command(block.text, "client" in block.words),
            stdin=subprocess.DEVNULL, stdout=self.console,
            stderr=self.console))

    def obey(self, block, command, wanted):
        """Run it; what it prints has to be what is wanted."""
        client = "client" in block.words
        if wanted is None and "until" not in block.words:
            self.bash(command, client)
            return
        pattern = pattern_of(wanted or "", "numbers" in block.words)
        last = None

        def good():
            nonlocal last
            last = self.bash(command, client, check=False)
            return (last.returncode == 0 or wanted is not None) and \
                (wanted is None or pattern.fullmatch(last.stdout + last.stderr))
        try:
            if "until" in block.words:
                wait_for(command, good, within=WITHIN_S, every=0.2)
            elif not good():
                raise AssertionError("it printed something else")
        except AssertionError as e:
            raise AssertionError(
                f"{block.where}: {e}: {command}: status {last.returncode}:\n"
                f"{last.stdout}{last.stderr}") from None

    def check_conf(self, block):
        text = CONF_IN[block.words["conf"]] % block.text
        self.write("srv/part.conf", text)
        self.bash("xtcpd -t -c /srv/part.conf")

    def do(self, block):
        if block.why:
            self.skipped += 1
            note(f"not run: {block.where}: {block.why}")
        elif "file" in block.words:
            self.write(block.words["file"].lstrip("/"), block.text)
        elif "conf" in block.words:
            self.check_conf(block)
        elif block.language == "text" or "capture" in block.words:
            return
        elif "background" in block.words:
            self.start(block)
        else:
            try:
                for command, wanted in commands_of(block):
                    self.obey(block, command, wanted)
            except AssertionError as e:
                raise AssertionError(f"{block.where}: {e}") from None
        self.done += not block.why

    def read(self, path):
        """Do all of a page."""
        for block in read_blocks(path):
            self.do(block)
        note(f"{path.name}: {self.done} blocks done, {self.skipped} not")
        if not self.done:
            raise AssertionError(f"nothing of {path} was run")

    def __exit__(self, kind, value, tb):
        for p in self.background:
            p.kill()
            p.wait()
        super().__exit__(kind, value, tb)
