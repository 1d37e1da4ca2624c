# SPDX-License-Identifier: BSD-2-Clause
"""Runs the functions test_* of a file, each in a process of its own.

Prints a line for each, "ok NAME", "not ok NAME: why" or "ok NAME # skip: why",
and what a failed one had to say above its line, as "# ..."; what was said with
note() also for one that went well.
"""

import argparse
import ctypes
import os
import re
import select
import signal
import sys
import tempfile
import time
import traceback

TEST_TIMEOUT_S = 120
JOBS = 4
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


class Skip(Exception):
    """The test cannot run here; the text says why."""


def die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def serial(test):
    """This test runs alone: it keeps the processors busy."""
    test.serial = True
    return test


def timeout(seconds):
    def mark(test):
        test.timeout = seconds
        return test
    return mark


NOTE = "note: "


def note(text):
    """Say something that is worth reading when all goes well, too."""
    print(NOTE + text, flush=True)


def run_test(test, out):
    """In the test's own process: run it and say how it went."""
    try:
        test()
        result = "ok"
    except Skip as e:
        result = f"skip {e}"
    except BaseException as e:  # pylint: disable=broad-except
        traceback.print_exc()
        why = str(e).splitlines()[0][:400] if str(e) else type(e).__name__
        result = f"{type(e).__name__}: {why}"
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(out, result.encode("utf-8", "replace"))


class Running:
    """One test in its own process."""

    def __init__(self, name, test):
        self.name, self.test = name, test
        self.log = tempfile.TemporaryFile()
        self.start = time.monotonic()
        self.read_fd, write_fd = os.pipe()
        self.deadline = time.monotonic() + getattr(test, "timeout",
                                                   TEST_TIMEOUT_S)
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            die_with_parent()
            os.close(self.read_fd)
            os.dup2(self.log.fileno(), 1)
            os.dup2(self.log.fileno(), 2)
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            try:
                run_test(test, write_fd)
            finally:
                os._exit(0)
        os.close(write_fd)

    def late(self):
        return time.monotonic() > self.deadline

    def finish(self, killed=False):
        """Reap it and print its line; whether it went well."""
        if killed:
            # as Ctrl-C would, so that it says where it was; then for good
            os.kill(self.pid, signal.SIGTERM)
            if not select.select([self.read_fd], [], [], 10)[0]:
                os.kill(self.pid, signal.SIGKILL)
        result = b""
        while part := os.read(self.read_fd, 4096):
            result += part
        os.close(self.read_fd)
        _, status = os.waitpid(self.pid, 0)
        result = result.decode("utf-8", "replace")
        if killed:
            result = f"out of time ({result})"
        elif not result:
            result = f"the test's process died, status {status}"
        self.show(result)
        return result == "ok" or result.startswith("skip ")

    def said(self):
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace").splitlines()

    def show(self, result):
        if result == "ok":
            print(f"ok {self.name}")
            for line in self.said():
                if line.startswith(NOTE):
                    print(f"# {line[len(NOTE):]}")
            if "XTCP_TEST_TIMES" in os.environ:
                print(f"# {time.monotonic() - self.start:.1f} s")
        elif result.startswith("skip "):
            print(f"ok {self.name} # skip: {result[5:]}")
        else:
            for line in self.said():
                print(f"# {line}")
            print(f"not ok {self.name}: {result}")
        sys.stdout.flush()


def run_tests(tests, jobs):
    """Run them, jobs at a time, the serial ones alone. True: all went well."""
    waiting = ([t for t in tests if not hasattr(t[1], "serial")] +
               [t for t in tests if hasattr(t[1], "serial")])
    running = []
    good = True
    while waiting or running:
        while waiting and len(running) < jobs:
            alone = hasattr(waiting[0][1], "serial") or \
                any(hasattr(r.test, "serial") for r in running)
            if alone and running:
                break
            running.append(Running(*waiting.pop(0)))
        ready, _, _ = select.select([r.read_fd for r in running], [], [], 0.5)
        for r in [r for r in running if r.read_fd in ready or r.late()]:
            running.remove(r)
            good &= r.finish(killed=r.read_fd not in ready)
    return good


def main(names):
    """Run the file's tests: [--only REGEX] [--list] [--jobs N]."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", metavar="REGEX")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--jobs", type=int, default=JOBS)
    args = parser.parse_args()
    tests = [(n, f) for n, f in names.items()
             if n.startswith("test_") and callable(f)
             and re.search(args.only, n)]
    if args.list:
        print("\n".join(n for n, _ in tests))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(0 if run_tests(tests, args.jobs) else 1)
