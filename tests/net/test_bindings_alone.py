#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# builds: gcc
"""The bindings without a daemon: their own tests, their types, and that what
is packaged can be used."""

import json
import os
import re
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

import harness
from harness import TOP, contains, equal, run, serial

PYTHON, NODE = TOP / "bindings/python", TOP / "bindings/node"


def run_in(directory, *args, **env):
    p = run(*args, check=False, cwd=directory, timeout=100,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **env})
    if p.returncode:
        raise AssertionError(f"{args}: {p.returncode}: "
                             f"{(p.stdout + p.stderr)[-3000:]}")
    return p.stdout + p.stderr


@serial
def test_python_unit_tests():
    text = run_in(PYTHON, sys.executable, "-W", "error", "-m", "unittest",
                  "discover", "-s", "tests", PYTHONPATH="src")
    if int(re.search(r"Ran (\d+) tests", text)[1]) < 70:
        raise AssertionError(text)


@serial
def test_node_unit_tests():
    package = json.loads((NODE / "package.json").read_text())
    text = run_in(NODE, *package["scripts"]["test"].split())
    equal(re.search(r"fail (\d+)", text)[1], "0", text)
    if int(re.search(r"pass (\d+)", text)[1]) < 150:
        raise AssertionError(text)


@serial
def test_python_types():
    """As who uses the package has them checked: py.typed is there."""
    with tempfile.TemporaryDirectory() as directory:
        contains(run_in(PYTHON, "mypy", "--strict", "--cache-dir", directory,
                        "src/xtcp"), "no issues found")
        user = Path(directory) / "user.py"
        user.write_text(
            "import xtcp\n"
            "async def main() -> int:\n"
            "    async with await xtcp.dial(5222) as backend:\n"
            "        async for event in backend:\n"
            "            if isinstance(event, xtcp.Data):\n"
            "                event.conn.reply(event.data, ackd=1)\n"
            "                return event.offset\n"
            "    return 0\n")
        shutil.copytree(PYTHON / "src/xtcp", f"{directory}/xtcp")
        check = ("mypy", "--strict", "--cache-dir", directory, "user.py")
        contains(run_in(directory, *check), "no issues found")
        user.write_text(user.read_text().replace("ackd=1", "ackd='1'"))
        wrong = run(*check, check=False, cwd=directory)
        contains(wrong.stdout, 'incompatible type "str"')


@serial
def test_node_types():
    with tempfile.TemporaryDirectory() as directory:
        os.makedirs(f"{directory}/node_modules")
        os.symlink(NODE, f"{directory}/node_modules/xtcp")
        shutil.copy(NODE / "test/types.ts", directory)
        Path(f"{directory}/package.json").write_text('{"type": "module"}')
        run_in(directory, "tsc", "--noEmit", "--strict", "--target", "es2020",
               "--module", "node16", "--moduleResolution", "node16",
               "types.ts")


def test_node_types_are_of_what_there_is():
    """What index.d.ts declares is exported, and the other way round."""
    declared = set(re.findall(r"^export (?:class|function) (\w+)",
                              (NODE / "index.d.ts").read_text(), re.M))
    script = """
        import * as xtcp from 'xtcp';
        const members = {};
        for (const c of ['Conn', 'Backend'])
          members[c] = Object.getOwnPropertyNames(xtcp[c].prototype);
        console.log(JSON.stringify([Object.keys(xtcp), members]));"""
    with tempfile.TemporaryDirectory() as directory:
        os.makedirs(f"{directory}/node_modules")
        os.symlink(NODE, f"{directory}/node_modules/xtcp")
        found, members = json.loads(run_in(
            directory, "node", "--input-type=module", "-e", script))
    equal(set(found), declared)
    text = (NODE / "index.d.ts").read_text()
    for name, there in members.items():
        body = re.search(rf"^export class {name} .*?^}}", text, re.M | re.S)[0]
        for member in there:
            if member[0] != "_" and member != "constructor" and \
                    not re.search(rf"^  (readonly )?{member}\b", body, re.M):
                raise AssertionError(f"{name}.{member} has no type")


def test_packages_have_all_of_their_files():
    project = tomllib.loads((PYTHON / "pyproject.toml").read_text())
    for package in project["tool"]["setuptools"]["packages"]:
        equal((PYTHON / "src" / package / "py.typed").exists(), True)
    package = json.loads((NODE / "package.json").read_text())
    for name in (*package["files"], package["main"], package["types"]):
        equal((NODE / name).exists(), True, name)
    equal(package["type"], "module")
    # one version, that of xtcpd
    version = re.search(r"AC_INIT\(\[xtcpd\], \[([^]]+)\]",
                        (TOP / "configure.ac").read_text())[1]
    equal(package["version"], version)
    contains((PYTHON / "src/xtcp/__init__.py").read_text(),
             f'__version__ = "{version}"')


def test_examples_say_what_is_wrong():
    """No xtcpd there: a line, a status, and no traceback."""
    env = {"XTCP_ATTACH": "/nonexistent/attach.sock",
           "PYTHONPATH": str(PYTHON / "src")}
    for command, wanted in (
            ([sys.executable, PYTHON / "examples/chat.py"], "No such file"),
            (["node", NODE / "examples/chat.js"], "ENOENT"),
            ([sys.executable, PYTHON / "examples/chat.py"],
             "is xtcpd running?"),
            (["node", NODE / "examples/chat.js"], "is xtcpd running?"),
            (["node", NODE / "examples/chat.js", "-p", "abc"],
             '"abc" is not a port: 1 to 65535'),
            ([sys.executable, PYTHON / "examples/chat.py", "-l", "x"],
             "must be absolute"),
            (["node", NODE / "examples/chat.js", "-l", "x"],
             "must be absolute")):
        p = run(*command, check=False, env={**os.environ, **env})
        equal((p.returncode, p.stdout, p.stderr.count("\n")), (1, "", 1),
              p.stderr)
        contains(p.stderr, wanted)


if __name__ == "__main__":
    harness.main(globals())
