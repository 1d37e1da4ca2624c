# SPDX-License-Identifier: BSD-2-Clause
"""What the tests against a running xtcpd share.

A test program is a file of functions test_*, and ends with

    if __name__ == "__main__":
        harness.main(globals())

Each test runs in a process of its own (so none can spoil another's state, a
hanging one is killed, and several run at once), and in a network namespace of
its own that has no name: it goes with the last process in it, however that
ends. Whatever a test starts dies with it (PR_SET_PDEATHSIG).

    with Net(), Xtcpd(groups={"im": {"port": 5222}}) as d, \
         Echod("-p", 5222, daemon=d):
        ...

A test proves something by a condition that it waits for with a time-out
(wait_for), never by having slept. How long something took is never a result.
"""

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runner import (  # noqa: F401
    Skip, die_with_parent, libc, main, serial, timeout)

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("XTCP_BUILD", TOP / "build" / "gcc")).resolve()
# Counts of long tests are divided by this where everything is slower.
SCALE = int(os.environ.get("XTCP_TEST_SCALE",
                           "20" if "tsan" in BUILD.name else "1"))

VIP4, VIP6 = "192.0.2.10", "2001:db8::10"
CLIENT4, CLIENT6 = "198.51.100.1", "2001:db8:1::1"

WAIT_S = 20

CLONE_NEWNET = 0x40000000


# --- waiting

