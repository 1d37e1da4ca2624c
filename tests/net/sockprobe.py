#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A server that tries out what a socket does, and says what it saw.

    sockprobe.py PORT ADDRESS [late | nested]

A client connects for each case and sends its name as a line; what the server
finds is printed as a JSON line. test_run.py runs it directly and by xtcp-run:
the lines have to be the same. A case function is called with the connection,
the listener, and a function that waits until poll(2) says so.
"""

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import queue
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import termios
import threading

POLL_NAMES = {v: n for n, v in vars(select).items()
              if n in ("POLLIN", "POLLOUT", "POLLRDHUP", "POLLHUP", "POLLERR",
                       "POLLNVAL")}
BIG = 3 << 20
FULL = 24 << 20 # more than any buffers hold


def names(mask):
    return sorted(n for v, n in POLL_NAMES.items() if mask & v)


def attempt(call, *args):
    """What it returns, or the name of its errno."""
    try:
        value = call(*args)
        return value.decode() if isinstance(value, bytes) else value
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))


def fionread(c):
    return struct.unpack("i", fcntl.ioctl(c, termios.FIONREAD, b"\0" * 4))[0]


def poll_now(fd, events, ms=0):
    p = select.poll()
    p.register(fd, events)
    return [names(mask) for _, mask in p.poll(ms)]


def wait(c, events):
    """Wait until one of the events; what there is then."""
    p = select.poll()
    p.register(c, events)
    return names(p.poll(10000)[0][1])


def sleeps(thread):
    """Wait until the thread is in a call of the kernel's that waits."""
    place = f"/proc/self/task/{thread.native_id}/wchan"
    while True:
        with open(place, encoding="ascii") as f:
            name = f.read()
        if name != "0" and "futex" not in name:
            return
        select.select([], [], [], 0.001)


def pattern(n):
    return b"".join(b"%07d\n" % i for i in range(n // 8))


# --- what a fresh connection is

def case_fresh(c, listener):
    opt = c.getsockopt
    return {
        "family": c.family.name,
        "peer": c.getpeername() == c.accepted_from,
        "peer_address": c.getpeername()[0].replace("127.0.0.1", "CLIENT")
        .replace("198.51.100.1", "CLIENT").replace("2001:db8:1::1", "CLIENT")
        .replace("::1", "CLIENT"),
        "address_bytes": len(c.getsockname()),
        "port": c.getsockname()[1] == listener.getsockname()[1],
        "type": opt(socket.SOL_SOCKET, socket.SO_TYPE),
        "domain": opt(socket.SOL_SOCKET, socket.SO_DOMAIN),
        "protocol": opt(socket.SOL_SOCKET, socket.SO_PROTOCOL),
        "error": opt(socket.SOL_SOCKET, socket.SO_ERROR),
        "acceptconn": opt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN),
        "listens": listener.getsockopt(socket.SOL_SOCKET,
                                       socket.SO_ACCEPTCONN),
        "keepalive": opt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        "nodelay": opt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
        "linger": opt(socket.SOL_SOCKET, socket.SO_LINGER, 8).hex(),
        "tcp_info_state": opt(socket.IPPROTO_TCP, socket.TCP_INFO, 1).hex(),
        "flags": fcntl.fcntl(c, fcntl.F_GETFL),
        "fd_flags": fcntl.fcntl(c, fcntl.F_GETFD),
        "socket": stat.S_ISSOCK(os.fstat(c.fileno()).st_mode),
        "seek": attempt(os.lseek, c.fileno(), 0, os.SEEK_CUR),
        "pread": attempt(os.pread, c.fileno(), 1, 0),
        "poll": poll_now(c, select.POLLIN | select.POLLOUT),
        "unread": fionread(c),
        "connect": attempt(c.connect, ("127.0.0.1", 9)),
        "accept": attempt(c.accept),
        "listener_recv": attempt(listener.recv, 1),
    }


def case_options(c, _):
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    c.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77)
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 5))
    c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO,
                 struct.pack("ll", 3, 0))
    return {
        "nodelay": c.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
        "keepalive": c.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        "keepidle": c.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        "linger": c.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8).hex(),
        "rcvtimeo": c.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO,
                                 16).hex(),
        "type": attempt(c.setsockopt, socket.SOL_SOCKET, socket.SO_TYPE, 1),
        "short": attempt(c.setsockopt, socket.SOL_SOCKET, socket.SO_LINGER,
                         b"12"),
    }


