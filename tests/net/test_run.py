#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""xtcp-run: servers as Debian ships them, with their own clients.

Each answers by way of xtcpd what it answers directly, byte for byte, to 500
connections with 10,000 operations; also when xtcpd is killed in the middle.
"""
# builds: gcc
# long

import contextlib
import os
import random
import re
import signal
import subprocess
import tempfile
from pathlib import Path

import harness
from harness import (
    CLIENT4, VIP4, Net, Process, Xtcpd, backends, connect, contains, equal, run,
    serial, timeout, wait_attached, wait_for)
from servers import (
    LOCAL, Load, Server, equal_answers, http_answer, mqtt_answer, mqtt_packet,
    mqtt_text, needs, resp, resp_answer, tcp_sockets)

CLIENTS, STEPS = 500, 20
TOP = {"half-open-per-source": 0, "transmit-buffer": "64M"}
POOL = {"receive-buffer": "64M"}
# For servers whose connections have a state.
STATEFUL = {"on-backend-loss": "reset-all"}


class Daemon(Xtcpd):
    """xtcpd to which servers may attach that are no longer root."""

    def configure(self, *args, **kw):
        super().configure(*args, **kw)
        os.chmod(self.dir, 0o755)
        conf = Path(self.conf)
        conf.write_text(conf.read_text().replace(
            "attach {", 'attach {\n    mode = "0666"'))


def daemon(name, port, workers=2, **group):
    return Daemon({name: {"port": port, **group}}, workers, pool=POOL, top=TOP)


def restart(d):
    """kill -9 of xtcpd, and the next one takes over."""
    def strike():
        d.kill(signal.SIGKILL)
        d.spawn()
    return strike


def check_survived(d, clients):
    """The next xtcpd has all of them from the one before."""
    info = d.ask("show info")
    equal((info["recovered_connections"], info["lost_in_recovery"]),
          (clients, 0))


# --- redis

REDIS = 6379


class Redis(Server):
    def __init__(self, daemon=None, options=(), args=()):
        self.port = REDIS
        super().__init__(
            "redis-server", "--save", "", "--protected-mode", "no", "--bind",
            "0.0.0.0", "--port", REDIS, "--maxclients", 2000, *args,
            daemon=daemon, options=options)

    def __enter__(self):
        wait_for("redis serves", lambda: self.served(REDIS))
        return self


def redis_cli(address, *words, **kw):
    return run("redis-cli", "-h", address, "-p", REDIS, *words, **kw)


def redis_request(client, step):
    key = f"key:{client}"
    kinds = (
        lambda: resp("SET", key, f"value {client}.{step} " * (1 + step * 20)),
        lambda: resp("GET", key),
        lambda: resp("RPUSH", f"list:{client}", step, "x" * client),
        lambda: resp("LRANGE", f"list:{client}", 0, -1),
        lambda: resp("HSET", f"hash:{client}", f"f{step}", step),
        lambda: resp("INCRBY", f"n:{client}", step + client),
        lambda: resp("NOSUCH", key),
        lambda: resp("STRLEN", key),
    )
    return kinds[step % len(kinds)]()


def redis_load():
    return Load(REDIS, redis_request, resp_answer, CLIENTS, STEPS)


def redis_direct():
    with Redis():
        return redis_load().run(LOCAL)


REDIS_COMMANDS = """\
PING
SET greeting "hello world"
GET greeting
MSET a 1 b 2 c 3
MGET a b c d
INCR counter
EVAL "return {KEYS[1], ARGV[1], 42}" 1 k v
ZADD z 1 one 2 two 3 three
ZRANGE z 0 -1 WITHSCORES
SETRANGE big 1000000 x
STRLEN big
GET big
MULTI
INCR counter
INCR counter
EXEC
TYPE z
DBSIZE
CLIENT SETNAME me
CLIENT GETNAME
GET nosuch
INCR greeting
"""


def test_redis_cli_gets_the_answers_of_a_direct_run():
    needs("redis-server", "redis-cli")
    with Net():
        with Redis():
            want = redis_cli(LOCAL, input=REDIS_COMMANDS).stdout
        with daemon("redis", REDIS) as d, Redis(d) as r:
            got = redis_cli(VIP4, input=REDIS_COMMANDS).stdout
            contains(redis_cli(VIP4, "client", "list").stdout,
                     f"laddr={VIP4}:{REDIS}")
            equal(tcp_sockets(r.pid), 0)
        equal(got, want)


@serial
@timeout(250)
def test_redis_answers_500_clients_as_directly():
    needs("redis-server")
    with Net():
        want = redis_direct()
        load = redis_load()
        with daemon("redis", REDIS) as d, Redis(d) as r:
            fds = len(os.listdir(f"/proc/{r.pid}/fd"))
            equal_answers(load.run(VIP4), want)
            # a number each, and one file that they all are
            equal(len(os.listdir(f"/proc/{r.pid}/fd")), fds + CLIENTS + 1)
            equal(d.ask("show info")["connections"]["established"], CLIENTS)
            equal(tcp_sockets(r.pid), 0)
            contains(redis_cli(VIP4, "info", "clients").stdout,
                     f"connected_clients:{CLIENTS + 1}")
            load.close()
            wait_for("their descriptors are closed", lambda: len(
                os.listdir(f"/proc/{r.pid}/fd")) == fds + 1)
            wait_for("redis saw them close", lambda: "connected_clients:1\r\n"
                     in redis_cli(VIP4, "info", "clients").stdout
                     .replace("\n", "\r\n").replace("\r\r", "\r"))
            wait_for("xtcpd did", lambda: not [
                c for c in d.connections() if c["state"] == "ESTABLISHED"])


@serial
@timeout(250)
def test_redis_clients_do_not_notice_that_xtcpd_died():
    needs("redis-server")
    with Net():
        want = redis_direct()
        with daemon("redis", REDIS, **STATEFUL) as d, Redis(d):
            equal_answers(redis_load().run(VIP4, midway=restart(d)), want)
            check_survived(d, CLIENTS)
            equal(d.counter("loss_reset"), 0)


def test_redis_clients_are_reset_when_redis_died():
    """A new redis knows nothing of their subscriptions."""
    needs("redis-server", "redis-cli")
    with Net(), daemon("redis", REDIS, **STATEFUL) as d:
        with Redis(d):
            waiting = [connect(REDIS) for _ in range(20)]
            for s in waiting:
                s.sendall(b"SUBSCRIBE news\r\n")
                contains(s.recv(1000), b"news")
        with Redis(d):
            for s in waiting:
                try:
                    got = s.recv(1000)
                except ConnectionResetError:
                    got = None
                equal(got, None)
            equal(redis_cli(VIP4, "publish", "news", "x").stdout, "0\n")


def benchmark(address, *args):
    out = run("redis-benchmark", "-h", address, "-p", REDIS, "-c", CLIENTS,
              "-q", *args, timeout=120)
    if "rror" in out.stdout + out.stderr:
        raise AssertionError(out.stdout[-1000:] + out.stderr[-1000:])


@serial
@timeout(250)
def test_redis_benchmark_with_500_connections():
    needs("redis-server", "redis-benchmark")
    tests = "ping,set,get,incr,lpush,lrange_100,mset"
    with Net(), daemon("redis", REDIS) as d, Redis(d):
        benchmark(VIP4, "-n", 10000, "-t", tests)
        benchmark(VIP4, "-n", 20000, "-P", 16, "-t", "set,get")
        benchmark(VIP4, "-n", 10000, "-d", 5000, "-t", "set,get")
        equal(redis_cli(VIP4, "llen", "mylist").stdout.strip(), "20000")


@serial
@timeout(250)
def test_redis_with_acknowledgement_by_writes():
    needs("redis-server")
    with Net():
        want = redis_direct()
        with daemon("redis", REDIS) as d, Redis(d, ("--ack", "write")):
            equal_answers(redis_load().run(VIP4), want)


# --- Python's http.server: a thread per connection, blocking

HTTP = 8000
SIZES = (0, 1, 100, 1459, 1461, 5000, 70000, 300000)


def make_files(directory):
    for size in SIZES:
        rng = random.Random(size)
        with open(f"{directory}/f{size}", "wb") as f:
            f.write(rng.randbytes(size))
        os.utime(f.name, (1700000000, 1700000000))


class HttpServer(Server):
    def __init__(self, daemon=None):
        super().__init__("python3", "-u", "-m", "http.server", "--protocol",
                         "HTTP/1.1", "--bind", "0.0.0.0", HTTP,
                         daemon=daemon, cwd=True)

    def prepare(self):
        make_files(self.dir)

    def __enter__(self):
        wait_for("http.server serves", lambda: self.served(HTTP))
        return self


def http_request(client, step):
    size = SIZES[(client + step) % len(SIZES)]
    if client % 50:
        size = min(size, 5000)
    # after an error it closes
    last = client % 100 == 7 and step == STEPS - 1
    name = "nosuch" if last else f"f{size}"
    return (f"GET /{name} HTTP/1.1\r\nHost: test\r\n"
            f"X-Padding: {'p' * (step * 37)}\r\n\r\n").encode()


def http_load(port=HTTP):
    return Load(port, http_request, http_answer, CLIENTS, STEPS)


def http_direct():
    with HttpServer():
        return http_load().run(LOCAL)


@serial
@timeout(400)
def test_http_server_answers_500_clients_as_directly():
    with Net():
        want = http_direct()
        with daemon("http", HTTP) as d, HttpServer(d) as h:
            equal_answers(http_load().run(VIP4), want)
            equal(tcp_sockets(h.pid), 0)


@serial
@timeout(400)
def test_http_server_clients_do_not_notice_that_xtcpd_died():
    with Net():
        want = http_direct()
        with daemon("http", HTTP) as d, HttpServer(d):
            equal_answers(http_load().run(VIP4, midway=restart(d)), want)
            check_survived(d, CLIENTS)


def test_http_server_and_curl():
    needs("curl")
    with Net(), daemon("http", HTTP) as d, HttpServer(d) as h:
        for size in SIZES:
            run("curl", "-sSf", f"http://{VIP4}:{HTTP}/f{size}", "-o",
                f"{h.dir}/got")
            equal(Path(f"{h.dir}/got").read_bytes(),
                  Path(f"{h.dir}/f{size}").read_bytes(), f"{size} bytes")


# --- mosquitto

MQTT = 1883
LINES = 10000


class Mosquitto(Server):
    CONF = f"""\
