"""Every system call of the proxy fails once, with each error that it may: nothing ends the process
but a failure to start, which is said; no connection stays half open, no descriptor is lost, and the
next client is served."""

import contextlib
import functools
import itertools
import select
import socket

import pytest

import process_facts
import tcp
import udp
from conftest import PublishedTcp, PublishedUdp, next_port
from container_service import Published, Service
from deadline import ready, wait_until
from namespace import Namespace
from proxy_process import INSTRUMENTED, StatusPipe
from supervisor import Supervisor

# How a call may fail when a proxy starts.
START = {
    "bind": ["EADDRINUSE"],
    "capget": ["EPERM"],
    "capset": ["EPERM"],
    "epoll_create1": ["EMFILE"],
    "epoll_ctl": ["ENOMEM"],
    "eventfd2": ["EMFILE"],
    "getsockname": ["ENOBUFS"],
    "getsockopt": ["ENOBUFS"],
    "io_uring_enter": ["EAGAIN", "EINTR"],
    "io_uring_register": ["ENOMEM"],
    "io_uring_setup": ["ENOMEM"],
    "landlock_create_ruleset": ["ENOSYS"],
    "landlock_restrict_self": ["E2BIG"],
    "listen": ["EADDRINUSE"],
    "mmap": ["ENOMEM"],
    "openat": ["EMFILE"],
    "prctl": ["EINVAL"],
    "prlimit64": ["EPERM"],
    "read": ["EIO"],
    "recvmsg": ["ENOBUFS"],
    "seccomp": ["EINVAL"],
    "sendto": ["ENOBUFS"],
    "setsockopt": ["ENOBUFS"],
    "signalfd4": ["EMFILE"],
    "socket": ["EMFILE"],
}

# How a call may fail while a proxy serves. No EAGAIN: the kernel has promised to say when that is
# over, and would not. No EINTR of a call that does not wait, no close(2), which closes also where it
# fails, and no shutdown(2), which fails where the connection is gone.
SERVING = {
    "accept4": ["ECONNABORTED", "EMFILE", "ENOBUFS"],
    "connect": ["ENETUNREACH", "ENOBUFS"],
    "epoll_ctl": ["ENOMEM", "ENOSPC"],
    "epoll_pwait": ["EINTR"],
    "epoll_wait": ["EINTR"],
    "eventfd2": ["EMFILE"],
    "fcntl": ["EPERM"],
    "getpeername": ["ENOTCONN"],
    "getrusage": ["EINVAL"],
    "getsockname": ["ENOBUFS"],
    "getsockopt": ["ENOBUFS"],
    "io_uring_enter": ["EAGAIN", "EBUSY", "EINTR"],
    "io_uring_register": ["ENOMEM"],
    "madvise": ["ENOMEM"],
    "mmap": ["ENOMEM"],
    "pipe2": ["ENFILE"],
    "read": ["EIO"],
    "recvfrom": ["ENOMEM", "ECONNRESET"],
    "recvmmsg": ["ENOMEM", "ECONNREFUSED"],
    "recvmsg": ["ENOMEM", "ECONNREFUSED"],
    "sendmsg": ["ENOBUFS", "EPIPE"],
    "sendto": ["ENOBUFS", "EPIPE"],
    "setsockopt": ["ENOBUFS"],
    "socket": ["EMFILE", "ENOBUFS"],
    "splice": ["ENOMEM"],
}

# How the calls of a handover may fail.
HANDOVER = {
    "bind": ["EACCES"],
    "connect": ["EACCES"],
    "epoll_ctl": ["ENOMEM"],
    "io_uring_register": ["ENOMEM"],
    "io_uring_setup": ["ENOMEM"],
    "listen": ["ENOBUFS"],
    "newfstatat": ["EACCES"],
    "recvmsg": ["ENOBUFS"],
    "rename": ["EACCES"],
    "setsockopt": ["ENOBUFS"],
    "signalfd4": ["EMFILE"],
    "socket": ["EMFILE"],
}

# How the calls may fail that a first dial in a container's namespace makes besides.
INSIDE = {
    "bind": ["EADDRINUSE"],
    "capset": ["EPERM"],
    "connect": ["ENETUNREACH"],
    "getsockname": ["ENOBUFS"],
    "ioctl": ["EIO"],
    "newfstatat": ["EACCES"],
    "openat": ["EMFILE"],
    "pwrite64": ["EROFS"],
    "read": ["EIO"],
    "recvmsg": ["ENOMEM"],
    "sendmsg": ["ENOBUFS"],
    "sendto": ["ENOBUFS"],
    "setns": ["EPERM"],
    "setsockopt": ["ENOBUFS"],
    "socket": ["EMFILE"],
}

