"""Many connections at once, and many one after the other."""

import selectors
import socket

import pytest

import process_facts
import tcp
from conftest import PublishedTcp
from deadline import wait_until
from proxy_process import INSTRUMENTED, scaled
from transfer import Concurrently

CONCURRENT = scaled(2000)
CHURN = scaled(20_000)


def test_2000_connections_at_once(launch, relay):
    """All open, all exchanging messages in turn, with 64 bytes and with 20,000."""
    published = PublishedTcp(launch)
    pairs = {}
    for number in range(CONCURRENT):
        client, server = published.open()
        pairs[number] = (client, server)
    for message in (b"m" * 64, b"n" * 20_000):
        for client, _ in pairs.values():
            client.sendall(message)
        for _, server in pairs.values():
            server.sendall(tcp.receive_exactly(server, len(message)))
        for client, _ in pairs.values():
            assert tcp.receive_exactly(client, len(message)) == message
    for client, server in pairs.values():
        client.close()
        server.close()


def test_a_burst_of_2000_connects(launch):
    """All at once: more than one turn of the accept queue, and none is lost."""
    published = PublishedTcp(launch)
    clients = []
    for number in range(CONCURRENT):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex((published.host, published.port))
        clients.append(client)
    serving = Concurrently(lambda: greet(published.backend, CONCURRENT))
    for client in clients:
        client.settimeout(20)
        assert tcp.receive_exactly(client, 5) == b"hello"
        client.close()
    serving.results()


def greet(listener, count):
    for _ in range(count):
        with tcp.accept(listener) as server:
            server.sendall(b"hello")


@pytest.mark.parametrize("ending", ["client closes", "server closes", "client resets"])
def test_churn_leaves_nothing_behind(launch, ending):
    """Connections of one message each way; descriptors and memory are what they were early on."""
    published = PublishedTcp(launch, host="0.0.0.0")
    published.host = "127.0.0.1"
    resident = {}
    for step in range(5):
        for number in range(CHURN // 3 // 5):
            # Other addresses, so that pairs of ports in TIME_WAIT do not run out.
            client, server = published.open(source=f"127.0.0.{1 + number % 20}")
            tcp.exchange(client, server)
            if ending == "client resets":
                tcp.close_with_reset(client)
            else:
                first, second = (client, server) if ending == "client closes" \
                    else (server, client)
                first.close()
                assert second.recv(1) == b""
            client.close()
            server.close()
        published.proxy.wait_for_sockets(published.proxy.idle_sockets)
        resident[step] = process_facts.resident_bytes(published.proxy.pid)
    if not INSTRUMENTED:
        assert resident[4] <= resident[0] + (256 << 10), resident


def test_descriptors_after_heavy_use(launch, relay):
    """Pipes and other things kept for later use do not pile up."""
    published = PublishedTcp(launch)
    pairs = [published.open() for _ in range(scaled(200))]
    for client, server in pairs:
        client.sendall(b"x" * 300_000)
        tcp.receive_exactly(server, 300_000)
    for client, server in pairs:
        client.close()
        server.close()
    published.proxy.wait_for_sockets(published.proxy.idle_sockets)
    kept = process_facts.descriptors(published.proxy.pid)
    assert len(kept) < 100, kept


def test_concurrent_clients_with_different_fates(launch, relay):
    """One selector drives hundreds of connections that end in every way at once."""
    published = PublishedTcp(launch)
    echo = Concurrently(lambda: echo_until_quit(published.backend))
    clients = [published.connect() for _ in range(scaled(400))]
    for number, client in enumerate(clients):
        client.sendall(b"%06d" % number * 500)
    for number, client in enumerate(clients):
        fate = number % 4
        if fate == 0:
            tcp.close_with_reset(client)
        elif fate == 1:
            client.close()
        else:
            if fate == 2:
                client.shutdown(socket.SHUT_WR)
            assert tcp.receive_exactly(client, 3000) == b"%06d" % number * 500
            client.close()
    with published.connect() as client:
        client.sendall(b"quit")
        assert client.recv(1) == b""
    echo.results()


def echo_until_quit(listener):
    """A small echo server, until a client says `quit`."""
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    try:
        while True:
            for key, _ in selector.select(20):
                if key.fileobj is listener:
                    selector.register(tcp.accept(listener), selectors.EVENT_READ)
                    continue
                try:
                    data = key.fileobj.recv(65536)
                    if data == b"quit":
                        return
                    if data:
                        key.fileobj.sendall(data)
                        continue
                except (ConnectionResetError, BrokenPipeError):
                    pass
                selector.unregister(key.fileobj)
                key.fileobj.close()
    finally:
        for key in list(selector.get_map().values()):
            if key.fileobj is not listener:
                key.fileobj.close()
        selector.close()


def test_idle_memory_after_the_peak(launch):
    """Buffers go back to the system when the load has gone."""
    if INSTRUMENTED:
        pytest.skip("sanitizers keep freed memory")
    published = PublishedTcp(launch)
    before = process_facts.resident_bytes(published.proxy.pid)
    pairs = [published.open() for _ in range(500)]
    for client, server in pairs:
        client.sendall(b"x" * 100_000)
    for client, server in pairs:
        tcp.receive_exactly(server, 100_000)
        client.close()
        server.close()
    published.proxy.wait_for_sockets(published.proxy.idle_sockets)
    wait_until(lambda: process_facts.resident_bytes(published.proxy.pid) < before + (2 << 20),
               lambda: f"{process_facts.resident_bytes(published.proxy.pid) - before} bytes more")