def wait_for(what, condition, within=WAIT_S, every=0.02):
    """The first true value of condition(); an AssertionError after within s."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not in {within} s: {what}; last: {value!r}")
        time.sleep(every)


def equal(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what + ': ' if what else ''}"
                             f"got {got!r}, wanted {want!r}")


def contains(text, part):
    if part not in text:
        raise AssertionError(f"{part!r} is not in {text[-2000:]!r}")


# --- processes

def run(*args, check=True, timeout=60, **kw):
    """Run to the end; returns the CompletedProcess, text."""
    kw.setdefault("stdin", subprocess.DEVNULL)
    if "input" in kw:
        del kw["stdin"]
    p = subprocess.run([str(a) for a in args], capture_output=True, text=True,
                       timeout=timeout, preexec_fn=die_with_parent, **kw)
    if check and p.returncode:
        raise AssertionError(f"{' '.join(map(str, args))}: status "
                             f"{p.returncode}: {p.stdout}{p.stderr}")
    return p


class Process:
    """A program in the background; its stderr goes to a file."""

    def __init__(self, *args, env=None, stdin=subprocess.DEVNULL,
                 stdout=subprocess.DEVNULL):
        self.args = [str(a) for a in args]
        self.name = os.path.basename(self.args[0])
        self.log = tempfile.NamedTemporaryFile(mode="w+", prefix="log-")
        self.how = {"stdin": stdin, "stdout": stdout,
                    "env": {**os.environ, **(env or {})}}
        self.spawn()

    def spawn(self):
        """Start it; once more, when it has ended."""
        self.p = self.start(self.args, stderr=self.log, **self.how)
        self.pid = self.p.pid

    def start(self, args, **kw):
        return subprocess.Popen(args, preexec_fn=die_with_parent, **kw)

    def stderr(self):
        with open(self.log.name, errors="replace") as f:
            return f.read()

    def alive(self):
        return self.p.poll() is None

    def check_alive(self):
        if not self.alive():
            raise AssertionError(f"{self.name} ended with {self.p.returncode}:"
                                 f" {self.stderr()[-3000:]}")

    def kill(self, sig=signal.SIGKILL):
        if self.alive():
            os.kill(self.pid, sig)
        return self.wait()

    def wait(self, within=WAIT_S):
        try:
            return self.p.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end in {within} s: "
                                 f"{self.stderr()[-3000:]}") from None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        self.kill()
        self.log.close()


BAD_LOG = re.compile(
    r"Sanitizer|runtime error:|==ERROR|[Aa]ssert(ion)?\b.*fail|SUMMARY:")


def check_log(name, text):
    """No report of a sanitizer, no failed assert."""
    m = BAD_LOG.search(text)
    if m:
        at = max(0, m.start() - 200)
        raise AssertionError(f"{name} says: {text[at:at + 3000]}")


# --- the namespace

def sysctl(key, value):
    path = Path("/proc/sys/" + key)
    if path.exists():
        path.write_text(str(value))


class Net:
    """A new network namespace for this process and all that it starts.

    lo is up and holds the clients' addresses; xtcpd's routes make the kernel's
    own TCP the client of the virtual addresses.
    """

    def __enter__(self):
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET): is root?")
        run("ip", "link", "set", "lo", "up")
        run("ip", "addr", "add", CLIENT4 + "/32", "dev", "lo")
        run("ip", "addr", "add", CLIENT6 + "/128", "dev", "lo", "nodad")
        # the kernel makes its route by and by
        wait_for("the address is in use", lambda: CLIENT6 in run(
            "ip", "-6", "route", "show", "table", "local").stdout)
        return self

    def __exit__(self, kind, value, tb):
        pass


class Dropper:
    """nftables rules that drop packets to and from xtcp0, with counters."""

    TABLE = "inet drops"

    def __init__(self, match="", percent=None, inbound=True, outbound=True):
        rule = match
        if percent:
            rule += f" numgen random mod 100 < {percent}"
        text = f"table {self.TABLE} {{\n"
        text += "counter to_xtcpd {}\ncounter from_xtcpd {}\n"
        text += "chain out { type filter hook output priority 0;\n"
        if inbound:
            text += f"oifname xtcp0 {rule} counter name to_xtcpd drop\n"
        text += "}\nchain in { type filter hook input priority 0;\n"
        if outbound:
            text += f"iifname xtcp0 {rule} counter name from_xtcpd drop\n"
        text += "}\n}\n"
        self.text = text

    def __enter__(self):
        run("nft", "-f", "-", input=self.text)
        return self

    def dropped(self):
        """Packets dropped, (to xtcpd, from xtcpd)."""
        out = json.loads(run("nft", "-j", "list", "counters").stdout)
        n = {c["counter"]["name"]: c["counter"]["packets"]
             for c in out["nftables"] if "counter" in c}
        return n["to_xtcpd"], n["from_xtcpd"]

    def __exit__(self, kind, value, tb):
        run("nft", "delete", "table", *self.TABLE.split())


# --- the configuration

def conf_value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "{" + ", ".join(conf_value(v) for v in value) + "}"
    return '"' + str(value) + '"'


def conf_block(settings, indent=""):
    """Settings as text: {"port": 1} is a key, {"group": {"a": {...}}} a section."""
    text = ""
    for key, value in settings.items():
        if isinstance(value, dict) and key in (
                "pool", "group", "backend", "tun", "listen"):
            for title, inner in value.items():
                text += (f'{indent}{key} "{title}" {{\n'
                         f'{conf_block(inner, indent + "    ")}{indent}}}\n')
        elif isinstance(value, dict):
            text += (f'{indent}{key} {{\n'
                     f'{conf_block(value, indent + "    ")}{indent}}}\n')
        else:
            text += f"{indent}{key} = {conf_value(value)}\n"
    return text


def conf_text(directory, groups, workers=1, pool=None, top=None, pools=None):
    """A configuration with everything in directory.

    groups: name -> keys, in one pool whose keys are pool; or pools.
    """
    settings = {
        "max-connections": 4096,
        "workers": workers,
        "state-dir": f"{directory}/state",
        "transmit-buffer": "16M",
        "tun": {"xtcp0": {"vip": [VIP4, VIP6]}},
        "control": {"socket": f"{directory}/control.sock", "group": "root"},
        "attach": {"socket": f"{directory}/attach.sock", "group": "root"},
    }
    settings.update(top or {})
    if pools is None:
        one = {"receive-buffer": "16M"}
        one.update(pool or {})
        one["group"] = groups
        pools = {"main": one}
    settings["pool"] = pools
    return conf_block(settings)


# --- the daemon

class Control:
    """The control socket: one JSON object per line, each way."""

    def __init__(self, path, within=WAIT_S):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(within)
        self.sock.connect(path)
        self.file = self.sock.makefile("rb")

    def ask(self, command, **args):
        self.sock.sendall(json.dumps(
            {"command": command, "args": args}).encode() + b"\n")
        return self.answer()

    def answer(self):
        line = self.file.readline()
        if not line:
            raise ConnectionError("the control socket was closed")
        return json.loads(line)

    def close(self):
        self.file.close()
        self.sock.close()


class Xtcpd(Process):
    """xtcpd in the foreground, ready when entered, checked when left."""

    def __init__(self, groups=None, workers=1, pool=None, top=None, pools=None,
                 args=(), env=None, program=BUILD / "xtcpd", mode="-f", wrap=()):
        """wrap: a command that becomes xtcpd, such as setpriv and its options."""
        self.dir = tempfile.mkdtemp(prefix="xtcpd-")
        self.conf = f"{self.dir}/xtcpd.conf"
        self.control_path = f"{self.dir}/control.sock"
        self.attach_path = f"{self.dir}/attach.sock"
        self.workers = workers
        os.mkdir(f"{self.dir}/state")
        self.configure(groups or {}, workers, pool, top, pools)
        self.stopped = False
        try:
            super().__init__(*wrap, program, mode, "-c", self.conf, *args,
                             env=env)
        except OSError:
            shutil.rmtree(self.dir)
            raise

    def configure(self, groups, workers=1, pool=None, top=None, pools=None):
        Path(self.conf).write_text(
            conf_text(self.dir, groups, workers, pool, top, pools))

    def ask(self, command, **args):
        """The result of a control command; an AssertionError when refused."""
        control = Control(self.control_path)
        try:
            reply = control.ask(command, **args)
        finally:
            control.close()
        if not reply["ok"]:
            raise AssertionError(f"{command}: {reply['error']}")
        return reply.get("result")

    def ctl(self, *args, check=True):
        """xtcpctl --json: what it prints."""
        p = run(BUILD / "xtcpctl", "-s", self.control_path, "--json", *args,
                check=check)
        if not check:
            return p
        return json.loads(p.stdout) if p.stdout.strip() else None

    def counters(self):
        return self.ask("show counters")

    def counter(self, name):
        return self.counters()[name]

    def wait_counter(self, name, value, within=WAIT_S):
        wait_for(f"{name} is {value}",
                 lambda: self.counters()[name] == value, within)

    def memory(self):
        return self.ask("show memory")

    def connections(self):
        return self.ask("show connections")

    def ready(self):
        self.check_alive()
        try:
            return self.ask("show info")
        except (OSError, ConnectionError):
            return None

    def __enter__(self):
        try:
            wait_for("xtcpd answers", self.ready, within=30)
        except BaseException:
            self.kill()
            print(f"# xtcpd's log:\n{self.stderr()}", file=sys.stderr)
            shutil.rmtree(self.dir, ignore_errors=True)
            raise
        return self

    def stop(self):
        """SIGTERM; the exit status has to be 0."""
        self.stopped = True
        self.check_alive()
        os.kill(self.pid, signal.SIGTERM)
        status = self.wait()
        if status:
            raise AssertionError(f"xtcpd stopped with {status}: "
                                 f"{self.stderr()[-3000:]}")

    def __exit__(self, kind, value, tb):
        try:
            if kind is None and not self.stopped:
                self.stop()
            elif kind is not None:
                died = not self.alive() and not self.stopped
                self.kill()
                note = self.stderr()[-4000:]
                if died:
                    note += f"\nxtcpd had ended: {self.p.returncode}"
                print(f"# xtcpd's log:\n{note}", file=sys.stderr)
            check_log("xtcpd", self.stderr())
        finally:
            self.kill()
            self.log.close()
            shutil.rmtree(self.dir, ignore_errors=True)


class Tool(Process):
    """A program that dials the daemon's attach socket."""

    program = None

    def __init__(self, *args, daemon=None, stdin=subprocess.DEVNULL,
                 stdout=subprocess.DEVNULL):
        env = {"XTCP_ATTACH": daemon.attach_path} if daemon else {}
        super().__init__(BUILD / self.program, *args, env=env, stdin=stdin,
                         stdout=stdout)
        self.daemon = daemon

    def __exit__(self, kind, value, tb):
        if self.alive():
            self.kill(signal.SIGTERM)
        text = self.stderr()
        if kind is not None and text:
            print(f"# {self.name}'s log:\n{text[-2000:]}", file=sys.stderr)
        self.log.close()
        check_log(self.name, text)


