# SPDX-License-Identifier: BSD-2-Clause
"""A terminal for tests: tmux, with keys to send and a screen to look at."""

import os
import shutil
import tempfile
from pathlib import Path

from harness import Process, Skip, equal, run, wait_for


# tmux 3.3 does not always notice that a command has ended.
KEEP_STATUS = 'trap : INT; "$@"; echo $? >"$0.new"; mv "$0.new" "$0"'


class Tmux(Process):
    """A terminal of its own that runs one command."""

    def __init__(self, command, width=100, height=30, term="screen"):
        if not shutil.which("tmux"):
            raise Skip("no tmux here")
        self.dir = tempfile.TemporaryDirectory()
        self.socket = self.dir.name + "/s"
        self.command, self.size, self.term = command, (width, height), term
        self.said = Path(self.dir.name, "status")
        # ncurses keeps what it knows of the terminal until the end
        suppressions = Path(self.dir.name, "leaks")
        suppressions.write_text("leak:libtinfo\nleak:libncurses\n")
        super().__init__("tmux", "-S", self.socket, "-f", "/dev/null", "-D",
                         env={"LSAN_OPTIONS": f"suppressions={suppressions}:"
                              "print_suppressions=0"})

    def __enter__(self):
        wait_for("tmux listens", lambda: not run(
            "tmux", "-S", self.socket, "set-option", "-g", "default-terminal",
            self.term, check=False).returncode)
        self.tmux("set-option", "-g", "remain-on-exit", "on")
        self.tmux("new-session", "-d", "-x", self.size[0], "-y", self.size[1],
                  "sh", "-c", KEEP_STATUS, self.said, *self.command)
        return self

    def tmux(self, *args):
        env = {k: v for k, v in os.environ.items() if k != "TMUX"}
        return run("tmux", "-S", self.socket, *args, env=env).stdout

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def resize(self, width, height):
        self.tmux("set-option", "-g", "window-size", "manual")
        self.tmux("resize-window", "-x", width, "-y", height)

    def screen(self, history=False):
        return self.tmux("capture-pane", "-p",
                         *(["-S", "-"] if history else []))

    def wait_screen(self, what, condition):
        return wait_for(what, lambda: condition(self.screen()))

    def shows(self, text):
        wait_for(f"{text!r} is shown; {self.screen()}",
                 lambda: text in self.screen())

    def status(self):
        """What the command exited with; None while it runs."""
        try:
            return int(self.said.read_text())
        except FileNotFoundError:
            return None

    def ended(self, status=0):
        wait_for("the command ends", lambda: self.status() is not None)
        equal(self.status(), status)

    def __exit__(self, kind, value, tb):
        if kind is not None:
            print("# the terminal:\n" + self.screen())
        super().__exit__(kind, value, tb)
        self.dir.cleanup()
