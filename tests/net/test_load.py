"""Crowds: many connections at once, many one after the other, many that stay and say nothing, many
UDP clients that do not exist. Nothing is lost, and what there is of it is bounded.

Sizes are for every day; FAIRLEAD_LOAD=full takes those of the reliability table in README.md. They
are for a limit of 20,000 open files, of which a crowd takes two a connection.
"""

import contextlib
import os
import socket
import struct
import threading
import time

import pytest

import churn
import figures
import process_facts
import tcp
import udp
from conftest import PublishedTcp, next_port
from namespace import Namespace, ip, sysctl
from proxy_process import INSTRUMENTED, scaled

FULL = os.environ.get("FAIRLEAD_LOAD") == "full"
CROWD = 9_900 if FULL else scaled(2000)
CHURN = 1_000_000 if FULL else scaled(10_000)
SPOOFED = 100_000 if FULL else scaled(6000)
SLOW = 4000 if FULL else scaled(500)
STALLED = 2000 if FULL else scaled(200)


def peak_bytes(pid):
    return int(process_facts.status_field(pid, "VmHWM").split()[0]) * 1024


def serve(launch):
    """A proxy from one port of 127.0.0.1 to another, for the churn to listen on."""
    front, back = next_port(), next_port()
    return launch.docker("tcp", ("127.0.0.1", front), ("127.0.0.1", back)), front, back


def churned(launch, name, connections, at_once, **how):
    proxy, front, back = serve(launch)
    with churn.running(front, back, connections, at_once, **how) as run:
        found = run.result(1200)
    figures.note(name, alive=proxy.running(), peak=peak_bytes(proxy.pid),
                 processor=process_facts.cpu_seconds(proxy.pid),
                 sockets_after=len(proxy.sockets()), **found)
    churn.check(found)
    proxy.wait_for_sockets(proxy.idle_sockets)
    return found


def test_a_crowd_at_once(launch):
    """Each stops in the middle until all are there, and every byte is compared."""
    found = churned(launch, "crowd", CROWD, CROWD, crowd=True)
    assert found["most_at_once"] == found["whole_clients"] == CROWD


def test_churn_with_every_ending(launch):
    """Half-closes by either side, resets in the middle, readers that fall asleep."""
    found = churned(launch, "churn", CHURN, 1000)
    assert found["connections"] == CHURN
    assert found["whole_clients"] > 0.7 * CHURN


