"""Where io_uring is refused, the same relay runs on epoll."""

import errno
import os

import pytest

import tcp
import udp
from namespace import sysctl
from proxy_process import StatusPipe, refusing, run_to_end

RING_CALLS = ("io_uring_setup", "io_uring_enter", "io_uring_register")


def uses(proxy, engine):
    return f"with {engine}" in proxy.wait_for_log("serve ")


@pytest.fixture
def engine():
    """These tests choose for themselves."""
    return "default"


def serve(launch, port, wrapper, options=()):
    with tcp.listen() as backend:
        proxy = launch.docker("tcp", ("127.0.0.1", port), tcp.address(backend), wrapper=wrapper,
                              options=options)
        with tcp.connect("127.0.0.1", port) as client, tcp.accept(backend) as server:
            tcp.exchange(client, server)
            client.sendall(b"x" * 1_000_000)
            tcp.receive_exactly(server, 1_000_000)
    return proxy


@pytest.mark.parametrize("error", ["EPERM", "ENOSYS", "ENOMEM", "EINVAL"])
def test_a_filter_that_refuses_it(launch, port, error):
    """EPERM: Docker's default profile; ENOSYS: what newer profiles answer, and old kernels."""
    proxy = serve(launch, port, refusing(error, *RING_CALLS))
    assert uses(proxy, "epoll")
    warning = next(line for line in proxy.log().splitlines() if " warn " in line)
    assert "io_uring" in warning
    assert os.strerror(getattr(errno, error)).lower() in warning.lower()


def test_the_likely_cause_is_named(launch, port):
    proxy = serve(launch, port, refusing("EPERM", *RING_CALLS))
    assert "seccomp" in proxy.log() or "io_uring_disabled" in proxy.log()


def test_switched_off_by_sysctl(launch, port):
    """1 refuses it to those without privileges and so disturbs nobody else on the machine; 2 refuses
    it to everyone, with the same error."""
    if not os.access("/proc/sys/kernel/io_uring_disabled", os.W_OK):
        pytest.skip("no kernel.io_uring_disabled that can be written (Linux 6.6)")
    with sysctl("kernel.io_uring_disabled", 1):
        proxy = serve(launch, port, ["setpriv", "--bounding-set=-sys_admin",
                                     "--inh-caps=-sys_admin"])
    assert uses(proxy, "epoll")
    assert "io_uring_disabled" in proxy.log()


def test_udp_falls_back_too(launch, port):
    with udp.bind() as backend, udp.client("127.0.0.1", port) as client:
        proxy = launch.docker("udp", ("127.0.0.1", port), tcp.address(backend),
                              wrapper=refusing("EPERM", *RING_CALLS))
        udp.exchange(client, backend)
        assert uses(proxy, "epoll")


def test_asking_for_io_uring_by_name_fails_clearly(launch, port):
    with StatusPipe() as status:
        proxy = launch.start(
            [*launch.docker_arguments("tcp", ("127.0.0.1", port), ("127.0.0.1", 9)),
             "-engine", "io_uring"],
            at_3=status.write_end, wrapper=refusing("EPERM", *RING_CALLS))
        text = status.read_all().decode()
    assert proxy.wait() == 1
    assert text.startswith("1\n")
    assert "io_uring" in text and "operation not permitted" in text


def test_asking_for_epoll_by_name_warns_of_nothing(launch, port):
    proxy = serve(launch, port, refusing("EPERM", *RING_CALLS), options=["-engine", "epoll"])
    assert uses(proxy, "epoll")
    assert " warn " not in proxy.log()


def test_version_says_so():
    ended = run_to_end("--version", wrapper=refusing("EPERM", *RING_CALLS))
    assert ended.code == 0
    assert "engine epoll (" in ended.stdout


def test_a_ring_that_can_be_made_but_not_used(launch, port):
    """A filter that knows only some of the calls is no reason not to serve."""
    proxy = serve(launch, port, refusing("EPERM", "io_uring_register"))
    assert uses(proxy, "epoll")
    assert "io_uring_register: operation not permitted" in proxy.log()


def test_little_memory_to_lock_and_no_privilege(launch, port):
    """Rings count against RLIMIT_MEMLOCK on some kernels (before 5.12, from 6.14), per user: the
    proxy serves, with whichever engine that leaves."""
    proxy = serve(launch, port, ["prlimit", "--memlock=65536:65536", "setpriv",
                                 "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"])
    assert uses(proxy, "io_uring") or uses(proxy, "epoll")


def test_no_memory_to_lock_at_all(launch, port):
    proxy = serve(launch, port, ["prlimit", "--memlock=0:0", "setpriv",
                                 "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"])
    if uses(proxy, "epoll"):
        assert "io_uring" in proxy.log()
