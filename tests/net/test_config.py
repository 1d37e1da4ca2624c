#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Configuration files and command lines that are wrong, and some right ones.

Every wrong file: exit status 2, and a line "FILE:LINE: KEY: ..." that quotes
the value; nothing is started. What each case changes is one line of BASE.
"""

import os
import re
import tempfile

import harness
from harness import BUILD, Net, Xtcpd, contains, equal, run

BASE = """\
max-connections = 1000
workers = 1
state-dir = "/tmp"
transmit-buffer = "16M"
half-open-max = 65536
half-open-per-source = 1024
syn-cookies = "auto"
syn-cookies-above = 50
tun "xtcp0" {
    vip = {"192.0.2.10", "2001:db8::10"}
    mtu = 1500
    offload = true
}
control { socket = "/tmp/c.sock"  mode = "0660"  group = "root" }
attach { socket = "/tmp/a.sock"  mode = "0660"  group = "root" }
metrics { listen = "127.0.0.1:9464" }
pool "chat" {
    receive-buffer = "64M"
    throttle-high = 90
    throttle-low = 75
    group "im" {
        port = 5222
        accept = "auto"
        announce = false
        accept-timeout = 3000
        ack = "deferred"
        ack-deadline = 0
        ack-window = "auto"
        priority = 0
        max-connections = 0
        max-per-source = 0
        balance = "sticky"
        idle-timeout = 0
        keepalive = 0
        user-timeout = 600000
        congestion = "cubic"
        ecn = true
        on-backend-loss = "redeliver"
        backend "a" {
            address = "unix:/tmp/b.sock"
            streams = 1
            max-inflight = 0
        }
    }
}
"""


def base_line(key, nth=1):
    """The number of the nth line of BASE that begins with key."""
    found = [n for n, line in enumerate(BASE.splitlines(), 1)
             if line.strip().startswith(key)]
    return found[nth - 1]


def check(text, *args):
    """xtcpd -t on a file: the finished process and the file's name."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
        f.write(text)
        f.flush()
        return run(BUILD / "xtcpd", "-t", "-c", f.name, *args, check=False), f.name


def wrong(text, line, *words):
    """The file is refused; a message names the line and has the words."""
    p, name = check(text)
    harness.check_log("xtcpd -t", p.stderr)
    if p.returncode != 2:
        raise AssertionError(f"status {p.returncode} for:\n{text}\n{p.stderr}")
    name = os.path.realpath(name)
    wanted = [m for m in p.stderr.splitlines()
              if f"{name}:{line}:" in m and all(w in m for w in words)]
    if not wanted:
        raise AssertionError(f"no message for line {line} with {words}: "
                             f"{p.stderr!r}")


def changed(number, new):
    lines = BASE.splitlines()
    lines[number - 1] = new
    return "\n".join(lines) + "\n"


def wrong_values(cases):
    """cases: (key, values that are wrong [, nth key of this name])."""
    for key, values, *nth in cases:
        at = base_line(key, *nth)
        for value in values:
            quoted = value.strip('"{} ')
            words = [quoted] if 0 < len(quoted) < 60 else []
            wrong(changed(at, f"{key} = {value}"), at, key, *words)


def right(text):
    p, _ = check(text)
    equal((p.returncode, p.stderr), (0, ""))


# --- values

def test_base_is_right():
    right(BASE)


def test_numbers_out_of_range():
    wrong_values((
        ("max-connections", ("0", "-1", "100000001", "99999999999999999999")),
        ("workers", ("-1", "65")),
        ("half-open-max", ("0", "-1", "100000001")),
        ("half-open-per-source", ("-1", "100000001")),
        ("syn-cookies-above", ("-1", "101")),
        ("max-per-source", ("-1", "100000001")),
        ("mtu", ("0", "1279", "65536", "-1500")),
        ("throttle-high", ("0", "101")),
        ("throttle-low", ("101", "-1")),
        ("port", ("0", "65536", "-1")),
        ("accept-timeout", ("0", "99", "600001")),
        ("ack-deadline", ("-1", "600001")),
        ("priority", ("1000001", "-1000001")),
        ("max-connections", ("-1", "100000001"), 2),
        ("idle-timeout", ("-1", "99999999999")),
        ("keepalive", ("-1", "99999999999")),
        ("user-timeout", ("0", "999")),
        ("streams", ("-1", "17", "1000001")),
        ("max-inflight", ("-1", "100000001")),
    ))


