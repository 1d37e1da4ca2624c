#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The packet scripts against a running xtcpd: those whose times allow it.

    test_scripts_live.py [-v] [REGEX]    cases whose name matches
    test_scripts_live.py --why           what is for virtual time alone, and why

Real time is not exact: on a busy machine a delayed ACK may go before the next
packet, for one. So a case that fails is played again, on another connection,
up to three times; what is wrong fails each time.

Needs root: the daemon and the clients' packets are in a network namespace.
"""

import argparse
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "net"))

from harness import Net, Xtcpd  # noqa: E402
from live import LiveWorld, Stage, liveable  # noqa: E402
from play import Play  # noqa: E402
from script import load  # noqa: E402
from test_scripts import SCRIPTS, play_case, report  # noqa: E402

AT_ONCE = 8
ATTEMPTS = 3


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("regex", nargs="?", default="")
    args.add_argument("-v", "--verbose", action="store_true")
    args.add_argument("--why", action="store_true")
    args = args.parse_args()
    cases = [c for c in load(Path(SCRIPTS).glob("*.txt"))
             if re.search(args.regex, c.name)]
    if args.why:
        for c in cases:
            print(f"{c.name}: {liveable(c) or 'runs'}")
        return 0
    cases = [c for c in cases if not liveable(c)]
    groups, conf = Stage.settings(cases)
    good = True
    with Net(), Xtcpd(conf) as daemon, Stage(daemon, groups) as stage, \
            ThreadPoolExecutor(AT_ONCE) as pool:
        def run(i):
            for attempt in range(ATTEMPTS):
                number = i + attempt * len(cases)
                play = Play(LiveWorld(stage, cases[i], number), cases[i])
                why = play_case(play)
                if not why:
                    break
                print(f"# {cases[i].name}, attempt {attempt + 1}: {why}")
            return play, why
        for case, (play, why) in zip(cases, pool.map(run, range(len(cases)))):
            good &= report(case, play, why, args.verbose)
    return 0 if good and cases else 1


if __name__ == "__main__":
    sys.exit(main())
