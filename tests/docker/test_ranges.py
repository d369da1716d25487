"""Many ports at once: a proxy for each port and address family, all of them prompt."""

import time

from clients import ask_tcp, ask_udp
from docker_daemon import HOST_V4, wait_until


def test_range_of_100_ports(daemon):
    daemon.run_service("range", "--publish", "7000-7099:7000-7099", ports=(7000, 7099))
    assert len(daemon.proxies()) == 200
    for port in range(7000, 7100):
        ask_tcp(daemon.machine.network(), "127.0.0.1" if port % 2 else "::1", port)
    daemon.remove("range")
    wait_until(lambda: daemon.proxies() == [], "no proxy is left")


def test_range_of_100_udp_ports(daemon):
    daemon.run_service("range", "--publish", "7000-7099:7000-7099/udp", ports=(7000, 7099))
    for port in range(7000, 7100):
        ask_udp(daemon.machine.network(), "127.0.0.1" if port % 2 else "::1", port)
    daemon.remove("range")
    wait_until(lambda: daemon.proxies() == [], "no proxy is left")


def test_run_of_200_ports(daemon):
    started = time.monotonic()
    daemon.run_service("wide", "--publish", "7000-7199:7000-7199", ports=(7000, 7199))
    ran = time.monotonic()
    assert len(daemon.proxies()) == 400
    for port in (7000, 7100, 7199):
        ask_tcp(daemon.machine.network(), "127.0.0.1", port)
        ask_tcp(daemon.remote.network(), HOST_V4, port)
    daemon.remove("wide")
    wait_until(lambda: daemon.proxies() == [], "no proxy is left")
    assert ran - started < 60
