"""What the kernel is told about the proxy's TCP sockets."""

import socket
import subprocess

import process_facts
import tcp
from conftest import PublishedTcp
from namespace import sysctl


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
