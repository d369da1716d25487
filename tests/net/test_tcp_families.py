"""IPv4 and IPv6 on either side, in any mix."""

import socket

import pytest

import tcp
from conftest import PublishedTcp

LOOPBACKS = ("127.0.0.1", "::1")


@pytest.mark.parametrize("container", LOOPBACKS)
@pytest.mark.parametrize("host", LOOPBACKS)
def test_host_family_and_container_family_are_independent(launch, host, container):
    client, server = PublishedTcp(launch, host, container).open()
    with client, server:
        tcp.exchange(client, server)


def test_the_ipv6_wildcard_leaves_the_ipv4_port_alone(launch):
    """docker-proxy's tcp6: one proxy has 0.0.0.0 and another ::, at the same port."""
    published = PublishedTcp(launch, "::", "127.0.0.1")
    with pytest.raises(ConnectionRefusedError):
        tcp.connect("127.0.0.1", published.port)
    with tcp.listen("0.0.0.0", published.port):
        pass
    with tcp.connect("::1", published.port) as client, tcp.accept(published.backend) as server:
        tcp.exchange(client, server)


def test_the_ipv4_wildcard_serves_every_address(launch):
    published = PublishedTcp(launch, "0.0.0.0")
    for host in ("127.0.0.1", "127.0.0.2", "127.1.2.3"):
        with tcp.connect(host, published.port) as client, \
                tcp.accept(published.backend) as server:
            assert client.getpeername() == (host, published.port)
            tcp.exchange(client, server)


def test_an_ipv4_mapped_literal_is_the_ipv4_address(launch, port):
    with tcp.listen() as backend:
        launch.docker("tcp", ("::ffff:127.0.0.1", port), tcp.address(backend))
        with tcp.connect("127.0.0.1", port) as client, tcp.accept(backend) as server:
            tcp.exchange(client, server)


def test_an_empty_host_ip_is_every_ipv6_address(launch, port):
    """Go's nil IP: neither To4() nor an address, so docker-proxy listens on tcp6."""
    with tcp.listen() as backend:
        launch.docker("tcp", ("", port), tcp.address(backend))
        with tcp.connect("::1", port) as client, tcp.accept(backend) as server:
            assert client.family == socket.AF_INET6
            tcp.exchange(client, server)
