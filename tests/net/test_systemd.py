"""systemd's two conventions: readiness is told at $NOTIFY_SOCKET, sockets come by LISTEN_FDS."""

import os
import socket

import pytest

import tcp
import udp
from conftest import next_port
from proxy_process import ReadySocket

# LISTEN_PID has to be the process id of the proxy, which exec keeps.
AS_SYSTEMD = ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"]


@pytest.fixture
def manager(tmp_path):
    with ReadySocket(str(tmp_path / "notify")) as ready:
        yield ready


def test_ready_and_stopping_are_told(launch, manager, port):
    proxy = launch.start(["-p", f"127.0.0.1:{port}:127.0.0.1:9"],
                         environment={"NOTIFY_SOCKET": manager.path})
    assert manager.receive() == "READY=1"
    tcp.reach("127.0.0.1", port)
    proxy.stop()
    assert manager.receive() == "STOPPING=1"
    assert manager.receive(0.05) is None


def test_an_abstract_socket(launch, port, tmp_path):
    name = "fairlead-test-" + tmp_path.name
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as abstract:
        abstract.bind("\0" + name)
        launch.start(["-p", f"127.0.0.1:{port}:127.0.0.1:9"],
                     environment={"NOTIFY_SOCKET": "@" + name})
        assert abstract.recv(100) == b"READY=1"


def test_readiness_is_not_told_before_every_port_is_open(launch, manager, port):
    with tcp.listen(port=port):
        proxy = launch.start(["-p", f"127.0.0.1:{port}:127.0.0.1:9"],
                             environment={"NOTIFY_SOCKET": manager.path})
        assert proxy.wait() == 1
        assert manager.receive(0.05) is None


def test_a_proxy_of_dockerd_says_nothing(launch, manager, port):
    """The environment is dockerd's own: READY=1 from a proxy would be taken for the daemon's."""
    with tcp.listen() as backend:
        proxy = launch.docker("tcp", ("127.0.0.1", port), tcp.address(backend),
                              environment={"NOTIFY_SOCKET": manager.path})
        proxy.stop()
    assert manager.receive(0.05) is None


def test_nobody_at_the_notify_socket_is_no_obstacle(launch, port):
    proxy = launch.start(["-p", f"127.0.0.1:{port}:127.0.0.1:9"],
                         environment={"NOTIFY_SOCKET": "/nowhere/notify"})
    proxy.wait_for_log("/nowhere/notify")
    tcp.reach("127.0.0.1", port)


def test_sockets_are_taken_from_the_manager(launch, manager):
    with tcp.listen() as backend, udp.bind() as udp_backend, \
            tcp.listen() as front, udp.bind() as udp_front:
        mappings = ["-p", "{}:{}:{}:{}".format(*tcp.address(front), *tcp.address(backend)),
                    "-p", "{}:{}:{}:{}/udp".format(*tcp.address(udp_front),
                                                   *tcp.address(udp_backend))]
        launch.start(mappings, wrapper=AS_SYSTEMD, at_3=udp_front.fileno(), at_4=front.fileno(),
                     environment={"NOTIFY_SOCKET": manager.path, "LISTEN_FDS": "2"})
        assert manager.receive() == "READY=1"
        with tcp.connect(*tcp.address(front)) as client, tcp.accept(backend) as server:
            tcp.exchange(client, server)
        with udp.client(*tcp.address(udp_front)) as client:
            udp.exchange(client, udp_backend)


def test_ports_without_a_passed_socket_are_opened(launch, manager, port):
    with tcp.listen() as backend, tcp.listen() as front:
        launch.start(["-p", "{}:{}:{}:{}".format(*tcp.address(front), *tcp.address(backend)),
                      "-p", "127.0.0.1:{}:{}:{}".format(port, *tcp.address(backend))],
                     wrapper=AS_SYSTEMD, at_3=front.fileno(),
                     environment={"NOTIFY_SOCKET": manager.path, "LISTEN_FDS": "1"})
        assert manager.receive() == "READY=1"
        for host in (tcp.address(front), ("127.0.0.1", port)):
            with tcp.connect(*host) as client, tcp.accept(backend) as server:
                tcp.exchange(client, server)


def test_a_passed_socket_that_no_mapping_names_is_an_error(launch):
    with tcp.listen() as front:
        proxy = launch.start(["-p", f"127.0.0.1:{next_port()}:127.0.0.1:9"],
                             wrapper=AS_SYSTEMD, at_3=front.fileno(),
                             environment={"LISTEN_FDS": "1"})
        assert proxy.wait() == 1
        assert "LISTEN_FDS" in proxy.log()
        assert "{}:{}/tcp".format(*tcp.address(front)) in proxy.log()


def test_sockets_for_another_process_are_left_alone(launch, manager, port):
    """LISTEN_PID of somebody else: the variables have been inherited, the sockets have not."""
    launch.start(["-p", f"127.0.0.1:{port}:127.0.0.1:9"],
                 environment={"NOTIFY_SOCKET": manager.path, "LISTEN_FDS": "1",
                              "LISTEN_PID": str(os.getpid())})
    assert manager.receive() == "READY=1"
    tcp.reach("127.0.0.1", port)
