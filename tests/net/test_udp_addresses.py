"""A reply leaves from the address that was asked, or the client would not take it for one."""

import ipaddress
import socket

import pytest

import tcp
import udp
from conftest import PublishedUdp, next_port
from namespace import Namespace, add_ipv6, ip


def ask(published, host):
    """Unconnected, so that the source of the answer shows."""
    with udp.bind("::" if ":" in host else "0.0.0.0") as client:
        client.sendto(b"who is there", (host, published.port))
        data, session = udp.receive(published.backend)
        assert data == b"who is there"
        published.backend.sendto(b"me", session)
        data, sender = udp.receive(client)
        assert data == b"me"
        return sender


@pytest.fixture
def more_loopback_addresses():
    addresses = ("fd76::1", "fd76::2")
    for address in addresses:
        add_ipv6(f"{address}/128", "lo")
    yield addresses
    for address in addresses:
        ip("address", "del", f"{address}/128", "dev", "lo")


def test_ipv4_wildcard(launch):
    published = PublishedUdp(launch, "0.0.0.0")
    for host in ("127.0.0.1", "127.0.0.2", "127.200.3.4"):
        assert ask(published, host) == (host, published.port)


def test_ipv6_wildcard(launch, more_loopback_addresses):
    published = PublishedUdp(launch, "::", "127.0.0.1")
    for host in ("::1", *more_loopback_addresses):
        assert ask(published, host) == (host, published.port)


@pytest.mark.parametrize("host", ["127.0.0.5", "::1"])
def test_one_address(launch, host):
    published = PublishedUdp(launch, host, "127.0.0.1")
    assert ask(published, host) == (host, published.port)


def test_one_client_that_asks_two_addresses_has_two_sessions(launch):
    published = PublishedUdp(launch, "0.0.0.0")
    with udp.bind("0.0.0.0") as client:
        sessions = {}
        for host in ("127.0.0.1", "127.0.0.2"):
            client.sendto(b"hello", (host, published.port))
            sessions[host] = udp.receive(published.backend)[1]
        assert sessions["127.0.0.1"] != sessions["127.0.0.2"]
        for host in ("127.0.0.2", "127.0.0.1", "127.0.0.1", "127.0.0.2"):
            published.backend.sendto(host.encode(), sessions[host])
            assert udp.receive(client) == (host.encode(), (host, published.port))


def test_from_another_machine_over_any_of_its_addresses(launch):
    """The client's route back leads to the first address; the answer comes from the one asked."""
    with Namespace() as remote:
        extra = ["10.77.200.1", "10.77.200.2"]
        for address in extra:
            ip("address", "add", f"{address}/32", "dev", remote.link)
        published = PublishedUdp(launch, "0.0.0.0")
        published6 = PublishedUdp(launch, "::", "127.0.0.1")
        for served, hosts in ((published, (remote.outer, *extra)), (published6, (remote.outer6,))):
            for host in hosts:
                with remote.inside():
                    client = served.client(host)
                with client:
                    udp.exchange(client, served.backend)


def test_a_link_local_client(launch):
    """fe80:: addresses mean nothing without their interface."""
    with Namespace() as remote:
        published = PublishedUdp(launch, "::", "127.0.0.1")
        address = link_local(remote.link)
        with remote.inside():
            client = udp.bind("::")
        with client:
            with remote.inside():
                scope = socket.if_nametoindex("eth0")
            client.sendto(b"hello", (address, published.port, 0, scope))
            data, session = udp.receive(published.backend)
            assert data == b"hello"
            published.backend.sendto(b"hello yourself", session)
            data, sender = client.recvfrom(100)
            assert data == b"hello yourself"
            assert sender[0].split("%")[0] == address and sender[1] == published.port


def link_local(interface):
    with open("/proc/net/if_inet6", encoding="ascii") as addresses:
        for line in addresses:
            digits, _, _, _, _, name = line.split()
            if name == interface and digits.startswith("fe80"):
                return str(ipaddress.IPv6Address(bytes.fromhex(digits)))
    raise AssertionError(f"{interface} has no link-local address")


def test_by_hand_on_all_addresses(launch, port):
    with udp.bind() as backend:
        launch.publish(f"{port}:127.0.0.1:{tcp.address(backend)[1]}/udp")
        for host in ("127.0.0.1", "127.0.0.9", "::1"):
            with udp.client(host, port) as client:
                udp.exchange(client, backend)


def test_a_container_in_its_own_namespace(launch):
    """What a container is: client, host and backend on three machines."""
    with Namespace() as remote, Namespace() as container:
        with container.inside():
            backend = udp.bind(container.inner)
        host = (remote.outer, next_port())
        launch.docker("udp", host, tcp.address(backend))
        with remote.inside():
            client = udp.client(*host)
        with client, backend:
            session = udp.exchange(client, backend)
            assert session[0] == container.outer  # the gateway's address