listener {MQTT} 0.0.0.0
allow_anonymous true
persistence false
max_queued_messages 0
max_inflight_messages 20
set_tcp_nodelay true
"""

    def __init__(self, daemon=None):
        self.conf = tempfile.NamedTemporaryFile("w", suffix=".conf")
        self.conf.write(self.CONF)
        self.conf.flush()
        os.chmod(self.conf.name, 0o644)
        super().__init__("mosquitto", "-c", self.conf.name, daemon=daemon)

    def __enter__(self):
        wait_for("mosquitto serves", lambda: self.served(MQTT))
        return self


def mqtt_request(client, step):
    topic = f"own/{client}"
    if step == 0:
        return mqtt_packet(0x10, mqtt_text("MQTT") + b"\x04\x02\x00\x3c" +
                           mqtt_text(f"client{client}"))
    if step == 1:
        return mqtt_packet(0x82, b"\x00\x01" + mqtt_text(topic) + b"\x00")
    if step % 3 == 0: # with QoS 1, to nobody
        return mqtt_packet(0x32, mqtt_text(f"nobody/{client}") +
                           step.to_bytes(2, "big") + b"n" * client)
    if step % 3 == 1: # to itself
        return mqtt_packet(0x30, mqtt_text(topic) + b"%d " % step * client)
    return mqtt_packet(0xc0, b"")


def mqtt_load():
    return Load(MQTT, mqtt_request, mqtt_answer, CLIENTS, STEPS)


def mqtt_direct():
    with Mosquitto():
        return mqtt_load().run(LOCAL)


@serial
@timeout(250)
def test_mosquitto_answers_500_clients_as_directly():
    needs("mosquitto")
    with Net():
        want = mqtt_direct()
        with daemon("mqtt", MQTT) as d, Mosquitto(d) as m:
            load = mqtt_load()
            equal_answers(load.run(VIP4), want)
            equal(tcp_sockets(m.pid), 0)
            load.close()


@serial
@timeout(250)
def test_mosquitto_clients_do_not_notice_that_xtcpd_died():
    needs("mosquitto")
    with Net():
        want = mqtt_direct()
        with daemon("mqtt", MQTT, **STATEFUL) as d, Mosquitto(d):
            equal_answers(mqtt_load().run(VIP4, midway=restart(d)), want)
            check_survived(d, CLIENTS)


def mqtt_lines(n):
    return "".join(f"line {i} {'x' * (i % 50)}\n" for i in range(n))


def mqtt_session(address):
    """What a session that persists has kept while its client was away."""
    sub = ("mosquitto_sub", "-h", address, "-p", MQTT, "-i", "keeper", "-c",
           "-q", 1, "-t", "kept/#", "-F", "%t %q %p")
    run(*sub, "-E")
    run("mosquitto_pub", "-h", address, "-p", MQTT, "-q", 1, "-t", "kept/a",
        "-l", input=mqtt_lines(200))
    run("mosquitto_pub", "-h", address, "-p", MQTT, "-q", 1, "-t", "kept/b",
        "-r", "-m", "retained")
    return run(*sub, "-C", 201).stdout


def test_mosquitto_keeps_sessions_as_directly():
    needs("mosquitto", "mosquitto_pub", "mosquitto_sub")
    with Net():
        with Mosquitto():
            want = mqtt_session(LOCAL)
        equal(want.count("\n"), 201)
        with daemon("mqtt", MQTT) as d, Mosquitto(d):
            equal(mqtt_session(VIP4).splitlines(), want.splitlines())


@serial
@timeout(250)
def test_mosquitto_pub_and_sub_do_not_notice_that_xtcpd_died():
    """10,000 messages with QoS 1 through one publisher, to three subscribers
    that get each of them once."""
    needs("mosquitto", "mosquitto_pub", "mosquitto_sub")
    lines = mqtt_lines(LINES)
    half = lines.index(f"line {LINES // 2} ")
    with Net(), daemon("mqtt", MQTT) as d, Mosquitto(d), \
            contextlib.ExitStack() as stack:
        subs = []
        for i in range(3):
            out = stack.enter_context(tempfile.TemporaryFile("w+"))
            subs.append((out, stack.enter_context(Process(
                "mosquitto_sub", "-h", VIP4, "-p", MQTT, "-i", f"sub{i}",
                "-q", 1, "-t", "t/#", "-C", LINES, stdout=out))))
        wait_for("all have subscribed", lambda: len(d.connections()) == 3)
        pub = stack.enter_context(Process(
            "mosquitto_pub", "-h", VIP4, "-p", MQTT, "-i", "pub", "-q", 1,
            "-t", "t/1", "-l", stdin=subprocess.PIPE))
        pub.p.stdin.write(lines[:half].encode())
        pub.p.stdin.flush()
        restart(d)()
        pub.p.stdin.write(lines[half:].encode())
        pub.p.stdin.close()
        equal(pub.wait(90), 0)
        for out, sub in subs:
            equal(sub.wait(90), 0)
            out.seek(0)
            if out.read() != lines:
                raise AssertionError("a subscriber got other lines")


# --- nginx: a master and its workers

NGINX = 80


class Nginx(Server):
    """In a namespace of process ids, so that no worker outlives the test."""

    ends_by = signal.SIGKILL # unshare(1) ignores others; all die with it

    def __init__(self, daemon=None, sendfile="on", listen=f"{NGINX}"):
        self.sendfile, self.listen = sendfile, listen
        super().__init__(
            "nginx", "-c", "nginx.conf", "-p", ".", daemon=daemon,
            cwd=True, options=("-v",) if daemon else (),
            wrap=("unshare", "--pid", "--fork", "--kill-child"))

    def prepare(self):
        make_files(self.dir)
        Path(f"{self.dir}/nginx.conf").write_text(f"""\