class Echo(threading.Thread):
    """A UDP service that sends back whatever comes."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = udp.bind(receive_buffer_bytes=8 << 20)
        self.start()

    def run(self):
        self.socket.settimeout(None)
        try:
            while message := self.socket.recvfrom(2000):
                if message[0]:
                    self.socket.sendto(*message)
        except OSError:
            pass

    def close(self):
        with contextlib.suppress(OSError):  # ENOTCONN, and the wait ends all the same
            self.socket.shutdown(socket.SHUT_RD)
        self.socket.close()


SPOOFED_PER_ROUND = 200
LOST_AFTER_SECONDS = 0.5


def test_spoofed_udp_clients_take_nothing_from_real_ones(launch):
    """Each datagram of the flood has a source address of its own that is never heard of again,
    while a hundred real clients ask: half of them all the time from the same port, half, as those
    of a name server do, each time from another."""
    echo = Echo()
    with Namespace() as remote:
        ip("-n", remote.name, "route", "add", "local", "10.200.0.0/15", "dev", "lo")
        ip("route", "add", "10.200.0.0/15", "via", remote.inner)
        port = next_port()
        proxy = launch.docker("udp", ("0.0.0.0", port), tcp.address(echo.socket))
        group = launch.group_of(proxy)
        with remote.inside():
            # Its answers are dropped for want of room.
            flood = udp.bind("0.0.0.0", receive_buffer_bytes=2048)
            lasting = [udp.client(remote.outer, port) for _ in range(50)]
        asked, lost = [0, 0], [0, 0]
        for number in range(0, SPOOFED, SPOOFED_PER_ROUND):
            for spoofed in range(number, min(number + SPOOFED_PER_ROUND, SPOOFED)):
                source = socket.inet_aton("10.200.0.0")[:1] + \
                    struct.pack(">I", (200 << 16) + spoofed + 1)[1:]
                flood.sendmsg([b"flood"], [(socket.IPPROTO_IP, udp.IP_PKTINFO,
                                            struct.pack("=i4s4x", 0, source))], 0,
                              (remote.outer, port))
            turn = number // SPOOFED_PER_ROUND
            anew = turn % 2
            if anew:
                with remote.inside():
                    client = udp.client(remote.outer, port)
            else:
                client = lasting[turn // 2 % len(lasting)]
            client.settimeout(LOST_AFTER_SECONDS)
            asked[anew] += 1
            question = b"question %d" % turn
            client.send(question)
            try:
                while client.recv(100) != question:
                    pass
            except (TimeoutError, ConnectionRefusedError):
                lost[anew] += 1
            if anew:
                client.close()
        figures.note("spoofed", clients=SPOOFED, asked=asked, lost=lost,
                     alive=proxy.running(), resident=process_facts.resident_bytes(proxy.pid),
                     peak=peak_bytes(proxy.pid), descriptors=len(process_facts.descriptors(proxy.pid)),
                     threads=process_facts.threads(proxy.pid),
                     processor=process_facts.cpu_seconds(proxy.pid),
                     kernel=group.kernel_bytes() if group else None)
        for client in (*lasting, flood):
            client.close()
    echo.close()
    assert lost == [0, 0]


def test_slow_clients_hold_nobody_up(launch):
    """Slow-loris: each sends a byte now and then and never comes to an end."""
    published = PublishedTcp(launch)

    def visit_seconds():
        begin = time.monotonic()
        for _ in range(100):
            client, server = published.open()
            with client, server:
                tcp.exchange(client, server)
        return (time.monotonic() - begin) / 100

    alone = visit_seconds()
    before = process_facts.resident_bytes(published.proxy.pid)
    slow = [published.open(f"127.0.0.{2 + number % 50}") for number in range(SLOW)]
    for _ in range(3):
        for client, _ in slow:
            client.send(b"x")
        beside = visit_seconds()
    grown = process_facts.resident_bytes(published.proxy.pid) - before
    figures.note("slow", clients=SLOW, alone=alone, beside=beside, each=grown / SLOW)
    for client, server in slow:
        assert tcp.receive_exactly(server, 3) == b"xxx"
        client.close()
        server.close()
    if not INSTRUMENTED:
        assert grown < (2 << 20) + SLOW * 1024
    assert beside < alone * 10 + 0.01


@pytest.mark.skipif(INSTRUMENTED, reason="instrumentation needs memory of their own")
def test_slow_clients_of_one_address_leave_room_for_others(launch):
    """What --max-connections-per-client is for."""
    published = PublishedTcp(launch, options=["-max-connections", "100",
                                              "-max-connections-per-client", "90"])
    slow = [published.open("127.0.0.2") for _ in range(90)]
    for _ in range(20):
        try:
            tcp.expect_closed(published.connect("127.0.0.2"))
        except ConnectionResetError:
            pass
    for source in range(3, 13):
        client, server = published.open(f"127.0.0.{source}")
        with client, server:
            tcp.exchange(client, server)
    for pair in slow:
        for end in pair:
            end.close()


@pytest.mark.skipif(INSTRUMENTED, reason="instrumentation needs memory of their own")
def test_memory_of_stalled_readers(launch):
    """Everybody sends and nobody reads: what is kept of it is bounded."""
    with sysctl("net.ipv4.tcp_wmem", "4096 16384 32768"), \
            sysctl("net.ipv4.tcp_rmem", "4096 16384 32768"):
        published = PublishedTcp(launch)
        group = launch.group_of(published.proxy)
        before = process_facts.resident_bytes(published.proxy.pid)
        stalled = [published.open() for _ in range(STALLED)]
        # What fitted nowhere at first does once the relay has moved the rest on.
        for _ in range(3):
            for pair in stalled:
                for end in pair:
                    tcp.send_until_stuck(end, quiet_seconds=0)
        grown = process_facts.resident_bytes(published.proxy.pid) - before
        figures.note("stalled", connections=STALLED, grown=grown,
                     kernel=group.kernel_bytes() if group else None)
        for pair in stalled:
            for end in pair:
                end.close()
        assert grown < (76 << 20) + STALLED * (32 << 10)
        published.proxy.wait_for_sockets(published.proxy.idle_sockets, 30)


def test_more_clients_than_descriptors(launch):
    """They are served one after the other; a proxy that ends when it has none left has a closed
    port and nobody to serve."""
    published = PublishedTcp(launch, wrapper=["prlimit", "--nofile=64:64"])
    clients = [published.connect() for _ in range(100)]
    published.backend.settimeout(3)
    served = 0
    try:
        for client in clients:
            with client, tcp.accept(published.backend) as server:
                tcp.exchange(client, server)
            served += 1
    except (OSError, AssertionError):
        pass  # nobody serves them any more
    figures.note("descriptors", clients=len(clients), served=served,
                 alive=published.proxy.running())
    assert served == len(clients)
