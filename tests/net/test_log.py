"""What the proxy says on standard error, and the counters it shows on SIGUSR1."""

import json
import re
import signal

import tcp
import udp
from conftest import PublishedTcp, next_port
from deadline import wait_until


def counters(proxy):
    """Asks for them and returns the answer, {name: number}."""
    already = proxy.log().count("counters: ")
    proxy.send_signal(signal.SIGUSR1)
    wait_until(lambda: proxy.log().count("counters: ") > already, "no counters in the log")
    return counters_in(proxy.log().rsplit("counters: ", 1)[1])


def counters_in(text):
    return {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", text)}


def test_the_start_says_what_is_served_and_by_which_engine(launch, engine, port):
    proxy = launch.publish(f"127.0.0.1:{port}:127.0.0.1:9", f"[::1]:{port}:127.0.0.1:10/udp")
    log = proxy.log()
    assert f"127.0.0.1:{port}/tcp" in log and "127.0.0.1:9" in log
    assert f"[::1]:{port}/udp" in log and "127.0.0.1:10" in log
    assert f"with {engine}" in log


def test_lines_begin_with_time_and_level(published):
    for line in published.proxy.log().splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (info|warn|error) ", line), line


def test_the_stop_says_why_and_the_totals(published):
    client, server = published.open()
    with client, server:
        tcp.exchange(client, server)
    published.proxy.wait_for_sockets(1)
    published.proxy.stop(signal.SIGINT)
    last = published.proxy.log().splitlines()[-1]
    assert "SIGINT" in last
    assert counters_in(last)["connections_accepted"] == 1


def test_json(launch, port):
    with tcp.listen(port=next_port(), backlog=None) as dead:
        proxy = launch.docker("tcp", ("127.0.0.1", port), tcp.address(dead),
                              options=["-log-format", "json", "-log-level", "debug"])
        tcp.connect_in_vain("127.0.0.1", port)
        counters(proxy)
        proxy.stop()
    records = [json.loads(line) for line in proxy.log().splitlines()]
    assert len(records) >= 4
    for record in records:
        assert set(record) >= {"time", "level", "message"}
    assert any("refused" in record["message"] for record in records)


def test_levels(launch, port):
    with tcp.listen() as backend:
        proxy = launch.docker("tcp", ("127.0.0.1", port), tcp.address(backend),
                              options=["-log-level", "off"])
        proxy.send_signal(signal.SIGUSR1)
        with tcp.connect("127.0.0.1", port) as client, tcp.accept(backend) as server:
            tcp.exchange(client, server)
        proxy.stop()
    assert proxy.log() == ""


def test_a_closed_standard_error_is_no_obstacle(launch, port):
    with tcp.listen() as backend:
        proxy = launch.docker("tcp", ("127.0.0.1", port), tcp.address(backend),
                              wrapper=["sh", "-c", 'exec "$@" 2>&-', "sh"])
        proxy.send_signal(signal.SIGUSR1)
        with tcp.connect("127.0.0.1", port) as client, tcp.accept(backend) as server:
            tcp.exchange(client, server)


def test_connect_failures_are_logged_but_do_not_flood(launch, port):
    container = next_port()
    proxy = launch.docker("tcp", ("127.0.0.1", port), ("127.0.0.1", container))
    for _ in range(200):
        tcp.connect_in_vain("127.0.0.1", port)
    log = proxy.wait_for_log("refused")
    assert f"127.0.0.1:{container}" in log
    assert 1 <= log.count("refused") <= 10
    assert counters(proxy)["connections_refused"] == 200


def test_tcp_counters_are_true(launch, relay):
    published = PublishedTcp(launch)
    pairs = [published.open() for _ in range(3)]
    for number, (client, server) in enumerate(pairs, start=1):
        client.sendall(b"u" * 100_000 * number)
        server.sendall(b"d" * 1000 * number)
        tcp.receive_exactly(server, 100_000 * number)
        tcp.receive_exactly(client, 1000 * number)
    now = counters(published.proxy)
    assert now["connections_accepted"] == 3
    assert now["connections_open"] == 3
    assert now["bytes_to_container"] == 600_000
    assert now["bytes_to_client"] == 6000
    tcp.close_with_reset(pairs[0][0])
    tcp.expect_reset(pairs[0][1])
    for client, server in pairs[1:]:
        client.close()
        server.close()
    published.proxy.wait_for_sockets(1)
    now = counters(published.proxy)
    assert now["connections_open"] == 0
    assert now["connections_reset"] == 1
    assert now["connections_refused"] == 0


def test_udp_counters_are_true(launch, port):
    with udp.bind() as backend, udp.client("127.0.0.1", port) as first, \
            udp.client("127.0.0.1", port) as second:
        proxy = launch.docker("udp", ("127.0.0.1", port), tcp.address(backend))
        for _ in range(7):
            udp.exchange(first, backend)
        session = udp.exchange(second, backend)
        for _ in range(5):
            backend.sendto(b"pushed", session)
            assert udp.receive(second)[0] == b"pushed"
        now = counters(proxy)
    assert now["sessions_opened"] == now["sessions_open"] == 2
    assert now["datagrams_to_container"] == 8
    assert now["datagrams_to_client"] == 13
    assert now["datagrams_dropped"] == now["sessions_evicted"] == 0
