"""What a proxy has done, as Prometheus reads it."""

import http.client
import os
import re
import signal
import socket
import stat

import pytest

import tcp
import udp
from conftest import next_port
from deadline import wait_until
from proxy_process import run_to_end


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def connection_to(address):
    if address.startswith("unix:"):
        return UnixConnection(address.removeprefix("unix:"))
    host, port = address.rsplit(":", 1)
    return http.client.HTTPConnection(host.strip("[]"), int(port), timeout=20)


def scrape(address):
    """The samples: name and labels to value."""
    connection = connection_to(address)
    connection.request("GET", "/metrics")
    reply = connection.getresponse()
    assert reply.status == 200
    assert reply.getheader("Content-Type").startswith("text/plain; version=0.0.4")
    text = reply.read().decode()
    connection.close()
    samples = {}
    for line in text.splitlines():
        assert re.fullmatch(r'(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})?'
                            r" [0-9.e+]+)", line), line
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            assert name not in samples, line
            samples[name] = float(value)
    return samples


@pytest.fixture(params=["127.0.0.1", "[::1]", "unix"])
def address(request, tmp_path):
    if request.param == "unix":
        return f"unix:{tmp_path}/metrics.sock"
    return f"{request.param}:{next_port()}"


def test_each_mapping_has_its_own_figures(launch, address):
    with tcp.listen() as first, tcp.listen() as second, udp.bind() as third:
        ports = [next_port() for _ in range(3)]
        mappings = [f"127.0.0.1:{port}:127.0.0.1:{tcp.address(backend)[1]}/{protocol}"
                    for port, backend, protocol in zip(ports, (first, second, third),
                                                       ("tcp", "tcp", "udp"))]
        launch.publish(*mappings, options=["--metrics", address])
        with tcp.connect("127.0.0.1", ports[1]) as client, tcp.accept(second) as server:
            client.sendall(b"12345")
            assert server.recv(10) == b"12345"
            server.sendall(b"123")
            assert client.recv(10) == b"123"
            with udp.client("127.0.0.1", ports[2]) as asking:
                asking.send(b"1234567")
                assert udp.receive(third)[0] == b"1234567"
            samples = scrape(address)
        expected = {
            ("connections_accepted_total", 0, ""): 0,
            ("connections_accepted_total", 1, ""): 1,
            ("connections_open", 1, ""): 1,
            ("bytes_total", 0, ',direction="to_container"'): 0,
            ("bytes_total", 1, ',direction="to_container"'): 5,
            ("bytes_total", 1, ',direction="to_client"'): 3,
            ("bytes_total", 2, ',direction="to_container"'): 7,
            ("datagrams_total", 2, ',direction="to_container"'): 1,
            ("udp_sessions_open", 2, ""): 1,
            ("errors_total", 1, ',kind="connection_reset"'): 0,
        }
        for (name, mapping, more), value in expected.items():
            assert samples[f'fairlead_{name}{{mapping="{mappings[mapping]}"{more}}}'] == value
        assert samples["fairlead_loops"] == 1
        assert samples["process_cpu_seconds_total"] > 0
        closed = f'fairlead_connections_open{{mapping="{mappings[1]}"}}'
        wait_until(lambda: scrape(address)[closed] == 0, "the connection is still counted as open")


def test_errors_are_counted_by_kind(launch, port, address):
    with tcp.listen() as backend:
        nobody = tcp.address(backend)[1]
    mapping = f"127.0.0.1:{port}:127.0.0.1:{nobody}/tcp"
    launch.publish(mapping, options=["--metrics", address])
    tcp.reach("127.0.0.1", port)
    refused = f'fairlead_errors_total{{mapping="{mapping}",kind="connection_refused"}}'
    wait_until(lambda: scrape(address)[refused] == 1, "the refusal is not counted")


def test_a_socket_is_not_for_everybody_and_goes_with_the_proxy(launch, port, tmp_path):
    path = tmp_path / "metrics.sock"
    proxy = launch.publish(f"127.0.0.1:{port}:127.0.0.1:9", options=["--metrics", f"unix:{path}"])
    facts = os.stat(path)
    assert stat.S_ISSOCK(facts.st_mode) and stat.S_IMODE(facts.st_mode) == 0o660
    proxy.stop()
    assert not path.exists()


def test_one_directory_serves_the_proxies_of_a_daemon(launch, tmp_path):
    proxies = []
    for _ in range(2):
        proxies.append(launch.docker("tcp", ("127.0.0.1", next_port()), ("127.0.0.1", 9),
                                     options=["-metrics", f"unix:{tmp_path}/"]))
    for proxy in proxies:
        assert scrape(f"unix:{tmp_path}/{proxy.pid}.sock")["fairlead_loops"] == 1
    proxies[0].stop()
    assert not (tmp_path / f"{proxies[0].pid}.sock").exists()


def test_a_daemon_s_proxies_cannot_share_one_address(launch, port):
    proxy = launch.docker("tcp", ("127.0.0.1", port), ("127.0.0.1", 9),
                          options=["-metrics", f"127.0.0.1:{next_port()}"])
    assert "metrics: not served" in proxy.log()
    proxy.idle_sockets = 1


def test_an_address_in_use_is_named(launch, port):
    with tcp.listen() as other:
        taken = tcp.address(other)[1]
        ended = run_to_end("-p", f"127.0.0.1:{port}:127.0.0.1:9", "--metrics",
                           f"127.0.0.1:{taken}")
    assert ended.code == 1
    assert f"--metrics: listen on 127.0.0.1:{taken}/tcp: bind: address already in use" in ended.stderr


def test_a_new_proxy_takes_the_address_over(launch, port, tmp_path, address):
    options = ["--handover", str(tmp_path / "handover"), "--drain", "60", "--metrics", address]
    with tcp.listen() as backend:
        mapping = f"127.0.0.1:{port}:127.0.0.1:{tcp.address(backend)[1]}/tcp"
        accepted = f'fairlead_connections_accepted_total{{mapping="{mapping}"}}'
        old = launch.publish(mapping, options=options)
        with tcp.connect("127.0.0.1", port), tcp.accept(backend):
            assert scrape(address)[accepted] == 1
            new = launch.publish(mapping, options=options)
            assert scrape(address)[accepted] == 0
            with tcp.connect("127.0.0.1", port), tcp.accept(backend):
                assert scrape(address)[accepted] == 1
            assert old.running()
        assert old.wait() == 0
        assert scrape(address)[accepted] == 1
        new.send_signal(signal.SIGINT)
        assert new.wait() == 0


def test_who_asks_and_says_nothing_holds_nobody_up(launch, port, address):
    with tcp.listen() as backend:
        launch.publish(f"127.0.0.1:{port}:127.0.0.1:{tcp.address(backend)[1]}",
                       options=["--metrics", address])
        silent = [connection_to(address) for _ in range(7)]
        for connection in silent:
            connection.connect()
        scrape(address)
        with tcp.connect("127.0.0.1", port) as client, tcp.accept(backend) as server:
            tcp.exchange(client, server)
        for connection in silent:
            connection.close()
