"""Datagrams arrive one by one, unchanged and in order, both ways."""

import random

import pytest

import tcp
import udp
from conftest import PublishedUdp
from proxy_process import scaled

LOOPBACKS = ("127.0.0.1", "::1")
SIZES = (0, 1, 2, 511, 512, 1372, 1472, 1473, 4096, 9000, 16384, 32768, 65506, 65507)


@pytest.mark.parametrize("container", LOOPBACKS)
@pytest.mark.parametrize("host", LOOPBACKS)
def test_host_family_and_container_family_are_independent(launch, host, container):
    published = PublishedUdp(launch, host, container)
    with published.client() as client:
        for _ in range(3):
            udp.exchange(client, published.backend)


@pytest.mark.parametrize("loopback", LOOPBACKS)
def test_every_size_both_ways(launch, loopback):
    published = PublishedUdp(launch, loopback, loopback)
    rng = random.Random(7)
    with published.client() as client:
        for size in SIZES:
            udp.exchange(client, published.backend, rng.randbytes(size), rng.randbytes(size))
        for size in reversed(SIZES):
            udp.exchange(client, published.backend, rng.randbytes(size), b"")


def test_a_session_may_begin_with_an_empty_datagram(published_udp):
    with published_udp.client() as client:
        udp.exchange(client, published_udp.backend, b"", b"")
        udp.exchange(client, published_udp.backend, b"then", b"more")


def test_order_within_a_session(published_udp):
    """Mixed sizes: runs of equal ones travel together, and must not overtake the others."""
    rng = random.Random(8)
    with published_udp.client() as client:
        for _ in range(scaled(40)):
            burst = [b"%06d" % number + rng.randbytes(rng.choice((10, 10, 10, 500, 1200)))
                     for number in range(50)]
            for datagram in burst:
                client.send(datagram)
            received = [udp.receive(published_udp.backend) for _ in burst]
            assert [data for data, _ in received] == burst
            session = received[0][1]
            for datagram in burst:
                published_udp.backend.sendto(datagram, session)
            assert [udp.receive(client)[0] for _ in burst] == burst


def test_many_clients_at_once_are_kept_apart(published_udp):
    clients = [published_udp.client() for _ in range(scaled(200))]
    sessions = {}
    for turn in range(3):
        for number, client in enumerate(clients):
            client.send(b"%d %d" % (turn, number))
        for _ in clients:
            data, session = udp.receive(published_udp.backend)
            number = int(data.split()[1])
            assert sessions.setdefault(number, session) == session
            published_udp.backend.sendto(b"answer to " + data, session)
        for number, client in enumerate(clients):
            assert udp.receive(client)[0] == b"answer to %d %d" % (turn, number)
    assert len(set(sessions.values())) == len(clients)
    for client in clients:
        client.close()


def test_the_backend_may_push(published_udp):
    """Any number of datagrams after the first one, without being asked again."""
    with published_udp.client() as client:
        session = udp.exchange(client, published_udp.backend)
        for turn in range(10):
            for number in range(30):
                published_udp.backend.sendto(b"%d" % (turn * 30 + number), session)
            for number in range(30):
                assert udp.receive(client)[0] == b"%d" % (turn * 30 + number)


def test_strangers_cannot_answer(published_udp):
    """The backend socket is connected: only the container's own address and port come through."""
    with published_udp.client() as client, udp.bind() as stranger:
        session = udp.exchange(client, published_udp.backend)
        stranger.sendto(b"from somebody else", session)
        published_udp.backend.sendto(b"from the backend", session)
        assert udp.receive(client)[0] == b"from the backend"


def test_a_dead_backend_that_comes_to_life(launch):
    """Each datagram to a dead port leaves an error on the socket; none of them may swallow a
    datagram that comes after the backend is there (moby PR 52483)."""
    published = PublishedUdp(launch)
    address = tcp.address(published.backend)
    with published.client() as client:
        udp.exchange(client, published.backend)
        for dead_datagrams in (1, 2, 3, 10):
            published.backend.close()
            for _ in range(dead_datagrams):
                client.send(b"lost")
                assert udp.nothing_comes(client, 0.01)
            published.backend = udp.bind(*address)
            for number in range(5):
                udp.exchange(client, published.backend, b"not lost %d" % number)


def test_a_dead_backend_of_one_client_is_no_concern_of_another(launch):
    first, second = PublishedUdp(launch), PublishedUdp(launch)
    first.backend.close()
    with first.client() as unlucky, second.client() as lucky:
        for _ in range(20):
            unlucky.send(b"lost")
            udp.exchange(lucky, second.backend)


def test_a_client_that_has_gone_is_no_concern_of_the_others(published_udp):
    """Its port answers with an ICMP error, which reaches the listening socket."""
    with published_udp.client() as gone, published_udp.client() as staying:
        session = udp.exchange(gone, published_udp.backend)
        udp.exchange(staying, published_udp.backend)
        gone.close()
        for _ in range(20):
            published_udp.backend.sendto(b"nobody", session)
            udp.exchange(staying, published_udp.backend)


def test_too_large_an_answer_over_ipv4_is_dropped_alone(launch):
    """IPv6 carries datagrams of up to 65,527 bytes, IPv4 of 65,507."""
    published = PublishedUdp(launch, "127.0.0.1", "::1")
    with published.client() as client:
        session = udp.exchange(client, published.backend)
        published.backend.sendto(b"x" * 65_520, session)
        published.backend.sendto(b"fits", session)
        data = udp.receive(client)[0]
        if len(data) == udp.LARGEST_DATAGRAM:  # cut, as docker-proxy does
            data = udp.receive(client)[0]
        assert data == b"fits"
