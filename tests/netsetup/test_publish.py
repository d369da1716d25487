"""Published ports: who serves them, and the life of the proxies."""

import contextlib
import os
import resource
import signal
import socket

import pytest

import tcp
from deadline import wait_until
from fairlead_net import Failed, PROXY, addresses, inside, links, output_of, rules
from process_facts import descriptors, soft_descriptor_limit

MODES = ("proxy", "dnat", "both")


@pytest.fixture
def web(net, container):
    """Makes network `web` of a mode, with container c1 at 10.5.0.2 and fd05::2."""
    def make(mode="proxy"):
        net("network", "create", "web", "--subnet", "10.5.0.0/24", "--subnet", "fd05::/64",
            "--mode", mode)
        net("attach", "web", "c1", "--netns", "name:" + container("c1"))
        return net
    return make


def may_raise_limits():
    cap_sys_resource = 24
    with open("/proc/self/status", encoding="ascii") as status:
        effective = next(line for line in status if line.startswith("CapEff:")).split()[1]
    return bool(int(effective, 16) >> cap_sys_resource & 1)


@contextlib.contextmanager
def service(port, host="0.0.0.0", name="c1"):
    with inside(name):
        listener = tcp.listen(host, port)
    with listener:
        yield listener


def answers(listener, host, port):
    """A connection to the published port comes out at the container's."""
    with tcp.connect(host, port) as client, tcp.accept(listener) as server:
        server.sendall(b"from the container")
        return client.recv(100) == b"from the container"


@pytest.mark.parametrize("mode", MODES)
def test_a_published_port_is_served(web, mode):
    net = web(mode)
    with service(80) as listener, service(80, "::") as listener6:
        net("publish", "web", "c1", "8080:80", "127.0.0.1:9000-9009:71-80")
        assert answers(listener, "127.0.0.1", 8080)
        assert answers(listener, "10.5.0.1", 8080)
        assert answers(listener6, "fd05::1", 8080)
        assert answers(listener, "127.0.0.1", 9009)
        if mode != "dnat":
            assert answers(listener6, "::1", 8080)
        net("unpublish", "web", "c1", "8080:80")
        with pytest.raises(OSError):
            tcp.connect("10.5.0.1", 8080)
        assert answers(listener, "127.0.0.1", 9009)
        net("unpublish", "web", "c1", "--all")
        with pytest.raises(OSError):
            tcp.connect("127.0.0.1", 9009)
    assert net.container("c1")["ports"] == [] and "proxy" not in net.container("c1")


def test_a_proxy_is_a_process_of_its_own(web):
    net = web()
    net("publish", "web", "c1", "8080:80", "8081:81", "5353:53/udp")
    pid = net.container("c1")["proxy"]["pid"]
    with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
        words = file.read().split("\0")
    assert words[0] == PROXY and words[1:] == [
        "--metrics", f"unix:{net.state_directory}/metrics/",
        "--handover", f"{net.state_directory}/proxies/{net.container('c1')['link']}",
        "--handover-drain", "86400",
        *[word for mapping in ("0.0.0.0:8080:10.5.0.2:80/tcp", "[::]:8080:[fd05::2]:80/tcp",
                               "0.0.0.0:8081:10.5.0.2:81/tcp", "[::]:8081:[fd05::2]:81/tcp",
                               "0.0.0.0:5353:10.5.0.2:53/udp", "[::]:5353:[fd05::2]:53/udp")
          for word in ("-p", mapping)], ""]
    # Nothing of whoever ran fairlead-net, the lock above all.
    log = os.path.join(net.state_directory, "log/web:c1.log")
    files = {name for name in descriptors(pid).values() if name.startswith("/")}
    assert files == {"/dev/null", log}
    assert os.getsid(pid) == pid
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    with open(log, encoding="utf-8") as file:
        assert "listen on 0.0.0.0:8080-8081/tcp -> 10.5.0.2:80-81" in file.read()


def test_ten_thousand_ports_leave_the_proxy_room_for_connections(web):
    own = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if not may_raise_limits():
        pytest.skip("limits cannot be raised here: no CAP_SYS_RESOURCE")
    net = web()
    net("publish", "web", "c1", "10000-19999:10000-19999")
    pid = net.container("c1")["proxy"]["pid"]
    assert soft_descriptor_limit(pid) == own + 20_000
    with service(19999) as listener:
        assert answers(listener, "127.0.0.1", 19999)


def test_more_mappings_than_a_command_line_holds_are_refused(web):
    net = web()
    net("publish", "web", "c1", "8080:80")
    # As many as there are, one by one, each in both families.
    ports = [f"{port}:80" for port in range(1, 65_536) if port != 8080]
    with pytest.raises(Failed, match="131070 mappings are more than its command line holds: publish"):
        net("publish", "web", "c1", *ports)
    assert net.container("c1")["ports"] == ["8080:80/tcp"] and net("check") == ""
    with service(80) as listener:
        assert answers(listener, "127.0.0.1", 8080)


def test_publishing_twice_is_publishing_once(web):
    net = web()
    net("publish", "web", "c1", "8080:80")
    pid = net.container("c1")["proxy"]["pid"]
    net("publish", "web", "c1", "8080:80")
    assert net.container("c1")["ports"] == ["8080:80/tcp"]
    assert net.container("c1")["proxy"]["pid"] == pid


