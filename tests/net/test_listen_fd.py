"""Descriptor 4: a socket that the daemon has bound."""

import socket

import pytest

import process_facts
import tcp
import udp
from conftest import next_port
from namespace import sysctl
from proxy_process import StatusPipe

@pytest.fixture
def backend():
    with tcp.listen() as listener:
        yield listener


@pytest.fixture
def udp_backend():
    with udp.bind() as sock:
        yield sock


def refused(launch, proto, at_4):
    """The error for a descriptor 4 that is of no use; the host address is as good as any."""
    arguments = launch.docker_arguments(proto, ("127.0.0.1", next_port()), ("127.0.0.1", 9),
                                        use_listen_fd=True)
    with StatusPipe() as status:
        proxy = launch.start(arguments, at_3=status.write_end,
                             at_4=None if at_4 is None else at_4.fileno())
        text = status.read_all().decode()
    assert proxy.wait() == 1
    assert text.startswith("1\n") and not text.endswith("\n")
    return text[2:]


def test_the_daemon_may_close_its_copy(launch, backend):
    front = tcp.listen()
    host = tcp.address(front)
    launch.docker("tcp", host, tcp.address(backend), listen_socket=front)
    front.close()
    with tcp.connect(*host) as client, tcp.accept(backend) as server:
        tcp.exchange(client, server)


def test_4_itself_is_closed(launch, backend):
    """The proxy serves a duplicate; with the original open the port would stay bound."""
    with tcp.listen() as front:
        proxy = launch.docker("tcp", tcp.address(front), tcp.address(backend),
                              listen_socket=front)
    assert len(proxy.sockets()) == 1


def test_the_address_comes_from_the_socket(launch, backend):
    """It is never bound again, whatever -host-ip and -host-port say."""
    other = next_port()
    with tcp.listen("127.0.0.3") as front:
        proxy = launch.docker("tcp", ("127.0.0.1", other), tcp.address(backend),
                              listen_socket=front)
        with tcp.connect(*tcp.address(front)) as client, tcp.accept(backend) as server:
            tcp.exchange(client, server)
        with pytest.raises(ConnectionRefusedError):
            tcp.connect("127.0.0.1", other)
        assert "127.0.0.3:%d" % tcp.address(front)[1] in proxy.log()


@pytest.mark.parametrize("blocking", [True, False])
def test_blocking_and_non_blocking_tcp(launch, backend, blocking):
    """A blocking one must not stop the loop when a client goes before it is accepted."""
    with tcp.listen() as front:
        front.setblocking(blocking)
        launch.docker("tcp", tcp.address(front), tcp.address(backend), listen_socket=front)
        for _ in range(3):
            tcp.close_with_reset(tcp.connect(*tcp.address(front)))
        with tcp.connect(*tcp.address(front)) as client:
            client.sendall(b"mine")
            while True:
                with tcp.accept(backend) as server:
                    try:
                        if server.recv(4) == b"mine":
                            return
                    except ConnectionResetError:
                        pass


@pytest.mark.parametrize("blocking", [True, False])
def test_blocking_and_non_blocking_udp(launch, udp_backend, blocking):
    with udp.bind() as front:
        front.setblocking(blocking)
        launch.docker("udp", tcp.address(front), tcp.address(udp_backend), listen_socket=front)
        with udp.client(*tcp.address(front)) as client:
            udp.exchange(client, udp_backend)


def test_clients_that_came_before_the_proxy_are_served(launch, backend):
    """The daemon listens first; what connects in between waits in the socket."""
    with tcp.listen() as front, tcp.connect(*tcp.address(front)) as early:
        early.sendall(b"early")
        launch.docker("tcp", tcp.address(front), tcp.address(backend), listen_socket=front)
        with tcp.accept(backend) as server:
            assert tcp.receive_exactly(server, 5) == b"early"


def test_datagrams_that_came_before_the_proxy_are_passed_on(launch, udp_backend):
    with udp.bind() as front, udp.client(*tcp.address(front)) as early:
        early.send(b"early")
        launch.docker("udp", tcp.address(front), tcp.address(udp_backend), listen_socket=front)
        assert udp.receive(udp_backend)[0] == b"early"


