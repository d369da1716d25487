"""Runs of datagrams travel as one packet on the way (GSO and GRO) and are single datagrams again at
the end. Over veth, as between containers, where segments stay together."""

import random
import socket
import struct

import pytest

import tcp
import udp
from conftest import next_port
from namespace import Namespace
from proxy_process import scaled


class ThreeMachines:
    """A client, the host with the proxy, and a container."""

    def __init__(self, launch, remote, container, family):
        self.remote = remote
        with container.inside():
            self.backend = udp.bind(container.inner if family == 4 else container.inner6,
                                    receive_buffer_bytes=1 << 20)
        host = (remote.outer if family == 4 else remote.outer6, next_port())
        self.proxy = launch.docker("udp", host, tcp.address(self.backend))
        self.host = host
        self.client = self.another_client()
        self.session = udp.exchange(self.client, self.backend)

    def another_client(self):
        with self.remote.inside():
            client = udp.client(*self.host)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        return client

    def send(self, datagrams, up, at_once):
        """Up: from the client to the backend. At once: as one segmented send."""
        sock, to = (self.client, None) if up else (self.backend, self.session)
        if at_once:
            udp.send_burst(sock, datagrams, to)
        else:
            for datagram in datagrams:
                if to is None:
                    sock.send(datagram)
                else:
                    sock.sendto(datagram, to)

    def receive(self, count, up):
        return [udp.receive(self.backend if up else self.client)[0] for _ in range(count)]

    def close(self):
        self.client.close()
        self.backend.close()


@pytest.fixture(params=[4, 6], ids=["v4", "v6"])
def machines(request, launch):
    with Namespace() as remote, Namespace() as container:
        three = ThreeMachines(launch, remote, container, request.param)
        yield three
        three.close()


UP_AND_DOWN = pytest.mark.parametrize("up", [True, False], ids=["up", "down"])


def burst_of(rng, count, size):
    return [rng.randbytes(size) for _ in range(count)]


@UP_AND_DOWN
@pytest.mark.parametrize("at_once", [True, False], ids=["one send", "many sends"])
def test_bursts_of_equal_size(machines, up, at_once):
    rng = random.Random(9)
    for size in (1, 64, 500, 1200, 1400):
        for count in (1, 2, 3, 16, 40):
            for _ in range(scaled(3)):
                burst = burst_of(rng, count, size)
                machines.send(burst, up, at_once)
                assert machines.receive(count, up) == burst


@UP_AND_DOWN
def test_the_last_one_of_a_burst_may_be_shorter(machines, up):
    rng = random.Random(10)
    for last in (1, 7, 1199):
        burst = burst_of(rng, 10, 1200) + [rng.randbytes(last)]
        machines.send(burst, up, at_once=True)
        assert machines.receive(11, up) == burst
        # What comes right after is no part of it.
        machines.send([b"next"], up, at_once=False)
        assert machines.receive(1, up) == [b"next"]


@UP_AND_DOWN
def test_mixed_sizes(machines, up):
    rng = random.Random(11)
    for _ in range(scaled(30)):
        burst = [rng.randbytes(rng.choice((0, 1, 100, 100, 100, 1200, 1200, 1400, 3000)))
                 for _ in range(40)]
        machines.send(burst, up, at_once=False)
        assert machines.receive(len(burst), up) == burst


@UP_AND_DOWN
def test_large_datagrams_that_are_fragmented(machines, up):
    rng = random.Random(12)
    for size in (2000, 10_000, 65_507 if machines.backend.family == socket.AF_INET else 65_000):
        burst = burst_of(rng, 3 if size < 30_000 else 1, size)
        machines.send(burst, up, at_once=False)
        assert machines.receive(len(burst), up) == burst


def test_bursts_of_several_clients_at_once(machines):
    rng = random.Random(13)
    others = [machines.another_client() for _ in range(3)]
    clients = [machines.client, *others]
    bursts = [[b"%d" % index + rng.randbytes(800) for _ in range(20)]
              for index in range(len(clients))]
    for client, burst in zip(clients, bursts):
        udp.send_burst(client, burst)
    received = {}
    for _ in range(20 * len(clients)):
        data, session = udp.receive(machines.backend)
        received.setdefault(session, []).append(data)
    assert sorted(received.values()) == sorted(bursts)
    for session, burst in received.items():
        udp.send_burst(machines.backend, burst, session)
    for client, burst in zip(clients, bursts):
        assert [udp.receive(client)[0] for _ in burst] == burst
    for client in others:
        client.close()


def test_a_receiver_with_gro_gets_them_in_one_piece(machines):
    """The run leaves the proxy as one packet; a receiver that asks for it sees that."""
    machines.backend.setsockopt(udp.SOL_UDP, udp.UDP_GRO, 1)
    rng = random.Random(14)
    pieces = []
    for _ in range(20):
        burst = burst_of(rng, 30, 1000)
        machines.send(burst, up=True, at_once=True)
        received = b""
        while len(received) < 30_000:
            data, control, _, _ = machines.backend.recvmsg(70_000, 64)
            received += data
            segment = next((struct.unpack("i", value[:4])[0] for level, kind, value in control
                            if (level, kind) == (udp.SOL_UDP, udp.UDP_GRO)), len(data))
            assert segment == 1000
            pieces.append(len(data))
        assert received == b"".join(burst)
    assert max(pieces) > 1000


def test_a_receiver_without_gro_gets_single_datagrams(machines):
    machines.backend.setsockopt(udp.SOL_UDP, udp.UDP_GRO, 0)
    rng = random.Random(15)
    burst = burst_of(rng, 30, 1000)
    machines.send(burst, up=True, at_once=True)
    assert machines.receive(30, up=True) == burst