def case_nonblock(c, listener):
    c.setblocking(False)
    flags = fcntl.fcntl(c, fcntl.F_GETFL)
    seen = [attempt(c.recv, 1), flags & os.O_NONBLOCK != 0]
    fcntl.fcntl(c, fcntl.F_SETFL, flags & ~os.O_NONBLOCK)
    seen.append(fcntl.fcntl(c, fcntl.F_GETFL) & os.O_NONBLOCK != 0)
    seen.append(attempt(c.recv, 1, socket.MSG_DONTWAIT))
    listener.setblocking(False)
    seen.append(attempt(listener.accept))
    listener.setblocking(True)
    return seen


def case_timeouts(c, _):
    c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO,
                 struct.pack("ll", 0, 20000))
    return [attempt(os.read, c.fileno(), 1), poll_now(c, select.POLLIN, 20),
            select.select([c], [], [], 0.02)[0]]


# --- reading

def read_all(c, n):
    while fionread(c) < n:
        select.select([c], [], [], 0.01)


def case_peek(c, _):
    read_all(c, 5)
    a, b = bytearray(2), bytearray(9)
    seen = [c.recv(3, socket.MSG_PEEK).decode(), fionread(c)]
    got = c.recvmsg_into([a, b], 0, socket.MSG_PEEK)
    seen += [got[0], a.decode(), b[:3].decode(), got[1], got[2]]
    seen += [os.read(c.fileno(), 2).decode(), fionread(c),
             c.recvfrom(10)[0].decode(), fionread(c)]
    return seen


def case_waitall(c, _):
    c.send(b"go")
    return [c.recv(30, socket.MSG_WAITALL).decode(), attempt(c.recv, 1)]


def case_readv(c, _):
    read_all(c, 10)
    a, b = bytearray(4), bytearray(4)
    seen = [os.readv(c.fileno(), [a, b]), a.decode(), b.decode()]
    seen.append(c.recv(10, socket.MSG_TRUNC).count(b"") > 0)
    return seen


def case_trickle(c, _):
    """Byte by byte, so that every read leaves something."""
    digest, n = hashlib.sha256(), 0
    while part := c.recv(1 + n % 7):
        digest.update(part)
        n += len(part)
    return [n, digest.hexdigest()]


def case_upload(c, _):
    digest, n = hashlib.sha256(), 0
    while part := c.recv(65536):
        digest.update(part)
        n += len(part)
    return [n, digest.hexdigest()]


# --- writing

def case_big_blocking(c, _):
    c.sendall(pattern(BIG))
    return "sent"


def case_big_nonblocking(c, _):
    """Until it is full, and again when poll says so. The client reads nothing
    before it was told."""
    data = memoryview(pattern(FULL))
    c.setblocking(False)
    told = False
    while data:
        try:
            data = data[c.send(data):]
        except BlockingIOError:
            if not told:
                seen = [poll_now(c, select.POLLOUT | select.POLLIN)]
                print(json.dumps(["full", None]), flush=True)
            told = True
            wait(c, select.POLLOUT)
    return seen


def case_writev(c, _):
    n = os.writev(c.fileno(), [b"one ", b"", b"two ", b"three "])
    return [n, c.sendmsg([b"four ", b"five"]), c.send(b"")]


def case_sendfile(c, _):
    data = pattern(200000)
    with tempfile.TemporaryFile() as f:
        f.write(data)
        f.flush()
        f.seek(8)
        n, at = 0, 100
        while at < len(data):
            k = os.sendfile(c.fileno(), f.fileno(), at, len(data))
            n, at = n + k, at + k
        place = os.lseek(f.fileno(), 0, os.SEEK_CUR)
        k = os.sendfile(c.fileno(), f.fileno(), None, 64)
        return [n, place, k, os.lseek(f.fileno(), 0, os.SEEK_CUR),
                os.sendfile(c.fileno(), f.fileno(), len(data), 10)]


# --- ends

def case_half_close(c, _):
    seen = [wait(c, select.POLLRDHUP), c.recv(10).decode()]
    seen += [c.recv(10).decode(), c.recv(10).decode(),
             poll_now(c, select.POLLIN | select.POLLOUT | select.POLLRDHUP)]
    c.sendall(b"bye")
    c.shutdown(socket.SHUT_WR)
    return seen


def case_shutdown_write(c, _):
    c.send(b"end")
    c.shutdown(socket.SHUT_WR)
    seen = [attempt(c.send, b"x"), c.recv(10).decode()]
    seen.append(c.recv(10).decode())
    return seen


def case_shutdown_read(c, _):
    c.shutdown(socket.SHUT_RD)
    return [attempt(c.recv, 1), attempt(c.send, b"still"),
            poll_now(c, select.POLLIN | select.POLLRDHUP)]


