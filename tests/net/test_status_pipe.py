"""Descriptor 3: how the daemon learns whether the port is served."""

import errno
import os
import select
import socket

import pytest

import tcp
import udp
from conftest import next_port
from deadline import ready, wait_until
from proxy_process import StatusPipe

CONTAINER = ("127.0.0.1", 9)


def failure(launch, arguments, **how):
    """What the daemon is told by a proxy that does not start."""
    with StatusPipe() as status:
        proxy = launch.start(arguments, at_3=status.write_end, **how)
        text = status.read_all()
    assert proxy.wait() == 1
    assert text.startswith(b"1\n")
    assert not text.endswith(b"\n")
    return text[2:].decode()


def test_success_is_two_bytes_and_the_end(launch, port):
    """One read(2) of two bytes is all that the daemon does before it looks at them."""
    with StatusPipe() as status:
        launch.start(launch.docker_arguments("tcp", ("127.0.0.1", port), CONTAINER),
                     at_3=status.write_end)
        assert status.read(2) == b"0\n"
        assert status.read(1) == b""


def test_the_port_is_served_when_success_is_told(launch):
    with tcp.listen() as backend:
        for _ in range(20):
            host = ("127.0.0.1", next_port())
            launch.docker("tcp", host, tcp.address(backend))
            tcp.reach(*host)


def test_a_status_is_one_write(launch, port):
    """A socket that keeps messages apart in the place of the pipe shows how often it is written
    to."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    host = ("127.0.0.1", port)
    with ours, tcp.listen(*host):
        proxy = launch.start(launch.docker_arguments("tcp", host, CONTAINER), at_3=theirs.fileno())
        theirs.close()
        assert ours.recv(4096).startswith(b"1\nfailed to listen on ")
        assert ours.recv(4096) == b""
        assert proxy.wait() == 1


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("host_ip, text", [("127.0.0.1", "127.0.0.1:{}"), ("::1", "[::1]:{}")])
def test_a_busy_port_is_told_in_docker_proxys_words(launch, port, proto, host_ip, text):
    address = text.format(port)
    family = "6" if ":" in host_ip else "4"
    occupy = tcp.listen if proto == "tcp" else udp.bind
    with occupy(host_ip, port):
        error = failure(launch, launch.docker_arguments(proto, (host_ip, port), CONTAINER))
    assert error == (f"failed to listen on {address}: "
                     f"listen {proto}{family} {address}: bind: address already in use")


def test_an_address_of_another_host(launch, port):
    error = failure(launch, launch.docker_arguments("tcp", ("192.0.2.1", port), CONTAINER))
    assert error == (f"failed to listen on 192.0.2.1:{port}: "
                     f"listen tcp4 192.0.2.1:{port}: bind: cannot assign requested address")


def test_a_protocol_that_is_none(launch, port):
    for proto in ("TCP", "icmp", ""):
        error = failure(launch, launch.docker_arguments(proto, ("127.0.0.1", port), CONTAINER))
        assert error == f"unsupported protocol {proto}"


def test_sctp_where_the_kernel_has_none(launch, port):
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError as lacking:
        assert lacking.errno == errno.EPROTONOSUPPORT
    else:
        pytest.skip("this kernel has SCTP")
    error = failure(launch, launch.docker_arguments("sctp", ("127.0.0.1", port), CONTAINER))
    assert error == f"failed to listen on 127.0.0.1:{port}: protocol not supported"


@pytest.mark.parametrize("wrong", [0, -1, 70000, 65536])
@pytest.mark.parametrize("flag", ["-host-port", "-container-port"])
def test_a_port_that_is_none(launch, port, flag, wrong):
    arguments = launch.docker_arguments("tcp", ("127.0.0.1", port), CONTAINER)
    error = failure(launch, [*arguments, flag, wrong])
    assert error == f"{flag} {wrong}: accepted: 1 to 65535"


def test_ports_and_addresses_that_are_not_given(launch):
    assert failure(launch, ["-proto", "tcp"]).startswith("-host-port -1: ")
    error = failure(launch, ["-host-port", next_port(), "-container-port", 80])
    assert error.startswith("-container-ip 0.0.0.0: ")


def test_a_missing_configuration_file(launch, port):
    """Every failure goes the same way, not only those of the socket."""
    arguments = launch.docker_arguments("tcp", ("127.0.0.1", port), CONTAINER)
    error = failure(launch, [*arguments, "-config", "/nowhere/proxy.conf"])
    assert error == "open /nowhere/proxy.conf: no such file or directory (--config)"


def serves(proxy, host, backend):
    assert proxy.running(), proxy.log()

    def connected():
        try:
            return tcp.connect(*host)
        except ConnectionRefusedError:
            return None

    with wait_until(connected, "never served") as client, tcp.accept(backend) as server:
        tcp.exchange(client, server)


@pytest.fixture
def host(port):
    return ("127.0.0.1", port)


def test_nothing_at_3_is_harmless(launch, host):
    with tcp.listen() as backend:
        proxy = launch.start(launch.docker_arguments("tcp", host, tcp.address(backend)))
        serves(proxy, host, backend)


def test_something_else_at_3_is_harmless(launch, host):
    with tcp.listen() as backend, open("/dev/null", "rb") as null:
        proxy = launch.start(launch.docker_arguments("tcp", host, tcp.address(backend)),
                             at_3=null.fileno())
        serves(proxy, host, backend)


def test_a_daemon_that_has_gone_is_harmless(launch, host):
    """EPIPE, without the signal."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with tcp.listen() as backend:
        proxy = launch.start(launch.docker_arguments("tcp", host, tcp.address(backend)),
                             at_3=write_end)
        os.close(write_end)
        serves(proxy, host, backend)


def test_a_full_pipe_does_not_hold_the_proxy_up(launch, host):
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(write_end, b"x" * 4096)
    os.set_blocking(write_end, True)
    with tcp.listen() as backend:
        proxy = launch.start(launch.docker_arguments("tcp", host, tcp.address(backend)),
                             at_3=write_end)
        os.close(write_end)
        serves(proxy, host, backend)
    os.close(read_end)


def test_a_usage_error_leaves_3_untouched(launch):
    with StatusPipe() as status:
        proxy = launch.start(["-proto", "tcp", "-what"], at_3=status.write_end)
        assert status.read_all() == b""
    assert proxy.wait() == 2


def test_by_hand_3_is_somebody_elses(launch, port):
    """Nothing is written there, and it stays open."""
    with StatusPipe() as pipe:
        launch.publish(f"127.0.0.1:{port}:127.0.0.1:9", at_3=pipe.write_end)
        pipe.close_write_end()
        assert not ready(pipe.read_end, select.POLLIN, 0.05)


def test_the_exit_status_of_a_proxy_that_does_not_start_is_1_without_a_daemon(launch, port):
    with tcp.listen(port=port):
        proxy = launch.start(launch.docker_arguments("tcp", ("127.0.0.1", port), CONTAINER))
        assert proxy.wait() == 1
        assert "address already in use" in proxy.log()
