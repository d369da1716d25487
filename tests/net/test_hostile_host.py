"""A kernel that refuses, a host that runs out, and a network that changes under open connections.

Elsewhere: io_uring refused by sysctl and by a seccomp filter (test_engine_fallback.py), too few
descriptors (test_descriptor_exhaustion.py), the death of the parent (test_signals.py,
test_isolation.py), stop and start under load (test_tcp_restart.py).
"""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import tcp
import udp
from conftest import PublishedTcp, PublishedUdp, next_port
from deadline import wait_until
from namespace import Namespace, ip
from proxy_process import scaled
from transfer import Concurrently, send_stream

# So much does not fit into the buffers on the way: a reader that stops has stopped its writer.
TRANSFER_BYTES = scaled(64 << 20)


class Container:
    """A namespace with a TCP and a UDP service of the test, both published by one proxy."""

    def __init__(self, launch, namespace, options=(), **how):
        self.namespace = namespace
        self.tcp_port, self.udp_port = next_port(), next_port()
        self._ports = 0, 0
        self.serve()
        self.proxy = launch.publish(
            f"127.0.0.1:{self.tcp_port}:{namespace.inner}:{tcp.address(self.tcp_service)[1]}",
            f"127.0.0.1:{self.udp_port}:{namespace.inner}:{tcp.address(self.udp_service)[1]}/udp",
            options=options, **how)

    def serve(self):
        """Also once more, after close(), on the same ports."""
        with self.namespace.inside():
            self.tcp_service = tcp.listen(self.namespace.inner, self._ports[0])
            self.udp_service = udp.bind(self.namespace.inner, self._ports[1])
        self._ports = [tcp.address(service)[1] for service in (self.tcp_service, self.udp_service)]

    def open(self):
        return tcp.connect("127.0.0.1", self.tcp_port), tcp.accept(self.tcp_service)

    def udp_client(self):
        return udp.client("127.0.0.1", self.udp_port)

    def works(self):
        """For clients that are new."""
        client, server = self.open()
        with client, server, self.udp_client() as asking:
            tcp.exchange(client, server)
            client.sendall(b"x" * 300_000)
            assert tcp.receive_exactly(server, 300_000) == b"x" * 300_000
            udp.exchange(asking, self.udp_service)

    def close(self):
        self.tcp_service.close()
        self.udp_service.close()


@pytest.fixture
def container(launch):
    with Namespace() as namespace:
        started = Container(launch, namespace)
        yield started
        started.close()


