# SPDX-License-Identifier: BSD-2-Clause
"""A network of two: this host's eth0, and a second host at its other end."""

import contextlib
import json
import os
import socket

import harness
from harness import Net, run, sysctl, wait_for
from referee import new_ns, set_ns

OWN4, OWN6 = "198.51.100.11", "2001:db8:7::11"
PEER4, PEER6 = "198.51.100.12", "2001:db8:7::12"


def give_address(ip4, ip6):
    run("ip", "addr", "add", f"{ip4}/24", "dev", "eth0")
    run("ip", "addr", "add", f"{ip6}/64", "dev", "eth0", "nodad")
    run("ip", "link", "set", "eth0", "up")


class Lan(Net):
    """Routes nothing, unless told to: forwarding."""

    def __init__(self, forwarding=0):
        self.forwarding = forwarding

    def __enter__(self):
        super().__enter__()
        self.own = os.open("/proc/self/ns/net", os.O_RDONLY)
        self.peer = new_ns()
        sysctl("net/ipv4/ip_forward", self.forwarding)
        sysctl("net/ipv6/conf/all/forwarding", self.forwarding)
        sysctl("net/ipv4/conf/all/rp_filter", 0)
        self.connect_hosts()
        return self

    def __exit__(self, kind, value, tb):
        os.close(self.peer)
        os.close(self.own)

    def connect_hosts(self):
        run("ip", "link", "add", "eth0", "type", "veth", "peer", "name",
            "eth0", "netns", f"/proc/self/fd/{self.peer}",
            pass_fds=[self.peer])
        give_address(OWN4, OWN6)
        with self.there():
            run("ip", "link", "set", "lo", "up")
            give_address(PEER4, PEER6)
            self.wait_up()
        self.wait_up()

    def wait_up(self):
        """Before, the kernel drops what is sent."""
        wait_for("eth0 is up", lambda: json.loads(run(
            "ip", "-j", "link", "show", "eth0").stdout)[0][
                "operstate"] == "UP")

    @contextlib.contextmanager
    def there(self):
        """On the second host: what is opened or started here belongs there."""
        set_ns(self.peer)
        try:
            yield
        finally:
            set_ns(self.own)

    def connect(self, address, port, within=harness.WAIT_S):
        with self.there():
            return socket.create_connection((address, port), within)

    def refused(self, address, port):
        try:
            self.connect(address, port).close()
        except ConnectionRefusedError:
            return True
        return False