# How the calls of a scrape may fail.
SCRAPE = {
    "accept4": ["EMFILE"],
    "epoll_ctl": ["ENOMEM"],
    "io_uring_enter": ["EBUSY"],
    "recvmsg": ["ENOMEM"],
    "sendmsg": ["EPIPE"],
    "sendto": ["EPIPE"],
    "shutdown": ["ENOTCONN"],
}

# What only the first connection of a proxy calls for.
FIRST = {call: SERVING[call] for call in ("eventfd2", "fcntl", "io_uring_register", "madvise",
                                          "mmap", "pipe2")}

BYTES = 60_000
# More of one kind are not made for one connection.
CALLS_MAX = 64

pytestmark = pytest.mark.skipif(INSTRUMENTED, reason="sanitizers make system calls of their own")


def walk(supervisor, calls, act):
    """`act` with every call failing in turn, each of its kind, until it has made all it makes.
    `act` gets a function to call when faults are to begin, and may call supervisor.relent(). How
    many calls have failed."""
    failed = 0
    for call, errors in calls.items():
        for error in errors:
            for number in itertools.count(1):
                print(f"{error} from {call} number {number}")
                act(functools.partial(supervisor.fail, call, number, error))
                if not supervisor.relent():
                    break
                failed += 1
                assert number < CALLS_MAX
    return failed


def descriptors(proxy):
    return len(process_facts.descriptors(proxy.pid))


def serves(published):
    """A whole exchange, after which the proxy is as it was."""
    client, server = published.open()
    with client, server:
        client.sendall(b"q" * BYTES)
        assert tcp.receive_exactly(server, BYTES) == b"q" * BYTES
        server.sendall(b"a" * BYTES)
        assert tcp.receive_exactly(client, BYTES) == b"a" * BYTES


def play(published):
    """A client sends all it has and ends, the backend answers, as far as the two come: all that may
    not be is that nothing happens."""
    with contextlib.suppress(ConnectionError), published.connect() as client:
        client.sendall(b"q" * BYTES)
        with contextlib.suppress(OSError):  # ENOTCONN: reset meanwhile
            client.shutdown(socket.SHUT_WR)
        heard, _, _ = select.select([client, published.backend], [], [], 10)
        assert heard, "neither served nor refused"
        if published.backend in heard:
            with contextlib.suppress(ConnectionError), tcp.accept(published.backend) as server:
                tcp.receive_all(server)
                server.sendall(b"a" * BYTES)
        tcp.receive_all(client)
    # That of a client who was let down before the backend's socket was accepted.
    while select.select([published.backend], [], [], 0)[0]:
        tcp.accept(published.backend).close()


def until_answered(client, backend):
    """The answer to one of some datagrams, each sent when the one before got lost."""
    for number in range(10):
        client.send(b"%d" % number)
        if ready(backend, select.POLLIN, 0.5):
            data, session = udp.receive(backend)
            backend.sendto(data, session)
            if ready(client, select.POLLIN, 0.5):
                client.recv(100)
                return
    raise AssertionError("not served")


@pytest.fixture
def supervisor():
    """To be named before `launch`: it has to outlive the proxies."""
    with Supervisor(*{**START, **SERVING, **HANDOVER, **INSIDE, **SCRAPE}) as supervising:
        yield supervising


# Starting.

def test_a_start(supervisor, launch):
    """It succeeds nevertheless, or the proxy says why not and ends with status 1."""
    def start(begin):
        begin()
        with tcp.listen() as backend, StatusPipe() as status:
            port = next_port()
            proxy = launch.start(launch.docker_arguments("tcp", ("127.0.0.1", port),
                                                         tcp.address(backend)),
                                 at_3=status.write_end, wrapper=supervisor.wrapper)
            text = status.read_all().decode()
            supervisor.relent()
            if text == "0\n":
                with tcp.connect("127.0.0.1", port) as client, tcp.accept(backend) as server:
                    tcp.exchange(client, server)
                proxy.stop()
                return
            assert text.startswith("1\n") and len(text) > 4, f"status {text!r}:\n{proxy.log()}"
            assert proxy.wait() == 1, proxy.log()
            assert proxy.log().count("fairlead-proxy: ") == 1, proxy.log()

    assert walk(supervisor, START, start) > 15


