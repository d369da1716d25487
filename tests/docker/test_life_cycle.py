"""A proxy comes with its published port and goes with it, however that happens."""

import contextlib
import socket
import time

import pytest

from clients import ask_tcp, ask_udp, is_refused
from docker_daemon import wait_until


@pytest.fixture
def clean_daemon(daemon):
    """A daemon without containers, and so without proxies, before and after."""
    listening = daemon.machine.listening()
    assert daemon.proxies() == []
    yield daemon
    names = daemon.docker("ps", "--all", "--quiet").split()
    if names:
        daemon.remove(*names)
    wait_until(lambda: daemon.proxies() == [], "no proxy is left")
    assert daemon.machine.listening() == listening


def test_one_proxy_per_address_family_serves_a_port(clean_daemon):
    clean_daemon.run_service("web", "--publish", "8080:80")
    proxies = clean_daemon.proxies()
    assert len(proxies) == 2
    assert ("tcp", 8080) in clean_daemon.machine.listening()
    # Since 28.0 the daemon makes the listening socket and keeps no duplicate of it.
    command_lines = [clean_daemon.machine.run("cat", f"/proc/{pid}/cmdline").stdout for pid in proxies]
    assert ["-use-listen-fd" in line for line in command_lines] == [clean_daemon.version >= (28, 0)] * 2


def test_port_published_on_one_address_is_not_served_on_another(clean_daemon):
    clean_daemon.run_service("web", "--publish", "127.0.0.1:8080:80")
    assert len(clean_daemon.proxies()) == 1
    ask_tcp(clean_daemon.machine.network(), "127.0.0.1", 8080)
    assert is_refused(clean_daemon.machine.network(), "::1", 8080)
    assert is_refused(clean_daemon.machine.network(), "127.0.0.2", 8080)


def test_removal_closes_the_port(clean_daemon):
    clean_daemon.run_service("web", "--publish", "8080:80", "--publish", "8080:80/udp")
    assert len(clean_daemon.proxies()) == 4
    clean_daemon.remove("web")
    assert clean_daemon.proxies() == []
    assert is_refused(clean_daemon.machine.network(), "127.0.0.1", 8080)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def test_port_conflict_is_a_clear_error(clean_daemon, kind):
    protocol = "tcp" if kind == socket.SOCK_STREAM else "udp"
    with clean_daemon.machine.network():
        squatter = socket.socket(socket.AF_INET, kind)
    with squatter:
        squatter.bind(("0.0.0.0", 8080))
        if kind == socket.SOCK_STREAM:
            squatter.listen()
        with pytest.raises(AssertionError) as failure:
            clean_daemon.run_service("web", "--publish", f"8080:80/{protocol}")
    assert "address already in use" in str(failure.value)
    assert "8080" in str(failure.value)
    assert clean_daemon.proxies() == []


def test_stop_is_prompt_with_connections_open(clean_daemon):
    clean_daemon.run_service("web", "--publish", "8080:80", "--publish", "8080:80/udp")
    with clean_daemon.machine.network():
        connections = [socket.create_connection(("127.0.0.1", 8080)) for _ in range(50)]
    for connection in connections:
        assert connection.recv(100)
    ask_udp(clean_daemon.machine.network(), "127.0.0.1", 8080)
    clean_daemon.docker("kill", "web")
    started = time.monotonic()
    clean_daemon.remove("web")
    assert time.monotonic() - started < 3
    for connection in connections:
        connection.close()


def test_restarted_container_is_served_at_once(clean_daemon):
    """Its port is bound again while connections of the old proxy are in TIME_WAIT."""
    clean_daemon.run_service("web", "--publish", "8080:80", "--publish", "8080:80/udp")
    for _ in range(3):
        ask_tcp(clean_daemon.machine.network(), "127.0.0.1", 8080)
        with clean_daemon.machine.network():
            open_connection = socket.create_connection(("127.0.0.1", 8080))
        with open_connection:
            assert open_connection.recv(100)
            clean_daemon.docker("restart", "--time", "0", "web")
        clean_daemon.serving("web")
        ask_tcp(clean_daemon.machine.network(), "127.0.0.1", 8080)
        ask_tcp(clean_daemon.machine.network(), "::1", 8080)
        ask_udp(clean_daemon.machine.network(), "::1", 8080)


def test_paused_service_keeps_its_clients_waiting(clean_daemon):
    web = clean_daemon.run_service("web", "--publish", "8080:80")
    clean_daemon.docker("pause", "web")
    with clean_daemon.machine.network():
        waiting = socket.create_connection(("127.0.0.1", 8080), timeout=10)
    clean_daemon.docker("unpause", "web")
    with waiting:
        assert waiting.recv(100).decode().strip() == web.gateway


def test_port_that_the_container_does_not_serve_closes_the_client(clean_daemon):
    clean_daemon.run_service("web", "--publish", "8080:80", "--publish", "8081:81",
                             "--publish", "8081:81/udp")
    for _ in range(3):
        # The reset may be there before the client has returned from connect().
        with clean_daemon.machine.network(), contextlib.suppress(ConnectionResetError):
            with socket.create_connection(("127.0.0.1", 8081), timeout=10) as client:
                assert client.recv(100) == b""
        with clean_daemon.machine.network(), socket.socket(type=socket.SOCK_DGRAM) as client:
            client.sendto(b"ping", ("127.0.0.1", 8081))
    assert len(clean_daemon.proxies()) == 6
    ask_tcp(clean_daemon.machine.network(), "127.0.0.1", 8080)


def test_killed_daemon_takes_the_proxies_with_it(clean_daemon):
    clean_daemon.run_service("web", "--publish", "8080:80", "--publish", "8080:80/udp")
    assert len(clean_daemon.proxies()) == 4
    clean_daemon.kill("KILL")
    wait_until(lambda: clean_daemon.proxies() == [], "the proxies ended with their parent")
    assert is_refused(clean_daemon.machine.network(), "127.0.0.1", 8080)
    clean_daemon.start()
    clean_daemon.docker("start", "web")
    clean_daemon.serving("web")
    ask_tcp(clean_daemon.machine.network(), "127.0.0.1", 8080)


def test_stopped_daemon_leaves_nothing(clean_daemon):
    clean_daemon.run_service("web", "--publish", "8080:80", "--restart", "always")
    clean_daemon.kill("TERM")
    assert clean_daemon.proxies() == []
    assert ("tcp", 8080) not in clean_daemon.machine.listening()
    clean_daemon.start()
    clean_daemon.serving("web")
    ask_tcp(clean_daemon.machine.network(), "127.0.0.1", 8080)
