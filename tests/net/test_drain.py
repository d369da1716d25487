"""An end that lets connections come to theirs, and a new proxy that takes the place of the old one
without a moment in which nobody listens."""

import os
import select
import signal
import socket
import stat
import time

import pytest

import tcp
import udp
from conftest import PublishedTcp, next_port
from deadline import ready, wait_until
from proxy_process import STOP_SECONDS, run_to_end
from test_log import counters
from visitor import Visitor, served


@pytest.fixture
def backend():
    with tcp.listen() as listener:
        yield listener


def publish(launch, port, backend, *options, **how):
    container = tcp.address(backend)[1]
    return launch.publish(f"127.0.0.1:{port}:127.0.0.1:{container}",
                          options=[str(option) for option in options], **how)


def pair(port, backend):
    client = tcp.connect("127.0.0.1", port)
    return client, tcp.accept(backend)


def refuses(port):
    try:
        tcp.reach("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    return False


def is_free(port):
    try:
        udp.bind(port=port).close()
    except OSError:
        return False
    return True


# Draining.

def test_connections_go_on_and_clients_are_refused(launch, port, backend):
    proxy = publish(launch, port, backend, "--drain", 60)
    first, second = pair(port, backend), pair(port, backend)
    proxy.send_signal(signal.SIGTERM)
    proxy.wait_for_log("drain on SIGTERM: 2 connections have 60 s to end")
    wait_until(lambda: refuses(port), "still accepting")
    for client, server in (first, second):
        tcp.exchange(client, server)
        client.close()
        assert server.recv(1) == b""
        assert proxy.running()
        server.close()
    # Whom refuses() may have connected just before, and whom nobody serves.
    backend.close()
    assert proxy.wait() == 0
    proxy.check_log()


def test_who_waits_to_be_accepted_is_served(launch, port, backend):
    """With so little room for connections they are accepted one at a time."""
    proxy = publish(launch, port, backend, "--drain", 60, "--max-connections", 100)
    proxy.send_signal(signal.SIGSTOP)
    clients = [tcp.connect("127.0.0.1", port) for _ in range(20)]
    proxy.send_signal(signal.SIGTERM)
    proxy.send_signal(signal.SIGCONT)
    servers = [tcp.accept(backend) for _ in clients]
    wait_until(lambda: refuses(port), "still accepting")
    for client in clients:
        client.sendall(b"hello")
    for server in servers:
        assert tcp.receive_exactly(server, 5) == b"hello"
    # And whom refuses() may have connected just before.
    for end in (*clients, *servers, backend):
        end.close()
    assert proxy.wait() == 0


def test_their_time_is_limited(launch, port, backend):
    proxy = publish(launch, port, backend, "--drain", 1)
    client, server = pair(port, backend)
    proxy.send_signal(signal.SIGTERM)
    begin = time.monotonic()
    assert proxy.wait(1 + STOP_SECONDS) == 0
    assert time.monotonic() - begin > 0.9
    for end in (client, server):
        tcp.expect_closed(end)
        end.close()


@pytest.mark.parametrize("signals", [(signal.SIGINT,), (signal.SIGTERM, signal.SIGTERM),
                                     (signal.SIGTERM, signal.SIGINT)])
def test_who_is_in_a_hurry_does_not_wait(launch, port, backend, signals):
    proxy = publish(launch, port, backend, "--drain", 60)
    with pair(port, backend)[0] as client:
        for number in signals[:-1]:
            proxy.send_signal(number)
            proxy.wait_for_log("drain on")
        proxy.send_signal(signals[-1])
        assert proxy.wait() == 0
        tcp.expect_closed(client)


def test_without_connections_there_is_nothing_to_wait_for(launch, port, backend):
    proxy = publish(launch, port, backend, "--drain", 60)
    proxy.stop()


def test_a_daemon_s_proxy_ends_at_once(launch):
    published = PublishedTcp(launch, options=["-drain", "60", "-handover", "/nowhere/at/all"])
    client, server = published.open()
    published.proxy.stop()
    for end in (client, server):
        tcp.expect_closed(end)
        end.close()


def test_replies_to_datagrams_are_waited_for(launch, port):
    with udp.bind() as server, udp.client("127.0.0.1", port) as client:
        proxy = launch.publish(f"127.0.0.1:{port}:127.0.0.1:{tcp.address(server)[1]}/udp",
                               options=["--drain", "60"])
        client.send(b"query")
        _, session = udp.receive(server)
        proxy.send_signal(signal.SIGTERM)
        proxy.wait_for_log("drain on")
        server.sendto(b"answer", session)
        assert client.recv(100) == b"answer"
        assert proxy.wait(1 + STOP_SECONDS) == 0


# Handing over.

@pytest.fixture
def echo(backend):
    with served(backend):
        yield backend


def test_no_client_notices_replacements(launch, port, echo, tmp_path):
    path = tmp_path / "handover"
    options = ("--handover", path, "--drain", 30)
    proxy = publish(launch, port, echo, *options)
    visitors = [Visitor("127.0.0.1", port) for _ in range(3)]
    try:
        for _ in range(5):
            visitors[0].has_visited(20)
            replacement = publish(launch, port, echo, *options)
            assert proxy.wait(10) == 0, proxy.log()
            assert "drain after the handover" in proxy.log()
            proxy.check_log()
            proxy = replacement
        visitors[0].has_visited(20)
    finally:
        for visitor in visitors:
            visitor.end()
    assert counters(proxy)["connections_refused"] == 0
    proxy.wait_for_sockets(proxy.idle_sockets + 1)
    proxy.idle_sockets += 1
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    proxy.stop()
    assert not path.exists()


def test_open_connections_stay_with_the_old_one(launch, port, backend, tmp_path):
    options = ("--handover", tmp_path / "handover", "--drain", 60)
    old = publish(launch, port, backend, *options)
    client, server = pair(port, backend)
    new = publish(launch, port, backend, *options)
    new.idle_sockets += 1
    with pair(port, backend)[0]:
        tcp.exchange(client, server)
        assert counters(old)["connections_open"] == counters(new)["connections_open"] == 1
    client.close()
    server.close()
    assert old.wait() == 0


def test_without_drain_the_old_one_ends_at_once(launch, port, backend, tmp_path):
    options = ("--handover", tmp_path / "handover")
    old = publish(launch, port, backend, *options)
    with pair(port, backend)[0] as client:
        new = publish(launch, port, backend, *options)
        new.idle_sockets += 1
        assert old.wait() == 0
        tcp.expect_closed(client)


def test_after_a_handover_connections_may_have_another_time(launch, port, backend, tmp_path):
    options = ("--handover", tmp_path / "handover", "--handover-drain", 60)
    old = publish(launch, port, backend, *options)
    with pair(port, backend)[0] as client:
        new = publish(launch, port, backend, *options)
        new.idle_sockets += 1
        old.wait_for_log("drain after the handover: 1 connections have 60 s to end")
        old.send_signal(signal.SIGTERM)
        assert old.wait() == 0
        tcp.expect_closed(client)
    with pair(port, backend)[0] as client:
        new.send_signal(signal.SIGTERM)
        assert new.wait() == 0
        tcp.expect_closed(client)


def test_a_new_one_that_fails_changes_nothing(launch, port, backend, tmp_path, engine):
    path = str(tmp_path / "handover")
    old = publish(launch, port, backend, "--handover", path)
    old.idle_sockets += 1
    with tcp.listen() as other:
        taken = tcp.address(other)[1]
        container = tcp.address(backend)[1]
        ended = run_to_end("-p", f"127.0.0.1:{port}:127.0.0.1:{container}", "--engine", engine,
                           "-p", f"127.0.0.1:{taken}:127.0.0.1:{container}", "--handover", path)
    assert ended.code == 1 and "address already in use" in ended.stderr
    old.wait_for_log("the new proxy has failed, this one goes on")
    for end in pair(port, backend):
        end.close()
    # And the next one may.
    new = publish(launch, port, backend, "--handover", path)
    new.idle_sockets += 1
    assert old.wait() == 0


def test_the_paths_come_back_from_a_new_one_that_fails_late(launch, port, backend, tmp_path, engine):
    """It may not become another user, which it tries when everything else is there."""
    path, metrics = tmp_path / "handover", tmp_path / "metrics"
    options = ["--handover", str(path), "--metrics", f"unix:{metrics}"]
    old = publish(launch, port, backend, *options)
    old.idle_sockets += 1
    before = [os.stat(name).st_ino for name in (path, metrics)]
    ended = run_to_end("-p", f"127.0.0.1:{port}:127.0.0.1:{tcp.address(backend)[1]}",
                       *options, "--engine", engine, "--user", "65534:65534",
                       wrapper=["setpriv", "--bounding-set=-setgid", "--inh-caps=-setgid"])
    assert ended.code == 1 and "setgroups" in ended.stderr
    old.wait_for_log("the new proxy has failed, this one goes on")
    assert [os.stat(name).st_ino for name in (path, metrics)] == before
    assert sorted(tmp_path.iterdir()) == [path, metrics]
    new = publish(launch, port, backend, *options)
    new.idle_sockets += 1
    assert old.wait() == 0
    assert sorted(tmp_path.iterdir()) == [path, metrics]


def test_a_new_one_that_is_killed_changes_nothing(launch, port, backend, tmp_path):
    """It has the path already, which is found to be nobody's by the next."""
    path = tmp_path / "handover"
    old = publish(launch, port, backend, "--handover", path)
    os.rename(path, f"{path}.new")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as killed:
        killed.bind(str(path))
    new = publish(launch, port, backend, "--handover", path)
    new.idle_sockets += 1
    assert old.wait() == 0
    assert sorted(tmp_path.iterdir()) == [path]
    for end in pair(port, backend):
        end.close()


def test_ports_may_change_with_the_replacement(launch, backend, tmp_path):
    gone, kept, added = next_port(), next_port(), next_port()
    container = f"127.0.0.1:{tcp.address(backend)[1]}"
    options = ["--handover", str(tmp_path / "handover")]
    old = launch.publish(*(f"127.0.0.1:{port}:{container}" for port in (gone, kept)),
                         options=options)
    new = launch.publish(*(f"127.0.0.1:{port}:{container}" for port in (kept, added)),
                         options=options)
    new.idle_sockets += 1
    assert old.wait() == 0
    assert refuses(gone)
    for port in (kept, added):
        for end in pair(port, backend):
            end.close()


def test_datagram_ports_that_are_gone_are_free_at_once(launch, backend, tmp_path):
    """Also while the old one has connections, and a session on the port. Of those that stay it lets go
    a second later."""
    gone, kept, stream = next_port(), next_port(), next_port()
    container = f"127.0.0.1:{tcp.address(backend)[1]}"
    options = ["--handover", str(tmp_path / "handover"), "--drain", "60"]
    with udp.bind() as server:
        mappings = [f"127.0.0.1:{stream}:{container}",
                    f"127.0.0.1:{kept}:127.0.0.1:{tcp.address(server)[1]}/udp"]
        old = launch.publish(
            *mappings, f"127.0.0.1:{gone}:127.0.0.1:{tcp.address(server)[1]}/udp", options=options)
        with udp.client("127.0.0.1", gone) as client:
            udp.exchange(client, server)
        ends = pair(stream, backend)
        new = launch.publish(*mappings, options=options)
        new.idle_sockets += 1
        udp.bind(port=gone).close()
        with udp.client("127.0.0.1", kept) as client:
            udp.exchange(client, server)
        tcp.exchange(*ends)
        new.stop()
        wait_until(lambda: is_free(kept), "the port is not free")
        tcp.exchange(*ends)
        for end in ends:
            end.close()
        assert old.wait() == 0


def test_many_sockets_of_every_kind(launch, backend, tmp_path):
    """More than one message carries (SCM_MAX_FD)."""
    first = next_port(300)
    container = tcp.address(backend)[1]
    mappings = [f"127.0.0.1:{first}-{first + 299}:127.0.0.2:10000-10299",
                f"127.0.0.1:{first}-{first + 299}:127.0.0.1:{container}-{container + 299}/udp"]
    options = ["--handover", str(tmp_path / "handover")]
    old = launch.publish(*mappings, options=options)
    new = launch.publish(*mappings, options=options)
    assert old.wait() == 0
    assert new.idle_sockets == 600 + 1
    with udp.bind(port=container + 299) as server:
        with udp.client("127.0.0.1", first + 299) as client:
            udp.exchange(client, server)
    for port in (first, first + 299):
        assert not refuses(port)


def test_a_path_that_is_left_over_is_taken(launch, port, backend, tmp_path):
    path = tmp_path / "handover"
    old = publish(launch, port, backend, "--handover", path)
    old.kill()
    assert path.exists()
    # The kernel closes the sockets of a ring a little later.
    wait_until(lambda: refuses(port), "still listening")
    new = publish(launch, port, backend, "--handover", path)
    new.stop()
    assert not path.exists()


def test_a_file_that_is_no_socket_stays(tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    ended = run_to_end("-p", f"127.0.0.1:{next_port()}:127.0.0.1:9", "--handover", str(path))
    assert ended.code == 1 and "the file is no socket" in ended.stderr
    assert path.read_text() == "data"


def test_whoever_else_connects_gets_nothing_changed(launch, port, backend, tmp_path):
    path = str(tmp_path / "handover")
    proxy = publish(launch, port, backend, "--handover", path)
    proxy.idle_sockets += 1
    for said in (b"", b"X"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
            peer.connect(path)
            _, descriptors, _, _ = socket.recv_fds(peer, 100, 10)
            assert len(descriptors) == 1
            os.close(descriptors[0])
            if said:
                peer.send(said)
                assert ready(peer, select.POLLIN, 10) and peer.recv(1) == b""
    for end in pair(port, backend):
        end.close()
    assert proxy.running()
