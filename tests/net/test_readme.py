#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
#
# It builds by itself.
# builds: gcc
# long
"""README.md: its quick start works, in this tree, and it is one screen."""

import os
import tempfile

import harness
from guide import commands_of, read_blocks
from harness import TOP, run
from runner import timeout

README = TOP / "README.md"
SCREEN_LINES = 50
QUICK_START_S = 550


@timeout(QUICK_START_S + 10)
def test_every_block_runs():
    """contrib/quickstart, which builds in build/quickstart."""
    blocks = read_blocks(README)
    assert blocks and not [b for b in blocks if b.why]
    with tempfile.NamedTemporaryFile("w") as site:
        # configure's defaults; these take half the time
        site.write("enable_lto=no\nCFLAGS=-O1\n")
        site.flush()
        for block in blocks:
            for command, _ in commands_of(block):
                run("bash", "-eu", "-c", command, cwd=TOP,
                    timeout=QUICK_START_S,
                    env={**os.environ, "CONFIG_SITE": site.name})


def test_is_one_screen():
    lines = README.read_text().count("\n")
    assert lines <= SCREEN_LINES, f"{lines} lines"


if __name__ == "__main__":
    harness.main(globals())
