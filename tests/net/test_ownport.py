#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Ports of the host's own addresses: taken over, given back, left alone."""

import contextlib
import os
import socket
import struct
import tempfile
from pathlib import Path

import harness
from harness import (
    VIP4, Echod, Xtcpd, contains, equal, msgclient, recv_exactly, run, sysctl,
    wait_attached, wait_for)
from lan import OWN4, OWN6, PEER4, Lan
from outlive import Manager, link
from test_fdstore import Managed
from test_sandbox import NOBODY, device_for_all
from test_supervise import Supervised, kill

PORT, OTHER, HOSTS, CLOSED = 7, 8, 22, 23
BOTH = [OWN4, OWN6]
OWN = {"eth0": {"address": BOTH, "port": PORT}}
TCP_ESTABLISHED, TCP_SYN_SENT = 1, 2
GUARD = "table inet xtcpd_xtcp0_guard "
WAYS = ["table netdev xtcpd_xtcp0 ", "table inet xtcpd_xtcp0 "]


def settings(listen=OWN, vip=(), **tun):
    tun = dict(tun, vip=list(vip)) if vip else tun
    return {"tun": {"xtcp0": dict(tun, mtu=1500)}, "listen": listen}


def xtcpd(listen=OWN, groups=None, vip=(), **kw):
    return Xtcpd(groups or {"echo": {"port": PORT}}, top=settings(listen, vip),
                 **kw)


def rules():
    return run("nft", "list", "ruleset").stdout


def tables():
    """What there is of ways and guard."""
    text = rules()
    return [t in text for t in WAYS], GUARD in text


@contextlib.contextmanager
def host_server(port):
    """A kernel server on all addresses."""
    with socket.create_server(("::", port), family=socket.AF_INET6,
                              dualstack_ipv6=True) as s:
        s.settimeout(harness.WAIT_S)
        yield s


def served_by_host(lan, server, address, port):
    with lan.connect(address, port) as c, server.accept()[0] as s:
        s.sendall(b"kernel")
        equal(recv_exactly(c, 6), b"kernel")


def exchange(s, text):
    s.sendall(text)
    equal(recv_exactly(s, len(text)), text)


def can_exchange(lan, address, port=PORT):
    with lan.connect(address, port) as s:
        exchange(s, b"hello")


def tcp_info(s):
    """Its state, and how often it sent the oldest segment again."""
    info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
    state, _, again = struct.unpack_from("BBB", info)
    return state, again


