"""Fixtures: a host with nothing on it, fairlead-net there, and containers."""

import socket
import subprocess

import pytest

from fairlead_net import FairleadNet, enter_new_network_namespace
from namespace import ip

# Nothing in these tests waits for ever for the network.
socket.setdefaulttimeout(20)


@pytest.fixture
def host():
    """A network namespace that this process is in from now on, with lo alone."""
    enter_new_network_namespace()
    ip("link", "set", "lo", "up")
    # Addresses are used at once; nothing else in this namespace could have them.
    subprocess.run(["sysctl", "-q", "-w", "net.ipv6.conf.all.accept_dad=0",
                    "net.ipv6.conf.default.accept_dad=0"], check=True, timeout=20)


@pytest.fixture
def net(host, tmp_path):
    program = FairleadNet(tmp_path / "state")
    yield program
    program.stop()


@pytest.fixture
def container():
    """Makes named namespaces, as `ip netns add` does; what it returns is the name."""
    made = []

    def make(name):
        ip("netns", "add", name)
        made.append(name)
        return name

    yield make
    for name in made:
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True, timeout=20)
