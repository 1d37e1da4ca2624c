#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""xtcp-run, the command: what it refuses, and what it leaves to the kernel."""
# builds: gcc

import os
import re
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import harness
from harness import (
    BUILD, VIP4, Net, Xtcpd, backends, contains, equal, recv_exactly, run,
    wait_for)
from servers import LIBRARY, LOCAL, Server, needs

PORT, OTHER = 8000, 8001
LISTENER = f"""
import socket, sys
socks = []
for port in sys.argv[1:]:
    s = socket.create_server(("0.0.0.0", int(port)))
    s.listen()
    socks.append(s)
print("listening", flush=True)
while True:
    c = socks[0].accept()[0]
    c.sendall(b"hello")
    c.recv(1)
    c.close()
"""


def xtcp_run(*args, attach="/nonexistent/attach.sock", env=None):
    needs()
    return run(BUILD / "xtcp-run", *args, check=False, env={
        **os.environ, "XTCP_ATTACH": attach, "XTCP_RUN_LIBRARY": str(LIBRARY),
        **(env or {})})


def refused(status, text, *args, **kw):
    p = xtcp_run(*args, **kw)
    equal(p.returncode, status, p.stderr)
    contains(p.stderr, text)
    equal(p.stderr.count("\n"), 1, p.stderr)
    equal(p.stdout, "")


def test_help_and_version():
    p = xtcp_run("--help")
    equal((p.returncode, p.stderr), (0, ""))
    for option in ("--port", "--ack", "--attach", "--verbose", "--version"):
        contains(p.stdout, option)
    p = xtcp_run("--version")
    equal(p.returncode, 0)
    if not re.fullmatch(r"xtcp-run \d+\.\d+\.\d+\n", p.stdout):
        raise AssertionError(p.stdout)


def test_wrong_usage_is_status_2():
    refused(2, "which command?")
    refused(2, 'bad"', "--ack", "bad", "true")
    for port in ("0", "65536", "80,", "x", ""):
        refused(2, "numbers from 1 to 65535", "--port", port, "true")
    refused(2, "at most 64 ports", "--port",
            ",".join(str(p) for p in range(1, 66)), "true")
    equal(xtcp_run("--nosuch", "true").returncode, 2)
    refused(2, "No such file", "nosuch-command")
    refused(2, "Permission denied", "/etc/passwd")
    refused(2, "no program", "/tmp")
    refused(2, "can't be read", "--attach", "tcp:nonsense", "true")


def test_without_xtcpd_it_says_so():
    refused(1, "no xtcpd answers at /nonexistent/attach.sock", "true")
    with tempfile.TemporaryDirectory() as d:
        path = f"{d}/s"
        s = socket.socket(socket.AF_UNIX)
        s.bind(path)
        refused(1, f"no xtcpd answers at {path}: Connection refused", "true",
                attach=path)
        s.listen()
        s.close()
        refused(1, "no xtcpd answers at " + path, "--attach", path, "true")


def test_who_may_not_attach_is_told_so():
    needs()
    with tempfile.TemporaryDirectory() as d:
        s = socket.socket(socket.AF_UNIX)
        s.bind(f"{d}/s")
        s.listen()
        os.chmod(f"{d}/s", 0)
        p = run("setpriv", "--bounding-set=-all", "--inh-caps=-all",
                BUILD / "xtcp-run", "--attach", f"{d}/s", "true", check=False,
                env={**os.environ, "XTCP_RUN_LIBRARY": str(LIBRARY)})
        equal((p.returncode, p.stderr), (
            1, f"xtcp-run: no permission for {d}/s: run as root, or as a "
            "member of the socket's group\n"))
        s.close()


def test_a_port_without_group_is_refused():
    with Net(), Xtcpd({"g": {"port": PORT}}) as d:
        refused(1, f"no group for port {OTHER}", "--port", f"{PORT},{OTHER}",
                "true", attach=d.attach_path)
        equal(xtcp_run("--port", PORT, "true",
                       attach=d.attach_path).returncode, 0)