daemon off;
master_process on;
worker_processes 2;
pid nginx.pid;
error_log stderr notice;
events {{ worker_connections 2000; }}
http {{
    access_log off;
    sendfile {self.sendfile};
    keepalive_requests 1000000;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen {self.listen};
        root .;
        location /slow/ {{
            alias ./;
            limit_rate 200k;
        }}
        location = /where {{
            return 200 "$remote_addr $server_addr:$server_port $scheme\\n";
        }}
    }}
}}
""")

    def __enter__(self):
        wait_for("nginx serves", lambda: self.served(NGINX))
        return self


def nginx_direct(sendfile):
    with Nginx(sendfile=sendfile):
        return http_load(NGINX).run(LOCAL)


def nginx_as_directly(sendfile):
    needs("nginx")
    with Net():
        want = nginx_direct(sendfile)
        with daemon("http", NGINX) as d, Nginx(d, sendfile) as n:
            wait_attached(d, 2)
            load = http_load(NGINX)
            equal_answers(load.run(VIP4), want)
            served = [b["messages"]["in"] for b in backends(d)]
            if len(served) != 2 or min(served) < 1000:
                raise AssertionError(f"a worker had few: {served}")
            load.close()


@serial
@timeout(250)
def test_nginx_answers_500_clients_as_directly_with_sendfile():
    nginx_as_directly("on")


@serial
@timeout(250)
def test_nginx_answers_500_clients_as_directly_without_sendfile():
    nginx_as_directly("off")


@serial
@timeout(250)
def test_nginx_clients_do_not_notice_that_xtcpd_died():
    needs("nginx")
    with Net():
        want = nginx_direct("on")
        with daemon("http", NGINX) as d, Nginx(d):
            wait_attached(d, 2)
            load = http_load(NGINX)
            equal_answers(load.run(VIP4, midway=restart(d)), want)
            check_survived(d, CLIENTS)


def master_of(n):
    """The process id of nginx's master, which unshare(1) started."""
    return int(Path(f"/proc/{n.pid}/task/{n.pid}/children").read_text()
               .split()[0])


