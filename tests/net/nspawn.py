# SPDX-License-Identifier: BSD-2-Clause
"""A machine with systemd as its PID 1, in systemd-nspawn.

Its root is an overlay: a tmpfs, with what `make install` put into a stage, above
this machine's own root. So it has this machine's programs, and nothing that it
writes stays. It has a network namespace and a cgroup of its own.

    with Machine(stage) as m:
        m.write("usr/local/etc/xtcpd.conf", ...)
        m.boot()
        m.run("systemctl", "start", "xtcpd")

What is mounted is mounted in a mount namespace of the test's process, and goes
with it. The cgroup hierarchy is mounted anew there, as pure version 2, whatever
the host uses: systemd needs it for the processes of its units, and does without
controllers. All processes of the machine are in one cgroup: leaving the machine
kills them all. If the test dies, so does systemd-nspawn, as PID 1 of a namespace
of its own, and everything in that namespace with it; the empty cgroups that are
left then are removed by the next machine.

Of the units only those run that a test needs: systemd-journald, and what was
asked for. --register=no and --keep-unit: nobody here is systemd-machined.
"""

import contextlib
import ctypes
import json
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from harness import BUILD, libc, run, wait_for
from runner import Skip, die_with_parent

CLONE_NEWNS = 0x00020000
CGROUP = Path("/sys/fs/cgroup")
MASKED = ("systemd-logind", "systemd-resolved", "systemd-networkd",
          "systemd-timesyncd", "networking", "console-getty", "getty@",
          "systemd-update-utmp", "systemd-udevd", "dbus")


def install(stage):
    """`make install` of the build into the folder stage."""
    run("make", "-C", BUILD, "install", f"DESTDIR={stage}", timeout=240)