def test_what_is_no_number():
    wrong_values((
        ("max-connections", ('"many"', "1.5", "1e6", '""', "0x10")),
        ("workers", ('"all"', "2x")),
        ("mtu", ('"big"',)),
        ("port", ('"imap"', '"52 22"')),
        ("priority", ('"high"', "1.0")),
        ("streams", ("two",)),
    ))


def test_sizes():
    wrong_values((
        ("transmit-buffer", ('"16X"', '"M"', '"-1M"', '"1.5M"', '"16MB"',
                             '"1023K"', '"99999999999G"', '""')),
        ("receive-buffer", ('"0"', '"63K"', '"lots"', '"16 M"')),
        ("ack-window", ('"automatic"', '"2G"', "-1")),
    ))
    for size in ("1048576", '"1024K"', '"16m"', '"1G"'):
        right(changed(base_line("transmit-buffer"), f"transmit-buffer = {size}"))


def test_words():
    wrong_values((
        ("offload", ('"maybe"', "2")),
        ("syn-cookies", ('"sometimes"', "true")),
        ("accept", ('"manual"', '""', '"AUTO"')),
        ("announce", ('"never"',)),
        ("ack", ('"delayed"', '"none"')),
        ("balance", ('"random"', '"round-robin"')),
        ("congestion", ('"bbr"', '""', '"CUBIC"')),
        ("ecn", ('"always"', "2")),
        ("on-backend-loss", ('"ignore"',)),
    ))


def test_paths_and_addresses():
    wrong_values((
        ("state-dir", ('"run/xtcpd"', '""', '"/' + "x" * 200 + '"')),
        ("address", ('"/tmp/b.sock"', '"unix:b.sock"', '"tcp:192.0.2.1:80"',
                     '"tcp:127.0.0.1:0"', '"tcp:127.0.0.1"', '"http://x"',
                     '"tcp:localhost:99999"', '"unix:"',
                     '"unix:/' + "x" * 200 + '"', '""')),
    ))


def test_vips():
    at = base_line("vip")
    for value, word in (
            ('{"192.0.2.256"}', "192.0.2.256"), ('{"host.example"}', "host"),
            ('{"127.0.0.1"}', "127.0.0.1"), ('{"0.0.0.0"}', "0.0.0.0"),
            ('{"224.0.0.1"}', "224.0.0.1"), ('{"255.255.255.255"}', "255"),
            ('{"::1"}', "::1"), ('{"::"}', "::"), ('{"fe80::1"}', "fe80::1"),
            ('{"ff02::1"}', "ff02::1"), ('{"::ffff:192.0.2.1"}', "::ffff"),
            ('{"192.0.2.10/24"}', "192.0.2.10/24"),
            ('{"192.0.2.10", "192.0.2.10"}', "twice"),
            ('{' + ", ".join(f'"192.0.2.{i}"' for i in range(1, 100)) + '}',
             "at most")):
        wrong(changed(at, f"    vip = {value}"), at, "vip", word)


def test_vip_of_a_group():
    at = base_line("port")
    wrong(changed(at, 'port = 5222 vip = {"192.0.2.99"}'), at, "192.0.2.99")
    wrong(changed(at, 'port = 5222 vip = {"nonsense"}'), at, "nonsense")
    right(changed(at, 'port = 5222 vip = {"192.0.2.10"}'))


