#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Completion for bash and zsh: all that --help lists, and nothing else."""

import os
import re
import shutil
import tempfile

from harness import (
    BUILD, TOP, Echod, Net, Skip, Xtcpd, connect, contains, equal, main, run,
    wait_attached)
from terminal import Tmux

BASH = TOP / "contrib/completion/xtcp.bash"
ZSH = TOP / "contrib/completion/_xtcp"
PROGRAMS = ("xtcpctl", "xtcpd", "xtcp-swarm", "xtcp-echod")
OWN = ("top", "capture")


# --- what --help says

def options(text):
    """{"-c", "--config", ...} of lines such as "  -c, --config FILE  ..."."""
    found = set()
    for line in text.splitlines():
        m = re.match(r" {2,6}(?:(-\w), )? *(--[\w-]+)(?=[= ]|$)", line)
        if m:
            found |= {o for o in m.groups() if o}
    return found


def help_of(program):
    return run(BUILD / program, "--help").stdout


def section(heading):
    return help_of("xtcpctl").split(heading + ":\n")[1].split("\n\n")[0]


def commands():
    """[("show", "info"), ("close",), ...] and what argument each takes."""
    found = {}
    for line in section("commands").splitlines():
        words = line[:33].split()
        name = tuple(w for w in words if w.islower() and w[0].isalpha())
        found[name] = words[-1] if words[-1] in ("ID", "NAME") else None
    assert len(found) > 15, found
    return found


def global_options():
    return options(help_of("xtcpctl").split("commands:\n")[0])


def own_options(command):
    return options(section(f'options of "{command}"'))


def filters():
    return options(section('filters of "show connections"'))


# --- bash

def bash(line, env=None):
    """What bash would offer for the last word of the line."""
    words = line.split(" ")
    script = (f'source "{BASH}"; shift 0; COMP_WORDS=("$@"); '
              'COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE};'
              'compopt() { :; }; '
              'f=$(complete -p "$(basename "$1")" | sed "s/.*-F \\([^ ]*\\).*/\\1/"); '
              '"$f"; printf "%s\\n" "${COMPREPLY[@]}"')
    out = run("bash", "--norc", "-c", script, "bash", *words,
              env={**os.environ, **(env or {})}).stdout
    return set(out.split())


def test_bash_offers_every_command():
    first = {c[0] for c in commands()}
    equal(bash("xtcpctl "), first)
    for word in first:
        second = {c[1] for c in commands() if c[0] == word and len(c) > 1}
        if second:
            equal(bash(f"xtcpctl {word} "), second)
    equal(bash("xtcpctl show co"), {"counters", "connections", "connection"})
    equal(bash("xtcpctl -s /x --json show w"), {"workers"})


def test_bash_offers_every_option():
    for program in PROGRAMS:
        equal(bash(f"{program} -"), options(help_of(program)) if
              program != "xtcpctl" else global_options(), program)
    for command in OWN:
        equal(bash(f"xtcpctl {command} -"), own_options(command), command)
    assert filters() <= bash("xtcpctl show connections -")
    equal(bash("xtcpctl show connections --"),
          filters() | {"--socket", "--json"})


def test_bash_offers_values():
    sorts = set(re.findall(r"[a-z]+", re.search(
        r"--sort KEY +(.*?)\[", section('options of "top"'), re.S)[1]))
    equal(bash("xtcpctl top --sort "), sorts)
    contains(bash("xtcpctl show connections --state EST"), "ESTABLISHED")
    equal(bash("xtcp-swarm --end "), {"fin", "reset", "vanish"})
    equal(bash("xtcp-echod --ack "), {"full", "half", "none"})
    with tempfile.TemporaryDirectory() as d:
        open(d + "/some.conf", "w").close()
        for line in ("xtcpd -c ", "xtcpd --pcap ", "xtcpctl -s ",
                     "xtcpctl capture -w ", "xtcp-swarm --json "):
            equal(bash(line + d + "/so"), {d + "/some.conf"}, line)


def test_bash_asks_a_running_xtcpd():
    groups = {"im": {"port": 5222}, "push": {"port": 5223}}
    with Net(), Xtcpd(groups) as d, Echod("-p", 5222, daemon=d):
        wait_attached(d, group="im")
        ctl = f"{BUILD}/xtcpctl -s {d.control_path}"
        equal(bash(f"{ctl} drain group "), {"im", "push"})
        equal(bash(f"{ctl} show connections --group p"), {"push"})
        with connect(5222):
            ids = {c["id"] for c in d.connections()}
            equal(len(ids), 1)
            equal(bash(f"{ctl} close "), ids)
            equal(bash(f"{ctl} show connection "), ids)
        # nobody there: nothing is offered, and nothing is said
        equal(bash(f"{BUILD}/xtcpctl -s /none drain group "), set())


