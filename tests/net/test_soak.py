"""Mixed load for a long time: nothing grows.

Six seconds of it by default; FAIRLEAD_SOAK_SECONDS=3600 is an hour. What is measured is printed, a
line a sample, and with FAIRLEAD_FIGURES=FILE appended to that as JSON.
"""

import os
import random
import statistics
import time

import pytest

import churn
import figures
import process_facts
import tcp
import udp
from conftest import next_port
from control_group import ControlGroup
from deadline import wait_until
from proxy_process import INSTRUMENTED
from test_log import counters

SECONDS = int(os.environ.get("FAIRLEAD_SOAK_SECONDS", "6"))
SAMPLES = 60 if SECONDS >= 600 else 12
TURN_SECONDS = 0.05
# Whoever measures something on the machine may stop the process group for a while: what is on the
# way then is waited for so long, and of UDP one exchange may be lost each time.
LONGEST_PAUSE_SECONDS = 900
# What counts as flat, between the second quarter of the time and the last. A connection takes two
# descriptors, and how many are open at a moment is chance. Of the receive buffers, 12 MiB, more and
# more have been in use once; they go back when the load has ended.
GROWTH_BYTES = {"resident": 12 << 20, "kernel": 1 << 20}
GROWTH_DESCRIPTORS = 30
AFTERWARDS_BYTES = 2 << 20


class MixedLoad:
    """Beside the churn: a bulk stream, connections that are idle most of the time, and UDP clients
    that come and go; all of it by hand, a little in each turn, and each answer is compared."""

    def __init__(self, tcp_port, udp_port, tcp_backend, udp_backend):
        self._random = random.Random(7)
        self._tcp_port, self._udp_port = tcp_port, udp_port
        self._tcp_backend, self._udp_backend = tcp_backend, udp_backend
        self._bulk = self._connect()
        self._idle = [self._connect() for _ in range(100)]
        self._clients = [udp.client("127.0.0.1", udp_port) for _ in range(50)]
        self.bulk_bytes = self.datagrams = self.datagrams_lost = 0

    def _connect(self):
        client = tcp.connect("127.0.0.1", self._tcp_port)
        pair = client, tcp.accept(self._tcp_backend)
        for end in pair:
            end.settimeout(LONGEST_PAUSE_SECONDS)
        return pair

    def turn(self):
        for sender, receiver in (self._bulk, self._bulk[::-1]):
            block = self._random.randbytes(32768)
            sender.sendall(block)
            assert tcp.receive_exactly(receiver, len(block)) == block
            self.bulk_bytes += len(block)
        chosen = self._random.randrange(len(self._idle) * 10)
        if chosen < len(self._idle):
            tcp.exchange(*self._idle[chosen])
        chosen = self._random.randrange(len(self._clients))
        if self._random.random() < 0.5 or not self._ask(self._clients[chosen]):
            self._clients[chosen].close()
            self._clients[chosen] = udp.client("127.0.0.1", self._udp_port)

    def _ask(self, client):
        """False when there was no answer in time."""
        question = self._random.randbytes(self._random.randint(1, 1400))
        try:
            client.send(question)
            data, session = udp.receive(self._udp_backend)
            assert data == question
            self._udp_backend.sendto(question[::-1], session)
            assert udp.receive(client)[0] == question[::-1]
        except TimeoutError:
            self.datagrams_lost += 1
            udp.nothing_comes(self._udp_backend, 1)
            return False
        self.datagrams += 2
        return True

    def close(self):
        for pair in (self._bulk, *self._idle):
            for end in pair:
                end.close()
        for client in self._clients:
            client.close()


def sample(proxy, group):
    return {"resident": process_facts.resident_bytes(proxy.pid),
            "descriptors": len(process_facts.descriptors(proxy.pid)),
            "threads": process_facts.threads(proxy.pid),
            "kernel": group.kernel_bytes()}


def median_of(samples, name, quarter):
    part = len(samples) // 4
    return statistics.median(s[name] for s in samples[quarter * part:(quarter + 1) * part])


@pytest.mark.skipif(INSTRUMENTED, reason="instrumentation needs descriptors and memory of their own")
@pytest.mark.skipif(not ControlGroup.available(), reason="no control group for memory can be made")
def test_mixed_load_leaves_everything_flat(launch, engine):
    front, mixed_port, back = next_port(), next_port(), next_port()
    with tcp.listen() as tcp_backend, udp.bind() as udp_backend:
        proxy = launch.publish(
            f"127.0.0.1:{front}:127.0.0.1:{back}",
            f"127.0.0.1:{mixed_port}:127.0.0.1:{tcp.address(tcp_backend)[1]}",
            f"127.0.0.1:{mixed_port}:127.0.0.1:{tcp.address(udp_backend)[1]}/udp",
            options=["--udp-timeout", "2"])
        group = launch.group_of(proxy)
        load = MixedLoad(mixed_port, mixed_port, tcp_backend, udp_backend)
        samples, processor = [], process_facts.cpu_seconds(proxy.pid)
        begin = time.monotonic()
        with churn.running(front, back, 1 << 40, 500, per_second=100) as connections:
            elapsed = pauses = 0
            last = begin
            while elapsed < SECONDS:
                load.turn()
                time.sleep(TURN_SECONDS)
                now = time.monotonic()
                elapsed += min(now - last, 1)
                pauses += now - last > 1
                last = now
                if elapsed >= SECONDS / SAMPLES * (len(samples) + 1):
                    samples.append({"seconds": round(elapsed, 1), **sample(proxy, group)})
                    print(samples[-1], flush=True)
            found = connections.stop()
        load.close()
        processor = process_facts.cpu_seconds(proxy.pid) - processor
        proxy.wait_for_sockets(proxy.idle_sockets, 30)
        wait_until(lambda: process_facts.resident_bytes(proxy.pid) < AFTERWARDS_BYTES,
                   "memory stays behind")
        after = sample(proxy, group)
        figures.note("soak", engine=engine, elapsed=round(elapsed),
                     with_pauses=round(time.monotonic() - begin), pauses=pauses,
                     processor=processor, samples=samples, after=after, churn=found,
                     totals=counters(proxy), bulk_bytes=load.bulk_bytes, datagrams=load.datagrams,
                     datagrams_lost=load.datagrams_lost)

    assert found["faults"] == {}, found
    assert found["whole_clients"] > 0.7 * found["connections"]
    assert load.datagrams_lost <= pauses
    for name, allowed in (*GROWTH_BYTES.items(), ("descriptors", GROWTH_DESCRIPTORS),
                          ("threads", 0)):
        assert median_of(samples, name, 3) <= median_of(samples, name, 1) + allowed, name
