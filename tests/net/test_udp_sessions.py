"""Sessions end when they are idle, and the least used one when there are too many."""

import time

import pytest

import tcp
import udp
from conftest import PublishedUdp, next_port
from proxy_process import scaled
from test_log import counters


def test_idle_sessions_end_and_used_ones_do_not(launch):
    """With a time-out of one second: traffic of either side keeps a session; without any it ends,
    and the client's next datagram begins another, from another port."""
    published = PublishedUdp(launch, options=["-udp-timeout", "1"])
    backend = published.backend
    with published.client() as asking, published.client() as pushed_to, \
            published.client() as idle:
        sessions = {client: udp.exchange(client, backend) for client in (asking, pushed_to, idle)}
        assert counters(published.proxy)["sessions_open"] == 3

        # Two seconds in which one client asks, another is sent to and the third is forgotten.
        for _ in range(10):
            time.sleep(0.2)
            asking.send(b"ping")
            assert udp.receive(backend) == (b"ping", sessions[asking])
            backend.sendto(b"news", sessions[pushed_to])
            assert udp.receive(pushed_to)[0] == b"news"
        now = counters(published.proxy)
        assert now["sessions_open"] == 2
        assert now["sessions_evicted"] == 0

        assert udp.exchange(asking, backend) == sessions[asking]
        assert udp.exchange(pushed_to, backend) == sessions[pushed_to]
        assert udp.exchange(idle, backend) != sessions[idle]
        assert counters(published.proxy)["sessions_opened"] == 4


def test_descriptors_of_ended_sessions_are_closed(launch):
    published = PublishedUdp(launch, options=["-udp-timeout", "1"])
    clients = [published.client() for _ in range(50)]
    for client in clients:
        udp.exchange(client, published.backend)
    assert len(published.proxy.sockets()) == 51
    published.proxy.wait_for_sockets(1)
    with published.client() as client:
        udp.exchange(client, published.backend)
    for client in clients:
        client.close()


@pytest.fixture
def limited(launch):
    """Room for a hundred sessions."""
    return PublishedUdp(launch, options=["-max-udp-sessions", "100"])


def test_a_flood_of_clients_takes_no_session_from_a_live_one(limited):
    """Every source port is a new client, as with forged addresses; thousands of them come and none
    is heard again, while one client talks on."""
    with limited.client() as live:
        session = udp.exchange(live, limited.backend)
        for turn in range(scaled(60)):
            for number in range(50):
                with limited.client() as flooder:
                    flooder.send(b"flood")
            for _ in range(50):
                assert udp.receive(limited.backend)[0] == b"flood"
            message = b"still here %d" % turn
            assert udp.exchange(live, limited.backend, message, message) == session
    assert len(limited.proxy.sockets()) <= 101
    now = counters(limited.proxy)
    assert now["sessions_open"] == 100
    assert now["sessions_evicted"] == now["sessions_opened"] - 100
    assert 1 <= limited.proxy.log().count("that is --max-udp-sessions") <= 3
    assert now["datagrams_dropped"] == 0


def test_the_least_recently_used_goes_first(limited):
    clients = [limited.client() for _ in range(101)]
    sessions = [udp.exchange(client, limited.backend) for client in clients[:100]]
    # The first becomes the most recent by being sent to; the second is now the oldest.
    limited.backend.sendto(b"news", sessions[0])
    assert udp.receive(clients[0])[0] == b"news"
    udp.exchange(clients[100], limited.backend)
    for number in (0, 2, 3, 99):
        assert udp.exchange(clients[number], limited.backend) == sessions[number]
    assert udp.exchange(clients[1], limited.backend) != sessions[1]
    for client in clients:
        client.close()


def test_the_limit_is_for_all_ports_of_the_process(launch):
    with udp.bind() as first, udp.bind() as second:
        ports = next_port(2)
        proxy = launch.publish(f"127.0.0.1:{ports}:127.0.0.1:{tcp.address(first)[1]}/udp",
                               f"127.0.0.1:{ports + 1}:127.0.0.1:{tcp.address(second)[1]}/udp",
                               options=["--max-udp-sessions", "10"])
        clients = []
        for _ in range(15):
            for offset, backend in enumerate((first, second)):
                clients.append(udp.client("127.0.0.1", ports + offset))
                udp.exchange(clients[-1], backend)
        assert counters(proxy)["sessions_open"] == 10
        for client in clients:
            client.close()


def test_without_descriptors_sessions_make_room_for_each_other(launch):
    """The limit that is worked out from RLIMIT_NOFILE leaves room to work."""
    published = PublishedUdp(launch, wrapper=["prlimit", "--nofile=64:64"])
    clients = [published.client() for _ in range(150)]
    for client in clients:
        udp.exchange(client, published.backend)
    for client in clients[-10:]:
        udp.exchange(client, published.backend)
    assert published.proxy.running()
    for client in clients:
        client.close()


def test_a_session_limit_above_the_descriptor_limit(launch):
    """When the table has room but the kernel has not, the least recently used go all the same. A
    client that is new may lose a datagram then, but not its next one."""
    published = PublishedUdp(launch, wrapper=["prlimit", "--nofile=32:32"],
                             options=["-max-udp-sessions", "1000"])
    published.backend.settimeout(0.1)
    lost = 0
    for _ in range(200):
        with published.client() as client:
            client.send(b"hello")
            try:
                udp.receive(published.backend)
            except TimeoutError:
                lost += 1
                udp.exchange(client, published.backend)
    assert lost <= 20
