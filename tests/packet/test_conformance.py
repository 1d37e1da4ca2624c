#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""doc/rfc-conformance.md says what is so: its tests exist, and say the same.

    test_conformance.py             check
    test_conformance.py --update    write each row's packet scripts anew

A row of the document stands under the heading of its RFC:

    | clause | level | requirement | status | tests |

Its tests, in backquotes, are the cases of tests/packet/scripts whose `clause`
lines name the clause, all of them, and functions test_* of other tests.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from script import load

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "doc" / "rfc-conformance.md"
SCRIPTS = Path(__file__).parent / "scripts"
LEVELS = {"MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY", "example", ""}
STATUS = re.compile(r"(yes|n/a: .+|departs: .+|missing: .+)$")
HEADING = re.compile(r"## RFC (\d+)\b")
failed = False


@dataclass
class Row:
    rfc: str
    clause: str
    level: str
    text: str
    status: str
    tests: list
    line: int

    @property
    def name(self):
        return f"RFC {self.rfc} {self.clause}".strip()


def report(name, problems, note):
    global failed
    for p in problems:
        print(f"# {p}")
    if problems:
        failed = True
        print(f"not ok {name}: {len(problems)} found, the first: {problems[0]}")
    else:
        print(f"ok {name} # {note}")


def rows_of(lines):
    """The rows of the document, and what is malformed."""
    rows, problems, rfc = [], [], None
    for n, line in enumerate(lines, 1):
        heading = HEADING.match(line)
        if heading:
            rfc = heading[1]
        elif line.startswith("## "):
            rfc = None
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if not rfc or not line.startswith("|") or cells[0] in ("clause", "---"):
            continue
        if len(cells) != 5:
            problems.append(f"line {n}: a row has five cells")
            continue
        tests = re.findall(r"`([^`]+)`", cells[4])
        rows.append(Row(rfc, *cells[:4], tests, n))
    return rows, problems


def cases_by_clause():
    """{clause: [names of cases]}, and {name: case}."""
    clauses, cases = {}, {}
    for case in load(SCRIPTS.glob("*.txt")):
        cases[case.name] = case
        for clause in case.clauses:
            clauses.setdefault(clause, []).append(case.name)
    return clauses, cases


def other_tests():
    """Names of test functions all over tests/."""
    found = set()
    for path in [*(ROOT / "tests").rglob("*.c"), *(ROOT / "tests").rglob("*.py")]:
        found |= set(re.findall(r"START_TEST\((test_\w+)\)|^def (test_\w+)",
                                path.read_text(), re.M))
    return {a or b for a, b in found}


def check_rows(rows, problems):
    for r in rows:
        if r.level not in LEVELS:
            problems.append(f"line {r.line}: level {r.level!r}")
        if not STATUS.match(r.status):
            problems.append(f"line {r.line}: status {r.status!r}")
        if r.status == "yes" and not r.tests:
            problems.append(f"line {r.line}: {r.name} is met, says no test")
        if not r.text:
            problems.append(f"line {r.line}: {r.name} says nothing")
    report("conformance-rows", problems, f"{len(rows)} rows")


def check_tests(rows, clauses, cases):
    problems, others = [], other_tests()
    for r in rows:
        scripts = [t for t in r.tests if not t.startswith("test_")]
        for t in r.tests:
            if t.startswith("test_") and t not in others or \
                    not t.startswith("test_") and t not in cases:
                problems.append(f"line {r.line}: there is no {t}")
        for t in set(clauses.get(r.name, [])) - set(scripts):
            problems.append(f"line {r.line}: {r.name} is also shown by {t}")
        for t in set(scripts) & set(cases):
            if r.name not in cases[t].clauses:
                problems.append(f"line {r.line}: {t} has no clause {r.name}")
    report("conformance-tests-exist", problems,
           f"{sum(len(r.tests) for r in rows)} tests named")


def check_cases(rows, clauses, cases):
    known = {r.name for r in rows}
    problems = [f"{names[0]}: no row for {clause}"
                for clause, names in sorted(clauses.items())
                if clause not in known]
    problems += [f"{c.where}: {c.name} is pending, its row must say missing"
                 for c in cases.values() if c.pending and not any(
                     r.status.startswith(("missing", "departs")) for r in rows
                     if c.name in r.tests)]
    report("conformance-cases-are-listed", problems, f"{len(cases)} cases")


def update(lines, rows, clauses):
    """The document with each row's packet scripts as the scripts say."""
    for r in rows:
        tests = clauses.get(r.name, []) + [
            t for t in r.tests if t.startswith("test_")]
        cells = [r.clause, r.level, r.text, r.status,
                 ", ".join(f"`{t}`" for t in tests)]
        lines[r.line - 1] = "| " + " | ".join(cells).rstrip() + " |"
    DOCUMENT.write_text("\n".join(lines) + "\n")


def main():
    lines = DOCUMENT.read_text().splitlines()
    rows, problems = rows_of(lines)
    clauses, cases = cases_by_clause()
    if sys.argv[1:] == ["--update"]:
        update(lines, rows, clauses)
        return 0
    check_rows(rows, problems)
    check_tests(rows, clauses, cases)
    check_cases(rows, clauses, cases)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
