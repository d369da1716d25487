"""Who is served, how many connections one client may have, and how long nothing may pass: each
limit is reached, counted and logged."""

import select
import time

import pytest

import tcp
import udp
from conftest import PublishedTcp, PublishedUdp, next_port
from deadline import ready, wait_until
from namespace import Namespace, add_ipv6
from test_log import counters


def refused(published, source=None):
    """The proxy resets whoever it does not serve; when it is quick, during connect(2)."""
    try:
        with published.connect(source) as client:
            tcp.expect_reset(client)
    except ConnectionResetError:
        pass


def test_allow_and_deny(launch):
    published = PublishedTcp(launch, options=["-allow", "127.0.0.0/24", "-deny", "127.0.0.3",
                                              "-deny", "127.0.0.4/31"])
    for source in ("127.0.0.1", "127.0.0.2"):
        client, server = published.open(source)
        with client, server:
            tcp.exchange(client, server)
    outside = ("127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.1.1")
    for source in outside * 3:
        refused(published, source)
    now = counters(published.proxy)
    assert now["clients_denied"] == 12 and now["connections_accepted"] == 2
    assert 1 <= published.proxy.log().count("--allow and --deny do not admit it") <= 3


def test_rules_for_some_ports(launch):
    with tcp.listen() as backend:
        container = tcp.address(backend)[1]
        first = next_port(3)
        launch.publish(f"127.0.0.1:{first}-{first + 2}:127.0.0.1:{container}-{container + 2}",
                       options=["--deny", f"{first + 1}-{first + 2}/tcp=127.0.0.0/8",
                                "--deny", f"{first}/udp=127.0.0.0/8"])
        with tcp.connect("127.0.0.1", first) as client, tcp.accept(backend) as server:
            tcp.exchange(client, server)
        for port in (first + 1, first + 2):
            tcp.connect_in_vain("127.0.0.1", port)
        assert not ready(backend, select.POLLIN, 0.1)


def test_datagrams_of_those_who_are_not_admitted_are_dropped(launch):
    published = PublishedUdp(launch, options=["-allow", "127.0.0.1,127.0.0.2"])
    with published.client(source=("127.0.0.3", 0)) as outside, published.client() as inside:
        for _ in range(5):
            outside.send(b"let me in")
        udp.exchange(inside, published.backend)
        wait_until(lambda: counters(published.proxy)["clients_denied"] == 5, "not counted")
        now = counters(published.proxy)
        assert now["datagrams_dropped"] == 5 and now["sessions_opened"] == 1


def test_an_ipv6_rule(launch):
    with Namespace() as remote, tcp.listen() as backend:
        port = next_port()
        proxy = launch.publish(f"{port}:127.0.0.1:{tcp.address(backend)[1]}",
                               options=["--deny", remote.inner6])
        with remote.inside():
            tcp.connect_in_vain(remote.outer6, port)
            client = tcp.connect(remote.outer, port)
        with client, tcp.accept(backend) as server:
            tcp.exchange(client, server)
        assert counters(proxy)["clients_denied"] == 1


def test_connections_of_one_client(launch):
    published = PublishedTcp(launch, options=["-max-connections-per-client", "3"])
    pairs = [published.open("127.0.0.1") for _ in range(3)]
    for _ in range(10):
        refused(published, "127.0.0.1")
    for source in ("127.0.0.2", "127.0.0.3"):
        pairs.append(published.open(source))
    for client, server in pairs:
        tcp.exchange(client, server)
    now = counters(published.proxy)
    assert now["clients_over_limit"] == 10 and now["connections_open"] == 5
    assert 1 <= published.proxy.log().count("it has --max-connections-per-client") <= 3
    client, server = pairs.pop(0)
    client.close()
    server.close()
    published.proxy.wait_for_sockets(1 + 2 * len(pairs))
    pairs.append(published.open("127.0.0.1"))
    for pair in pairs:
        for end in pair:
            end.close()


def test_an_ipv6_client_is_its_64(launch):
    with Namespace() as remote, tcp.listen() as backend:
        network = remote.inner6.rsplit("::", 1)[0]
        others = [f"{network}::{number}" for number in (3, 4)]
        for address in others:
            add_ipv6(f"{address}/64", "eth0", remote.name)
        port = next_port()
        proxy = launch.publish(f"{port}:127.0.0.1:{tcp.address(backend)[1]}",
                               options=["--max-connections-per-client", "2"])
        with remote.inside():
            clients = [tcp.connect(remote.outer6, port, source=address)
                       for address in (remote.inner6, others[0])]
            try:
                with tcp.connect(remote.outer6, port, source=others[1]) as third:
                    tcp.expect_reset(third)
            except ConnectionResetError:
                pass
        assert counters(proxy)["clients_over_limit"] == 1
        for client in clients:
            with client, tcp.accept(backend) as server:
                tcp.exchange(client, server)


def test_an_idle_connection_is_ended(launch, relay):
    published = PublishedTcp(launch, options=["-idle-timeout", "1"])
    client, server = published.open()
    with client, server:
        end = time.monotonic() + 1.6
        while time.monotonic() < end:
            tcp.exchange(client, server)
            time.sleep(0.1)
        tcp.expect_reset(client)
        tcp.expect_reset(server)
    published.proxy.wait_for_log("is ended: nothing has passed for too long")
    now = counters(published.proxy)
    assert now["connections_timed_out"] == 1 and now["connections_reset"] == 0


@pytest.mark.parametrize("first", ["client", "server"])
def test_a_half_closed_connection_is_ended(launch, first):
    published = PublishedTcp(launch, options=["-half-closed-timeout", "1"])
    both_open, half_closed = published.open(), published.open()
    ends = half_closed if first == "client" else half_closed[::-1]
    ends[0].shutdown(1)
    assert ends[1].recv(1) == b""
    ends[1].sendall(b"more")
    assert tcp.receive_exactly(ends[0], 4) == b"more"
    tcp.expect_reset(ends[0])
    tcp.exchange(*both_open)
    published.proxy.wait_for_log("half-closed connection")
    assert counters(published.proxy)["connections_timed_out"] == 1
    for end in (*both_open, *half_closed):
        end.close()