class HalfWay:
    """A transfer in each direction of one connection, halted in the middle with every buffer on the
    way full, until finish()."""

    def __init__(self, client, server):
        self._go_on = threading.Event()
        self._halfway = [threading.Event(), threading.Event()]
        self._transfers = Concurrently(
            lambda: send_stream(client, TRANSFER_BYTES, 1),
            lambda: send_stream(server, TRANSFER_BYTES, 2),
            lambda: self._receive(server, self._halfway[0]),
            lambda: self._receive(client, self._halfway[1]))
        for reached in self._halfway:
            assert reached.wait(30)

    def _receive(self, sock, halfway):
        digest = hashlib.sha256(tcp.receive_exactly(sock, TRANSFER_BYTES // 2))
        halfway.set()
        assert self._go_on.wait(30)
        digest.update(tcp.receive_all(sock))
        return digest.hexdigest()

    def go_on(self):
        self._go_on.set()

    def finish(self):
        """Nothing was lost, doubled or mixed up."""
        self.go_on()
        up, down, received_up, received_down = self._transfers.results()
        assert (up, down) == (received_up, received_down)


# A kernel that refuses.

HOLD_PIPES = """
import ctypes, fcntl, os, sys, time
os.setresuid(*[int(sys.argv[1])] * 3)
F_SETPIPE_SZ = 1031
ends = []
try:
    while True:
        ends += os.pipe()
        fcntl.fcntl(ends[-1], F_SETPIPE_SZ, 1 << 20)
except PermissionError:
    print("full", flush=True)
sys.stdin.read()
"""
USER = 64_077  # nobody's


def test_a_user_without_room_for_pipes(launch):
    """Of a user's pipes only so many may be larger than a page (fs.pipe-user-pages-soft), all the
    user's processes together. What would be spliced is copied then."""
    if not os.path.exists("/proc/sys/fs/pipe-user-pages-soft"):
        pytest.skip("no fs.pipe-user-pages-soft")
    with subprocess.Popen([sys.executable, "-c", HOLD_PIPES, str(USER)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "full\n"
        with Namespace() as namespace:
            container = Container(launch, namespace, options=["--user", f"{USER}:{USER}"])
            client, server = container.open()
            with client, server:
                HalfWay(client, server).finish()
            container.close()
        holder.stdin.close()


def test_a_user_with_next_to_nothing(launch):
    """64 KiB to lock, 64 descriptors, no capability and no way to raise a limit: more clients than
    it can have at a time are served one after the other."""
    poor = ["prlimit", "--memlock=65536:65536", "--nofile=64:64", "setpriv", "--reuid", str(USER),
            "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    published = PublishedTcp(launch, wrapper=poor)
    clients = [published.connect() for _ in range(40)]
    for client in clients:
        with client, tcp.accept(published.backend) as server:
            tcp.exchange(client, server)
    assert 1 <= published.proxy.log().count("accepting pauses") <= 3
    client, server = published.open()
    with client, server:
        HalfWay(client, server).finish()
    asked = PublishedUdp(launch, wrapper=poor)
    askers = [asked.client() for _ in range(40)]
    for asker in askers:
        with asker:
            udp.exchange(asker, asked.backend)
    asked.backend.close()
    published.backend.close()


# A host that runs out.

def test_a_full_connection_tracking_table(container):
    """nf_conntrack_max is the host's, so a rule plays the full table: what belongs to no entry is
    dropped on its way out, which sendmsg(2) reports as EPERM. What is tracked goes on; what is new
    comes through when there is room again."""
    def table(*rules):
        nft = ["add table inet full", "flush table inet full",
               "add chain inet full output { type filter hook output priority 0 ; }",
               *(f"add rule inet full output ip daddr {container.namespace.inner} {rule}"
                 for rule in rules)]
        subprocess.run(["nft", "; ".join(nft)], check=True, timeout=20)

    with container.udp_client() as known, container.udp_client() as new:
        table("ct state new accept")
        udp.exchange(known, container.udp_service)
        pair = container.open()
        tcp.exchange(*pair)
        table("ct state new drop")
        try:
            tcp.exchange(*pair)
            udp.exchange(known, container.udp_service)
            new.send(b"lost")
            waiting = tcp.connect("127.0.0.1", container.tcp_port)
            assert udp.nothing_comes(container.udp_service)
            tcp.exchange(*pair)
        finally:
            subprocess.run(["nft", "delete table inet full"], check=True, timeout=20)
        # The kernel tries again after a second.
        with waiting, tcp.accept(container.tcp_service) as server:
            tcp.exchange(waiting, server)
        udp.exchange(new, container.udp_service)
        for end in pair:
            end.close()
    container.works()


# A network that changes.

def test_link_down_in_mid_transfer(container):
    link = container.namespace.link
    client, server = container.open()
    with client, server, container.udp_client() as asking:
        udp.exchange(asking, container.udp_service)
        transfer = HalfWay(client, server)
        ip("link", "set", link, "down")
        transfer.go_on()
        for _ in range(5):
            asking.send(b"nobody hears it")
        time.sleep(0.3)
        ip("link", "set", link, "up")
        transfer.finish()

        wait_until(lambda: answers(asking, container.udp_service), "no datagram comes through")
    container.works()


def test_mtu_changes_in_mid_transfer(container):
    def set_mtu(value):
        ip("link", "set", container.namespace.link, "mtu", str(value))
        ip("-n", container.namespace.name, "link", "set", "eth0", "mtu", str(value))

    client, server = container.open()
    with client, server, container.udp_client() as asking:
        udp.exchange(asking, container.udp_service, b"x" * 4000, b"y" * 4000)
        transfer = HalfWay(client, server)
        set_mtu(1280)
        transfer.go_on()
        udp.exchange(asking, container.udp_service, b"x" * 4000, b"y" * 4000)
        set_mtu(9000)
        udp.exchange(asking, container.udp_service, b"x" * 4000, b"y" * 4000)
        transfer.finish()


def test_container_killed_and_restarted_in_mid_transfer(container):
    """The kernel resets what a killed process had open: whoever is connected hears of it at once,
    and whoever comes later is served by the next."""
    client, server = container.open()
    with client, container.udp_client() as asking:
        udp.exchange(asking, container.udp_service)
        tcp.send_until_stuck(client, quiet_seconds=0.1)
        server.close()  # with unread data
        container.close()
        tcp.expect_reset(client)
        tcp.connect_in_vain("127.0.0.1", container.tcp_port)
        asking.send(b"nobody hears it")
        container.serve()
        wait_until(lambda: answers(asking, container.udp_service), "no datagram comes through")
    container.works()


def test_container_that_vanishes_without_a_word_and_comes_back(container):
    """Its link goes before anybody could be told. The new one at the same address knows nothing of
    the connection, and its kernel says so as soon as something is sent."""
    client, server = container.open()
    with client, server, container.udp_client() as asking:
        udp.exchange(asking, container.udp_service)
        tcp.send_until_stuck(client, quiet_seconds=0.1)
        container.namespace.close()
        container.close()
        container.namespace.make()
        container.serve()
        tcp.expect_reset(client)
        wait_until(lambda: answers(asking, container.udp_service), "no datagram comes through")
    container.works()


def answers(client, service):
    """Whether a datagram came through; those before it that were late do not count."""
    question = os.urandom(8)
    client.send(question)
    service.settimeout(0.1)
    try:
        while service.recv(100) != question:
            pass
        return True
    except TimeoutError:
        return False
    finally:
        service.settimeout(20)


# A clock that jumps, a process that is stopped or killed.

def test_stopped_and_continued_in_mid_transfer(launch):
    """What came in meanwhile is served afterwards, to those who were there and to those who came."""
    with Namespace() as namespace:
        container = Container(launch, namespace)
        client, server = container.open()
        with client, server, container.udp_client() as asking:
            session = udp.exchange(asking, container.udp_service)
            transfer = HalfWay(client, server)
            container.proxy.send_signal(signal.SIGSTOP)
            transfer.go_on()
            asking.send(b"are you there")
            waiting = tcp.connect("127.0.0.1", container.tcp_port)
            time.sleep(0.5)
            container.proxy.send_signal(signal.SIGCONT)
            transfer.finish()
            assert udp.receive(container.udp_service) == (b"are you there", session)
            with waiting, tcp.accept(container.tcp_service) as answering:
                tcp.exchange(waiting, answering)
        container.close()


def test_stopped_for_longer_than_a_connection_may_be_idle(launch, relay):
    """The time is over, but what has come in the meantime is looked at first."""
    published = PublishedTcp(launch, options=["-idle-timeout", "1"])
    used, idle = [published.open() for _ in range(50)], published.open()
    for client, server in used:
        tcp.exchange(client, server)
    published.proxy.send_signal(signal.SIGSTOP)
    for client, server in used:
        client.sendall(b"are you there")
        server.sendall(b"I am")
    time.sleep(1.2)
    published.proxy.send_signal(signal.SIGCONT)
    for client, server in used:
        assert tcp.receive_exactly(server, 13) == b"are you there"
        assert tcp.receive_exactly(client, 4) == b"I am"
    for end in idle:
        tcp.expect_reset(end)
    for pair in (*used, idle):
        for end in pair:
            end.close()


def test_a_clock_that_is_ten_years_ahead(launch):
    """Timers go by the monotonic clock, which nobody can set while the proxy runs; here it is that
    of a host that has been up for ten years."""
    if not os.path.exists("/proc/self/ns/time"):
        pytest.skip("no time namespaces (Linux 5.6)")
    ahead = ["unshare", "--time", f"--monotonic={10 * 365 * 86400}"]
    with Namespace() as namespace:
        container = Container(launch, namespace, ["--idle-timeout", "1"], wrapper=ahead)
        client, server = container.open()
        with client, server:
            for _ in range(8):
                tcp.exchange(client, server)
                time.sleep(0.2)
            tcp.expect_reset(client)
        container.works()
        container.close()


def test_killed_and_started_at_once_on_the_same_port(launch):
    with tcp.listen() as backend:
        mapping = f"127.0.0.1:{next_port()}:127.0.0.1:{tcp.address(backend)[1]}"
        host = "127.0.0.1", int(mapping.split(":")[1])
        for _ in range(10):
            proxy = launch.publish(mapping, mapping + "/udp")
            pairs = [(tcp.connect(*host), tcp.accept(backend)) for _ in range(20)]
            for client, server in pairs:
                tcp.exchange(client, server)
            proxy.kill()
            for pair in pairs:
                for end in pair:
                    tcp.expect_closed(end)
                    end.close()
