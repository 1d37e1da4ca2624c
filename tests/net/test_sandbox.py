#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What the running daemon gave up, and that it can work without."""

import contextlib
import os
import re
import shutil
import signal
import socket
import stat
import tempfile
from pathlib import Path

import harness
from frames import Backend
from harness import (
    BUILD, VIP4, VIP6, Echod, Net, Xtcpd, backends, connect, contains, equal,
    msgclient, recv_exactly, run, wait_attached, wait_for)

PORT, DIALED = 7, 9
METRICS = "127.0.0.1:9464"
NET_ADMIN = 1 << 12
NOBODY = 65534
CLONE_NEWNS = 0x20000
SANITIZED = BUILD.name != "gcc"


def statuses(pid):
    """/proc/PID/task/*/status: name -> keys."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        keys = dict(line.split(":\t", 1)
                    for line in (task / "status").read_text().splitlines()
                    if ":\t" in line)
        found[keys["Name"]] = keys
    return found


def ours(threads):
    """Without what a sanitizer started before main()."""
    return {name: keys for name, keys in threads.items()
            if not SANITIZED or name == "xtcpd" or name.startswith("worker-")}


def caps(keys):
    return {name: int(keys[name], 16)
            for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}


NONE = {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 0, "CapAmb": 0}


def check_threads(pid, workers, bounding=0):
    threads = ours(statuses(pid))
    equal(sorted(threads), ["worker-%d" % i for i in range(workers)] + ["xtcpd"])
    for name, keys in threads.items():
        equal((name, keys["Seccomp"], keys["NoNewPrivs"]), (name, "2", "1"))
        want = {**NONE, "CapBnd": bounding}
        if name == "xtcpd":
            want.update(CapPrm=NET_ADMIN, CapEff=NET_ADMIN)
        equal((name, caps(keys)), (name, want))


def echoes(s, data=b"hello"):
    s.sendall(data)
    equal(recv_exactly(s, len(data)), data)


def mode(path):
    return oct(stat.S_IMODE(os.lstat(path).st_mode))


def routes():
    return "".join(run("ip", *family, "route", "show", "table", "all").stdout
                   for family in ((), ("-6",)))


# --- what is in force

def test_every_thread_is_in_the_sandbox():
    with Net(), Xtcpd({"echo": {"port": PORT}}, 2) as d, \
            Echod("-p", PORT, daemon=d):
        wait_attached(d)
        check_threads(d.pid, 2)
        echoes(connect(PORT))
        check_threads(d.pid, 2)


def test_show_info_says_what_is_in_force():
    with Net(), Xtcpd({"echo": {"port": PORT}}) as d:
        text = d.ask("show info")["sandbox"]
        equal(re.fullmatch(r"seccomp, (landlock, )?no_new_privs, caps: net_admin",
                           text) is not None, True, text)
        contains(run(BUILD / "xtcpctl", "-s", d.control_path, "show",
                     "info").stdout, text)
        contains(d.stderr(), text)


def test_it_can_be_turned_off():
    with Net(), Xtcpd({"echo": {"port": PORT}}, top={"sandbox": False}) as d:
        for keys in ours(statuses(d.pid)).values():
            equal(keys["Seccomp"], "0")
            equal(int(keys["CapEff"], 16) & NET_ADMIN, NET_ADMIN)
        equal(d.ask("show info")["sandbox"], "off")
        contains(d.stderr(), "sandbox = false")
        d.configure({"echo": {"port": PORT}}, top={"sandbox": True})
        p = d.ctl("reload", check=False)
        contains(p.stdout + p.stderr, "sandbox false -> true: needs a restart")
        equal(d.ask("show info")["sandbox"], "off")


def test_no_memory_is_writable_and_executable():
    with Net(), Xtcpd({"echo": {"port": PORT}}) as d:
        maps = Path(f"/proc/{d.pid}/maps").read_text()
        equal([line for line in maps.splitlines()
               if re.search(r" .w.?x", line.split("-", 1)[1])], [])


def test_arena_is_left_out_of_core_dumps():
    with Net(), Xtcpd({"echo": {"port": PORT}}) as d:
        smaps = Path(f"/proc/{d.pid}/smaps").read_text()
        flags = re.findall(r"^\S+ .* (\S*/state/arena)\n(?:.+\n)*?VmFlags: (.*)$",
                           smaps, re.M)
        equal(len(flags), 1, smaps[-1500:])
        contains(flags[0][1].split(), "dd")


def test_in_the_background_it_is_in_the_sandbox_too():
    with Net(), tempfile.TemporaryDirectory() as t:
        os.mkdir(f"{t}/state")
        conf = Path(f"{t}/xtcpd.conf")
        conf.write_text(harness.conf_text(t, {"echo": {"port": PORT}}))
        p = run(BUILD / "xtcpd", "-c", conf)
        equal(p.returncode, 0)
        control = harness.Control(f"{t}/control.sock")
        contains(control.ask("show info")["result"]["sandbox"], "seccomp")
        (pid,) = [int(x) for x in run("pgrep", "-f", str(conf)).stdout.split()]
        try:
            check_threads(pid, 1)
        finally:
            os.kill(pid, signal.SIGTERM)
            wait_for("it ends", lambda: not os.path.exists(f"/proc/{pid}"))
        equal(sorted(os.listdir(f"{t}/state")), ["lock"])


# --- modes of files

def test_modes_of_files():
    with Net(), tempfile.TemporaryDirectory() as t:
        os.chmod(t, 0o755)
        group = NOBODY
        top = {"state-dir": f"{t}/new",
               "control": {"socket": f"{t}/new/control.sock", "mode": "0600",
                           "group": "root"},
               "attach": {"socket": f"{t}/new/attach.sock", "mode": "0660",
                          "group": "nogroup"}}
        pcap = f"{t}/x.pcap"
        Path(pcap).write_text("there before, and open to all")
        os.chmod(pcap, 0o666)
        os.umask(0)
        with contextlib.ExitStack() as stack:
            d = Xtcpd({"echo": {"port": PORT}}, 2, top=top,
                      args=("--pcap", pcap))
            d.control_path = top["control"]["socket"]
            stack.enter_context(d)
            found = {name: mode(f"{t}/new/{name}")
                     for name in os.listdir(f"{t}/new")}
            equal(found, {"arena": "0o600", "lock": "0o600",
                          "control.sock": "0o600", "attach.sock": "0o660"})
            equal(mode(f"{t}/new"), "0o711")
            equal(os.stat(f"{t}/new/attach.sock").st_gid, group)
            equal(mode(pcap), "0o600")
            equal(mode(pcap + ".1"), "0o600")
            # what an application of the group can do, and nobody else
            script = ("import socket; s = socket.socket(socket.AF_UNIX); "
                      f"s.connect('{t}/new/attach.sock')")
            args = ["setpriv", "--reuid", "12345", "--clear-groups",
                    "--bounding-set", "-all"]
            equal(run(*args, "--regid", group, "python3", "-c", script,
                      check=False).returncode, 0)
            equal(run(*args, "--regid", "12345", "python3", "-c", script,
                      check=False).returncode, 1)


def refused(d, text):
    """xtcpd ends with 1 and says it, and has made nothing."""
    p = run(BUILD / "xtcpd", "-f", "-c", f"{d}/xtcpd.conf", check=False)
    equal(p.returncode, 1, p.stderr)
    contains(p.stderr, text)
    equal(run("ip", "link", "show", "xtcp0", check=False).returncode, 1)


def test_state_directory_that_others_write_to_is_refused():
    with Net(), tempfile.TemporaryDirectory() as t:
        os.mkdir(f"{t}/state")
        Path(f"{t}/xtcpd.conf").write_text(
            harness.conf_text(t, {"echo": {"port": PORT}}))
        os.chmod(f"{t}/state", 0o775)
        refused(t, "chmod go-w")
        os.chmod(f"{t}/state", 0o755)
        os.chown(f"{t}/state", 12345, -1)
        refused(t, "belongs to uid 12345")
        os.chown(f"{t}/state", 0, -1)
        os.symlink("/etc/passwd", f"{t}/state/lock")
        refused(t, "state/lock")
        equal(os.path.getsize("/etc/passwd") > 0, True)


# --- at work

def unix_listener(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen(64)
    return sock


def replace(path, text):
    """As editors do: a new file under the old name."""
    Path(path + ".new").write_text(text)
    os.rename(path + ".new", path)


def all_commands(d):
    for what in ("info", "pools", "groups", "backends", "workers", "memory",
                 "counters", "connections"):
        run(BUILD / "xtcpctl", "-s", d.control_path, "show", what)
    (first, *_) = d.ctl("show", "connections")
    d.ctl("show", "connection", first["id"])
    d.ctl("show", "connections", "--state", "ESTABLISHED", "--limit", "2")
    equal(d.ctl("close", "ffffffffffffffff", check=False).returncode, 1)
    equal(d.ctl("drain", "backend", "nobody", check=False).returncode, 1)
    contains(str(d.ask("help")), "reload")


def scrape():
    page = run("curl", "-sS", "--fail", "--max-time", 20, "--noproxy", "*",
               f"http://{METRICS}/metrics").stdout
    contains(page, "xtcpd_process_resident_bytes")
    equal("xtcpd_process_resident_bytes 0\n" in page, False)
    run("curl", "-sS", "-o", "/dev/null", "--max-time", 20, "--noproxy", "*",
        f"http://{METRICS}/nothing")


def dialed_backend(d, sock):
    """xtcpd dials: every connection of a stream to each worker, one request."""
    streams = [Backend.serve(sock) for _ in range(d.workers)]
    wait_for("dialed", lambda: [b for b in backends(d, "dialed")
                                if b["streams_up"] >= d.workers])
    s = connect(DIALED)
    s.sendall(b"request")
    for b in streams:
        for f in b.sync():
            if f.type == "DATA":
                b.reply(f.conn, b"reply", ackd=len(f.payload))
    return streams, s


def days_work(d, path, groups, top):
    """All that a daemon meets; d.stop() comes after it."""
    listener = unix_listener(path)
    with Echod("-p", PORT, daemon=d):
        wait_attached(d, group="echo")
        for address in VIP4, VIP6:
            echoes(connect(PORT, address))
        msgclient(f"{VIP4}:{PORT}", "--connections", 20, "--messages", 200)
        streams, s = dialed_backend(d, listener)
        equal(recv_exactly(s, 5), b"reply")
        kept = connect(PORT)
        echoes(kept, b"x" * 300000)
        all_commands(d)
        scrape()
        d.ctl("drain", "backend", "a")
        d.ctl("resume", "backend", "a")
        for b in streams:  # it dies, and is gone for a while
            b.close()
        listener.close()
        os.unlink(path)
        wait_for("lost", lambda: d.counter("backend_lost") >= d.workers)
        listener = unix_listener(path)
        streams, s = dialed_backend(d, listener)
        # reloads: of a new file, of a bad one, of a changed group
        replace(d.conf, harness.conf_text(
            d.dir, {**groups, "more": {"port": 1007, "max-connections": 5}},
            d.workers, top=top))
        equal(d.ctl("reload", check=False).returncode, 0)
        with open(d.conf, "a") as f:
            f.write("frobnicate = 1\n")
        os.kill(d.pid, signal.SIGHUP)
        wait_for("it is logged", lambda: "frobnicate" in d.stderr())
    wait_for("the application is gone", lambda: not [
        b for b in backends(d, "echo") if b["streams_up"]])
    with Echod("-p", PORT, daemon=d):
        wait_attached(d, group="echo")
        echoes(kept, b"still there?")
        d.ctl("drain", "group", "echo")
        with contextlib.suppress(ConnectionError):
            connect(PORT)
            raise AssertionError("connected to a drained group")
        # a client that goes without a word, and one that resets
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        kept.close()
        s.close()
        wait_for("gone", lambda: d.ask("show info")
                 ["connections"]["established"] <= 3)


TOP = {"metrics": {"listen": METRICS}}


def groups_with(path):
    return {"echo": {"port": PORT},
            "dialed": {"port": DIALED,
                       "backend": {"a": {"address": f"unix:{path}"},
                                   "b": {"address": "tcp:127.0.0.1:9"}}}}


def refused_calls(log):
    """Calls that failed in a way that only the sandbox makes them fail."""
    return [line for line in Path(log).read_text().splitlines()
            if re.search(r"= -1 (ENOSYS|EACCES|EPERM)\b|SIGSYS", line) and
            "clone3(" not in line]


@harness.timeout(240)
def test_a_days_work_without_a_refused_call():
    """strace sees each call that fails; ENOSYS is what the filter says."""
    if not shutil.which("strace"):
        raise harness.Skip("strace is missing")
    with Net(), tempfile.TemporaryDirectory() as t:
        log, path = f"{t}/strace", f"{t}/a.sock"
        # -D: the process started is xtcpd itself, and gets its signals
        wrap = ("strace", "-D", "-f", "-Z", "-qq", "-o", log, "-e",
                "trace=!read,write,writev,futex,recvmsg,recvfrom,accept4")
        before = routes()
        with Xtcpd(groups_with(path), 2, top=TOP, wrap=wrap,
                   args=("--pcap", f"{t}/x.pcap"),
                   env={"ASAN_OPTIONS": "detect_leaks=0"}) as d:
            check_threads(d.pid, 2)
            days_work(d, path, groups_with(path), TOP)
            d.stop()
            equal(sorted(os.listdir(f"{d.dir}/state")), ["lock"])
            equal(sorted(os.listdir(d.dir)), ["state", "xtcpd.conf"])
        equal(routes(), before)
        equal(refused_calls(log), [])
        # the test can fail: the call that libc tries in vain is seen
        contains(Path(log).read_text(), "clone3(")


def device_for_all(directory):
    """/dev/net/tun with mode 0666, as udev makes it, in a mount namespace."""
    if harness.libc.unshare(CLONE_NEWNS):
        raise OSError("unshare(CLONE_NEWNS)")
    run("mount", "--make-rprivate", "/")
    device = f"{directory}/tun"
    os.mknod(device, stat.S_IFCHR, os.makedev(10, 200))
    os.chmod(device, 0o666)
    run("mount", "--bind", device, "/dev/net/tun")
    try:
        os.close(os.open(device, os.O_RDWR))
    except PermissionError:
        raise harness.Skip("no devices in the directory of temporary files") \
            from None


@harness.timeout(240)
def test_a_user_of_its_own_with_one_capability_is_enough():
    """As the unit starts it: no root at all, from the beginning to the end."""
    with Net(), tempfile.TemporaryDirectory() as t:
        path = f"{t}/a.sock"
        os.chmod(t, 0o755)
        top = {**TOP}
        wrap = ("setpriv", "--reuid", NOBODY, "--regid", NOBODY,
                "--clear-groups", "--bounding-set", "-all,+net_admin",
                "--inh-caps", "-all,+net_admin",
                "--ambient-caps", "-all,+net_admin")
        device_for_all(t)
        if run("setpriv", "--reuid", NOBODY, "--clear-groups", BUILD / "xtcpd",
               "-V", check=False).returncode in (126, 127):
            raise harness.Skip("the build is not readable by nobody")
        os.umask(0)  # backends' sockets are open to the user
        before = routes()

        class Unprivileged(Xtcpd):
            def configure(self, *args):
                super().configure(*args)
                text = Path(self.conf).read_text()
                Path(self.conf).write_text(text.replace(
                    'group = "root"', 'group = "nogroup"'))
                for name in self.dir, self.dir + "/state":
                    os.chown(name, NOBODY, NOBODY)
                os.chmod(self.dir + "/state", 0o711)

        with Unprivileged(groups_with(path), 2, top=top, wrap=wrap) as d:
            check_threads(d.pid, 2, bounding=NET_ADMIN)
            for keys in statuses(d.pid).values():
                equal(keys["Uid"].split(), [str(NOBODY)] * 4)
            equal(d.stderr().count("cannot be set"), 0, d.stderr())
            days_work(d, path, groups_with(path), top)
            d.stop()
            equal(sorted(os.listdir(f"{d.dir}/state")), ["lock"])
        equal(routes(), before)


def test_backend_without_permission_is_named_with_what_to_do():
    """Root without CAP_DAC_OVERRIDE is a user like others."""
    with Net(), tempfile.TemporaryDirectory() as t:
        os.chmod(t, 0o755)
        path = f"{t}/a.sock"
        with unix_listener(path):
            os.chmod(path, 0o660)
            os.chown(path, 12345, 12345)
            with Xtcpd(groups_with(path)) as d:
                wait_for("it is said",
                         lambda: "needs write permission" in d.stderr())


if __name__ == "__main__":
    harness.main(globals())