class Echod(Tool):
    program = "xtcp-echod"


class Httpd(Tool):
    program = "tests/tools/httpd"


def backends(daemon, group=None):
    """What `show backends` lists, of one group or of all."""
    found = daemon.ask("show backends")
    return [b for b in found if group is None or b["group"] == group]


def streams_up(daemon, group=None):
    return sum(b["streams_up"] for b in backends(daemon, group))


def wait_attached(daemon, n=1, group=None, within=WAIT_S):
    """n backends are there, each with a stream to every worker."""
    def attached():
        up = [b for b in backends(daemon, group)
              if b["streams_up"] >= daemon.workers]
        return len(up) >= n
    wait_for(f"{n} backends attached", attached, within)


# --- clients

def msgclient(address, *args, check=True, timeout=240):
    """Run msgclient; the object that it prints."""
    p = run(BUILD / "tests/tools/msgclient", "--connect", address, *args,
            "--timeout", timeout, check=False, timeout=timeout + 30)
    if p.returncode not in (0, 1) or not p.stdout:
        raise AssertionError(f"msgclient: {p.returncode}: {p.stderr}")
    result = json.loads(p.stdout)
    if check and not result["ok"]:
        raise AssertionError(f"msgclient: {p.stdout.strip()} {p.stderr}")
    return result


def connect(port, address=VIP4, within=WAIT_S):
    """A kernel-TCP connection to a virtual address."""
    return socket.create_connection((address, port), timeout=within)


def recv_exactly(sock, n):
    data = b""
    while len(data) < n:
        part = sock.recv(n - len(data))
        if not part:
            raise AssertionError(f"closed after {len(data)} of {n} bytes")
        data += part
    return data


def recv_all(sock):
    data = b""
    while True:
        part = sock.recv(65536)
        if not part:
            return data
        data += part
