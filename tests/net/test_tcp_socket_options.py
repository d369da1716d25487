"""What the kernel is told about the proxy's TCP sockets."""

import socket
import subprocess

import process_facts
import pytest
import tcp
from conftest import PublishedTcp
from deadline import wait_until
from namespace import Namespace, sysctl


def test_nodelay_and_keepalive_on_both_legs(published):
    """Go's: probes after 15 s, every 15 s, given up after 9."""
    listening = published.proxy.sockets()
    client, server = published.open()
    with client, server:
        tcp.exchange(client, server)
        legs = published.proxy.sockets() - listening
        assert len(legs) == 2
        for fd in legs:
            with process_facts.borrowed_socket(published.proxy.pid, fd) as leg:
                options = {name: leg.getsockopt(level, getattr(socket, name)) for level, name in (
                    (socket.SOL_SOCKET, "SO_KEEPALIVE"),
                    (socket.IPPROTO_TCP, "TCP_NODELAY"),
                    (socket.IPPROTO_TCP, "TCP_KEEPIDLE"),
                    (socket.IPPROTO_TCP, "TCP_KEEPINTVL"),
                    (socket.IPPROTO_TCP, "TCP_KEEPCNT"))}
            assert options == {"SO_KEEPALIVE": 1, "TCP_NODELAY": 1, "TCP_KEEPIDLE": 15,
                               "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 9}


def backlog(port):
    """In the column of what is listened on, ss shows it as the length of the send queue."""
    lines = subprocess.run(["ss", "-tlnH", f"sport = :{port}"], capture_output=True, text=True,
                           check=True, timeout=20).stdout.splitlines()
    return [int(line.split()[2]) for line in lines]


def test_the_backlog_is_somaxconn(launch):
    with sysctl("net.core.somaxconn", 1234):
        published = PublishedTcp(launch)
        assert backlog(published.port) == [1234]


def test_a_small_answer_is_not_held_back(published):
    """Without TCP_NODELAY the second of two small writes waits 40 ms for an acknowledgement."""
    client, server = published.open()
    with client, server:
        client.settimeout(2)
        for _ in range(100):
            server.sendall(b"a")
            server.sendall(b"b")
            tcp.receive_exactly(client, 2)
            tcp.exchange(client, server)


def test_descriptors_are_not_inherited(published):
    """Close-on-exec everywhere but on standard streams, so that nothing leaks into a child."""
    client, server = published.open()
    with client, server:
        tcp.exchange(client, server)
        for fd in process_facts.descriptors(published.proxy.pid):
            if fd <= 2:
                continue
            with open(f"/proc/{published.proxy.pid}/fdinfo/{fd}", encoding="ascii") as info:
                flags = int(info.read().split("flags:")[1].split()[0], 8)
            assert flags & 0o2000000, f"descriptor {fd} lacks O_CLOEXEC"


@pytest.fixture
def paced():
    """As on a system that chose BBR."""
    with open("/proc/sys/net/ipv4/tcp_available_congestion_control", encoding="ascii") as file:
        if "bbr" not in file.read().split():
            pytest.skip("the kernel has no BBR, or has not loaded it")
    with sysctl("net.ipv4.tcp_congestion_control", "bbr"):
        yield


def congestion_control(published, server):
    """Of the socket towards the client and of that towards the container."""
    algorithms = {}
    for fd in published.proxy.sockets():
        with process_facts.borrowed_socket(published.proxy.pid, fd) as leg:
            if leg.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                continue
            side = "container" if leg.getsockname() == server.getpeername() else "client"
            name = leg.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
            algorithms[side] = name.rstrip(b"\0").decode()
    return algorithms


def test_neighbours_are_not_paced(paced, launch):
    """Where BBR would only hold back what is sent. On a busy machine a neighbour may once seem far."""
    published = PublishedTcp(launch)

    def of_another_connection():
        client, server = published.open()
        with client, server:
            tcp.exchange(client, server)
            return congestion_control(published, server)

    wait_until(lambda: of_another_connection() == {"client": "reno", "container": "reno"},
               of_another_connection)


def test_a_far_client_is_sent_to_as_the_system_wants_it(paced, launch):
    """Far: its handshake waits behind three datagrams that take a tenth of a second each."""
    with Namespace() as away:
        published = PublishedTcp(launch, host=away.outer)
        made = subprocess.run(["tc", "qdisc", "add", "dev", away.link, "root", "tbf", "rate",
                               "112kbit", "burst", "1540", "limit", "100000"],
                              check=False, capture_output=True, text=True, timeout=20)
        if made.returncode != 0:
            pytest.skip(f"no token bucket filter: {made.stderr.strip()}")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as filler, away.inside():
            for _ in range(3):
                filler.sendto(bytes(1400), (away.inner, 9))
            client, server = published.open()
        with client, server:
            tcp.exchange(client, server)
            assert congestion_control(published, server)["client"] == "bbr"