def case_reset_poll(c, _):
    c.send(b"go")
    wait(c, select.POLLERR)
    seen = [poll_now(c, select.POLLIN | select.POLLOUT | select.POLLRDHUP)]
    for _ in range(2):
        seen.append(errno.errorcode.get(
            c.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0))
    seen += [attempt(c.recv, 1), attempt(c.send, b"x"),
             attempt(c.getpeername), attempt(c.shutdown, socket.SHUT_WR)]
    return seen


def case_reset_read(c, _):
    c.send(b"go")
    return [attempt(c.recv, 1), attempt(c.recv, 1), attempt(c.send, b"x")]


def case_reset_write(c, _):
    c.send(b"go")
    wait(c, select.POLLERR)
    return [attempt(c.send, b"x"), attempt(c.send, b"x"), attempt(c.recv, 1)]


def case_abort(c, _):
    c.recv(2) # what was said before may be lost by it
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return "aborts"


# --- descriptors

def case_dup(c, _):
    other = os.dup(c.fileno())
    c.close()
    r, w = os.pipe()
    seen = [os.write(other, b"by dup "), poll_now(other, select.POLLOUT)]
    third = os.dup2(other, r)
    os.close(other)
    seen.append(os.write(third, b"by dup2 "))
    fourth = fcntl.fcntl(third, fcntl.F_DUPFD_CLOEXEC, 200)
    os.dup2(w, third) # its end, but for the fourth
    seen += [fourth >= 200, os.write(fourth, b"by fcntl"),
             os.read(fourth, 10).decode(), attempt(os.write, other, b"x")]
    os.close(third)
    os.close(w)
    os.close(fourth)
    return seen


def case_file(c, _):
    with os.fdopen(os.dup(c.fileno()), "rb", buffering=100) as f:
        line = f.readline().decode()
    c.sendall(line.upper().encode())
    return line


def case_subprocess(c, _):
    """A child that closes all it has inherited."""
    p = subprocess.run(["echo", "child"], capture_output=True, text=True,
                       check=True)
    c.sendall(b"alive")
    return p.stdout


def case_fork(c, _):
    pid = os.fork()
    if pid == 0:
        c.close()
        os._exit(0)
    seen = os.waitpid(pid, 0)[1]
    c.sendall(b"alive")
    return [seen, c.recv(10).decode()]


def case_closerange(c, listener):
    other = fcntl.fcntl(c, fcntl.F_DUPFD_CLOEXEC, 300)
    os.closerange(299, 1000)
    c.send(b"alive")
    return [attempt(os.write, other, b"x"), c.recv(10).decode(),
            listener.getsockname()[1] > 0]


def case_threads(c, _):
    """One thread reads while another one writes."""
    got = []
    reader = threading.Thread(target=lambda: got.append(c.recv(10).decode()))
    reader.start()
    c.send(b"go")
    reader.join()
    return got


def ended(pid):
    """How a child ended; one that does not is killed."""
    for _ in range(1000):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        select.select([], [], [], 0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hangs"


def case_shut_listener(_, listener):
    """Its end for a thread that waits in accept(2); and it listens again."""
    got = []
    acceptor = threading.Thread(
        target=lambda: got.append(attempt(listener.accept)))
    acceptor.start()
    sleeps(acceptor)
    seen = [attempt(listener.shutdown, socket.SHUT_WR),
            attempt(listener.shutdown, 7), list(got)]
    listener.shutdown(socket.SHUT_RD)
    acceptor.join(10)
    seen += [list(got), poll_now(listener, select.POLLIN | select.POLLOUT),
             listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)]
    listener.listen(16)
    seen.append(poll_now(listener, select.POLLIN | select.POLLOUT))
    return seen


def case_fork_waiting(c, _):
    """A child that is forked while a thread waits."""
    got = []
    reader = threading.Thread(target=lambda: got.append(c.recv(10).decode()))
    reader.start()
    sleeps(reader)
    pid = os.fork()
    if pid == 0:
        files = [os.memfd_create("untouched") for _ in range(16)]
        c.close()
        os._exit(any(os.fstat(fd).st_size for fd in files))
    seen = ended(pid)
    c.send(b"go")
    reader.join()
    return [seen, got]


def case_handlers(c, _):
    """Handlers that end the process, whatever it is doing."""
    seen = set()
    for n in range(40):
        pid = os.fork()
        if pid == 0:
            libc = ctypes.CDLL(None)
            libc.signal(signal.SIGALRM,
                        ctypes.cast(libc._exit, ctypes.c_void_p))
            dup2 = libc.dup2
            signal.setitimer(signal.ITIMER_REAL, 0.001 + n * 0.0001)
            while True:
                dup2(c.fileno(), 200)
        seen.add(ended(pid))
        if "hangs" in seen:
            break
    return sorted(seen, key=str)