@contextlib.contextmanager
def connecting(lan, address, port):
    """A client whose SYN is on its way."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with lan.there():
        s = socket.socket(family)
    with s:
        s.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            s.connect((address, port))
        yield s


def icmp(kind, code, rest):
    """A message with its checksum."""
    head = struct.pack("!BBH", kind, code, 0) + rest
    total = sum(struct.unpack(f"!{len(head) // 2}H", head))
    total = (total & 0xffff) + (total >> 16)
    total += total >> 16
    return head[:2] + struct.pack("!H", ~total & 0xffff) + head[4:]


@contextlib.contextmanager
def icmp_socket(lan):
    with lan.there():
        s = socket.socket(socket.AF_INET, socket.SOCK_RAW,
                          socket.IPPROTO_ICMP)
    with s:
        s.settimeout(harness.WAIT_S)
        yield s


def ping(lan, address):
    with icmp_socket(lan) as s:
        s.sendto(icmp(8, 0, b"\0\1\0\1"), (address, 0))
        while s.recv(1500)[20:21] != b"\0":
            pass


# --- while xtcpd serves

def test_a_port_is_served_and_others_are_the_hosts():
    with Lan() as lan, host_server(HOSTS) as server:
        before = rules()
        with xtcpd() as d, Echod("-p", PORT, daemon=d):
            wait_attached(d)
            for address in BOTH:
                with lan.connect(address, PORT) as s:
                    exchange(s, b"hello")
                    equal(s.getpeername()[:2], (address, PORT))
                served_by_host(lan, server, address, HOSTS)
                equal(lan.refused(address, CLOSED), True)
            ping(lan, OWN4)
            equal(d.counter("icmp_echo"), 0)
            equal(d.ask("show info")["listen"],
                  [f"eth0 {OWN4}:{PORT}", f"eth0 [{OWN6}]:{PORT}"])
            text = run(harness.BUILD / "xtcpctl", "-s", d.control_path, "show",
                       "info").stdout
            contains(text, f"eth0 {OWN4}:{PORT}, eth0 [{OWN6}]:{PORT}")
            d.stop()
            equal(rules(), before)
        for address in BOTH:
            equal(lan.refused(address, PORT), True)


def test_bulk_goes_through_whole():
    with Lan() as lan, xtcpd(workers=2) as d, Echod("-p", PORT, daemon=d):
        wait_attached(d)
        for address in f"{OWN4}:{PORT}", f"[{OWN6}]:{PORT}":
            with lan.there():
                r = msgclient(address, "--connections", 4, "--bulk", 4 << 20)
            equal(r["mismatches"], 0)


def test_a_server_of_the_host_is_in_front_and_gets_the_port_back():
    with Lan() as lan, host_server(PORT) as server:
        served_by_host(lan, server, OWN4, PORT)
        with xtcpd() as d, Echod("-p", PORT, daemon=d):
            wait_attached(d)
            contains(d.stderr(), f"(process {os.getpid()}) listens on {OWN4}:")
            for address in BOTH:
                can_exchange(lan, address)
            # who comes in otherwise is still the host's
            with socket.create_connection(("127.0.0.1", PORT)) as c:
                with server.accept()[0] as s:
                    s.sendall(b"kernel")
                    equal(recv_exactly(c, 6), b"kernel")
            d.stop()
        for address in BOTH:
            served_by_host(lan, server, address, PORT)


def test_vips_and_groups_beside_it():
    groups = {"own": {"port": PORT, "vip": [OWN4]},
              "vip": {"port": OTHER, "vip": [VIP4]}}
    with Lan(forwarding=1) as lan, xtcpd(groups=groups, vip=[VIP4]) as d, \
            Echod("-p", PORT, daemon=d), Echod("-p", OTHER, daemon=d):
        wait_attached(d, 2)
        with lan.there():
            run("ip", "route", "add", VIP4, "via", OWN4)
        can_exchange(lan, OWN4)
        can_exchange(lan, VIP4, OTHER)
        equal(lan.refused(VIP4, PORT), True)
        # taken over, but no group's
        equal(lan.refused(OWN6, PORT), True)
        equal(d.counter("drop_closed_port"), 2)


def test_connections_are_not_tracked():
    firewall = """table inet host { chain forward {
        type filter hook forward priority 0;
        ct state != untracked counter drop
    }
    }"""
    with Lan() as lan, xtcpd() as d, Echod("-p", PORT, daemon=d):
        wait_attached(d)
        run("nft", "-f", "-", input=firewall)
        for address in BOTH:
            can_exchange(lan, address)
        contains(rules(), "counter packets 0 ")


def test_icmp_errors_about_its_segments_reach_it():
    def quoted(port):
        return (struct.pack("!HHBB", 0, 1400, 0x45, 0) + struct.pack("!HHHBBH", 1500, 0, 0x4000, 64,
                                               6, 0) +
                socket.inet_aton(OWN4) + socket.inet_aton(PEER4) +
                struct.pack("!HHI", port, 999, 1))

    with Lan() as lan, xtcpd() as d:
        with icmp_socket(lan) as s:
            s.sendto(icmp(3, 4, quoted(HOSTS)), (OWN4, 0))
            s.sendto(icmp(3, 4, quoted(PORT)), (OWN4, 0))
        d.wait_counter("icmp_no_conn", 1)
        equal(d.counter("drop_not_own_port"), 0)


def test_an_interface_that_comes_back_is_hooked_again():
    with Lan() as lan, xtcpd() as d, Echod("-p", PORT, daemon=d):
        wait_attached(d)
        run("ip", "link", "del", "eth0")
        lan.connect_hosts()
        # not answered by the host meanwhile
        with connecting(lan, OWN4, PORT) as s:
            wait_for("connected", lambda: tcp_info(s)[0] == TCP_ESTABLISHED)
            s.settimeout(harness.WAIT_S)
            exchange(s, b"hello")
        wait_for("it is noticed", lambda: "is there again" in d.stderr())
        can_exchange(lan, OWN6)


def test_a_flushed_ruleset_does_no_harm():
    with Lan() as lan, xtcpd() as d, Echod("-p", PORT, daemon=d):
        wait_attached(d)
        run("nft", "flush", "ruleset")
        equal(tables(), ([True, True], False))
        can_exchange(lan, OWN4)
        wait_for("the guard is there", lambda: tables()[1])


# --- crash

def check_silence(lan, s):
    """A client's bytes, and another one's SYN, are not answered."""
    s.sendall(b"are you there?")
    with connecting(lan, OWN6, PORT) as new:
        wait_for("sent again", lambda: tcp_info(s)[1] >= 3)
        equal(tcp_info(s)[0], TCP_ESTABLISHED)
        wait_for("sent again", lambda: tcp_info(new)[1] >= 1)
        equal(tcp_info(new)[0], TCP_SYN_SENT)


def test_killed_it_is_silent_until_the_next_start_goes_on():
    with Lan() as lan, host_server(HOSTS) as server:
        before = rules()
        with xtcpd() as d, Echod("-p", PORT, daemon=d):
            wait_attached(d)
            with lan.connect(OWN4, PORT) as s:
                exchange(s, b"hello")
                d.kill()
                equal(tables(), ([False, False], True))
                check_silence(lan, s)
                served_by_host(lan, server, OWN4, HOSTS)
                d.spawn()
                d.__enter__()
                equal(tables(), ([True, True], True))
                equal(recv_exactly(s, 14), b"are you there?")
                exchange(s, b"again")
            d.stop()
        equal(rules(), before)


def test_a_start_that_fails_leaves_the_guard():
    with Lan() as lan, xtcpd() as d, Echod("-p", PORT, daemon=d):
        wait_attached(d)
        with lan.connect(OWN4, PORT) as s:
            exchange(s, b"hello")
            d.kill()
            run("ip", "tuntap", "add", "xtcp0", "mode", "tap")
            d.spawn()
            equal(d.wait(), 1)
            equal(tables(), ([False, False], True))
            run("ip", "link", "del", "xtcp0")
            d.spawn()
            d.__enter__()
            exchange(s, b"again")


def test_what_a_crash_left_goes_when_nobody_wants_it():
    with Lan() as lan:
        before = rules()
        with xtcpd() as d:
            d.kill()
            d.configure({"echo": {"port": PORT}}, 1, None, None, None)
            d.spawn()
            d.__enter__()
            wait_for("all is gone", lambda: rules() == before)
            equal(lan.refused(OWN4, PORT), True)


def test_supervised_ports_are_kept_with_the_device():
    with Lan() as lan:
        before = rules()
        with Supervised(top=settings()) as d, Echod("-p", PORT, daemon=d):
            wait_attached(d)
            with lan.connect(OWN6, PORT) as s:
                exchange(s, b"hello")
                old, ways = d.worker(), rules()
                equal(tables(), ([True, True], False))
                kill(old)
                d.next_worker(old)
                exchange(s, b"again")
            equal(rules(), ways)
            d.stop()
        equal(rules(), before)


def test_without_its_supervisor_the_guard_stays():
    with Lan():
        with Supervised(top=settings()) as d:
            worker = d.worker()
            d.kill()
            wait_for("the guard alone", lambda: tables() ==
                     ([False, False], True))
            # it has the state directory until it ends
            wait_for("its child has ended",
                     lambda: not os.path.exists(f"/proc/{worker}"))
            d.spawn()
            d.__enter__()
            wait_for("the ways alone", lambda: tables() ==
                     ([True, True], False))


def test_a_store_that_lets_go_gives_the_ports_back():
    with Lan() as lan, tempfile.TemporaryDirectory() as t:
        before, manager = rules(), Manager(t)
        with Managed(manager, top=settings()) as d:
            wait_for("READY=1", lambda: manager.heard(READY="1"))
            equal(len(manager.kept["ports-xtcp0"]), 1)
            d.stop()
            equal(tables(), ([True, True], False))
        manager.close()
        equal(rules(), before)
        equal(lan.refused(OWN4, PORT), True)


# --- reload

def test_reload_takes_and_gives_back():
    groups = {"echo": {"port": PORT}, "other": {"port": OTHER}}
    with Lan() as lan, host_server(OTHER) as server, \
            xtcpd({"eth0": {"address": OWN4, "port": PORT}}, groups) as d, \
            Echod("-p", PORT, daemon=d), Echod("-p", OTHER, daemon=d):
        wait_attached(d, 2)
        equal(lan.refused(OWN6, PORT), True)
        with lan.connect(OWN4, PORT) as stays:
            exchange(stays, b"hello")
            d.configure(groups, top=settings(
                {"eth0": {"address": BOTH, "port": [PORT, OTHER]}}))
            d.ask("reload")
            contains(d.stderr(), f"listen eth0: [{OWN6}]:{PORT}: taken over")
            for address in BOTH:
                can_exchange(lan, address)
                can_exchange(lan, address, OTHER)
            with lan.connect(OWN4, OTHER) as goes:
                exchange(goes, b"hello")
                d.configure(groups, top=settings())
                d.ask("reload")
                contains(d.stderr(), f"listen eth0: {OWN4}:{OTHER}: given back")
                d.wait_counter("vip_removed", 1)
                try:
                    data = goes.recv(1)
                except ConnectionResetError:
                    data = b""
                equal(data, b"")
            served_by_host(lan, server, OWN4, OTHER)
            exchange(stays, b"again")


def test_a_port_that_went_meanwhile_ends_its_connections():
    with Lan() as lan, xtcpd({"eth0": {"address": OWN4, "port": [PORT, OTHER]}},
                             {"echo": {"port": PORT}, "o": {"port": OTHER}}) \
            as d, Echod("-p", PORT, daemon=d), Echod("-p", OTHER, daemon=d):
        wait_attached(d, 2)
        with lan.connect(OWN4, OTHER) as s:
            exchange(s, b"hello")
            d.kill()
            d.configure({"echo": {"port": PORT}, "o": {"port": OTHER}},
                        top=settings())
            d.spawn()
            d.__enter__()
            d.wait_counter("vip_removed", 1)
            wait_for("no connections", lambda: d.connections() == [])


def test_reload_refuses_what_cannot_be():
    with Lan() as lan, xtcpd(vip=[VIP4]) as d, Echod("-p", PORT, daemon=d):
        wait_attached(d)
        before = rules()
        for listen, vip, words in (
                ({"eth9": {"address": OWN4, "port": PORT}}, [VIP4],
                 "no such interface"),
                ({"eth0": {"address": "198.51.100.77", "port": PORT}}, [VIP4],
                 "no address of this host"),
                ({"eth0": {"address": VIP4, "port": PORT}}, [OWN4],
                 "needs a restart")):
            d.configure({"echo": {"port": PORT}}, top=settings(listen, vip))
            p = d.ctl("reload", check=False)
            equal(p.returncode, 1, p.stdout + p.stderr)
            contains(p.stderr + p.stdout, words)
            equal(rules(), before)
        can_exchange(lan, OWN4)


def test_the_first_port_needs_a_restart():
    with Lan(), Xtcpd({"echo": {"port": PORT}}) as d:
        d.configure({"echo": {"port": PORT}}, top=settings(vip=[VIP4]))
        p = d.ctl("reload", check=False)
        contains(p.stderr + p.stdout, "needs a restart")
        equal(tables(), ([False, False], False))


# --- privileges

class Unprivileged(Xtcpd):
    """As the unit starts it: a user of its own, and one capability."""

    def __init__(self, **kw):
        caps = "-all,+net_admin"
        super().__init__({"echo": {"port": PORT}}, wrap=(
            "setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups",
            "--bounding-set", caps, "--inh-caps", caps, "--ambient-caps",
            caps), **kw)

    def configure(self, *args, **kw):
        super().configure(*args, **kw)
        text = Path(self.conf).read_text()
        Path(self.conf).write_text(text.replace(
            'group = "root"', 'group = "nogroup"'))
        for name in self.dir, self.dir + "/state":
            os.chown(name, NOBODY, NOBODY)
        os.chmod(self.dir + "/state", 0o711)


def test_one_capability_is_enough_from_start_to_end():
    with Lan(forwarding=1) as lan, tempfile.TemporaryDirectory() as t:
        os.chmod(t, 0o755)
        device_for_all(t)
        if run("setpriv", "--reuid", NOBODY, "--clear-groups",
               harness.BUILD / "xtcpd", "-V", check=False).returncode > 1:
            raise harness.Skip("the build is not readable by nobody")
        before = rules()
        near = {"vip": ["2001:db8:7::50"], "proxy-arp": ["eth0"]}
        with Unprivileged(top=settings(**near)) as d, \
                Echod("-p", PORT, daemon=d):
            wait_attached(d)
            for address in BOTH:
                can_exchange(lan, address)
            can_exchange(lan, "2001:db8:7::50")
            d.configure({"echo": {"port": PORT}}, top=settings(
                {"eth0": {"address": OWN6, "port": PORT}}, **near))
            d.ask("reload")
            equal(lan.refused(OWN4, PORT), True)
            can_exchange(lan, OWN6)
            d.stop()
        equal(rules(), before)
        equal(run("ip", "-6", "neigh", "show", "proxy").stdout, "")


# --- what is wrong

def fails(words, listen=OWN):
    d = xtcpd(listen)
    equal(d.wait(), 1, d.stderr())
    contains(d.stderr(), words)
    d.stopped = True
    d.__exit__(None, None, None)


def test_what_cannot_be_is_said():
    with Lan():
        before = rules()
        fails('listen "eth9": there is no such interface',
              {"eth9": {"address": OWN4, "port": PORT}})
        fails("198.51.100.77 is no address of this host",
              {"eth0:b": {"address": "198.51.100.77", "port": PORT}})
        sysctl("net/ipv4/conf/all/rp_filter", 1)
        fails("rp_filter is 1, which drops the replies")
        sysctl("net/ipv4/conf/all/rp_filter", 0)
        equal(rules(), before)
        run("nft", "add", "table", "netdev", "xtcpd_xtcp0")
        fails("a table of our name is somebody else's")
        run("nft", "delete", "table", "netdev", "xtcpd_xtcp0")
        equal(rules(), before)
        equal(link(), None)


def test_port_without_a_group_is_warned_of():
    warning = f'{OWN4}:{OTHER} is taken from the host, and no group has the port'
    with Lan(), xtcpd({"eth0": {"address": OWN4, "port": [PORT, OTHER]}}) as d:
        p = run(harness.BUILD / "xtcpd", "-t", "-c", d.conf, check=False)
        equal(p.returncode, 0, p.stderr)
        contains(p.stderr, warning)
        equal(f"{OWN4}:{PORT} is taken" in p.stderr, False)
        contains(d.stderr(), warning)


def test_without_the_capability_it_is_said():
    with Lan():
        d = xtcpd(wrap=("setpriv", "--bounding-set", "-net_admin",
                        "--inh-caps", "-net_admin"))
        equal(d.wait(), 1)
        contains(d.stderr(), "CAP_NET_ADMIN")
        d.stopped = True
        d.__exit__(None, None, None)


if __name__ == "__main__":
    harness.main(globals())
