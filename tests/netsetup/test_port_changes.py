"""Ports come and go while clients of other ports are served: a new proxy takes the place of the old
one."""

import contextlib
import os
import signal
import socket
import stat

import pytest

import tcp
import udp
from deadline import wait_until
from fairlead_net import Failed, PROXY, inside
from visitor import Visitor, datagrams_served, served

pytestmark = pytest.mark.parametrize("mode", ["proxy", "both"])


@pytest.fixture
def net(net, container, mode):
    """With network `web` and container c1 at 10.5.0.2, which answers on ports 80 of TCP and UDP."""
    net("network", "create", "web", "--subnet", "10.5.0.0/24", "--mode", mode)
    net("attach", "web", "c1", "--netns", "name:" + container("c1"))
    with inside("c1"):
        listener, sock = tcp.listen("", 80), udp.bind("", 80)
    with listener, sock, served(listener), datagrams_served(sock):
        yield net


@contextlib.contextmanager
def visited(*visitors):
    """None of them notices anything."""
    try:
        yield
        for visitor in visitors:
            visitor.has_visited(3)
    finally:
        for visitor in visitors:
            visitor.end()


def proxy(net):
    return net.container("c1").get("proxy")


def processes(net):
    """The proxies that there are."""
    own = f"FAIRLEAD_NET_STATE={net.state_directory}".encode()
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            if own in file.read().split(b"\0"):
                found.add(int(pid))
    return found


def refuses(port):
    try:
        tcp.reach("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    return False


def test_nobody_notices_that_other_ports_come_and_go(net):
    net("publish", "web", "c1", "8080:80", "8080:80/udp")
    with visited(Visitor("127.0.0.1", 8080), Visitor("127.0.0.1", 8080),
                 Visitor("127.0.0.1", 8080, stays=True),
                 Visitor("127.0.0.1", 8080, stays=True, over=udp.client)):
        for _ in range(3):
            net("publish", "web", "c1", "8081-8089:81-89", "8081:81/udp")
            assert not refuses(8081)
            net("unpublish", "web", "c1", "8081-8089:81-89", "8081:81/udp")
            assert refuses(8081)
    assert net("check") == ""


def test_who_has_handed_over_is_shown_until_its_last_connection_ends(net):
    net("publish", "web", "c1", "8080:80")
    old = proxy(net)["pid"]
    with tcp.connect("127.0.0.1", 8080) as client:
        client.sendall(b"one")
        assert tcp.receive_exactly(client, 3) == b"one"
        net("publish", "web", "c1", "8081:80")
        new = proxy(net)["pid"]
        assert proxy(net) == {"pid": new, "running": True, "draining": [old]} and old != new
        assert f"{new}, drains {old}" in net("status")
        net("reload")
        # The port of this connection goes, too.
        net("unpublish", "web", "c1", "8080:80")
        client.sendall(b"two")
        assert tcp.receive_exactly(client, 3) == b"two"
        assert refuses(8080) and not refuses(8081)
        assert processes(net) == {old, proxy(net)["pid"]}
    wait_until(lambda: "draining" not in proxy(net), "the old proxy does not end")
    net("reload")
    assert net.networks()["web"]["containers"][0].get("draining") is None


@pytest.mark.parametrize("last", [["unpublish", "web", "c1", "--all"], ["detach", "web", "c1"]])
def test_with_the_last_port_all_proxies_end(net, last):
    net("publish", "web", "c1", "8080:80")
    with tcp.connect("127.0.0.1", 8080) as client:
        client.sendall(b"one")
        assert tcp.receive_exactly(client, 3) == b"one"
        net("publish", "web", "c1", "8081:80")
        assert len(processes(net)) == 2
        net(*last)
        tcp.expect_closed(client)
    assert processes(net) == set()
    for directory in ("proxies", "metrics"):
        assert os.listdir(os.path.join(net.state_directory, directory)) == []


def test_a_new_proxy_that_cannot_start_leaves_the_old_one_serving(net):
    net("publish", "web", "c1", "8080:80")
    before = proxy(net)
    with (visited(Visitor("127.0.0.1", 8080), Visitor("127.0.0.1", 8080, stays=True)),
          socket.socket() as other):
        # One that does not listen is found by nobody but who wants to bind.
        other.bind(("127.0.0.1", 8081))
        for _ in range(2):
            with pytest.raises(Failed, match="fairlead-proxy: listen on 0.0.0.0:8081/tcp: bind: addr"):
                net("publish", "web", "c1", "8081:80")
            with pytest.raises(Failed, match="fairlead-proxy: it ended without a word"):
                net("publish", "web", "c1", "8082:80", "--proxy", "/bin/false")
        assert proxy(net) == before and processes(net) == {before["pid"]}
        assert net("check") == "" and net.container("c1")["ports"] == ["8080:80/tcp"]
    with visited(Visitor("127.0.0.1", 8080)):
        net("publish", "web", "c1", "8081:80")


@pytest.mark.parametrize("trouble", ["the new one does not start", "the new one takes over",
                                     "the new one has taken over"])
def test_a_run_that_is_killed_half_way_is_repaired(net, tmp_path, trouble):
    killing = tmp_path / "killing-proxy"
    killing.write_text("#!/bin/sh\nkill -KILL $PPID\n" +
                       ("" if "does not start" in trouble else f'exec {PROXY} "$@"\n'),
                       encoding="ascii")
    killing.chmod(stat.S_IRWXU)
    net("publish", "web", "c1", "8080:80")
    old = proxy(net)["pid"]
    with visited(Visitor("127.0.0.1", 8080, stays=True)):
        with pytest.raises(Failed) as killed:
            net("publish", "web", "c1", "8081:80", "--proxy", killing)
        assert killed.value.code == -signal.SIGKILL
        if trouble == "the new one has taken over":
            wait_until(lambda: not refuses(8081), "nobody takes over")
        assert "a run was cut short" in "\n".join(net.problems())
        net("reload")
        now = proxy(net)
        assert processes(net) == {now["pid"], *now.get("draining", [])}
        assert old in processes(net)
        if trouble == "the new one does not start":
            assert now["pid"] == old
        assert net("check") == "" and net.container("c1")["ports"] == ["8080:80/tcp"]
        assert refuses(8081)
        with visited(Visitor("127.0.0.1", 8080)):
            net("publish", "web", "c1", "8081:80")


def test_a_port_may_go_to_another_container(net, container):
    net("attach", "web", "c2", "--netns", "name:" + container("c2"))
    with inside("c2"):
        listener = tcp.listen("", 80)
    with listener, served(listener):
        net("publish", "web", "c1", "8080:80", "127.0.0.1:8082:80")
        net("publish", "web", "c2", "8081:80")
        document = net("network", "ls", "--json")
        document = document.replace("8080:80", "8083:80").replace("8081:80", "8080:80")
        net("apply", "-", stdin=document.replace("127.0.0.1:8082:80", "8082:80"))
        assert net("check") == ""
        assert net.container("c2")["ports"] == ["8080:80/tcp"]
        with visited(*(Visitor("127.0.0.1", port) for port in (8080, 8082, 8083))):
            assert refuses(8081)
