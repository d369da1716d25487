"""Backends that cannot be reached, or not at once."""

import socket
import time

import pytest

import tcp
from conftest import PublishedTcp, next_port
from deadline import wait_until
from namespace import Namespace, ip
from transfer import Concurrently

# RFC 5737 and RFC 3849: addresses that nobody has.
NOWHERE = "198.51.100.7"
UNREACHABLE = "203.0.113.7"


@pytest.fixture
def black_hole():
    with Namespace() as namespace:
        namespace.swallow(NOWHERE)
        yield NOWHERE


def dead_port(launch, container_ip="127.0.0.1"):
    """A port published for a backend that refuses."""
    host = ("127.0.0.1", next_port())
    container = (container_ip, next_port())
    return launch.docker("tcp", host, container), host, container


@pytest.mark.parametrize("container_ip", ["127.0.0.1", "::1"])
def test_a_refusing_backend_closes_the_client(launch, container_ip):
    proxy, host, _ = dead_port(launch, container_ip)
    for _ in range(10):
        tcp.connect_in_vain(*host)
    assert proxy.running()


def test_a_client_that_has_already_sent_is_closed_too(launch, port, black_hole):
    launch.docker("tcp", ("127.0.0.1", port), (black_hole, 80),
                  options=["-connect-timeout", "1"])
    with tcp.connect("127.0.0.1", port) as client:
        client.sendall(b"anybody there?")
        tcp.expect_closed(client)


def test_a_backend_that_comes_later_is_reached(launch):
    _, host, container = dead_port(launch)
    tcp.connect_in_vain(*host)
    with tcp.listen(*container) as backend, tcp.connect(*host) as client, \
            tcp.accept(backend) as server:
        tcp.exchange(client, server)


def test_an_unreachable_backend_closes_the_client(launch, port):
    ip("route", "add", "unreachable", UNREACHABLE)
    try:
        launch.docker("tcp", ("127.0.0.1", port), (UNREACHABLE, 80))
        tcp.connect_in_vain("127.0.0.1", port)
    finally:
        ip("route", "del", "unreachable", UNREACHABLE)


def test_the_connect_timeout_closes_the_client(launch, port, black_hole):
    launch.docker("tcp", ("127.0.0.1", port), (black_hole, 80),
                  options=["-connect-timeout", "1"])
    begin = time.monotonic()
    with tcp.connect("127.0.0.1", port) as client:
        tcp.expect_closed(client)
    assert 0.9 < time.monotonic() - begin < 5


def test_waiting_for_one_backend_delays_no_other(launch, port, black_hole):
    other = PublishedTcp(launch)
    mapping = [f"127.0.0.1:{port}:{black_hole}:80",
               f"127.0.0.1:{next_port()}:127.0.0.1:{tcp.address(other.backend)[1]}"]
    launch.publish(*mapping, options=["--connect-timeout", "1"])
    with tcp.connect("127.0.0.1", port) as waiting:
        client = tcp.connect("127.0.0.1", int(mapping[1].split(":")[1]))
        with client, tcp.accept(other.backend) as server:
            tcp.exchange(client, server)
        waiting.setblocking(False)
        with pytest.raises(BlockingIOError):
            waiting.recv(1)


def test_a_reset_in_the_middle_of_connect_ends_the_attempt(launch, port, black_hole):
    """Without waiting for the kernel's two minutes."""
    proxy = launch.docker("tcp", ("127.0.0.1", port), (black_hole, 80))
    idle = len(proxy.sockets())
    client = tcp.connect("127.0.0.1", port)
    proxy.wait_for_sockets(idle + 2)
    tcp.close_with_reset(client)
    proxy.wait_for_sockets(idle)


def test_a_close_in_the_middle_of_connect(launch, port, black_hole):
    """A FIN may be a half-close, so it does not end the attempt; the time-out does."""
    proxy = launch.docker("tcp", ("127.0.0.1", port), (black_hole, 80),
                          options=["-connect-timeout", "1"])
    idle = len(proxy.sockets())
    clients = [tcp.connect("127.0.0.1", port) for _ in range(20)]
    proxy.wait_for_sockets(idle + 40)
    for number, client in enumerate(clients):
        if number % 2:
            client.sendall(b"request")
        client.close()
    proxy.wait_for_sockets(idle)


def test_what_is_sent_during_a_slow_connect_is_delivered(launch, port, relay):
    """The backend's queue is full, so that the handshake is only answered at the second try."""
    with tcp.listen(backlog=0) as backend:
        in_the_way = tcp.connect(*tcp.address(backend))
        proxy = launch.docker("tcp", ("127.0.0.1", port), tcp.address(backend))
        with tcp.connect("127.0.0.1", port) as client:
            client.sendall(b"x" * 300_000)
            client.shutdown(socket.SHUT_WR)
            proxy.wait_for_sockets(proxy.idle_sockets + 2)
            tcp.accept(backend).close()
            in_the_way.close()
            with tcp.accept(backend) as server:
                assert len(tcp.receive_all(server)) == 300_000
                server.sendall(b"at last")
            assert tcp.receive_all(client) == b"at last"


def test_stopping_in_the_middle_of_connect_is_prompt(launch, port, black_hole):
    proxy = launch.docker("tcp", ("127.0.0.1", port), (black_hole, 80))
    clients = [tcp.connect("127.0.0.1", port) for _ in range(50)]
    proxy.wait_for_sockets(proxy.idle_sockets + 100)
    proxy.stop()
    for client in clients:
        tcp.expect_closed(client)
        client.close()


def test_the_server_may_speak_first(published, relay):
    client, server = published.open()
    with client, server:
        server.sendall(b"220 ready\r\n")
        assert tcp.receive_exactly(client, 11) == b"220 ready\r\n"
        tcp.exchange(client, server)


@pytest.mark.parametrize("first", ["client", "server"])
def test_connections_without_a_byte(published, first):
    for _ in range(50):
        client, server = published.open()
        with client, server:
            ends = (client, server) if first == "client" else (server, client)
            ends[0].close()
            assert ends[1].recv(1) == b""


def test_a_burst_of_connections_that_close_at_once(published):
    """Some are gone before the proxy accepts them, some before the backend does."""
    for number in range(300):
        client = published.connect()
        if number % 3 == 0:
            tcp.close_with_reset(client)
        else:
            client.close()
    drained = Concurrently(lambda: drain(published.backend))
    with published.connect() as client:
        client.sendall(b"last")
        assert tcp.receive_exactly(client, 4) == b"done"
    assert drained.results() == [True]


def drain(listener):
    """Accepts until the client that says `last`."""
    while True:
        with tcp.accept(listener) as server:
            try:
                if server.recv(4) == b"last":
                    server.sendall(b"done")
                    return True
            except ConnectionResetError:
                pass


def test_the_proxy_is_left_with_no_socket_of_a_failed_attempt(launch):
    proxy, host, _ = dead_port(launch)
    for _ in range(100):
        tcp.connect_in_vain(*host)
    wait_until(lambda: len(proxy.sockets()) == proxy.idle_sockets, "sockets are left")
