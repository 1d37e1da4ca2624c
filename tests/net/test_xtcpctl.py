#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""xtcpctl against a control socket of the test's own: what it sends, what it
prints, and how it ends."""

import json
import os
import socket
import subprocess
import tempfile
import threading

import harness
from harness import BUILD, contains, equal, run


class Server:
    """Answers each connection's first line with the same bytes."""

    def __init__(self, answer):
        self.answer = answer if isinstance(answer, bytes) else \
            json.dumps(answer).encode() + b"\n"
        self.dir = tempfile.TemporaryDirectory()
        self.path = self.dir.name + "/c.sock"
        self.requests = []
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(self.path)
        os.chmod(self.path, 0o600)
        self.sock.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            client, _ = self.sock.accept()
            with client, client.makefile("rb") as lines:
                self.requests.append(json.loads(lines.readline()))
                client.sendall(self.answer)

    def ctl(self, *args, **kw):
        return run(BUILD / "xtcpctl", "-s", self.path, *args, check=False, **kw)


def ok(result, **more):
    return {"ok": True, "result": result, **more}


def ended(p, status, out="", err=""):
    equal(p.returncode, status, p.stderr)
    if out is not None:
        equal(p.stdout, out)
    contains(p.stderr, err)
    if not err:
        equal(p.stderr, "")


def test_requests_are_those_of_the_protocol():
    s = Server(ok([]))
    for args, request in {
        ("show", "info"): {"command": "show info", "args": {}},
        ("show", "connection", "1f"):
            {"command": "show connection", "args": {"id": "1f"}},
        ("close", "1f"): {"command": "close", "args": {"id": "1f"}},
        ("drain", "backend", "a"):
            {"command": "drain backend", "args": {"name": "a"}},
        ("resume", "backend", "a"):
            {"command": "resume backend", "args": {"name": "a"}},
        ("drain", "group", "im"):
            {"command": "drain group", "args": {"name": "im"}},
        ("--json", "reload"): {"command": "reload", "args": {}},
        ("show", "connections", "--group", "im", "--limit", "7",
         "--state", "ESTABLISHED"):
            {"command": "show connections",
             "args": {"group": "im", "state": "ESTABLISHED", "limit": 7}},
    }.items():
        equal(s.ctl(*args).returncode, 0, str(args))
        equal(s.requests[-1], request)


def test_json_is_the_result():
    result = {"version": "9", "connections": {"established": 2 ** 53}}
    p = Server(ok(result)).ctl("--json", "show", "info")
    ended(p, 0, out=None)
    equal(json.loads(p.stdout), result)
    equal(p.stdout.count("\n"), 1)


def test_tables_are_aligned():
    pools = [{"name": "a", "used_bytes": 1536, "limit_bytes": 1 << 30,
              "throttle_high": 90, "throttle_low": 5, "throttled_workers": 0,
              "groups": 12},
             {"name": "longer", "used_bytes": 0, "limit_bytes": 1023,
              "throttled_workers": 1}]
    ended(Server(ok(pools)).ctl("show", "pools"), 0, out="""\
POOL       USED    LIMIT  HIGH%  LOW%  THROTTLED  GROUPS
a       1.5 KiB  1.0 GiB     90     5          0      12
longer      0 B   1023 B      -     -          1       -
""")


def test_empty_list_is_a_heading():
    p = Server(ok([])).ctl("show", "backends")
    ended(p, 0, out=None)
    equal(p.stdout.count("\n"), 1)


def test_objects_are_lines():
    p = Server(ok({"version": "1.2", "uptime_ms": 90061000,
                   "connections": {"established": 5}})).ctl("show", "info")
    ended(p, 0, out=None)
    contains(p.stdout, "version                   1.2\n")
    contains(p.stdout, "up for                    1d 1h\n")
    contains(p.stdout, "connections established   5\n")
    contains(p.stdout, "refused                   -\n")


def test_control_characters_do_not_reach_the_terminal():
    p = Server(ok([{"name": "\x1b[2J\nx\u2028", "group": "g"}])).ctl(
        "show", "backends")
    ended(p, 0, out=None)
    equal("\x1b" in p.stdout, False)
    equal(p.stdout.count("\n"), 2)