class Machine:
    """Entered: its root is there, for writing. Then boot()."""

    def __init__(self, stage):
        self.stage = stage
        self.name = f"xtcpd-test-{os.getpid()}"
        self.scratch = tempfile.mkdtemp(prefix="machine-")
        self.root = f"{self.scratch}/root"
        self.cgroup = CGROUP / self.name
        self.nspawn = None
        self.leader = None

    def __enter__(self):
        if not shutil.which("systemd-nspawn"):
            raise Skip("no systemd-nspawn: package systemd-container")
        if libc.unshare(CLONE_NEWNS):
            raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNS): is root?")
        run("mount", "--make-rprivate", "/")
        run("mount", "-t", "tmpfs", "-o", "size=1G", "tmpfs", self.scratch)
        for name in "work", "root":
            os.mkdir(f"{self.scratch}/{name}")
        shutil.copytree(self.stage, f"{self.scratch}/upper", symlinks=True)
        os.chmod(f"{self.scratch}/upper", 0o755)
        run("mount", "-t", "overlay", "overlay", "-o",
            f"lowerdir=/,upperdir={self.scratch}/upper,"
            f"workdir={self.scratch}/work", self.root)
        self.mount_cgroup()
        self.prepare()
        return self

    def mount_cgroup(self):
        run("umount", "-R", CGROUP, check=False)
        run("mount", "-t", "cgroup2", "cgroup2", CGROUP)
        for left in CGROUP.glob("xtcpd-test-*"):
            if not Path(f"/proc/{left.name.rsplit('-', 1)[1]}").exists():
                self.remove_cgroups(left)
        self.cgroup.mkdir()

    def prepare(self):
        """A machine of its own, that starts next to nothing."""
        # with the mode that udev's rules give it
        os.mknod(f"{self.scratch}/tun", stat.S_IFCHR,
                 os.stat("/dev/net/tun").st_rdev)
        os.chmod(f"{self.scratch}/tun", 0o666)
        self.write("etc/machine-id", "")
        self.write("etc/fstab", "")
        self.write("etc/hostname", "xtcpd-test\n")
        units = f"{self.root}/etc/systemd/system"
        for found in Path(units).glob("*.wants"):
            shutil.rmtree(found)
        for unit in MASKED:
            self.link("/dev/null", f"etc/systemd/system/{unit}.service")
        self.link("/dev/null", "etc/systemd/system/dbus.socket")
        self.link("/lib/systemd/system/multi-user.target",
                  "etc/systemd/system/default.target")
        # or dpkg makes the index of all man pages anew, each time
        Path(f"{self.root}/var/lib/man-db/auto-update").unlink(missing_ok=True)
        run("ldconfig", "-r", self.root)

    def write(self, path, text):
        """A file of the machine; also while it runs."""
        full = Path(self.root) / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.unlink(missing_ok=True)
        full.write_text(text)

    def link(self, to, path):
        full = Path(self.root) / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.unlink(missing_ok=True)
        full.symlink_to(to)

    def boot(self):
        def enter_cgroup():
            die_with_parent()
            (self.cgroup / "cgroup.procs").write_text("0")
        self.console = tempfile.NamedTemporaryFile(mode="w+", prefix="log-")
        self.nspawn = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
             "systemd-nspawn", "--quiet", f"--directory={self.root}",
             f"--machine={self.name}", "--register=no", "--keep-unit",
             "--private-network", "--boot", "--console=pipe",
             "--link-journal=no", "--resolv-conf=off", "--timezone=off",
             f"--bind={self.scratch}/tun:/dev/net/tun"],
            stdin=subprocess.DEVNULL, stdout=self.console, stderr=self.console,
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
                 "SYSTEMD_NSPAWN_LOCK": "0"},
            preexec_fn=enter_cgroup)
        self.leader = wait_for("PID 1 runs", self.find_leader)
        state = wait_for("the machine is up", self.state, within=60)
        if state != "running":
            raise AssertionError(f"it is {state}: " + self.run(
                "systemctl", "--failed", check=False).stdout)

    def check_alive(self):
        if self.nspawn.poll() is not None:
            raise AssertionError(f"systemd-nspawn ended with "
                                 f"{self.nspawn.returncode}: {self.said()}")

    def said(self):
        with open(self.console.name, errors="replace") as f:
            return f.read()[-3000:]

    def find_leader(self):
        """The process that is PID 1 in there, and not systemd-nspawn any more."""
        self.check_alive()
        for pid in self.processes():
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                pids = status.split("NSpid:")[1].split("\n")[0].split()
                if pids[-1] == "1" and status.startswith("Name:\tsystemd\n"):
                    return pid
        return None

    def state(self):
        self.check_alive()
        word = self.run("systemctl", "is-system-running",
                        check=False).stdout.strip()
        return word if word in ("running", "degraded") else None

    def run(self, *args, **kw):
        """Run a program in the machine."""
        return run("nsenter", "-t", self.leader, "-a", *args, **kw)

    def show(self, unit, *properties):
        """Properties of a unit, text each."""
        out = self.run("systemctl", "show", unit, "-p",
                       ",".join(properties)).stdout
        return dict(line.split("=", 1) for line in out.splitlines())

    def journal(self, *match):
        """Entries of the journal, oldest first."""
        self.run("journalctl", "--sync")
        out = self.run("journalctl", "-o", "json", "--no-pager", *match).stdout
        return [json.loads(line) for line in out.splitlines()]

    def network(self):
        """A descriptor of its network namespace."""
        return os.open(f"/proc/{self.leader}/ns/net", os.O_RDONLY)

    def outer_pid(self, inner):
        """The number that a process of the machine has out here."""
        for pid in self.processes():
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                if status.split("NSpid:")[1].split("\n")[0].split()[-1] == \
                        str(inner):
                    return pid
        raise AssertionError(f"the machine has no process {inner}")

    def processes(self):
        pids = []
        # cgroups end while we look: os.walk() passes such by
        for folder, _, _ in os.walk(self.cgroup):
            with contextlib.suppress(OSError):
                pids += map(int, Path(
                    folder, "cgroup.procs").read_text().split())
        return pids

    def __exit__(self, kind, value, tb):
        if self.nspawn:
            if kind is not None:
                with contextlib.suppress(Exception):
                    print("# the machine's journal:\n" + self.run(
                        "journalctl", "--no-pager", "-n", "60",
                        check=False).stdout)
                print(f"# its console: {self.said()}")
            (self.cgroup / "cgroup.kill").write_text("1")
            self.nspawn.kill()
            self.nspawn.wait()
            self.console.close()
        wait_for("its processes are gone", lambda: not self.processes())
        wait_for("its cgroups are gone",
                 lambda: self.remove_cgroups(self.cgroup))
        run("umount", "-l", self.root)
        run("umount", "-l", self.scratch)
        os.rmdir(self.scratch)

    @staticmethod
    def remove_cgroups(top):
        """Whether they are gone: a zombie holds one for a moment."""
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        return not top.exists()