def workers_of(n):
    master = master_of(n)
    return Path(f"/proc/{master}/task/{master}/children").read_text().split()


def curls(*urls, **kw):
    """One curl, a connection for each; prints the statuses."""
    return Process("curl", "-sS", *[w for url in urls for w in (
        f"http://{VIP4}/{url}", "-o", "/dev/null")], "-H", "Connection: close",
        "-w", "%{http_code}\\n", stdout=subprocess.PIPE, **kw)


@serial
@timeout(250)
def test_nginx_reloads_while_new_clients_come():
    """Workers that end, and have a long answer under way, hand new clients over
    to those that begin; no request fails, as none does in a direct run."""
    needs("nginx", "curl")
    with Net(), daemon("http", NGINX) as d, Nginx(d) as n:
        wait_attached(d, 2)
        for _ in range(4):
            before = workers_of(n)
            clients = [curls("slow/f300000") for _ in range(8)]
            wait_for("they have begun", lambda: len(d.connections()) >= 8)
            os.kill(master_of(n), signal.SIGHUP)
            wait_for("new workers are there", lambda old=before: len(
                set(workers_of(n)) - set(old)) == 2)
            clients += [curls(*["f1459"] * 40) for _ in range(4)]
            for c in clients:
                out = c.p.communicate(timeout=60)[0].decode().split()
                equal((c.p.returncode, set(out)), (0, {"200"}), c.stderr())
                c.log.close()
            wait_for("the old ones are gone", lambda old=before:
                     not set(workers_of(n)) & set(old))
        wait_attached(d, 2)