def test_sockets_and_metrics():
    for section in ("control", "attach"):
        at = base_line(section)
        for inside, word in (
                ('socket = "c.sock"', "socket"),
                ('socket = "/' + "x" * 200 + '"', "socket"),
                ('mode = "0999"', "mode"), ('mode = "rw"', "mode"),
                ('mode = "7777"', "mode"), ('group = "no-such-group"', "group")):
            wrong(changed(at, f"{section} {{ {inside} }}"), at, word)
    at = base_line("metrics")
    for value in ("127.0.0.1", "localhost:80", "127.0.0.1:0", "127.0.0.1:65536",
                  "[::1]", "::1:80", ":80", "9464"):
        wrong(changed(at, f'metrics {{ listen = "{value}" }}'), at, "listen")
    wrong(changed(at, "metrics { }"), at, "listen", "missing")
    right(changed(at, 'metrics { listen = "[::1]:9464" }'))
    right(changed(at, ""))


def test_one_socket_for_both():
    p, _ = check(BASE.replace("/tmp/a.sock", "/tmp/c.sock"))
    equal(p.returncode, 2)
    contains(p.stderr, "/tmp/c.sock")


# --- keys and sections

def test_unknown_keys():
    for key, nth in (("max-connections", 1), ("mtu", 1), ("receive-buffer", 1),
                     ("port", 1), ("address", 1)):
        at = base_line(key, nth)
        line = BASE.splitlines()[at - 1]
        wrong(changed(at, line + "\nfrobnicate = 1"), at + 1, "frobnicate")
    wrong(changed(1, "max_connections = 10"), 1, "max_connections")
    wrong(BASE + "listener \"x\" { port = 1 }\n", len(BASE.splitlines()) + 1,
          "listener")


def test_missing_keys():
    for key in ("port", "address"):
        p, _ = check(changed(base_line(key), ""))
        equal(p.returncode, 2)
        contains(p.stderr, f"{key}: missing")
    for none in ("", "vip = {}"):
        p, _ = check(changed(base_line("vip"), none))
        equal(p.returncode, 2)
        contains(p.stderr, "vip: missing")
    p, _ = check('pool "x" { group "y" { port = 1 } }\n')
    equal(p.returncode, 2)
    contains(p.stderr, "tun")


def test_keys_given_twice():
    at = base_line("workers")
    wrong(changed(at, "workers = 1\nworkers = 2"), at + 1, "workers", "twice")


def test_throttle_low_above_high():
    at = base_line("throttle-low")
    wrong(changed(at, "throttle-low = 95"), at, "throttle-low", "95", "90")


def test_names_that_stand_twice():
    for old, new in (('    group "im" {\n', '    group "im" {\nport = 1\n}\n'),
                     ('pool "chat" {\n', 'pool "chat" {\n}\n'),
                     ('        backend "a" {\n', '        backend "a" {\n'
                      'address = "unix:/tmp/x.sock"\n}\n')):
        p, _ = check(BASE.replace(old, new + old))
        equal(p.returncode, 2)
        contains(p.stderr, old.split('"')[1])
    more = 'pool "second" {\ngroup "im" {\nport = 6000\n}\n}\n'
    p, _ = check(BASE + more)  # names of groups are the daemon's, not a pool's
    equal(p.returncode, 2)
    contains(p.stderr, '"im"')
    right(BASE + more.replace('"im"', '"irc"'))


def test_groups_may_share_a_port():
    right(BASE + 'pool "second" { group "irc" { port = 5222 priority = -1 } }\n')


def test_names():
    for old, new in (('pool "chat"', 'pool "a b"'), ('group "im"', 'group ""'),
                     ('backend "a"', 'backend "../a"'),
                     ('backend "a"', f'backend "{"x" * 64}"'),
                     ('tun "xtcp0"', 'tun "interface-name-too-long"')):
        p, _ = check(BASE.replace(old, new))
        equal(p.returncode, 2, new)
        contains(p.stderr, new.split()[0])


def test_syntax():
    for text in ("max-connections", "max-connections =", "= 5", "tun {",
                 'tun "x" {', "}", 'pool "x" { group', '"', "max-connections = {1}",
                 'state-dir = "/tmp', "\0\1\2", "{{{{{{{{{{", "/* never closed",
                 "vip = {1, 2", 'pool "x" { ' * 40):
        p, name = check(text + "\n")
        harness.check_log("xtcpd -t", p.stderr)
        if p.returncode != 2 or not re.search(
                re.escape(os.path.realpath(name)) + r":\d+:|missing", p.stderr):
            raise AssertionError(f"{text!r}: {p.returncode}: {p.stderr!r}")


