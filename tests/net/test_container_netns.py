"""Dialling from inside the container's network namespace (--container-netns): that the bytes take
that way, and that a namespace which cannot be used is no reason not to serve."""

import functools
import os
import socket
import subprocess

import pytest

import container_service
import tcp
import udp
from conftest import next_port
from container_service import Service, process_in
from deadline import wait_until
from namespace import Namespace, ip

# The container's own address shows that a connection was made in its namespace; behind the plain
# dial it is the gateway's.
Published = functools.partial(container_service.Published, source="container")


@pytest.fixture
def container():
    with Namespace() as namespace:
        yield namespace


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_bytes_take_the_containers_loopback(launch, container, family):
    """With the container's link down there is no other way."""
    inner = container.inner if family == "v4" else container.inner6
    with Service(container, inner) as service:
        published = Published(launch, service, f"name:{container.name}")
        ip("link", "set", container.link, "down")
        assert published.peer_of_tcp()[0] == inner
        assert published.peer_of_udp()[0] == inner


@pytest.mark.parametrize("way", ["path", "name", "pid", "auto"])
def test_the_namespace_can_be_told_in_four_ways(launch, container, way):
    with Service(container, container.inner) as service, process_in(container) as pid:
        netns = {"path": f"/proc/{pid}/ns/net", "name": f"name:{container.name}",
                 "pid": f"pid:{pid}", "auto": "auto"}[way]
        published = Published(launch, service, netns)
        assert published.peer_of_tcp()[0] == container.inner
        published.proxy.wait_for_log(f"dial {container.inner} in its network namespace")


def test_a_namespace_without_a_name_is_found_by_its_processes(launch, container):
    # An address that no other test on this machine has.
    address = f"10.{os.getpid() % 200 + 20}.{os.getpid() // 200 % 250}.7"
    ip("-n", container.name, "address", "add", f"{address}/32", "dev", "eth0")
    ip("route", "add", address, "via", container.inner)
    with Service(container, address) as service, process_in(container):
        published = Published(launch, service, "auto")
        subprocess.run(["umount", f"/run/netns/{container.name}"], check=True)
        assert published.peer_of_tcp()[0] == address


def test_one_proxy_serves_each_container_from_its_own_namespace(launch):
    with Namespace() as one, Namespace() as other:
        with Service(one, one.inner) as first, Service(other, other.inner) as second:
            ports = next_port(), next_port()
            launch.publish(f"127.0.0.1:{ports[0]}:{first.host}:{first.port}",
                           f"127.0.0.1:{ports[1]}:{second.host}:{second.port}",
                           options=["--container-netns", "auto", "--source", "container"])
            for _ in range(3):
                assert first.peer_of_tcp(tcp.connect("127.0.0.1", ports[0]))[0] == one.inner
                assert second.peer_of_tcp(tcp.connect("127.0.0.1", ports[1]))[0] == other.inner


def plain_dial_because(published, container, reason):
    """The service is reached as without the option, and the log says why, once."""
    for _ in range(3):
        assert published.peer_of_tcp()[0] == container.outer
        assert published.peer_of_udp()[0] == container.outer
    log = published.proxy.wait_for_log(reason)
    lines = [line for line in log.splitlines() if "from the host" in line]
    assert len(lines) == 1
    assert f"warn dial {container.inner} from the host: " in lines[0]
    assert reason in lines[0]


def test_no_such_namespace(launch, container):
    with Service(container, container.inner) as service:
        plain_dial_because(Published(launch, service, "name:nobody"), container,
                           "open /run/netns/nobody: no such file or directory")


def test_a_file_that_is_no_namespace(launch, container):
    with Service(container, container.inner) as service:
        plain_dial_because(Published(launch, service, "/etc/passwd"), container,
                           "enter /etc/passwd: this is no network namespace")


def test_the_namespace_of_another_container(launch, container):
    with Namespace() as other, Service(container, container.inner) as service:
        plain_dial_because(Published(launch, service, f"name:{other.name}"), container,
                           f"the network namespace /run/netns/{other.name} does not have this")


def test_the_namespace_of_the_proxy(launch, container):
    with Service(container, container.inner) as service:
        plain_dial_because(Published(launch, service, f"pid:{os.getpid()}"), container,
                           "is the network namespace of the proxy")


def test_an_address_that_no_namespace_has(launch, container):
    """It is the host's own: a service beside the proxy is published, too."""
    with tcp.listen(container.outer) as service:
        port = next_port()
        proxy = launch.publish(f"127.0.0.1:{port}:{container.outer}:{tcp.address(service)[1]}",
                               options=["--container-netns", "auto", "--source", "container"])
        with tcp.connect("127.0.0.1", port) as client, tcp.accept(service) as server:
            tcp.exchange(client, server)
        proxy.wait_for_log("no network namespace with this address was found")


