"""A reset of one side reaches the other as a reset, whatever the connection is doing."""

import socket

import pytest

import tcp
from deadline import wait_until

SIDES = ("client", "server")


@pytest.fixture(params=SIDES)
def ends(request, relay, published):
    """The end that resets, and the other."""
    client, server = published.open()
    tcp.exchange(client, server)
    with client, server:
        yield (client, server) if request.param == "client" else (server, client)


def test_while_idle(ends):
    first, second = ends
    tcp.close_with_reset(first)
    tcp.expect_reset(second)


def test_while_data_flows(ends):
    first, second = ends
    second.sendall(b"x" * 100_000)
    first.sendall(b"y" * 100_000)
    tcp.close_with_reset(first)
    tcp.expect_reset(second)


def test_after_the_other_side_has_half_closed(ends):
    first, second = ends
    second.shutdown(socket.SHUT_WR)
    assert first.recv(1) == b""
    first.sendall(b"still here")
    assert tcp.receive_exactly(second, 10) == b"still here"
    tcp.close_with_reset(first)
    tcp.expect_reset(second)


def test_after_the_resetting_side_has_half_closed(ends):
    first, second = ends
    first.shutdown(socket.SHUT_WR)
    assert second.recv(1) == b""
    second.sendall(b"still here")
    assert tcp.receive_exactly(first, 10) == b"still here"
    tcp.close_with_reset(first)
    # Nothing more to read after a FIN: the error shows in poll and in the next send.
    wait_until(lambda: tcp.is_reset(second), "no reset")


def test_while_the_other_side_does_not_read(ends):
    """The proxy cannot read any further on the side that resets, and still learns of it."""
    first, second = ends
    tcp.send_until_stuck(first)
    tcp.close_with_reset(first)
    wait_until(lambda: tcp.is_reset(second), "no reset")


def test_while_the_resetting_side_does_not_read(ends):
    first, second = ends
    tcp.send_until_stuck(second)
    tcp.close_with_reset(first)
    wait_until(lambda: tcp.is_reset(second), "no reset")


def test_while_both_are_stuck(ends):
    first, second = ends
    tcp.send_until_stuck(first)
    tcp.send_until_stuck(second)
    tcp.close_with_reset(first)
    wait_until(lambda: tcp.is_reset(second), "no reset")


def test_a_close_with_unread_bytes_is_a_reset(ends):
    """What most resets are in practice: a program closes a socket it has not read empty."""
    first, second = ends
    second.sendall(b"never read")
    wait_until(lambda: first.recv(10, socket.MSG_PEEK | socket.MSG_DONTWAIT), "nothing came")
    first.close()
    tcp.expect_reset(second)


def test_others_do_not_notice(published):
    connections = [published.open() for _ in range(20)]
    for client, server in connections[::2]:
        tcp.close_with_reset(client)
        tcp.expect_reset(server)
        server.close()
    for client, server in connections[1::2]:
        with client, server:
            tcp.exchange(client, server)
