#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The packet scripts, in virtual time: tests/packet/scripts against the stack.

    test_scripts.py [-v] [REGEX]     cases whose name matches; -v: traces
    test_scripts.py --list           names and clauses

The language is in script.py. Times are exact, nothing waits: all cases take
some seconds, in any build. Needs no privilege.
"""

import argparse
import re
import sys
from pathlib import Path

from client import Mismatch
from play import Play
from script import ScriptError, load
from virtual import StackDied, VirtualWorld, vstack_program

SCRIPTS = Path(__file__).parent / "scripts"


def play_case(play):
    """None, or what went wrong."""
    try:
        play.run()
    except ScriptError as e:
        return f"the script: {e}"
    except (Mismatch, StackDied) as e:
        at = f"{e.line.where} `{e.line.text.strip()}`" if e.line else "the end"
        return f"{at}: {e}"
    return None


def report(case, play, why, verbose):
    """One line per case, a trace above it; False: it failed."""
    one = why and " ".join(why.split())
    if verbose or why and not case.pending:
        for text in play.trace:
            print(f"#   {text}")
    if case.pending and why:
        print(f"ok {case.name} # skip: pending: {case.pending}")
    elif case.pending:
        print(f"not ok {case.name}: passes, it is no longer pending")
        return False
    elif why:
        if one != why:
            print("\n".join(f"#   {text}" for text in why.splitlines()))
        print(f"not ok {case.name}: {one[:400]}")
        return False
    else:
        print(f"ok {case.name}")
    return True


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("regex", nargs="?", default="")
    args.add_argument("-v", "--verbose", action="store_true")
    args.add_argument("--list", action="store_true")
    args = args.parse_args()
    try:
        cases = load(SCRIPTS.glob("*.txt"))
    except ScriptError as e:
        print(f"not ok scripts: {e}")
        return 1
    cases = [c for c in cases if re.search(args.regex, c.name)]
    if args.list:
        for c in cases:
            print(c.name, "|", ", ".join(c.clauses))
        return 0
    world, good = VirtualWorld(vstack_program()), True
    for case in cases:
        play = Play(world, case)
        good &= report(case, play, play_case(play), args.verbose)
    world.close()
    return 0 if good and cases else 1


if __name__ == "__main__":
    sys.exit(main())
