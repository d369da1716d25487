"""A published port serves every kind of client, with and without the daemon's DNAT rules."""

import pytest

from clients import ask_tcp, ask_udp
from docker_daemon import HOST_V4, HOST_V6


@pytest.fixture(scope="module")
def published(any_daemon):
    web = any_daemon.run_service("web", "--publish", "8080:80", "--publish", "8080:80/udp")
    sibling = any_daemon.run_service("sibling")
    host, remote = any_daemon.machine.network, any_daemon.remote.network
    # The containers have no IPv6 address: what is asked over IPv6 can only come by the proxy.
    return {
        "loopback v4": (host, "127.0.0.1"),
        "another loopback address": (host, "127.9.9.9"),
        "loopback v6": (host, "::1"),
        "bridge gateway": (host, web.gateway),
        "host address v4": (host, HOST_V4),
        "host address v6": (host, HOST_V6),
        "remote v4": (remote, HOST_V4),
        "remote v6": (remote, HOST_V6),
        "the container itself": (web.network, web.gateway),
        "the container itself, by the host address": (web.network, HOST_V4),
        "a sibling": (sibling.network, web.gateway),
        "a sibling, by the host address": (sibling.network, HOST_V4),
    }


CLIENTS = ["loopback v4", "another loopback address", "loopback v6", "bridge gateway",
           "host address v4", "host address v6", "remote v4", "remote v6",
           "the container itself", "the container itself, by the host address",
           "a sibling", "a sibling, by the host address"]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("ask", [ask_tcp, ask_udp], ids=["tcp", "udp"])
def test_client_is_served(published, client, ask):
    network, address = published[client]
    ask(network(), address, 8080)


def test_bulk_comes_through_whole(published):
    network, address = published["loopback v4"]
    ask_tcp(network(), address, 8080, payload=b"0123456789abcdef" * (1 << 16))