def test_without_its_library_it_says_so():
    with Net(), Xtcpd({"g": {"port": PORT}}) as d:
        refused(1, "/nosuch.so", "true", attach=d.attach_path,
                env={"XTCP_RUN_LIBRARY": "/nosuch.so"})


def test_static_programs_are_refused():
    with tempfile.TemporaryDirectory() as d:
        p = run("gcc", "-static", "-x", "c", "-", "-o", f"{d}/static",
                input="int main(void) { return 0; }\n", check=False)
        if p.returncode:
            raise harness.Skip("nothing static can be linked here")
        refused(2, "linked statically", f"{d}/static")
        # by name, through a script, and through env
        os.symlink("static", f"{d}/prog")
        path = f"{d}:{os.environ['PATH']}"
        refused(2, "linked statically", "prog", env={"PATH": path})
        for head in (f"#!{d}/static", f"#! {d}/static -x",
                     "#!/usr/bin/env prog"):
            script = Path(f"{d}/script")
            script.write_text(head + "\n")
            script.chmod(0o755)
            refused(2, "linked statically", script, env={"PATH": path})
        script.write_text(f"#!{d}/script\n")
        refused(2, "too many interpreters", script)
        script.write_text("echo no interpreter\n")
        refused(2, "neither a program nor a script", script)


def test_programs_of_other_machines_and_damaged_ones_are_refused():
    true = Path(shutil.which("true")).read_bytes()
    with tempfile.TemporaryDirectory() as d:
        prog = Path(f"{d}/prog")
        prog.write_bytes(b"")
        prog.chmod(0o755)
        refused(2, "no program", prog)
        prog.write_bytes(true[:4] + bytes([true[4] ^ 3]) + true[5:])
        refused(2, "another kind of machine", prog)
        prog.write_bytes(true[:50])
        refused(2, "damaged", prog)
        prog.write_bytes(true.replace(b"libc.so.6", b"libc.so.9"))
        refused(2, "does not use the GNU C library", prog)


def test_privileged_programs_are_refused():
    with tempfile.TemporaryDirectory() as d:
        prog = f"{d}/prog"
        shutil.copy(shutil.which("true"), prog)
        os.chown(prog, 65534, 65534)
        os.chmod(prog, 0o4755)
        refused(2, "set-user-ID", prog)
        os.chmod(prog, 0o2755)
        refused(2, "set-group-ID", prog)


class Listening(Server):
    def __init__(self, daemon, *ports, options=()):
        self.script = tempfile.NamedTemporaryFile("w", suffix=".py")
        self.script.write(LISTENER)
        self.script.flush()
        super().__init__(sys.executable, self.script.name, *ports,
                         daemon=daemon, options=options)

    def __enter__(self):
        wait_for("it listens", lambda: "listening" in self.stdout() or
                 not self.alive())
        return self


def hello(address, port):
    with socket.create_connection((address, port), timeout=20) as s:
        s.sendall(b"x")
        return recv_exactly(s, 5)


def listens(port):
    return f":{port} " in run("ss", "-ltnH").stdout


def test_ports_without_group_stay_the_kernels():
    needs()
    with Net(), Xtcpd({"g": {"port": PORT}}) as d, Listening(d, OTHER, PORT):
        equal((listens(PORT), listens(OTHER)), (False, True))
        equal(hello(LOCAL, OTHER), b"hello")
        # nobody waits on the other listener: the process serves nothing yet
        equal(backends(d), [])


def test_only_ports_that_are_named_are_taken():
    needs()
    with Net(), Xtcpd({"g": {"port": PORT}, "h": {"port": OTHER}}) as d, \
            Listening(d, PORT, OTHER, options=("--port", PORT)):
        equal((listens(PORT), listens(OTHER)), (False, True))
        equal(hello(VIP4, PORT), b"hello")
        equal([b["group"] for b in backends(d)], ["g"])