def test_an_address_that_two_namespaces_have(launch, container):
    with Namespace() as other, Service(container, container.inner) as service:
        ip("-n", other.name, "address", "add", f"{container.inner}/32", "dev", "lo")
        plain_dial_because(Published(launch, service, "auto"), container,
                           "more than one network namespace has the address: /run/netns/")


def test_a_namespace_that_another_user_made_does_not_count(launch, container):
    """Anyone may make one, and give it the address of a container that is not there."""
    impostor = subprocess.Popen(
        ["setpriv", "--reuid", "65534", "--clear-groups", "unshare", "--user", "--map-root-user",
         "--net", "sh", "-c", f"ip address add {container.inner}/32 dev lo && ip link set lo up "
         "&& exec sleep 600"])
    try:
        def has_the_address():
            shown = subprocess.run(["nsenter", "--net", "-t", str(impostor.pid), "ip", "address"],
                                   capture_output=True, text=True, check=False)
            return container.inner in shown.stdout and "LOOPBACK,UP" in shown.stdout
        wait_until(has_the_address, "the impostor has the address")
        with Service(container, container.inner) as service:
            subprocess.run(["umount", f"/run/netns/{container.name}"], check=True)
            plain_dial_because(Published(launch, service, "auto"), container,
                               f"/proc/{impostor.pid}/ns/net has it, but belongs to another user")
    finally:
        impostor.kill()
        impostor.wait()


def test_a_loopback_that_is_down_is_left_so(launch, container):
    ip("-n", container.name, "link", "set", "lo", "down")
    with Service(container, container.inner) as service:
        plain_dial_because(Published(launch, service, f"name:{container.name}"), container,
                           f"the loopback interface of the network namespace "
                           f"/run/netns/{container.name} is down")
        state = subprocess.run(["ip", "-n", container.name, "link", "show", "lo"], check=True,
                               capture_output=True, text=True).stdout
        assert "UP" not in state


@pytest.mark.parametrize("netns", ["name", "auto"])
def test_no_capability_to_enter(launch, container, netns):
    with Service(container, container.inner) as service:
        published = Published(launch, service, "auto" if netns == "auto" else f"name:{container.name}",
                              wrapper=["setpriv", "--bounding-set=-sys_admin"])
        plain_dial_because(published, container,
                           f"enter /run/netns/{container.name}: operation not permitted (this takes "
                           "CAP_SYS_ADMIN)")


@pytest.mark.parametrize("netns", ["name", "auto"])
def test_a_container_that_starts_again_in_a_new_namespace(launch, netns):
    container = Namespace()
    try:
        with Service(container, container.inner) as service:
            published = Published(launch, service,
                                  "auto" if netns == "auto" else f"name:{container.name}")
            assert published.peer_of_tcp()[0] == container.inner
            assert published.peer_of_udp()[0] == container.inner
        container.close()
        container.make()
        with Service(container, container.inner, service.port) as published.service:
            assert published.peer_of_tcp()[0] == container.inner
            assert published.peer_of_udp()[0] == container.inner
    finally:
        container.close()


def test_a_namespace_is_not_kept_alive(launch):
    """Who deletes a namespace expects its interfaces to go."""
    with Namespace() as container, Service(container, container.inner) as service:
        published = Published(launch, service, f"name:{container.name}", options=["--udp-timeout", "1"])
        assert published.peer_of_tcp()[0] == container.inner
        assert published.peer_of_udp()[0] == container.inner
        subprocess.run(["ip", "netns", "del", container.name], check=True)
        service.close()
        assert container.link in links()
        wait_until(lambda: container.link not in links(), "the link ends with its namespace",
                   seconds=20)


def test_a_service_manager_is_told_of_the_end(launch, container, port):
    """The name of its socket may be one of the host's network namespace."""
    name = f"fairlead-test-{os.getpid()}-{port}"
    with Service(container, container.inner) as service, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        manager.settimeout(20)
        proxy = launch.start(["-p", f"127.0.0.1:{port}:{service.host}:{service.port}",
                              "--container-netns", f"name:{container.name}", "--engine", "epoll"],
                             environment={"NOTIFY_SOCKET": "@" + name})
        assert manager.recv(100) == b"READY=1"
        assert service.peer_of_tcp(tcp.connect("127.0.0.1", port))[0] == container.outer
        proxy.stop()
        assert manager.recv(100) == b"STOPPING=1"


def links():
    shown = subprocess.run(["ip", "-brief", "link"], check=True, capture_output=True, text=True)
    return {line.split("@")[0] for line in shown.stdout.splitlines()}