def test_nginx_and_curl():
    needs("nginx", "curl")
    with Net():
        with daemon("http", NGINX) as d, Nginx(d) as n:
            for size in SIZES:
                run("curl", "-sSf", f"http://{VIP4}/f{size}", "-o",
                    f"{n.dir}/got")
                equal(Path(f"{n.dir}/got").read_bytes(),
                      Path(f"{n.dir}/f{size}").read_bytes(), f"{size} bytes")
            equal(run("curl", "-sS", f"http://{VIP4}/where").stdout,
                  f"{CLIENT4} {VIP4}:{NGINX} http\n")
            # 30 transfers side by side over kept connections
            sizes = SIZES * 5
            urls = [w for size in sizes for w in
                    (f"http://{VIP4}/f{size}", "-o", "/dev/null")]
            got = run("curl", "-sSf", "--parallel", "--parallel-max", 10,
                      *urls, "-w", "%{size_download}\n")
            equal(sorted(map(int, got.stdout.split())), sorted(sizes))


@serial
@timeout(120)
def test_nginx_and_wrk():
    needs("nginx", "wrk")
    with Net(), daemon("http", NGINX) as d, Nginx(d):
        wait_attached(d, 2)
        out = run("wrk", "-t1", "-c", CLIENTS, "-d", "3s", "--timeout", "20s",
                  f"http://{VIP4}/f1459").stdout
        if "Non-2xx" in out or "Socket errors" in out:
            raise AssertionError(out)
        requests = int(re.search(r"(\d+) requests in", out).group(1))
        if requests < CLIENTS:
            raise AssertionError(out)


if __name__ == "__main__":
    harness.main(globals())
