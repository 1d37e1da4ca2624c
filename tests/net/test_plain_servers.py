#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""nginx and redis behind backends of protocol "stream", with their own clients.

What a client gets through xtcpd has to be what it gets without it.
"""
# builds: gcc asan

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import harness
from harness import (
    SCALE, VIP4, VIP6, Net, Process, Skip, Xtcpd, connect, equal, run, serial,
    timeout, wait_for)
from plain import backend, group, state, wait_links
from runner import note

CLIENTS = 500
OPERATIONS = 20000
REDIS, HTTP = 6379, 80
# nginx: with a PROXY header, and without
PROXIED, DIRECT = 8080, 8081

NGINX = """
daemon off; user root; pid {dir}/pid; error_log {dir}/error.log warn;
worker_processes 1; worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    log_format who '$proxy_protocol_addr $proxy_protocol_server_addr '
                   '$proxy_protocol_server_port $status $request_uri';
    client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    keepalive_requests 1000000; sendfile on;
    root {dir}/pages;
    server {{
        listen 127.0.0.1:{proxied} proxy_protocol backlog=4096;
        access_log {dir}/access.log who;
        location = /close {{ keepalive_timeout 0; return 200 "bye\\n"; }}
    }}
    server {{ listen 127.0.0.1:{direct}; access_log off; }}
}}
"""


def need(program):
    if not shutil.which(program):
        raise Skip(f"no {program} here")
    return program


def listens(port):
    def answers():
        try:
            connect(port, "127.0.0.1", 1).close()
            return True
        except OSError:
            return False
    wait_for(f"a server at port {port}", answers)


@contextlib.contextmanager
def nginx(bulk=4 << 20):
    need("nginx")
    with tempfile.TemporaryDirectory(prefix="nginx-") as t:
        os.mkdir(f"{t}/pages")
        Path(f"{t}/pages/index.html").write_text("<p>Hello.\n" * 100)
        Path(f"{t}/pages/bulk").write_bytes(os.urandom(bulk))
        Path(f"{t}/conf").write_text(
            NGINX.format(dir=t, proxied=PROXIED, direct=DIRECT))
        with Process("nginx", "-c", f"{t}/conf", "-e", f"{t}/error.log"):
            listens(DIRECT)
            yield t


@contextlib.contextmanager
def redis(port=REDIS):
    need("redis-server")
    with tempfile.TemporaryDirectory(prefix="redis-") as t:
        with Process("redis-server", "--port", port, "--bind", "127.0.0.1",
                     "--save", "", "--appendonly", "no", "--dir", t,
                     "--maxclients", 4000, "--tcp-backlog", 1024):
            listens(port)
            yield


def web(**keys):
    return Xtcpd({"web": group({"nginx": backend(
        PROXIED, proxy_protocol="v2", **keys)}, port=HTTP,
        ack="delivered")}, workers=2)


def curl(url, *args):
    need("curl")
    return subprocess.run(["curl", "-sS", "--max-time", "60", *args, url],
                          check=True, capture_output=True).stdout


def log_of(t):
    return Path(f"{t}/access.log").read_text().splitlines()


# --- nginx

def test_nginx_and_curl():
    with Net(), nginx() as t, web() as d:
        for vip in VIP4, f"[{VIP6}]":
            for page in "index.html", "bulk":
                equal(curl(f"http://{vip}/{page}") ==
                      curl(f"http://127.0.0.1:{DIRECT}/{page}"), True, page)
        equal(curl(f"http://{VIP4}/close"), b"bye\n")
        wait_for("all is logged", lambda: len(log_of(t)) == 5)
        # the kernel's choice of source address towards the device
        source = [connect(HTTP, vip).getsockname()[0] for vip in (VIP4, VIP6)]
        equal(log_of(t), [
            f"{source[0]} {VIP4} {HTTP} 200 /index.html",
            f"{source[0]} {VIP4} {HTTP} 200 /bulk",
            f"{source[1]} {VIP6} {HTTP} 200 /index.html",
            f"{source[1]} {VIP6} {HTTP} 200 /bulk",
            f"{source[0]} {VIP4} {HTTP} 200 /close"])
        wait_links(d, 0, "nginx")


def test_nginx_header_version_1():
    with Net(), nginx() as t, Xtcpd({"web": group({"nginx": backend(
            PROXIED, proxy_protocol="v1")}, port=HTTP)}):
        curl(f"http://[{VIP6}]/")
        source = connect(HTTP, VIP6).getsockname()[0]
        wait_for("it is logged", lambda: log_of(t) == [
            f"{source} {VIP6} {HTTP} 200 /"])


def test_nginx_many_requests_on_a_connection_that_was_quiet():
    """Of one client connection, some requests over another one to nginx."""
    with Net(), nginx() as t, web(stream_idle_close=100) as d:
        c = connect(HTTP)
        ask = f"GET /index.html HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        page = Path(f"{t}/pages/index.html").read_bytes()
        for i in range(5):
            c.sendall(ask)
            got = b""
            while not got.endswith(page):
                got += c.recv(65536) or b"(ended)"
                if got.endswith(b"(ended)"):
                    raise AssertionError(got)
            wait_links(d, 0, "nginx")
            equal(d.counter("plain_idle_closed"), i + 1)
        equal(len(log_of(t)), 5)


@serial
@timeout(250)
def test_nginx_and_wrk():
    """wrk counts what it got within a time: as often as it takes."""
    need("wrk")
    requests = 0
    with Net(), nginx() as t, web() as d:
        for _ in range(20):
            out = run("wrk", "-t", 2, "-c", CLIENTS, "-d", "2s", "--timeout",
                      "30s", f"http://{VIP4}/index.html").stdout
            if "Socket errors" in out or "Non-2xx" in out:
                raise AssertionError(out)
            requests += int(re.search(r"(\d+) requests in", out)[1])
            if requests >= 10000 // SCALE:
                break
        note(f"{requests} requests")
        if requests < 10000 // SCALE:
            raise AssertionError(f"{requests} requests")
        wait_links(d, 0, "nginx")
        lines = log_of(t)
        source = connect(HTTP).getsockname()[0]
        equal(set(lines), {f"{source} {VIP4} {HTTP} 200 /index.html"})
        # wrk leaves some unread at its end
        if not requests <= len(lines) <= requests + 20 * CLIENTS:
            raise AssertionError(f"{len(lines)} served, {requests} counted")
        equal(d.counter("plain_refused"), 0)


# --- redis

SCRIPT = "\n".join(
    [f"SET key:{i} {'value' * (i % 50)}{i}" for i in range(300)] +
    [f"GET key:{i}" for i in range(305)] +
    [f"RPUSH list {i}" for i in range(200)] + ["LRANGE list 0 -1"] +
    [f"INCRBY count {i}" for i in range(100)] +
    ["HSET hash a 1 b 2", "HGETALL hash", "NOSUCHCOMMAND", "DBSIZE",
     "MULTI", "SET a 1", "INCR a", "EXEC", "APPEND key:7 x", "LLEN key:7"])


def answers(host, port):
    run("redis-cli", "-h", "127.0.0.1", "-p", REDIS, "flushall")
    return run("redis-cli", "-h", host, "-p", port, input=SCRIPT + "\n").stdout


def stats():
    """Calls that redis counted, by command, since the last time."""
    out = run("redis-cli", "-p", REDIS, "info", "commandstats").stdout
    run("redis-cli", "-p", REDIS, "config", "resetstat")
    found = dict(re.findall(r"cmdstat_(\w+):calls=(\d+)", out))
    return {k: int(v) for k, v in found.items() if k in COMMANDS}


COMMANDS = ("ping", "set", "get", "incr", "lpush", "rpop", "sadd", "hset",
            "mset")
TESTS = "ping_mbulk,set,get,incr,lpush,rpop,sadd,hset,mset"


def benchmark(host, port):
    """redis-benchmark; what redis counted, and what is in it then."""
    run("redis-cli", "-p", REDIS, "flushall")
    stats()
    out = run("redis-benchmark", "-h", host, "-p", port, "-c", CLIENTS, "-n",
              OPERATIONS // SCALE, "-t", TESTS, "--csv", timeout=200)
    if "rror" in out.stdout + out.stderr:
        raise AssertionError(out.stdout + out.stderr)
    counted = stats()
    values = run("redis-cli", "-p", REDIS, input="DBSIZE\nGET counter:"
                 "__rand_int__\nLLEN mylist\nSCARD myset\n").stdout
    return counted, values


def store(**keys):
    return Xtcpd({"store": group({"redis": backend(REDIS, **keys)},
                                 port=REDIS)}, workers=2)


def test_redis_answers_as_it_does_directly():
    need("redis-cli")
    with Net(), redis(), store() as d:
        direct = answers("127.0.0.1", REDIS)
        if "ERR unknown command" not in direct or len(direct) < 10000:
            raise AssertionError(direct)
        equal(answers(VIP4, REDIS), direct)
        equal(answers(VIP6, REDIS), direct)
        wait_links(d, 0, "redis")


@serial
@timeout(250)
def test_redis_benchmark():
    need("redis-benchmark")
    with Net(), redis(), store() as d:
        direct = benchmark("127.0.0.1", REDIS)
        through = benchmark(VIP4, REDIS)
        equal(through, direct)
        total = sum(through[0].values())
        note(f"{total} operations")
        if total < 10000 // SCALE:
            raise AssertionError(f"{total} operations")
        wait_links(d, 0, "redis")
        b = state(d, "redis")
        note(f"{b['connects']} connections, {b['bytes']} bytes")
        equal((b["failures"], d.counter("plain_broken")), (0, 0))


@serial
@timeout(250)
def test_redis_benchmark_with_pipelines_and_large_values():
    need("redis-benchmark")
    with Net(), redis(), store() as d:
        out = run("redis-benchmark", "-h", VIP4, "-p", REDIS, "-c", 50, "-n",
                  5000 // SCALE, "-P", 16, "-d", 3000, "-t", "set,get,lrange_100",
                  "--csv", timeout=200)
        if "rror" in out.stdout + out.stderr:
            raise AssertionError(out.stdout + out.stderr)
        wait_links(d, 0, "redis")
        equal(d.counter("plain_broken"), 0)


if __name__ == "__main__":
    harness.main(globals())