def test_counters_are_listed_by_name():
    ended(Server(ok({"segs_in": 5, "a": 12345678901234})).ctl("show", "counters"),
          0, out="segs_in  5\na        12345678901234\n")


def test_reload_prints_what_needs_a_restart():
    ended(Server(ok({"messages": ["workers: needs a restart"]})).ctl("reload"),
          0, out="workers: needs a restart\n")


def test_warning_goes_to_stderr():
    p = Server(ok({}, warning="1 of 2 workers did not answer")).ctl(
        "show", "memory")
    ended(p, 0, out=None, err="xtcpctl: warning: 1 of 2 workers")


def test_error_of_the_daemon_is_1():
    s = Server({"ok": False, "error": "no such thing"})
    ended(s.ctl("drain", "group", "x"), 1, err="xtcpctl: no such thing")
    ended(s.ctl("--json", "drain", "group", "x"), 1, err="xtcpctl: no such thing")


def test_nobody_there_is_1_and_says_what_to_do():
    with tempfile.TemporaryDirectory() as d:
        ended(run(BUILD / "xtcpctl", "-s", d + "/none", "show", "info",
                  check=False), 1, err="start it, or name its control socket")
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(d + "/dead")
        dead.close()
        ended(run(BUILD / "xtcpctl", "-s", d + "/dead", "show", "info",
                  check=False), 1, err="no xtcpd answers at " + d + "/dead")


def test_no_permission_is_1_and_says_what_to_do():
    s = Server(ok({}))
    os.chmod(s.dir.name, 0o755)
    p = run("setpriv", "--reuid=65534", "--clear-groups", BUILD / "xtcpctl",
            "-s", s.path, "show", "info", check=False)
    ended(p, 1, err="no permission for")


def test_answers_that_are_none_are_1():
    for answer in b"", b"garbage\n", b"[]\n", b"{}\n", b'{"ok": true', \
            b'{"ok": false}\n', b"\0\n":
        p = Server(answer).ctl("show", "info")
        equal(p.returncode, 1, repr(answer))
        contains(p.stderr, "xtcpctl: ")


def test_environment_names_the_socket():
    s = Server(ok({"segs_in": 1}))
    ended(run(BUILD / "xtcpctl", "show", "counters", check=False,
              env={**os.environ, "XTCP_CONTROL": s.path}), 0, out="segs_in  1\n")


def test_wrong_usage_is_2():
    s = Server(ok({}))
    for args in [], ["shw"], ["show"], ["show", "inf"], ["show", "info", "x"], \
            ["close"], ["close", "1", "2"], ["drain", "group"], \
            ["show", "info", "--limit", "3"], ["--frobnicate", "show", "info"], \
            ["show", "connections", "--limit", "many"]:
        p = s.ctl(*args)
        equal(p.returncode, 2, str(args))
        contains(p.stderr, "--help")
        equal(p.stdout, "")
    equal(s.requests, [])


def test_help_and_version():
    p = run(BUILD / "xtcpctl", "--help")
    for word in "show connections", "drain backend NAME", "--state", "close ID":
        contains(p.stdout, word)
    contains(run(BUILD / "xtcpctl", "--version").stdout, "xtcpctl ")


def test_full_disk_is_1():
    s = Server(ok([]))
    with open("/dev/full", "w", encoding="ascii") as full:
        p = subprocess.run([BUILD / "xtcpctl", "-s", s.path, "show", "pools"],
                           stdout=full, stderr=subprocess.PIPE, text=True,
                           timeout=30, check=False)
    equal(p.returncode, 1)
    contains(p.stderr, "standard output: No space left")


def test_every_command_is_in_the_manual_page():
    page = (harness.TOP / "man/xtcpctl.1").read_text()
    for line in run(BUILD / "xtcpctl", "--help").stdout.split(
            "commands:\n")[1].split("\n\n")[0].splitlines():
        name = line[:33].replace(" NAME", "").replace(" ID", "").replace(
            " [filter...]", "").replace(" [option...]", "").strip()
        contains(page, f".It Cm {name}")


if __name__ == "__main__":
    harness.main(globals())
