#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# builds: gcc
# long
"""The tarball and the Debian packages that are built of it.

The packages are built and looked at once, by main(); each test then has a
machine with systemd (nspawn.py), to install, use, upgrade and purge them in.
"""

import atexit
import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import harness
from harness import (
    BUILD, VIP4, VIP6, conf_block, contains, equal, run, wait_for)
from killing import Holders, Wire, check_held
from nspawn import Machine
from runner import Skip, note, timeout

PORT = 7
UNIT = "xtcpd.service"
PACKAGES = ("xtcpd", "libxtcp1", "libxtcp-dev", "xtcp-tools")
CLIENTS = 100
BUILD_S = 900


class Built:
    """Tarball and packages, for all tests of this program."""

    path = None
    tarball = None
    again = None
    debs = {}
    said = ""

    @classmethod
    def make(cls):
        cls.path = tempfile.mkdtemp(prefix="packages-")
        atexit.register(shutil.rmtree, cls.path, ignore_errors=True)
        if not shutil.which("dpkg-buildpackage") or not shutil.which("dh"):
            return
        cls.tarball, cls.again = cls.dist("one"), cls.dist("two")
        run("tar", "-xf", cls.tarball, "-C", cls.path)
        (tree,) = (p for p in Path(cls.path).iterdir()
                   if p.is_dir() and (p / "debian").is_dir())
        p = run("dpkg-buildpackage", "-us", "-uc", "-b", cwd=tree, check=False,
                timeout=BUILD_S, env={**os.environ, "DEB_BUILD_OPTIONS":
                                      "nocheck parallel=2", "MAKEFLAGS": ""})
        cls.said = p.stdout + p.stderr
        if p.returncode:
            return
        cls.debs = {deb.name.split("_")[0]: str(deb)
                    for deb in Path(cls.path).glob("*.deb")}

    @classmethod
    def dist(cls, name):
        """`make dist`; where the tarball is."""
        run("make", "-C", BUILD, "dist", timeout=120)
        (found,) = BUILD.glob("xtcpd-*.tar.gz")
        os.mkdir(f"{cls.path}/{name}")
        return shutil.move(found, f"{cls.path}/{name}/{found.name}")


def built():
    if not Built.tarball:
        raise Skip("no dpkg-buildpackage, dh: packages dpkg-dev, debhelper")
    if not Built.debs:
        raise AssertionError(f"dpkg-buildpackage: {Built.said[-3000:]}")
    return Built.debs


def conf():
    return conf_block({
        "max-connections": 20000, "workers": 2,
        "tun": {"xtcp0": {"vip": [VIP4, VIP6]}}, "control": {}, "attach": {},
        "pool": {"main": {"group": {"echo": {"port": PORT}}}},
    })


@contextlib.contextmanager
def machine():
    """A booted machine with the packages at hand, none installed."""
    debs = built()
    with tempfile.TemporaryDirectory(prefix="stage-") as stage:
        os.makedirs(f"{stage}/srv/debs")
        for name in PACKAGES:
            shutil.copy(debs[name], f"{stage}/srv/debs/{name}.deb")
        with Machine(stage) as m:
            # a container's way to say that packages start nothing
            Path(f"{m.root}/usr/sbin/policy-rc.d").unlink(missing_ok=True)
            m.boot()
            yield m


def dpkg(m, *args, check=True):
    return m.run("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", *args,
                 check=check)


def install(m, *names):
    dpkg(m, "-i", *(f"/srv/debs/{n}.deb" for n in names))


def is_there(m, path):
    return m.run("test", "-e", path, check=False).returncode == 0


def active(m):
    return m.show(UNIT, "ActiveState")["ActiveState"]


def pid_of(m):
    return int(m.show(UNIT, "MainPID")["MainPID"])


def info(m):
    return json.loads(m.run("xtcpctl", "--json", "show", "info").stdout)


# --- the tarball

def test_tarball_is_reproducible():
    built()
    equal(Path(Built.tarball).read_bytes() == Path(Built.again).read_bytes(),
          True, "two runs of make dist give the same bytes")
    listed = run("tar", "-tf", Built.tarball).stdout
    for name in "/debian/rules", "/configure", "/src/stack/input.c":
        contains(listed, name)
    equal(".git" in listed, False)


# --- the packages, as files

def test_lintian_finds_nothing():
    built()
    if not shutil.which("lintian"):
        raise Skip("no lintian: package lintian")
    (changes,) = Path(Built.path).glob("*.changes")
    p = run("lintian", "--allow-root", "--fail-on", "error,warning,info",
            "--suppress-tags",
            # no init script: systemd is what it is made for
            "package-supports-alternative-init-but-no-init.d-script",
            changes, check=False, timeout=300)
    equal((p.returncode, p.stdout), (0, ""), p.stderr)