def test_a_group_that_announces_gets_servers_that_speak_first():
    needs()
    with Net(), Xtcpd({"g": {"port": PORT, "announce": True}}) as d, \
            Listening(d, PORT):
        with socket.create_connection((VIP4, PORT), timeout=20) as s:
            equal(recv_exactly(s, 5), b"hello")


def test_a_handshake_waits_for_accept():
    needs()
    with Net(), Xtcpd({"g": {"port": PORT, "accept": "application"}}) as d, \
            Listening(d, PORT):
        equal(hello(VIP4, PORT), b"hello")


def test_an_address_that_the_host_does_not_have():
    """A server may be told to bind to the virtual address itself."""
    needs()
    program = LISTENER.replace('"0.0.0.0"', f'"{VIP4}"')
    with Net(), Xtcpd({"g": {"port": PORT}}) as d:
        with Server(sys.executable, "-c", program, PORT, daemon=d) as s:
            wait_for("it listens", lambda: "listening" in s.stdout() or
                     not s.alive())
            equal(hello(VIP4, PORT), b"hello")


LATE = """
import os, select, socket, sys
s = socket.create_server(("0.0.0.0", int(sys.argv[1])))
ep = select.epoll()
ep.register(s, select.EPOLLIN)
print("listening", flush=True)
if os.fork():
    os.wait()
    sys.exit()
while True:
    for fd, mask in ep.poll():
        c = s.accept()[0]
        c.sendall(b"hello")
        c.recv(1)
        c.close()
"""


def test_a_child_that_waits_serves_not_its_parent():
    """A server that goes to the background when all is set up."""
    needs()
    with Net(), Xtcpd({"g": {"port": PORT}}, 2) as d, \
            Server(sys.executable, "-c", LATE, PORT, daemon=d) as s:
        for _ in range(3):
            wait_for("it listens", lambda: "listening" in s.stdout())
            equal(hello(VIP4, PORT), b"hello")
        equal(len(backends(d)), 1)


# reads a line; then answers it, or does not and waits for more
READER = """
import socket, sys
s = socket.create_server(("0.0.0.0", int(sys.argv[1])))
while True:
    c = s.accept()[0]
    line = c.recv(100)
    print("read", line.decode(), flush=True)
    if sys.argv[2] == "answer":
        c.sendall(b"answer to " + line)
    c.recv(100)
"""


def successor(ack):
    """What a client gets whose first request was read by a server that died,
    and whose second one by the next server."""
    needs()
    with Net(), Xtcpd({"g": {"port": PORT}}) as d:
        options = ("--ack", ack)
        with Server(sys.executable, "-u", "-c", READER, PORT, "silent",
                    daemon=d, options=options) as first:
            s = socket.create_connection((VIP4, PORT), timeout=20)
            s.sendall(b"one.")
            wait_for("it is read", lambda: "one." in first.stdout())
            if ack == "read":
                wait_for("it is acknowledged", lambda: d.ask(
                    "show pools")[0]["used_bytes"] == 0)
            first.kill()
        with Server(sys.executable, "-u", "-c", READER, PORT, "answer",
                    daemon=d, options=options) as second:
            wait_for("the next one is there", lambda: second.served(PORT))
            s.sendall(b"two.")
            answer = b""
            while not answer.endswith(b"."):
                answer += s.recv(100)
            s.close()
            return answer


def test_with_ack_write_an_unanswered_request_comes_again():
    answer = successor("write")
    if not answer.startswith(b"answer to one."):
        raise AssertionError(answer)


def test_with_ack_read_a_request_that_was_read_is_over():
    equal(successor("read"), b"answer to two.")


def test_a_server_started_by_a_shell():
    needs()
    with Net(), Xtcpd({"g": {"port": PORT}}) as d:
        command = f'exec "{sys.executable}" -c "$PROGRAM" {PORT}'
        with Server("sh", "-c", command, daemon=d,
                    env={"PROGRAM": LISTENER}) as s:
            wait_for("it listens", lambda: "listening" in s.stdout() or
                     not s.alive())
            equal(hello(VIP4, PORT), b"hello")


if __name__ == "__main__":
    harness.main(globals())
