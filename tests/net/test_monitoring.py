#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The Grafana dashboard and the Prometheus rules of contrib/, held against the
metrics of a running xtcpd; and against promtool, where that is installed."""

import json
import re
import shutil
import tempfile
import urllib.request

from harness import (
    TOP, Echod, Net, Skip, Xtcpd, connect, equal, main, recv_exactly,
    run, wait_attached)
from runner import note

PORT = 5222
LISTEN = "127.0.0.1:9464"
RULES = TOP / "contrib/prometheus/xtcpd.rules.yml"
DASHBOARD = TOP / "contrib/grafana/xtcpd.json"
# What Prometheus adds itself.
SCRAPE_LABELS = {"instance", "job"}
FUNCTIONS = {"sum", "min", "max", "rate", "increase", "resets",
             "histogram_quantile", "and", "by"}


def metrics():
    """Of a daemon with a group, a pool and a backend: name -> labels."""
    groups = {"im": {"port": PORT}}
    with Net(), Xtcpd(groups, top={"metrics": {"listen": LISTEN}}) as d, \
         Echod("-p", PORT, daemon=d):
        wait_attached(d)
        with connect(PORT) as c:
            c.sendall(b"hello")
            recv_exactly(c, 5)
        with urllib.request.urlopen(f"http://{LISTEN}/metrics") as page:
            text = page.read().decode()
    found = {}
    for name, labels in re.findall(r"^(xtcpd_\w+)(\{.*\})? [-0-9.]+$", text,
                                   re.M):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    assert len(found) > 100, found
    return found


def rules():
    """The rules, as this project writes them: [{key: value}]."""
    found, section = [], None
    for n, line in enumerate(RULES.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        for pattern, what in (
                (r"groups:$", None), (r"  - name: (\w+)$", None),
                (r"    rules:$", None), (r"      - alert: (\w+)$", "alert"),
                (r"        (expr|for): (.+)$", "value"),
                (r"        (labels|annotations):$", "section"),
                (r'          (\w+): "?(.+?)"?$', "inner")):
            m = re.match(pattern, line)
            if not m:
                continue
            if what == "alert":
                found.append({"alert": m[1]})
            elif what == "value":
                found[-1][m[1]] = m[2]
            elif what == "section":
                section = found[-1].setdefault(m[1], {})
            elif what == "inner":
                section[m[1]] = m[2]
            break
        else:
            raise AssertionError(f"{RULES.name}:{n}: {line!r} is not expected")
    return found


def dashboard():
    return json.loads(DASHBOARD.read_text())


def panels():
    return [p for p in dashboard()["panels"] if p["type"] != "row"]


def dashboard_exprs():
    """Title and expression, with variables as Grafana would put them in."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace(
                "$__rate_interval", "5m").replace("$instance", ".*").replace(
                    "$group", ".*")


def check_expr(where, expr, known):
    """Names, labels and brackets of one expression."""
    for open_, close in ("()", "{}", "[]"):
        equal(expr.count(open_), expr.count(close), f"{where}: {expr}")
    plain = re.sub(r'"[^"]*"', '""', expr)
    for name, labels in re.findall(r"\b(xtcpd_\w+)(\{[^}]*\})?", plain):
        assert name in known, f"{where}: xtcpd has no metric {name}"
        for label in re.findall(r"(\w+)\s*[=!]", labels):
            assert label in known[name] | SCRAPE_LABELS, \
                f"{where}: {name} has no label {label}"
    names = set(re.findall(r"\bxtcpd_\w+", plain))
    any_label = set().union(SCRAPE_LABELS, *[known[n] for n in names])
    for by in re.findall(r"\bby \(([^)]*)\)", plain):
        for label in by.split(","):
            assert label.strip() in any_label, \
                f"{where}: nothing there has the label {label}"
    for word in re.findall(r"\b([a-z_]+)\s*\(", plain):
        assert word in FUNCTIONS, f"{where}: {word}() is not expected"
    # a rate of a level says nothing, nor does the level of a counter
    for name in re.findall(r"(?:rate|increase)\((\w+)", plain):
        assert not re.search(r"_(waiting|connections|inflight)$", name), where


def test_rules_name_metrics_that_there_are():
    known = metrics()
    for rule in rules():
        check_expr(rule["alert"], rule["expr"], known)


def test_dashboard_names_metrics_that_there_are():
    known = metrics()
    n = 0
    for title, expr in dashboard_exprs():
        check_expr(title, expr, known)
        n += 1
    assert n > 40, n
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            name, label = re.match(r"label_values\((\w+).*, (\w+)\)$",
                                   variable["definition"]).groups()
            assert label in known[name] | SCRAPE_LABELS, variable


def test_a_metric_that_is_not_there_is_noticed():
    known = {"xtcpd_active": {"group"}}
    check_expr("good", 'sum by (group) (xtcpd_active{group="x"})', known)
    for bad in ("xtcpd_nonsense > 0", 'xtcpd_active{pool="x"}',
                "sum by (pool) (xtcpd_active)", "sum(xtcpd_active",
                "rat(xtcpd_active[5m])"):
        try:
            check_expr("bad", bad, known)
        except AssertionError:
            continue
        raise AssertionError(f"{bad} was accepted")


def test_rules_are_complete():
    found = rules()
    assert len(found) >= 10, found
    equal(len({r["alert"] for r in found}), len(found), "names are unique")
    for rule in found:
        equal(set(rule) - {"for"}, {"alert", "expr", "labels", "annotations"},
              rule["alert"])
        assert rule["labels"]["severity"] in ("warning", "critical"), rule
        equal(set(rule["annotations"]), {"summary", "description"})
        assert re.fullmatch(r"\d+[sm]", rule.get("for", "1m")), rule
        # labels that a text names must survive the expression
        for label in re.findall(r"\$labels\.(\w+)",
                                " ".join(rule["annotations"].values())):
            by = re.findall(r"\bby \(([^)]*)\)", rule["expr"])
            assert all(label in re.split(r",\s*", b) for b in by), rule


def test_dashboard_is_complete():
    found = dashboard()
    equal(found["uid"], "xtcpd")
    ids = [p["id"] for p in found["panels"]]
    equal(len(set(ids)), len(ids), "ids are unique")
    taken = {}
    for panel in found["panels"]:
        g = panel["gridPos"]
        assert g["x"] + g["w"] <= 24, panel["title"]
        for x in range(g["x"], g["x"] + g["w"]):
            for y in range(g["y"], g["y"] + g["h"]):
                equal(taken.setdefault((x, y), panel["title"]),
                      panel["title"], "panels do not overlap")
    for panel in panels():
        assert panel["targets"], panel["title"]
        equal(panel["datasource"]["uid"], "${datasource}")
        for target in panel["targets"]:
            equal(target["datasource"]["uid"], "${datasource}")


def test_promtool_accepts_rules_and_dashboard():
    if not shutil.which("promtool"):
        raise Skip("no promtool here (Debian: prometheus)")
    run("promtool", "check", "rules", RULES)
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as f:
        f.write("groups:\n- name: dashboard\n  rules:\n")
        exprs = [e for _, e in dashboard_exprs()]
        for i, expr in enumerate(exprs):
            f.write(f"  - record: dashboard:{i}\n"
                    f"    expr: {json.dumps(expr)}\n")
        f.flush()
        said = run("promtool", "check", "rules", f.name)
    note(f"{len(exprs)} expressions: {said.stdout.strip().splitlines()[-1]}")


if __name__ == "__main__":
    main(globals())