def test_a_proxy_that_has_ended_is_shown_and_started_anew(web):
    net = web()
    net("publish", "web", "c1", "8080:80")
    pid = net.container("c1")["proxy"]["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not net.container("c1")["proxy"]["running"], "the proxy ends")
    assert "ended" in net("status")
    assert any("its proxy has ended" in problem for problem in net.problems())
    with pytest.raises(Failed) as found:
        net("check")
    assert found.value.code == 1 and "its proxy has ended" in found.value.message
    net("reload")
    assert "its proxy had ended; started anew" in net.notes
    assert net("check") == "" and net.container("c1")["proxy"]["running"]
    with service(80) as listener:
        assert answers(listener, "127.0.0.1", 8080)


def test_a_number_that_belongs_to_another_process_is_left_alone(web):
    net = web()
    net("publish", "web", "c1", "8080:80")
    pid = net.container("c1")["proxy"]["pid"]
    path = os.path.join(net.state_directory, "networks/web.json")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace(f'"pid": {pid}', f'"pid": {os.getpid()}'))
    assert net.container("c1")["proxy"]["running"] is False
    net("detach", "web", "c1")
    # The stray one is found by what it was started for, and this process lives on.
    net("reload")
    wait_until(lambda: not os.path.exists(f"/proc/{pid}") or
               "Z" in output_of("ps", "-o", "stat=", str(pid)), "the proxy is stopped")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind, address, port", [
    (socket.SOCK_STREAM, "0.0.0.0", "8080:80"),
    (socket.SOCK_STREAM, "127.0.0.1", "8000-8099:8000-8099"),
    (socket.SOCK_DGRAM, "127.0.0.1", "8080:53/udp"),
    (socket.SOCK_STREAM, "::", "8080:80"),
    (socket.SOCK_STREAM, "::", "127.0.0.1:8080:80"),
    (socket.SOCK_STREAM, "::ffff:127.0.0.1", "127.0.0.1:8080:80"),
])
def test_a_port_that_somebody_listens_on_is_refused(web, mode, kind, address, port):
    net = web(mode)
    before = rules()
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as other:
        other.bind((address, 8080))
        if kind == socket.SOCK_STREAM:
            other.listen()
        with pytest.raises(Failed, match="port 8080 of the host is in use by another program"):
            net("publish", "web", "c1", port)
        net("publish", "web", "c1", "8079:80")
        net("unpublish", "web", "c1", "8079:80")
    assert rules() == before
    net("publish", "web", "c1", port)


def test_sockets_elsewhere_are_not_in_the_way(web):
    net = web()
    with (socket.socket() as elsewhere, socket.socket(socket.AF_INET6) as v6_only,
          socket.socket(type=socket.SOCK_DGRAM) as client):
        elsewhere.bind(("127.0.0.2", 8080))
        elsewhere.listen()
        v6_only.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        v6_only.bind(("::", 8080))
        v6_only.listen()
        client.bind(("127.0.0.1", 8080))
        client.connect(("127.0.0.1", 53))
        net("publish", "web", "c1", "127.0.0.1:8080:80", "127.0.0.3:8080:53/udp")
        assert net("check") == ""


@pytest.mark.parametrize("port, code, message", [
    ("65536:80", 2, "65536"),
    ("65000-65536:1000-1536", 2, "65536"),
    ("8080", 2, "accepted: [HOST-IP:]HOST-PORT"),
    ("8080-8081:80", 2, "2 host ports cannot lead to 1"),
    ("127.0.0.1:8080:80/icmp", 2, "no protocol"),
    ("192.0.2.1:8080:80", 1, "192.0.2.1 is no address of this host"),
    ("8000-8100:8000-8100", 1, "both publish the same host port"),
])
def test_what_cannot_be_published_is_refused(web, port, code, message):
    net = web()
    net("publish", "web", "c1", "8050:80")
    pid = net.container("c1")["proxy"]["pid"]
    with pytest.raises(Failed) as refused:
        net("publish", "web", "c1", port)
    assert refused.value.code == code and message in refused.value.message
    assert net.container("c1")["proxy"] == {"pid": pid, "running": True}


def test_every_port_of_the_host_may_be_published_and_no_port_twice(web):
    net = web("dnat")
    net("publish", "web", "c1", "1-65535:1-65535", "1-65535:1-65535/udp")
    with service(80) as listener:
        assert answers(listener, "10.5.0.1", 80)
    for port in ("65535:80", "127.0.0.1:1:80/udp"):
        with pytest.raises(Failed, match="both publish the same host port"):
            net("publish", "web", "c1", port)
    assert net("check") == ""


def test_what_the_kernel_cannot_translate_is_refused(web):
    net = web("dnat")
    with pytest.raises(Failed, match="mode both or proxy can"):
        net("publish", "web", "c1", "[::1]:8080:80")


def test_ports_take_the_host_binding_of_their_network(net, container):
    net("network", "create", "web", "--host-binding", "127.0.0.1", "--mode", "proxy")
    net("attach", "web", "c1", "--netns", "name:" + container("c1"))
    net("publish", "web", "c1", "8080:80", "0.0.0.0:8081:80")
    assert net.container("c1")["ports"] == ["0.0.0.0:8081:80/tcp", "127.0.0.1:8080:80/tcp"]
    net("unpublish", "web", "c1", "8080:80")
    assert net.container("c1")["ports"] == ["0.0.0.0:8081:80/tcp"]


def test_a_proxy_that_cannot_start_leaves_everything_as_it_was(web):
    net = web("both")
    with service(80) as listener:
        net("publish", "web", "c1", "8080:80")
        before = rules()
        with pytest.raises(Failed, match="fairlead-proxy: it ended without a word"):
            net("publish", "web", "c1", "8081:81", "--proxy", "/bin/false")
        assert net("check") == "" and rules() == before
        assert net.container("c1")["ports"] == ["8080:80/tcp"]
        assert answers(listener, "127.0.0.1", 8080)
    assert addresses(links("c1")["eth0"]) == {"10.5.0.2/24", "fd05::2/64"}