def test_contents():
    debs = built()
    has = {name: run("dpkg-deb", "-c", debs[name]).stdout for name in PACKAGES}
    for name, path in (
            ("xtcpd", "./usr/sbin/xtcpd"), ("xtcpd", "./usr/bin/xtcpctl"),
            ("xtcpd", "./etc/xtcpd.conf"),
            ("xtcpd", "./lib/systemd/system/xtcpd.service"),
            ("xtcpd", "./usr/lib/sysusers.d/xtcpd.conf"),
            ("xtcpd", "./usr/lib/tmpfiles.d/xtcpd.conf"),
            ("xtcpd", "./usr/share/man/man5/xtcpd.conf.5.gz"),
            ("libxtcp1", "/libxtcp.so.1"),
            ("libxtcp-dev", "./usr/include/xtcp/xtcp.h"),
            ("libxtcp-dev", "/pkgconfig/libxtcp.pc"),
            ("libxtcp-dev", "./usr/share/man/man3/libxtcp.3.gz"),
            ("xtcp-tools", "./usr/bin/xtcp-swarm"),
            ("xtcp-tools", "./usr/bin/xtcp-echod")):
        contains(has[name], path)
    # what its source says, not more: the library asks for no daemon
    depends = run("dpkg-deb", "-f", debs["libxtcp1"], "Depends").stdout
    equal([d.split()[0] for d in depends.split(",")], ["libc6"])


# --- installed, on a machine

@timeout(300)
def test_install_changes_nothing_until_it_is_chosen():
    with machine() as m:
        equal(m.run("getent", "passwd", "xtcpd", check=False).returncode, 2)
        install(m, "xtcpd", "libxtcp1", "xtcp-tools")
        equal(m.run("systemctl", "is-enabled", "xtcpd", check=False)
              .stdout.strip(), "disabled")
        equal(active(m), "inactive")
        contains(m.run("getent", "passwd", "xtcpd").stdout, "xtcpd:")
        equal(m.run("stat", "-c", "%a %U", "/run/xtcpd").stdout.strip(),
              "711 xtcpd")
        m.run("xtcpd", "-t")
        # chosen
        m.write("etc/xtcpd.conf", conf())
        m.run("systemctl", "enable", "--now", "xtcpd")
        equal(info(m)["connections"]["established"], 0)


@timeout(300)
def test_upgrade_keeps_the_clients():
    with machine() as m:
        install(m, "xtcpd", "libxtcp1", "xtcp-tools")
        m.write("etc/xtcpd.conf", conf())
        m.run("systemctl", "start", "xtcpd")
        m.run("systemd-run", "--quiet", "--unit=echod", "xtcp-echod", "-p",
              PORT)
        with Wire(m.network()) as wire, Holders(
                wire, [PORT], CLIENTS, "--think", "20:2000", "--timeout", 60,
                within=60) as holders:
            holders.ready(60)
            holders.busy(CLIENTS)
            before = pid_of(m)
            holders.mark()
            dpkg(m, "--force-confold", "-i", "/srv/debs/xtcpd.deb")
            wait_for("another process serves", lambda: (
                active(m) == "active" and pid_of(m) not in (0, before)))
            holders.recovered(60)
            holders.busy(CLIENTS)
            # a configuration that it would refuse: it goes on as it was
            m.write("etc/xtcpd.conf", conf() + "frobnicate = 1\n")
            before = pid_of(m)
            p = dpkg(m, "--force-confold", "-i", "/srv/debs/xtcpd.deb")
            contains(p.stderr, "xtcpd.service goes on as it was")
            equal(pid_of(m), before)
            result = holders.finish(70)
            check_held(result)
            note(f"{result['opened']} connections over two upgrades, "
                 f"{result['requests']} requests")


@timeout(300)
def test_remove_and_purge_leave_nothing():
    with machine() as m:
        install(m, *PACKAGES)
        m.write("etc/xtcpd.conf", conf())
        m.run("systemctl", "enable", "--now", "xtcpd")
        dpkg(m, "-r", "xtcpd")
        equal(active(m), "inactive")
        equal(m.run("ip", "link", "show", "xtcp0", check=False).returncode, 1)
        equal((is_there(m, "/etc/xtcpd.conf"), is_there(m, "/usr/sbin/xtcpd")),
              (True, False))
        dpkg(m, "-P", "xtcpd", "xtcp-tools", "libxtcp-dev", "libxtcp1")
        left = m.run("find", "/etc", "/usr", "/lib/systemd", "/var/lib",
                     "-xdev", "-name", "*xtcp*", "-newermt",
                     "@0").stdout.split()
        # what this machine itself has, installed or not, is not the packages'
        left = [path for path in left
                if not os.path.lexists(path) and "/xtcpd-test" not in path]
        equal(left, [])


@timeout(300)
def test_a_program_is_built_with_the_packages():
    with machine() as m:
        install(m, "libxtcp1", "libxtcp-dev")
        example = "/usr/share/doc/libxtcp-dev/examples/chat.c"
        if is_there(m, example + ".gz"):
            m.run("gunzip", example + ".gz")
        m.run("sh", "-ec", f"gcc -D_GNU_SOURCE -o /tmp/chat {example} "
              "$(pkg-config --cflags --libs libxtcp)")
        contains(m.run("ldd", "/tmp/chat").stdout, "libxtcp.so.1 =>")
        install(m, "xtcpd", "xtcp-tools")
        for program in "xtcpd", "xtcpctl", "xtcp-echod", "xtcp-run", \
                "xtcp-swarm":
            contains(m.run(program, "--version").stdout, "0.1.0")


if __name__ == "__main__":
    Built.make()
    harness.main(globals())
