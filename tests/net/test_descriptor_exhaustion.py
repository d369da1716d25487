"""Without descriptors accepting pauses; nothing ends, nothing spins, and it goes on by itself."""

import contextlib
import signal
import subprocess
import time

import pytest

import process_facts
import tcp
from conftest import PublishedTcp
from deadline import wait_until
from proxy_process import INSTRUMENTED, refusing
from test_log import counters

LIMIT = 64
CLIENTS = 100


def limited(number):
    return ["prlimit", f"--nofile={number}:{number}"]


@pytest.fixture
def crowd(launch):
    """A proxy with 64 descriptors and a hundred clients that want to be served."""
    published = PublishedTcp(launch, wrapper=limited(LIMIT), options=["-max-connections", "1000"])
    clients = [published.connect() for _ in range(CLIENTS)]
    yield published, clients
    for client in clients:
        client.close()
    # Those who were let in at the end, and whom nobody has served.
    published.backend.close()


def serve_waiting(listener):
    """Accepts those that come through, until no more do."""
    served = []
    listener.settimeout(0.7)
    try:
        while True:
            served.append(tcp.accept(listener))
    except TimeoutError:
        return served
    finally:
        listener.settimeout(20)


def test_those_that_found_room_are_served_and_the_others_wait(crowd):
    published, clients = crowd
    servers = serve_waiting(published.backend)
    assert 10 <= len(servers) <= LIMIT // 2
    for server in servers:
        server.sendall(b"welcome")
        server.close()

    # One after the other finds the room that those before have left.
    for client in clients[:len(servers)]:
        assert tcp.receive_exactly(client, 7) == b"welcome"
        client.close()
    for client in clients[len(servers):]:
        with tcp.accept(published.backend) as server:
            server.sendall(b"welcome")
        assert tcp.receive_exactly(client, 7) == b"welcome"
        client.close()


def test_no_processor_time_is_used_while_they_wait(crowd):
    published, _ = crowd
    servers = serve_waiting(published.backend)
    before = process_facts.cpu_seconds(published.proxy.pid)
    time.sleep(1)
    assert process_facts.cpu_seconds(published.proxy.pid) - before < 0.05
    for server in servers:
        server.close()


def test_established_connections_live_on(crowd, relay):
    """Also those that could do with more: pipes to splice through."""
    published, clients = crowd
    servers = serve_waiting(published.backend)
    for client, server in zip(clients, servers):
        for message in (b"small", b"large" * 20_000):
            client.sendall(message)
            assert tcp.receive_exactly(server, len(message)) == message
            server.sendall(message)
            assert tcp.receive_exactly(client, len(message)) == message
    for server in servers:
        server.close()


def test_it_is_logged_but_not_again_and_again(crowd):
    published, _ = crowd
    servers = serve_waiting(published.backend)
    published.proxy.wait_for_log("accepting pauses")
    time.sleep(0.3)
    assert published.proxy.log().count("accepting pauses") == 1, published.proxy.log()
    assert counters(published.proxy)["accept_pauses"] == 1
    for server in servers:
        server.close()


def test_stopping_while_paused_is_prompt(crowd):
    published, _ = crowd
    serve_waiting(published.backend)
    published.proxy.stop(signal.SIGINT)


def test_the_connection_limit_lets_the_others_wait(launch):
    """--max-connections: the kernel's backlog is the queue."""
    published = PublishedTcp(launch, options=["-max-connections", "5"])
    clients = [published.connect() for _ in range(12)]
    servers = serve_waiting(published.backend)
    assert len(servers) == 5
    for number in range(7):
        servers[number].close()
        clients[number].close()
        servers.append(tcp.accept(published.backend))
    assert not serve_waiting(published.backend)
    for client, server in zip(clients[7:], servers[7:]):
        with client, server:
            tcp.exchange(client, server)


def test_a_limit_that_is_reached_without_warning(launch):
    """The limit is lowered while the proxy runs, as when the whole host runs out (fs.file-max):
    clients that have been accepted hold all there is, and the last of them make room for the first,
    so that some are served; when the shortage is over, all are."""
    published = PublishedTcp(launch)
    subprocess.run(["prlimit", f"--pid={published.proxy.pid}", f"--nofile={LIMIT}:"],
                   check=True, timeout=20)
    clients = []
    for _ in range(CLIENTS):
        # One who makes room for another may be reset before connect(2) returns.
        with contextlib.suppress(ConnectionResetError):
            clients.append(published.connect())
    servers = serve_waiting(published.backend)
    assert len(servers) >= 10
    for end in (*clients, *servers):
        end.close()
    container = tcp.address(published.backend)
    published.backend.close()
    # Those that still wait to be accepted are gone and would be served before the ones to come.
    wait_until(lambda: tcp.waiting_clients(published.port) == 0, "clients still wait")
    published.proxy.wait_for_sockets(1)
    published.backend = tcp.listen(*container)
    subprocess.run(["prlimit", f"--pid={published.proxy.pid}", "--nofile=4096:"],
                   check=True, timeout=20)
    pairs = [published.open() for _ in range(CLIENTS)]
    for client, server in pairs:
        tcp.exchange(client, server)
        client.close()
        server.close()


@pytest.mark.parametrize("error", ["ENFILE", "ENOBUFS", "ENOMEM"])
def test_a_host_without_room_for_sockets(launch, error):
    """fs.file-max is everybody's, so a filter plays the host that has reached it: socket(2) fails.
    The clients lose, the proxy stays and does not spin."""
    wrapper = refusing(error, "socket")
    with tcp.listen() as front, tcp.listen() as backend:
        proxy = launch.docker("tcp", tcp.address(front), tcp.address(backend),
                              listen_socket=front, wrapper=wrapper)
        clients = [tcp.connect(*tcp.address(front)) for _ in range(5)]
        time.sleep(0.2)
        before = process_facts.cpu_seconds(proxy.pid)
        time.sleep(0.5)
        assert process_facts.cpu_seconds(proxy.pid) - before < 0.05
        assert proxy.running()
        for client in clients:
            client.close()
        # One of them has been accepted and waits for room, gone or not.
        proxy.serves_only_tcp = False


@pytest.mark.skipif(INSTRUMENTED, reason="instrumentation needs descriptors and memory of their own")
def test_recovery_again_and_again(launch):
    """In and out of the shortage: nothing is lost on the way and no pause lasts."""
    published = PublishedTcp(launch, wrapper=limited(24), options=["-max-connections", "1000"])
    for _ in range(20):
        clients = [published.connect() for _ in range(20)]
        for client in clients:
            client.sendall(b"x")
        for client in clients:
            with client, tcp.accept(published.backend) as server:
                assert tcp.receive_exactly(server, 1) == b"x"
                server.sendall(b"y")
                assert tcp.receive_exactly(client, 1) == b"y"
    wait_until(lambda: len(published.proxy.sockets()) == 1, "connections are left")
