#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Ports of the host's own addresses: taken over, given back, left alone."""

import contextlib
import os
import re
import signal
import socket
import subprocess

import harness
from harness import (
    CLONE_NEWNET, VIP4, Echod, Net, Process, Xtcpd, contains, equal, libc,
    msgclient, recv_exactly, run, sysctl, wait_attached, wait_for)

OWN4, OWN6 = "198.51.100.11", "2001:db8:7::11"
PEER4, PEER6 = "198.51.100.12", "2001:db8:7::12"
PORT, HOSTS, CLOSED = 5222, 22, 23
OWN = {"eth0": {"address": [OWN4, OWN6], "port": [PORT]}}


class Lan(Net):
    """This host, and a second one at the other end of its eth0."""

    def __enter__(self):
        super().__enter__()
        self.own = os.open("/proc/self/ns/net", os.O_RDONLY)
        if libc.unshare(CLONE_NEWNET):
            raise OSError("unshare")
        self.peer = os.open("/proc/self/ns/net", os.O_RDONLY)
        run("ip", "link", "set", "lo", "up")
        self.enter(self.own)
        run("ip", "link", "add", "eth0", "type", "veth", "peer", "name",
            "eth0", "netns", f"/proc/self/fd/{self.peer}",
            pass_fds=[self.peer])
        self.address(OWN4, OWN6)
        with self.there():
            self.address(PEER4, PEER6)
        # a host that routes nothing but what comes from xtcpd's device
        sysctl("net/ipv4/ip_forward", 0)
        sysctl("net/ipv4/conf/all/rp_filter", 0)
        return self

    def address(self, ip4, ip6):
        run("ip", "addr", "add", f"{ip4}/24", "dev", "eth0")
        run("ip", "addr", "add", f"{ip6}/64", "dev", "eth0", "nodad")
        run("ip", "link", "set", "eth0", "up")

    def enter(self, fd):
        if libc.setns(fd, CLONE_NEWNET):
            raise OSError("setns")

    @contextlib.contextmanager
    def there(self):
        """On the second host: what is opened or started here belongs there."""
        self.enter(self.peer)
        try:
            yield
        finally:
            self.enter(self.own)

    def connect(self, address, port, within=harness.WAIT_S):
        with self.there():
            return socket.create_connection((address, port), within)

    def refused(self, address, port):
        try:
            self.connect(address, port, 3).close()
        except ConnectionRefusedError:
            return True
        return False


def rules():
    return run("nft", "list", "ruleset").stdout


@contextlib.contextmanager
def host_server(port, family=socket.AF_INET6):
    """A kernel server on all addresses, for clients to find."""
    with socket.create_server(("::", port), family=family,
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


def xtcpd(listen=None, groups=None, **kw):
    top = {"tun": {"xtcp0": {"mtu": 1500}}, "listen": listen or OWN}
    top.update(kw.pop("top", {}))
    return Xtcpd(groups or {"echo": {"port": PORT}}, top=top, **kw)


def test_a_port_is_served_and_others_are_the_hosts():
    with Lan() as lan, host_server(HOSTS) as server:
        before = rules()
        with xtcpd() as d, Echod("-p", PORT, daemon=d):
            wait_attached(d)
            for address in OWN4, OWN6:
                with lan.connect(address, PORT) as s:
                    exchange(s, b"hello")
                    equal(s.getpeername()[:2], (address, PORT))
                served_by_host(lan, server, address, HOSTS)
                equal(lan.refused(address, CLOSED), True)
            d.stop()
            equal(rules(), before)
        for address in OWN4, OWN6:
            equal(lan.refused(address, PORT), True)


if __name__ == "__main__":
    harness.main(globals())