def case_restart(c, _):
    """Signals while recv(2) waits; Python would begin again by itself."""
    libc = ctypes.CDLL(None, use_errno=True)
    buf = ctypes.create_string_buffer(10)
    main = threading.current_thread()
    was = [signal.signal(signal.SIGINT, signal.SIG_DFL),
           signal.signal(signal.SIGUSR1, lambda *_: None)]
    seen = []

    def strike(after):
        sleeps(main)
        signal.pthread_kill(main.ident, signal.SIGUSR1)
        c.send(after)

    for ends in (True, False):
        signal.siginterrupt(signal.SIGUSR1, ends)
        thread = threading.Thread(target=strike, args=(b"" if ends else b"go",))
        thread.start()
        n = libc.recv(c.fileno(), buf, 10, 0)
        seen.append(buf.value.decode() if n >= 0 else
                    errno.errorcode[ctypes.get_errno()])
        thread.join()
    signal.signal(signal.SIGINT, was[0])
    signal.signal(signal.SIGUSR1, was[1])
    return seen


# --- select and epoll

def case_select(c, _):
    r, w = os.pipe()
    seen = [[len(x) for x in select.select([c, r], [c, w], [c], 0)]]
    c.send(b"go")
    seen.append([x is c for x in select.select([c, r], [], [c], 10)[0]])
    os.write(w, b"x")
    seen.append([len(x) for x in select.select([c, r], [c], [c], 10)])
    seen.append(c.recv(10).decode())
    os.close(r)
    os.close(w)
    return seen


def epoll_seen(ep, timeout=10):
    return [names(mask) for _, mask in ep.poll(timeout)]


def epoll_case(flags):
    def case(c, _):
        with select.epoll() as ep:
            seen = [attempt(ep.unregister, c)]
            ep.register(c, select.EPOLLIN | flags)
            seen += [attempt(ep.register, c, select.EPOLLIN),
                     epoll_seen(ep, 0)]
            c.send(b"go")
            seen.append(epoll_seen(ep))
            read_all(c, 3)
            seen += [c.recv(1).decode(), epoll_seen(ep, 0)]
            ep.modify(c, select.EPOLLIN | flags)
            seen += [epoll_seen(ep, 0), epoll_seen(ep, 0), c.recv(9).decode(),
                     epoll_seen(ep, 0)]
            ep.modify(c, select.EPOLLIN | select.EPOLLOUT | flags)
            seen += [epoll_seen(ep, 0), epoll_seen(ep, 0)]
            c.send(b"go")
            ep.modify(c, select.EPOLLIN | select.EPOLLRDHUP | flags)
            wait(c, select.POLLIN | select.POLLRDHUP)
            seen += [epoll_seen(ep), attempt(ep.unregister, c),
                     epoll_seen(ep, 0)]
            return seen
    return case


case_epoll_level = epoll_case(0)
case_epoll_edge = epoll_case(select.EPOLLET)
case_epoll_once = epoll_case(select.EPOLLONESHOT)


def case_epoll_mixed(c, listener):
    """A pipe, a connection and a listener in one set, and a set in a set."""
    r, w = os.pipe()
    dup = socket.socket(fileno=os.dup(c.fileno()))
    with select.epoll() as ep, select.epoll() as outer:
        for fd in (r, c, dup, listener):
            ep.register(fd, select.EPOLLIN)
        outer.register(ep, select.EPOLLIN)
        seen = [epoll_seen(ep, 0), epoll_seen(outer, 0)]
        os.write(w, b"x")
        seen += [epoll_seen(ep), epoll_seen(outer), os.read(r, 1).decode(),
                 epoll_seen(ep, 0)]
        c.send(b"go")
        seen += [epoll_seen(outer), len(ep.poll(10)), len(ep.poll(10, 1))]
        seen.append(poll_now(ep.fileno(), select.POLLIN))
        seen.append(c.recv(10).decode())
        seen += [epoll_seen(ep, 0), epoll_seen(outer, 0)]
        dup.close()
        seen.append(attempt(ep.unregister, c))
    os.close(r)
    os.close(w)
    return seen