def test_all_problems_in_one_run():
    text = changed(1, "max-connections = 0")
    text = text.replace("mtu = 1500", "mtu = 1").replace("5222", "99999") \
        .replace('"sticky"', '"glue"')
    p, _ = check(text)
    equal(p.returncode, 2)
    for word in ("max-connections", "mtu", "99999", "glue"):
        contains(p.stderr, word)
    lines = [int(m) for m in re.findall(r"\.conf:(\d+):", p.stderr)]
    equal(lines, sorted(lines))


def test_files_that_cannot_be_read():
    for path in ("/nonexistent/xtcpd.conf", "/", "/dev/null"):
        p = run(BUILD / "xtcpd", "-t", "-c", path, check=False)
        equal((path, p.returncode), (path, 2))
        contains(p.stderr, path)
    with tempfile.NamedTemporaryFile("wb") as f:
        f.write(os.urandom(100000))
        f.flush()
        equal(run(BUILD / "xtcpd", "-t", "-c", f.name,
                  check=False).returncode, 2)


def test_comments_and_layout():
    right("# a comment\n// another\n/* a\nlong one */\n" + BASE)
    at = base_line("mtu") + 4
    wrong("# one\n/* two\nthree */\n// four\n" + changed(
        base_line("mtu"), "mtu = 1"), at, "mtu")


# --- command lines

def test_usage_errors():
    for args in (["--frobnicate"], ["-x"], ["-c"], ["-t", "extra"], ["--pcap"]):
        p = run(BUILD / "xtcpd", *args, check=False)
        equal((args, p.returncode), (args, 2))
        contains(p.stderr, "--help" if args != ["-c"] else "help")


def test_help_and_version():
    for program in ("xtcpd", "xtcpctl", "xtcp-echod"):
        p = run(BUILD / program, "--help")
        contains(p.stdout.lower(), "usage")
        equal(p.stderr, "")
        p = run(BUILD / program, "--version")
        contains(p.stdout, program)


def test_tools_usage_errors():
    for program in ("xtcpctl", "xtcp-echod"):
        p = run(BUILD / program, "--frobnicate", check=False)
        equal((program, p.returncode), (program, 2))
        contains(p.stderr, "help")


def test_bad_file_starts_nothing():
    with Net(), tempfile.NamedTemporaryFile("w") as f:
        f.write(changed(base_line("mtu"), "mtu = 1"))
        f.flush()
        p = run(BUILD / "xtcpd", "-f", "-c", f.name, check=False)
        equal(p.returncode, 2)
        contains(p.stderr, "mtu")
        equal(run("ip", "link", "show", "xtcp0", check=False).returncode, 1)


def test_without_privilege():
    """Exit status 1 and a line that says what to do; -t needs none."""
    with Net(), tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o777)
        path = f"{d}/xtcpd.conf"
        with open(path, "w") as f:
            f.write(harness.conf_text(d, {"im": {"port": 5222}}))
        os.chmod(path, 0o644)
        os.mkdir(f"{d}/state")
        os.chown(f"{d}/state", 65534, 65534)
        args = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                BUILD / "xtcpd", "-c", path)
        p = run(*args, "-f", check=False, env={**os.environ, "HOME": d})
        if p.returncode in (126, 127):
            raise harness.Skip("the build is not readable by nobody")
        equal(p.returncode, 1)
        if not re.search(r"root|CAP_NET_ADMIN|privilege|permi", p.stderr):
            raise AssertionError(p.stderr)


def test_second_daemon_is_refused():
    with Net(), Xtcpd({"im": {"port": 5222}}) as d:
        p = run(BUILD / "xtcpd", "-f", "-c", d.conf, check=False)
        equal(p.returncode, 1)
        if not p.stderr.strip():
            raise AssertionError("it says nothing")
        d.check_alive()
        d.ask("show info")


def test_generated_configuration_is_right():
    with tempfile.TemporaryDirectory() as d:
        right(harness.conf_text(d, {"im": {"port": 5222}}))


if __name__ == "__main__":
    harness.main(globals())