# --- zsh

def zsh_function(name):
    text = ZSH.read_text()
    return re.search(rf"^{name}\(\)\n{{\n(.*?)^}}", text, re.M | re.S)[1]


def zsh_options(name):
    """The options of a function's _arguments."""
    found = set()
    for line in zsh_function(name).splitlines():
        m = re.match(r"\t+'(?:\([^)]*\)|\*)?'?{?([^\[']+)}?'?\[", line)
        if m:
            found |= {o.rstrip("+=}") for o in m[1].split(",")}
    return found


def test_zsh_has_every_command():
    first = {c[0] for c in commands()}
    equal(set(re.findall(r"^\t\t'([a-z]+):", zsh_function("_xtcpctl"), re.M)),
          first)
    equal(set(re.findall(r"^\t\t'([a-z]+):", zsh_function("_xtcpctl_show"),
                         re.M)),
          {c[1] for c in commands() if c[0] == "show"})
    for word in ("drain", "vacate", "resume"):
        line = re.search(rf"[ \t]{word}\b.*\) _xtcpctl_of (.*) ;;",
                         zsh_function("_xtcpctl"))
        equal(set(line[1].split()),
              {c[1] for c in commands() if c[0] == word}, word)


def test_zsh_has_every_option():
    for program, function in (("xtcpd", "_xtcpd"), ("xtcp-swarm", "_xtcp_swarm"),
                              ("xtcp-echod", "_xtcp_echod")):
        equal(zsh_options(function), options(help_of(program)), program)
    equal(zsh_options("_xtcpctl"), global_options())
    for command in OWN:
        equal(zsh_options(f"_xtcpctl_{command}"), own_options(command))
    equal(zsh_options("_xtcpctl_show"), filters())


def test_zsh_completes_in_a_terminal():
    if not shutil.which("zsh"):
        raise Skip("no zsh here")
    groups = {"impossible": {"port": 5222}, "push": {"port": 5223}}
    with Net(), Xtcpd(groups) as d, tempfile.TemporaryDirectory() as home:
        os.symlink(ZSH, home + "/_xtcp")
        with open(home + "/.zshrc", "w", encoding="ascii") as f:
            f.write(f"fpath=({home} $fpath); path=({BUILD} $path)\n"
                    "autoload -U compinit; compinit -u -D\n"
                    "PS1='%% '; unsetopt beep\n")
        with Tmux(["env", f"ZDOTDIR={home}", "XTCP_CONTROL=" + d.control_path,
                   "zsh", "-i"], width=120) as t:
            t.shows("%")

            def types(text, *expect):
                t.keys("-l", text)
                t.keys("Tab")
                for e in expect:
                    t.shows(e)
                t.keys("C-u")
            types("xtcpctl sh", "xtcpctl show")
            types("xtcpctl show wo", "xtcpctl show workers")
            types("xtcpctl drain group imp", "xtcpctl drain group impossible")
            types("xtcpctl top --so", "xtcpctl top --sort")
            types("xtcpctl top --sort=lat", "--sort=latency")
            types("xtcpctl show connections --st",
                  "xtcpctl show connections --state")
            types("xtcpctl capture --sn", "xtcpctl capture --snaplen")
            types("xtcp-swarm --end=v", "--end=vanish")
            types("xtcpd --superv", "xtcpd --supervise")
            types("xtcp-echod --ack=h", "--ack=half")


# --- both

def test_installed_under_each_name():
    with tempfile.TemporaryDirectory() as d:
        run("make", "-C", BUILD, "install-data-am", f"DESTDIR={d}",
            timeout=300)
        found = {}
        for folder, _, files in os.walk(d):
            for f in files:
                if "completions" in folder or "site-functions" in folder:
                    found[f] = os.path.join(folder, f)
        equal(set(found), set(PROGRAMS) | {"_xtcp"})
        for program in PROGRAMS:
            with open(found[program], encoding="ascii") as f:
                equal(f.read(), BASH.read_text(), program)


if __name__ == "__main__":
    main(globals())
