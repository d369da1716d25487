"""A reader that stops reading stops its writer, costs little memory and disturbs nobody."""

import hashlib
import socket

import pytest

import process_facts
import tcp
from conftest import PublishedTcp
from namespace import sysctl
from proxy_process import INSTRUMENTED, scaled
from transfer import Concurrently

# What two sockets' buffers at their largest and the relay's own may hold on the way.
ON_THE_WAY_BYTES = 64 << 20

SIDES = ("client", "server")


@pytest.fixture(params=SIDES)
def ends(request, relay, published):
    """The end that writes, and the one that does not read."""
    client, server = published.open()
    with client, server:
        yield (client, server) if request.param == "client" else (server, client)


def test_a_stopped_reader_stops_the_writer_and_nothing_is_lost(ends):
    writer, reader = ends
    block = bytes(range(256)) * 256
    with sysctl("net.ipv4.tcp_wmem", "4096 16384 262144"):
        sent = tcp.send_until_stuck(writer, block=block)
    assert sent < ON_THE_WAY_BYTES

    # The last send may have been cut short, so the stream goes on from there.
    writer.shutdown(socket.SHUT_WR)
    received = tcp.receive_all(reader)
    assert len(received) == sent
    repeated = (block * (sent // len(block) + 1))[:sent] if sent % len(block) == 0 else None
    if repeated is not None:
        assert hashlib.sha256(received).digest() == hashlib.sha256(repeated).digest()
    reader.sendall(b"done")
    assert tcp.receive_exactly(writer, 4) == b"done"


def test_it_goes_on_when_reading_goes_on(ends):
    """Stop and go, several times on one connection."""
    writer, reader = ends
    for _ in range(3):
        sent = tcp.send_until_stuck(writer, quiet_seconds=0.05)
        assert sent > 0
        assert len(tcp.receive_exactly(reader, sent)) == sent
    writer.sendall(b"end")
    assert tcp.receive_exactly(reader, 3) == b"end"


def test_the_other_direction_is_not_held_up(ends):
    writer, reader = ends
    tcp.send_until_stuck(writer, quiet_seconds=0.1)
    for _ in range(20):
        reader.sendall(b"x" * 10_000)
        tcp.receive_exactly(writer, 10_000)


def test_other_connections_are_not_held_up(published, relay):
    """More stalled connections than there are receive buffers, stalled both ways."""
    with sysctl("net.ipv4.tcp_wmem", "4096 16384 65536"), \
            sysctl("net.ipv4.tcp_rmem", "4096 16384 65536"):
        stalled = [published.open() for _ in range(50)]
        for client, server in stalled:
            tcp.send_until_stuck(client, quiet_seconds=0.002)
            tcp.send_until_stuck(server, quiet_seconds=0.002)
        client, server = published.open()
        with client, server:
            for _ in range(100):
                tcp.exchange(client, server)
            size = scaled(8 << 20)
            received = Concurrently(lambda: client.sendall(b"x" * size),
                                    lambda: tcp.receive_exactly(server, size)).results()
            assert len(received[1]) == size
        for pair in stalled:
            for end in pair:
                end.close()


# What README.md promises: at most this much for each stalled connection, above what the buffers
# that all share take.
BOUND_PER_CONNECTION_BYTES = 64 << 10
BOUND_SHARED_BYTES = 24 << 20


@pytest.mark.skipif(INSTRUMENTED, reason="instrumentation needs memory of their own")
def test_memory_for_2000_stalled_connections_is_bounded(launch, relay):
    with sysctl("net.ipv4.tcp_wmem", "4096 16384 32768"), \
            sysctl("net.ipv4.tcp_rmem", "4096 16384 32768"):
        published = PublishedTcp(launch)
        before = process_facts.resident_bytes(published.proxy.pid)
        stalled = []
        for _ in range(2000):
            client, server = published.open()
            for end in (client, server):
                tcp.send_until_stuck(end, quiet_seconds=0)
            stalled.append((client, server))
        # What fitted nowhere the first time does now that the relay has moved the rest on.
        for _ in range(3):
            for pair in stalled:
                for end in pair:
                    tcp.send_until_stuck(end, quiet_seconds=0)
        grown = process_facts.resident_bytes(published.proxy.pid) - before
        print(f"{grown / len(stalled):.0f} bytes per stalled connection")
        assert grown < BOUND_SHARED_BYTES + len(stalled) * BOUND_PER_CONNECTION_BYTES

        client, server = published.open()
        with client, server:
            tcp.exchange(client, server)
        for pair in stalled:
            for end in pair:
                end.close()
