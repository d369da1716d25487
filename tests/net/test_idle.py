"""A proxy that nobody uses costs next to nothing: there may be thousands on a host."""

import time

import pytest

import process_facts
import tcp
import udp
from conftest import PublishedTcp, next_port
from proxy_process import INSTRUMENTED

pytestmark = pytest.mark.skipif(INSTRUMENTED, reason="instrumentation has threads and memory of their own")

WATCHED_SECONDS = 2


def watch(*proxies):
    """Processor time and wake-ups of each over two seconds."""
    before = [(process_facts.cpu_seconds(p.pid), process_facts.wake_ups(p.pid)) for p in proxies]
    time.sleep(WATCHED_SECONDS)
    after = [(process_facts.cpu_seconds(p.pid), process_facts.wake_ups(p.pid)) for p in proxies]
    return [(end[0] - start[0], end[1] - start[1]) for start, end in zip(before, after)]


def test_nothing_happens_while_nothing_is_asked(launch):
    """Before the first connection, with idle connections, after heavy use, with UDP sessions: the
    kernel wakes the proxy for nothing but traffic."""
    fresh = PublishedTcp(launch)
    connected = PublishedTcp(launch)
    used = PublishedTcp(launch)
    udp_port = next_port()
    with udp.bind() as backend, udp.client("127.0.0.1", udp_port) as udp_client:
        sessions = launch.docker("udp", ("127.0.0.1", udp_port), tcp.address(backend))
        udp.exchange(udp_client, backend)

        pairs = [connected.open() for _ in range(20)]
        for client, server in pairs:
            tcp.exchange(client, server)
        client, server = used.open()
        with client, server:
            client.sendall(b"x" * 500_000)
            tcp.receive_exactly(server, 500_000)
        used.proxy.wait_for_sockets(1)
        # The end of the use of buffers may have a timer of its own.
        time.sleep(0.2)

        fresh_use, connected_use, used_use, session_use = watch(fresh.proxy, connected.proxy,
                                                                used.proxy, sessions)
        assert fresh_use == (0, 0)
        assert connected_use == (0, 0)
        assert used_use[0] == 0 and used_use[1] <= 4
        assert session_use[0] == 0 and session_use[1] <= 4
        for pair in pairs:
            for end in pair:
                end.close()


def test_one_thread_if_told_so_however_busy(launch):
    published = PublishedTcp(launch, options=["-workers", "1"])
    assert process_facts.threads(published.proxy.pid) == 1
    pairs = [published.open() for _ in range(20)]
    for client, server in pairs:
        tcp.send_until_stuck(client, quiet_seconds=0.01)
        tcp.send_until_stuck(server, quiet_seconds=0.01)
    assert process_facts.threads(published.proxy.pid) == 1
    for pair in pairs:
        for end in pair:
            end.close()


def test_descriptors_of_an_idle_proxy(published):
    """Standard streams, the socket, signals, and the engine's own one or two."""
    assert len(process_facts.descriptors(published.proxy.pid)) <= 8


def test_an_idle_connection_is_two_sockets_and_nothing_else(launch, relay):
    published = PublishedTcp(launch)
    idle = len(process_facts.descriptors(published.proxy.pid))
    pairs = [published.open() for _ in range(50)]
    for client, server in pairs:
        tcp.exchange(client, server)
    held = process_facts.descriptors(published.proxy.pid)
    kept = [target for target in held.values() if target.startswith("pipe:")]
    assert len(held) - len(kept) == idle + 100
    assert len(kept) < 100
    for pair in pairs:
        for end in pair:
            end.close()


def test_memory_of_an_idle_proxy(published):
    assert process_facts.resident_bytes(published.proxy.pid) < 1 << 20