def test_a_start_in_the_place_of_another(supervisor, launch, engine, port, tmp_path):
    """Whichever of the two it is, one of them serves afterwards: the old one lets go when nothing
    can fail any more."""
    def start(**how):
        return launch.start(["-p", f"127.0.0.1:{port}:127.0.0.1:{tcp.address(backend)[1]}",
                             "--engine", engine, "--handover", path], **how)

    def take_over(begin):
        old = start()
        wait_until(path.exists, "no first proxy")
        begin()
        new = start(wrapper=supervisor.wrapper)
        wait_until(lambda: not (old.running() and new.running()), "both run")
        if supervisor.relent() and new.code is not None:
            assert new.code == 1, new.log()
            assert new.log().count("fairlead-proxy: ") == 1, new.log()
            left = old
        else:
            assert old.code == 0, old.log()
            left = new
        with tcp.connect("127.0.0.1", port) as client, tcp.accept(backend) as server:
            tcp.exchange(client, server)
        left.stop()
        # The one that has failed may have taken the path.
        path.unlink(missing_ok=True)

    path = tmp_path / "handover"
    with tcp.listen() as backend:
        assert walk(supervisor, HANDOVER, take_over) > 10


# Serving.

@pytest.mark.parametrize("relay", ["copy", "splice"], indirect=True)
def test_a_connection(supervisor, launch, relay):
    def connect(begin):
        begin()
        play(published)
        supervisor.relent()
        serves(published)
        wait_until(lambda: descriptors(published.proxy) <= before,
                   lambda: f"{descriptors(published.proxy)} descriptors instead of {before}")

    published = PublishedTcp(launch, wrapper=supervisor.wrapper)
    for _ in range(3):
        play(published)
    published.proxy.wait_for_sockets(1)
    before = descriptors(published.proxy)
    assert walk(supervisor, SERVING, connect) > 10
    published.backend.close()


@pytest.mark.parametrize("relay", ["copy", "splice"], indirect=True)
def test_the_first_connection(supervisor, launch, relay):
    """It needs what later ones find made."""
    def connect(begin):
        published = PublishedTcp(launch, wrapper=supervisor.wrapper)
        begin()
        play(published)
        supervisor.relent()
        serves(published)
        published.backend.close()
        published.proxy.stop()

    assert walk(supervisor, FIRST, connect) > 2


def test_a_session(supervisor, launch):
    """A datagram may be lost, and no more than that: the same client is served again, and so is the
    next."""
    def ask(begin):
        with published.client() as client:
            begin()
            client.send(b"lost, perhaps")
            if ready(published.backend, select.POLLIN, 0.2):
                published.backend.sendto(b"the same", udp.receive(published.backend)[1])
            supervisor.relent()
            for _ in range(2):
                until_answered(client, published.backend)
        with published.client() as client:
            until_answered(client, published.backend)

    published = PublishedUdp(launch, wrapper=supervisor.wrapper)
    assert walk(supervisor, SERVING, ask) > 8
    published.backend.close()


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_the_first_dial_in_a_namespace(supervisor, launch, kind):
    """It is made there, or from the host, or that one client is refused; and no capability is left
    in effect."""
    def dial(begin):
        published = Published(launch, service, f"name:{container.name}", source="client",
                              wrapper=supervisor.wrapper)
        begin()
        if kind == "udp":
            with udp.client("127.0.0.1", published.port) as client:
                until_answered(client, service.udp)
        else:
            with contextlib.suppress(ConnectionError), \
                    tcp.connect("127.0.0.1", published.port) as client:
                heard, _, _ = select.select([client, service.tcp], [], [], 10)
                assert heard, "neither served nor refused"
                if service.tcp in heard:
                    with service.accept()[0] as server:
                        tcp.exchange(client, server)
        supervisor.relent()
        published.peer_of_tcp()
        assert int(process_facts.status_field(published.proxy.pid, "CapEff"), 16) == 0
        published.proxy.stop()

    with Namespace() as container, Service(container, container.inner) as service:
        assert walk(supervisor, INSIDE, dial) > 15


def scrape(port):
    """What comes of it."""
    with tcp.connect("127.0.0.1", port) as scraper:
        scraper.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        return tcp.receive_all(scraper)


def test_a_scrape(supervisor, launch, port):
    def ask(begin):
        begin()
        with contextlib.suppress(ConnectionError):
            scrape(metrics_port)
        supervisor.relent()
        assert scrape(metrics_port).startswith(b"HTTP/1.1 200 ")
        wait_until(lambda: descriptors(proxy) <= before,
                   lambda: f"{descriptors(proxy)} descriptors instead of {before}")

    metrics_port = next_port()
    proxy = launch.publish(f"127.0.0.1:{port}:127.0.0.1:9", wrapper=supervisor.wrapper,
                           options=["--metrics", f"127.0.0.1:{metrics_port}"])
    scrape(metrics_port)
    proxy.wait_for_sockets(proxy.idle_sockets)
    before = descriptors(proxy)
    assert walk(supervisor, SCRAPE, ask) > 2
