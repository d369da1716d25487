"""The cases that docker-proxy itself is tested with, under the names they have in moby's
cmd/docker-proxy/network_proxy_linux_test.go and udp_proxy_linux_test.go. Those call functions of
the program; these start it, and hand over the socket at descriptor 4 where those pass a listener.
"""

import socket
import time

import pytest

import tcp
import udp
from conftest import next_port
from transfer import Concurrently

PAYLOAD = b"Buffalo1 buffalo2 buffalo3 buffalo4 buffalo5 buffalo6 buffalo7 buffalo8"


def echo_over_tcp(listener, proxy_host, proxy_port, half_close=False):
    """A client that writes the payload, perhaps half-closes, and wants it back."""

    def serve():
        with tcp.accept(listener) as server:
            if half_close:
                data = tcp.receive_all(server)
            else:
                data = tcp.receive_exactly(server, len(PAYLOAD))
            server.sendall(data)
            if half_close:
                server.shutdown(socket.SHUT_WR)

    serving = Concurrently(serve)
    with tcp.connect(proxy_host, proxy_port) as client:
        client.sendall(PAYLOAD)
        if half_close:
            client.shutdown(socket.SHUT_WR)
        assert tcp.receive_exactly(client, len(PAYLOAD)) == PAYLOAD
    serving.results()


def echo_over_udp(backend, proxy_host, proxy_port):
    with udp.client(proxy_host, proxy_port) as client:
        udp.exchange(client, backend, PAYLOAD, PAYLOAD)


def TestTCP4Proxy(launch):
    with tcp.listen() as backend, tcp.listen() as front:
        launch.docker("tcp", tcp.address(front), tcp.address(backend), listen_socket=front)
        echo_over_tcp(backend, *tcp.address(front))


def TestTCP4ProxyNoListener(launch, port):
    with tcp.listen() as backend:
        launch.docker("tcp", ("127.0.0.1", port), tcp.address(backend))
        echo_over_tcp(backend, "127.0.0.1", port)


def TestTCP4ProxyHalfClose(launch):
    with tcp.listen() as backend, tcp.listen() as front:
        launch.docker("tcp", tcp.address(front), tcp.address(backend), listen_socket=front)
        echo_over_tcp(backend, *tcp.address(front), half_close=True)


def TestTCP6Proxy(launch):
    with tcp.listen("::1") as backend, tcp.listen("::1") as front:
        launch.docker("tcp", tcp.address(front), tcp.address(backend), listen_socket=front)
        echo_over_tcp(backend, *tcp.address(front))


def TestTCPDualStackProxy(launch):
    with tcp.listen("::1") as backend, tcp.listen("::", dual_stack=True) as front:
        port = front.getsockname()[1]
        launch.docker("tcp", ("::", port), tcp.address(backend), listen_socket=front)
        echo_over_tcp(backend, "127.0.0.1", port)


def TestUDP4Proxy(launch):
    with udp.bind() as backend, udp.bind() as front:
        launch.docker("udp", tcp.address(front), tcp.address(backend), listen_socket=front)
        echo_over_udp(backend, *tcp.address(front))


def TestUDP4ProxyNoListener(launch, port):
    with udp.bind() as backend:
        launch.docker("udp", ("127.0.0.1", port), tcp.address(backend))
        echo_over_udp(backend, "127.0.0.1", port)


def TestUDP6Proxy(launch):
    with udp.bind("::1") as backend, udp.bind("::1") as front:
        launch.docker("udp", tcp.address(front), tcp.address(backend), listen_socket=front)
        echo_over_udp(backend, *tcp.address(front))


def TestUDPWriteError(launch):
    """A dead backend does not end the proxy, and the first datagram after it has come to life is
    not lost."""
    dead_port = next_port()
    with udp.bind() as front:
        launch.docker("udp", tcp.address(front), ("127.0.0.1", dead_port), listen_socket=front)
        with udp.client(*tcp.address(front)) as client:
            for _ in range(2):
                client.send(PAYLOAD)
                assert udp.nothing_comes(client, 0.05)
            with udp.bind(port=dead_port) as backend:
                udp.exchange(client, backend, PAYLOAD, PAYLOAD)


def TestUDPOneSided(launch):
    """A client that is never answered keeps its session while it sends, and loses it after the
    time-out."""
    with udp.bind() as backend, udp.bind() as front:
        launch.docker("udp", tcp.address(front), tcp.address(backend), listen_socket=front,
                      options=["-udp-timeout", "1"])
        with udp.client(*tcp.address(front)) as client:
            ports = set()
            for _ in range(15):
                client.send(PAYLOAD)
                ports.add(udp.receive(backend)[1])
                time.sleep(0.1)
            assert len(ports) == 1
            time.sleep(1.9)
            client.send(PAYLOAD)
            assert udp.receive(backend)[1] not in ports


def sctp_socket(host):
    try:
        return socket.socket(tcp.family_of(host), socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    except OSError as error:
        pytest.skip(f"the kernel has no SCTP ({error.strerror})")


def echo_over_sctp(launch, host, pass_listener):
    with sctp_socket(host) as backend, sctp_socket(host) as front:
        for listener in (backend, front):
            listener.bind((host, 0))
        backend.listen(5)
        address = tcp.address(front)
        if pass_listener:
            front.listen(5)
            launch.docker("sctp", address, tcp.address(backend), listen_socket=front)
        else:
            front.close()
            launch.docker("sctp", address, tcp.address(backend))

        def serve():
            with tcp.accept(backend) as server:
                server.sendall(server.recv(4096))

        serving = Concurrently(serve)
        with sctp_socket(host) as client:
            client.connect(address)
            client.sendall(PAYLOAD)
            assert client.recv(4096) == PAYLOAD
        serving.results()


def TestSCTP4ProxyNoListener(launch):
    echo_over_sctp(launch, "127.0.0.1", pass_listener=False)


def TestSCTP6ProxyNoListener(launch):
    echo_over_sctp(launch, "::1", pass_listener=False)


def TestSCTP4Proxy(launch):
    echo_over_sctp(launch, "127.0.0.1", pass_listener=True)


def TestSCTP6Proxy(launch):
    echo_over_sctp(launch, "::1", pass_listener=True)