def test_a_tcp_socket_that_is_only_bound_is_listened_on(launch, backend):
    with tcp.listen(backlog=None) as front, sysctl("net.core.somaxconn", 321):
        launch.docker("tcp", tcp.address(front), tcp.address(backend), listen_socket=front)
        with tcp.connect(*tcp.address(front)) as client, tcp.accept(backend) as server:
            tcp.exchange(client, server)


def test_v6only_of_a_passed_socket_is_left_alone(launch, backend):
    with tcp.listen("::", dual_stack=True) as front:
        launch.docker("tcp", tcp.address(front), tcp.address(backend), listen_socket=front)
        port = front.getsockname()[1]
        assert front.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0
        for host in ("127.0.0.1", "::1"):
            with tcp.connect(host, port) as client, tcp.accept(backend) as server:
                tcp.exchange(client, server)


def test_udp_without_pktinfo_answers_from_the_address_asked(launch, udp_backend):
    with udp.bind("0.0.0.0") as front:
        assert front.getsockopt(socket.IPPROTO_IP, udp.IP_PKTINFO) == 0
        port = front.getsockname()[1]
        launch.docker("udp", ("0.0.0.0", port), tcp.address(udp_backend), listen_socket=front)
        for host in ("127.0.0.1", "127.0.0.2", "127.8.9.10"):
            with udp.client(host, port) as client:
                udp.exchange(client, udp_backend)


def test_udp_dual_stack(launch, udp_backend):
    front = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    front.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    front.bind(("::", 0))
    with front:
        port = front.getsockname()[1]
        launch.docker("udp", ("::", port), tcp.address(udp_backend), listen_socket=front)
        for host in ("127.0.0.1", "127.0.0.2", "::1"):
            with udp.client(host, port) as client:
                udp.exchange(client, udp_backend)


def test_a_socket_of_the_wrong_kind(launch):
    with tcp.listen() as stream, udp.bind() as datagrams, \
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as local, \
            open("/dev/null", "rb") as file:
        assert refused(launch, "tcp", datagrams) == \
            "descriptor 4 is a socket of udp; tcp is needed"
        assert refused(launch, "udp", stream) == "descriptor 4 is a socket of tcp; udp is needed"
        assert refused(launch, "tcp", local).startswith(
            f"descriptor 4 is a socket of address family {socket.AF_UNIX.value}")
        assert refused(launch, "tcp", file) == "descriptor 4 is not a socket"
        assert refused(launch, "tcp", None) == "descriptor 4 is not open"


def test_a_socket_that_is_not_bound(launch):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as unbound:
        assert refused(launch, "tcp", unbound) == \
            "descriptor 4: the socket is not bound to a port"


def test_without_the_flag_4_is_left_alone(launch, backend, port):
    """It may be something of whoever started the proxy."""
    with udp.bind() as theirs, StatusPipe() as status:
        proxy = launch.start(
            launch.docker_arguments("tcp", ("127.0.0.1", port), tcp.address(backend)),
            at_3=status.write_end, at_4=theirs.fileno())
        assert status.read_all() == b"0\n"
        with tcp.connect("127.0.0.1", port) as client, tcp.accept(backend) as server:
            tcp.exchange(client, server)
        assert proxy.running()


def test_low_descriptors_that_are_closed_are_not_reused(launch, backend):
    """A daemon may start the proxy without standard streams; what is written to them must not
    reach a socket that got their number."""
    shell = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    with tcp.listen() as front:
        proxy = launch.docker("tcp", tcp.address(front), tcp.address(backend),
                              listen_socket=front, wrapper=shell)
        with tcp.connect(*tcp.address(front)) as client, tcp.accept(backend) as server:
            tcp.exchange(client, server)
            targets = process_facts.descriptors(proxy.pid)
            assert all(not targets[fd].startswith("socket:") for fd in (0, 1, 2))