def case_epoll_asleep(c, _):
    """The first connection comes into a set in which a thread sleeps."""
    r, w = os.pipe()
    seen = []

    def loop():
        while not seen or seen[-1] != "end":
            for fd, mask in ep.poll():
                seen.append([fd == c.fileno(), names(mask)])
                seen.append(os.read(fd, 10).decode())

    with select.epoll() as ep:
        ep.register(r, select.EPOLLIN)
        thread = threading.Thread(target=loop)
        thread.start()
        sleeps(thread)
        ep.register(c, select.EPOLLIN)
        c.send(b"go")
        while len(seen) < 2:
            select.select([], [], [], 0.001)
        os.write(w, b"end")
        thread.join()
    os.close(r)
    os.close(w)
    return seen


def case_epoll_pool(c, _):
    """An upload: one thread waits, this one reads, and waits for that one."""
    work = queue.SimpleQueue()
    once = select.EPOLLIN | select.EPOLLONESHOT
    c.setblocking(False)
    digest, n, open_ = hashlib.sha256(), 0, True

    r, w = os.pipe()

    def wait_for_work():
        while open_:
            for event in ep.poll():
                work.put(event)

    with select.epoll() as ep:
        ep.register(r, once)
        ep.register(c, once)
        thread = threading.Thread(target=wait_for_work)
        thread.start()
        while open_:
            work.get()
            while open_:
                try:
                    part = c.recv(65536)
                except BlockingIOError:
                    break
                digest.update(part)
                n += len(part)
                open_ = part != b""
            ep.modify(c, once)
        os.write(w, b"end")
        thread.join()
    os.close(r)
    os.close(w)
    return [n, digest.hexdigest()]


def case_epoll_closed(c, _):
    """Closed descriptors are in no set any more."""
    with select.epoll() as ep:
        ep.register(c, select.EPOLLIN | select.EPOLLOUT)
        seen = [epoll_seen(ep, 0)]
        c.close()
        seen.append(epoll_seen(ep, 0))
        return seen


def case_epoll_reset(c, _):
    with select.epoll() as ep:
        ep.register(c, select.EPOLLIN)
        c.send(b"go")
        return [epoll_seen(ep), epoll_seen(ep, 0)]


CASES = {n[5:]: f for n, f in globals().items() if n.startswith("case_")}


def line_of(c):
    line = b""
    while not line.endswith(b"\n"):
        part = c.recv(1)
        if not part:
            return None
        line += part
    return line.decode().strip()


def serve(port, address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server(
        (address, port), family=family, backlog=16,
        dualstack_ipv6=family == socket.AF_INET6)
    while True:
        c, address = listener.accept()
        name = line_of(c)
        if name is None:
            c.close()
            continue
        if name == "quit":
            return
        c = Connection(c, address)
        c.send(b"+")
        try:
            seen = CASES[name](c, listener)
        except Exception as e:  # pylint: disable=broad-except
            seen = f"{type(e).__name__}: {e}"
        c.close()
        print(json.dumps([name, seen]), flush=True)


def serve_nested(port, address):
    """An echo server whose set is in another one. It says what it echoes at
    once, and waits in that one."""
    listener = socket.create_server((address, port), backlog=16)
    listener.setblocking(False)
    with select.epoll() as inner, select.epoll() as outer:
        inner.register(listener, select.EPOLLIN)
        outer.register(inner, select.EPOLLIN)
        conns = {}
        while True:
            outer.poll()
            serve_echo(inner, listener, conns, 0)


def serve_late(port, address):
    """An echo server whose socket is in an epoll set, in which a thread sleeps,
    before it listens."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setblocking(False)
    listener.bind((address, port))
    ep = select.epoll()
    ep.register(listener, select.EPOLLIN | select.EPOLLET)
    thread = threading.Thread(target=echo, args=(ep, listener))
    thread.start()
    sleeps(thread)
    listener.listen(16)
    thread.join()


def echo(ep, listener):
    conns = {}
    while True:
        serve_echo(ep, listener, conns, None)


def serve_echo(ep, listener, conns, timeout):
    for fd, mask in ep.poll(timeout):
        if fd in conns:
            data = conns[fd].recv(100)
            conns[fd].sendall(data)
            if not data:
                conns.pop(fd).close()
        elif mask & select.EPOLLIN:
            accept_all(ep, listener, conns)


def accept_all(ep, listener, conns):
    try:
        while True:
            c, _ = listener.accept()
            conns[c.fileno()] = c
            ep.register(c, select.EPOLLIN | select.EPOLLET)
    except BlockingIOError:
        pass


class Connection(socket.socket):
    """A connection that knows what accept() said."""

    def __init__(self, c, address):
        super().__init__(fileno=c.detach())
        self.accepted_from = address


if __name__ == "__main__":
    how = {"late": serve_late, "nested": serve_nested}
    how.get("".join(sys.argv[3:]), serve)(int(sys.argv[1]), sys.argv[2])
