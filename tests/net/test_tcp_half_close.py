"""A FIN ends one direction and nothing else, and comes after everything that was sent before it."""

import socket

import pytest

import tcp
from proxy_process import scaled
from transfer import Concurrently, receive_stream, send_stream

LARGE = scaled(16 << 20)


@pytest.fixture(params=["client", "server"])
def ends(request, relay, published):
    """The end that half-closes first, and the other."""
    client, server = published.open()
    with client, server:
        yield (client, server) if request.param == "client" else (server, client)


def test_the_other_direction_stays_open(ends):
    first, second = ends
    first.sendall(b"the last words")
    first.shutdown(socket.SHUT_WR)
    assert tcp.receive_all(second) == b"the last words"
    for number in range(5):
        second.sendall(b"answer %d" % number)
        assert tcp.receive_exactly(first, 8) == b"answer %d" % number
    second.shutdown(socket.SHUT_WR)
    assert tcp.receive_all(first) == b""


def test_an_end_without_a_byte(ends):
    first, second = ends
    first.shutdown(socket.SHUT_WR)
    assert tcp.receive_all(second) == b""
    second.sendall(b"answer")
    second.shutdown(socket.SHUT_WR)
    assert tcp.receive_all(first) == b"answer"


def test_a_long_answer_after_the_half_close(ends):
    first, second = ends
    first.sendall(b"request")
    first.shutdown(socket.SHUT_WR)
    assert tcp.receive_all(second) == b"request"
    sent, (size, received) = Concurrently(lambda: send_stream(second, LARGE, seed=1),
                                          lambda: receive_stream(first)).results()
    assert (size, received) == (LARGE, sent)


def test_everything_before_the_fin_is_delivered_to_a_slow_reader(ends):
    """The sender has long gone when most of it is read: buffers on the way hold it."""
    first, second = ends
    size = LARGE // 4
    sending = Concurrently(lambda: send_stream(first, size, seed=2))
    received = receive_stream(second, seed=3, chunk_max=20_000)
    assert received == (size, sending.results()[0])
    second.sendall(b"thanks")
    second.shutdown(socket.SHUT_WR)
    assert tcp.receive_all(first) == b"thanks"


def test_everything_before_a_full_close_is_delivered(ends):
    """close(2) instead of shutdown(2): for the reader there is no difference."""
    first, second = ends
    first.sendall(b"x" * 200_000)
    first.close()
    assert len(tcp.receive_all(second)) == 200_000


def test_bytes_and_fin_in_one_go_before_the_backend_has_accepted(published, relay):
    clients = []
    for number in range(20):
        client = published.connect()
        client.sendall(b"hello %2d" % number)
        client.shutdown(socket.SHUT_WR)
        clients.append(client)
    for client in clients:
        with tcp.accept(published.backend) as server:
            server.sendall(tcp.receive_all(server))
    for number, client in enumerate(clients):
        with client:
            assert tcp.receive_all(client) == b"hello %2d" % number
