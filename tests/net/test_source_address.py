"""What a service in a container sees as its client's address (--source), for every kind of client."""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time

import pytest

import tcp
import udp
from conftest import next_port
from container_service import Published, Service
from deadline import wait_until
from namespace import Namespace, ip
from proxy_process import refusing
from test_proxy_protocol import header


@pytest.fixture
def container():
    with Namespace() as namespace:
        yield namespace


@pytest.fixture
def remote():
    with Namespace() as namespace:
        yield namespace


@pytest.fixture
def sibling(container):
    """A second container on the same link, at the address after the first one's."""
    with Namespace() as namespace:
        namespace.beside = container.inner[:-1] + "9"
        ip("-n", namespace.name, "address", "add", f"{namespace.beside}/32", "dev", "lo")
        ip("route", "add", namespace.beside, "via", namespace.inner)
        yield namespace


def inside(namespace):
    return namespace.inside() if namespace else contextlib.nullcontext()


def seen(published, namespace, host, source=None):
    """How the service sees a client in `namespace` (None: beside the proxy) that asks at `host`,
    over TCP and over UDP; and what the client knows of itself."""
    with inside(namespace):
        over_tcp = tcp.connect(host, published.port, source and source[0])
        over_udp = udp.client(host, published.port, source)
    own = [tcp.address(over_tcp), tcp.address(over_udp)]
    return [published.service.peer_of_tcp(over_tcp), published.service.peer_of_udp(over_udp)], own


def addresses(pairs):
    return {host for host, _ in pairs}


@pytest.mark.parametrize("source", ["gateway", "client", "container"])
def test_every_kind_of_client_ipv4(launch, container, remote, sibling, source):
    with Service(container, container.inner) as service:
        published = Published(launch, service, f"name:{container.name}", source, host=None)
        gateway = container.outer
        kinds = {  # where from, the address asked, the address that --source client shows
            "remote": (remote, remote.outer, remote.inner),
            "sibling": (sibling, sibling.outer, sibling.inner),
            "host": (None, remote.outer, remote.outer),
            "loopback": (None, "127.0.0.1", gateway),
            "loopback, another": (None, "127.4.5.6", gateway),
            "itself": (container, container.outer, gateway),
            "IPv6": (remote, remote.outer6, gateway),
        }
        for kind, (namespace, host, own) in kinds.items():
            expected = {"gateway": gateway, "client": own, "container": container.inner}[source]
            assert addresses(seen(published, namespace, host)[0]) == {expected}, kind


@pytest.mark.parametrize("source", ["gateway", "client", "container"])
def test_every_kind_of_client_ipv6(launch, container, remote, source):
    with Service(container, container.inner6) as service:
        published = Published(launch, service, f"name:{container.name}", source, host=None)
        gateway = container.outer6
        kinds = {
            "remote": (remote, remote.outer6, remote.inner6),
            "host": (None, remote.outer6, remote.outer6),
            "loopback": (None, "::1", gateway),
            "itself": (container, container.outer6, gateway),
            "IPv4": (remote, remote.outer, gateway),
        }
        for kind, (namespace, host, own) in kinds.items():
            expected = {"gateway": gateway, "client": own, "container": container.inner6}[source]
            assert addresses(seen(published, namespace, host)[0]) == {expected}, kind


def test_the_wildcard_is_served_too(launch, container, remote):
    """Services that do not bind an address answer from the one they were asked at."""
    with Service(container, "0.0.0.0") as service:
        service.host = container.inner
        published = Published(launch, service, f"name:{container.name}", "client", host=None)
        assert addresses(seen(published, remote, remote.outer)[0]) == {remote.inner}


def link_local_of(device):
    shown = subprocess.run(["ip", "-brief", "-6", "address", "show", "dev", device], check=True,
                           capture_output=True, text=True).stdout
    return next(word.split("/")[0] for word in shown.split() if word.startswith("fe80"))


def test_a_link_local_client_is_seen_as_the_gateway(launch, container, remote):
    with Service(container, container.inner6) as service:
        published = Published(launch, service, f"name:{container.name}", "client", host=None)
        ip("-n", remote.name, "address", "add", "fe80::77/64", "dev", "eth0", "nodad")
        host = link_local_of(remote.link)
        with remote.inside():
            scope = socket.if_nametoindex("eth0")
            client = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
            client.settimeout(20)
            client.bind(("fe80::77", 0, 0, scope))
            client.connect((host, published.port, 0, scope))
        assert service.peer_of_tcp(client)[0] == container.outer6


def test_a_container_without_a_route_to_the_client(launch, container, remote):
    """An answer over UDP has to have a route before it gets its mark; one over TCP has it."""
    ip("-n", container.name, "route", "del", "default")
    with Service(container, container.inner) as service:
        published = Published(launch, service, f"name:{container.name}", "client", host=None)
        (over_tcp, over_udp), _ = seen(published, remote, remote.outer)
        assert over_tcp[0] == remote.inner
        assert over_udp[0] == container.outer
        published.proxy.wait_for_log("a client that the container has no route to")


def test_it_is_said_once_that_a_client_cannot_keep_its_address(launch, container, remote):
    with Service(container, container.inner) as service:
        published = Published(launch, service, f"name:{container.name}", "client", host=None)
        for _ in range(3):
            seen(published, remote, remote.outer6)
            seen(published, None, "127.0.0.1")
            seen(published, container, container.outer)
        log = published.proxy.log()
        for kind in ("that speaks IPv6 to an IPv4 container", "on the loopback of the host",
                     "that is the container itself"):
            assert log.count(f"info a client {kind} cannot keep its address: {container.inner} "
                             f"sees {container.outer} instead") == 1


# The port.


def test_the_clients_port_is_kept(launch, container, remote):
    with Service(container, container.inner) as service:
        published = Published(launch, service, f"name:{container.name}", "client", host=None)
        peers, own = seen(published, remote, remote.outer)
        assert peers == own


def test_a_port_that_is_taken_is_replaced(launch, container, remote):
    """The same client port, to two published ports that lead to one service."""
    with Service(container, container.inner) as service:
        one = Published(launch, service, f"name:{container.name}", "client", host=None)
        other = Published(launch, service, f"name:{container.name}", "client", host=None)
        port = next_port()
        with remote.inside():
            clients = []
            for published in (one, other):
                client = tcp.socket.socket()
                client.settimeout(20)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                client.bind((remote.inner, port))
                client.connect((remote.outer, published.port))
                clients.append(client)
            with udp.bind(remote.inner, port) as datagrams:
                peers = []
                for published in (one, other):
                    datagrams.sendto(b"ping", (remote.outer, published.port))
                    peers.append(udp.receive(service.udp)[1])
        with clients[0], clients[1]:
            for server, peer in (service.accept(), service.accept()):
                server.close()
                peers.append(peer)
        for first, second in (sorted(peers[:2]), sorted(peers[2:])):
            assert {first[0], second[0]} == {remote.inner}
            assert port in (first[1], second[1])
            assert first[1] != second[1]


def test_a_client_cannot_hold_a_port_of_the_container(launch, container, remote):
    """Neither one below 1024, nor, over TCP, one that a service binds later."""
    with Service(container, container.inner) as service:
        published = Published(launch, service, f"name:{container.name}", "client", host=None)
        with remote.inside():
            client = socket.create_connection((remote.outer, published.port), timeout=20,
                                              source_address=(remote.inner, 700))
        with client:
            server, peer = service.accept()
            with server:
                assert peer[0] == remote.inner and peer[1] != 700
        port = next_port()
        with remote.inside():
            client = socket.create_connection((remote.outer, published.port), timeout=20,
                                              source_address=(remote.inner, port))
        server, peer = service.accept()
        with client, server:
            assert peer == (remote.inner, port)
            with container.inside(), tcp.listen("0.0.0.0", port):
                tcp.exchange(client, server)


def test_a_port_that_was_not_published_is_not_reached(launch, container, remote):
    """A client cannot make its answers go to another service of the container by calling itself
    from that service's port: nothing but the proxy's own socket takes them."""
    with Service(container, container.inner) as service, Service(container, "0.0.0.0") as other:
        published = Published(launch, service, f"name:{container.name}", "client", host=None)
        with remote.inside():
            client = udp.client(remote.outer, published.port, (remote.inner, other.port))
        with client:
            client.send(b"ping")
            _, session = udp.receive(service.udp)
            assert session[0] == remote.inner and session[1] != other.port
            service.udp.sendto(b"pong", session)
            assert udp.receive(client)[0] == b"pong"
        assert udp.nothing_comes(other.udp)


# As without the option.


@pytest.mark.parametrize("source", ["gateway", "client"])
@pytest.mark.parametrize("family", ["v4", "v6"])
def test_a_service_that_is_away_and_comes_back(launch, container, remote, family, source):
    """Its kernel's refusals find back, too: nobody waits for the connect time-out."""
    inner, outer = ((container.inner, remote.outer) if family == "v4"
                    else (container.inner6, remote.outer6))
    with Service(container, inner) as service:
        published = Published(launch, service, f"name:{container.name}", source, host=None)
        service.close()
        begin = time.monotonic()
        with remote.inside():
            tcp.connect_in_vain(outer, published.port)
            client = udp.client(outer, published.port)
        assert time.monotonic() - begin < 5
        with client:
            client.send(b"anybody there?")
            published.proxy.wait_for_log(": backend ")
            with Service(container, inner, service.port) as again:
                udp.exchange(client, again.udp)
                with remote.inside():
                    again.peer_of_tcp(tcp.connect(outer, published.port))


@pytest.fixture
def connection(launch, container, remote, relay):
    with Service(container, container.inner) as service:
        published = Published(launch, service, f"name:{container.name}", "client", host=None)
        with remote.inside():
            client = tcp.connect(remote.outer, published.port)
        server, _ = service.accept()
        with client, server:
            yield client, server


def test_half_closes_pass(connection):
    client, server = connection
    client.sendall(b"the last words")
    client.shutdown(socket.SHUT_WR)
    assert tcp.receive_all(server) == b"the last words"
    server.sendall(b"answer")
    server.close()
    assert tcp.receive_all(client) == b"answer"


@pytest.mark.parametrize("who", ["client", "server"])
def test_resets_pass(connection, who):
    client, server = connection
    tcp.exchange(client, server)
    first, second = (client, server) if who == "client" else (server, client)
    tcp.close_with_reset(first)
    tcp.expect_reset(second)


def test_bulk_passes_whole(connection):
    client, server = connection
    payload = os.urandom(1 << 20) * 4
    server.setblocking(False)
    received = bytearray()
    client.settimeout(0.01)
    sent = 0
    deadline = time.monotonic() + 20
    while len(received) < len(payload) and time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):
            if sent < len(payload):
                sent += client.send(payload[sent:sent + (1 << 16)])
        with contextlib.suppress(BlockingIOError):
            received += server.recv(1 << 20)
    assert bytes(received) == payload


# What may be in the way.


def test_reverse_path_filters_do_not_matter(launch, container, remote):
    for name in ("all", "default", "lo", "eth0"):
        with container.inside(), open(f"/proc/sys/net/ipv4/conf/{name}/rp_filter", "w",
                                      encoding="ascii") as file:
            file.write("1")
    with Service(container, container.inner) as service:
        published = Published(launch, service, f"name:{container.name}", "client", host=None)
        peers, own = seen(published, remote, remote.outer)
        assert peers == own


def test_an_address_that_the_container_is_given_later(launch, container, remote):
    """A client must not be taken for the container itself, whatever networks it is connected to."""
    with Service(container, container.inner) as service:
        published = Published(launch, service, f"name:{container.name}", "client", host=None)
        assert addresses(seen(published, remote, remote.outer)[0]) == {remote.inner}
        ip("-n", container.name, "address", "add", f"{remote.inner}/32", "dev", "lo")
        assert addresses(seen(published, remote, remote.outer)[0]) == {container.outer}


def test_no_capability_for_foreign_addresses(launch, container, remote):
    with Service(container, container.inner) as service:
        published = Published(launch, service, f"name:{container.name}", "client", host=None,
                              wrapper=["setpriv", "--bounding-set=-net_admin"])
        assert addresses(seen(published, remote, remote.outer)[0]) == {container.outer}
        log = published.proxy.log()
        assert f"warn dial {container.inner} from the host: add a local route: " in log
        assert "(this takes CAP_NET_ADMIN)" in log


NETLINK_NETFILTER = 12


@pytest.mark.parametrize("source", ["gateway", "client"])
def test_no_nftables(launch, container, remote, source):
    """Then UDP is dialled from the host, and TCP is not."""
    with Service(container, container.inner) as service:
        published = Published(launch, service, f"name:{container.name}", source, host=None,
                              wrapper=refusing("EPROTONOSUPPORT", f"socket:{NETLINK_NETFILTER}"))
        (over_tcp, over_udp), _ = seen(published, remote, remote.outer)
        assert over_tcp[0] == (remote.inner if source == "client" else container.outer)
        assert over_udp[0] == container.outer
        log = published.proxy.wait_for_log(f"warn dial {container.inner}/udp from the host: ")
        assert log.count("/udp from the host") == 1


def test_rules_are_made_once(launch, container, remote):
    """However many proxies there are, and they stay when those go."""
    def rules():
        shown = [subprocess.run(command, check=True, capture_output=True, text=True).stdout
                 for command in (["ip", "-n", container.name, "rule"],
                                 ["ip", "-n", container.name, "-6", "rule"],
                                 ["ip", "-n", container.name, "route", "show", "table", "all"])]
        return [line for text in shown for line in text.splitlines() if "0x7a171ead" in line
                or "2048335533" in line]

    with Service(container, container.inner) as service:
        for _ in range(2):
            published = Published(launch, service, f"name:{container.name}", "client", host=None)
            peers, own = seen(published, remote, remote.outer)
            assert peers == own
            assert len(rules()) == 2
            published.proxy.stop()
        assert len(rules()) == 2
        # And the container reaches the world as before.
        with tcp.listen(container.outer) as outside:
            with container.inside():
                client = tcp.connect(*tcp.address(outside))
            with client, tcp.accept(outside) as server:
                tcp.exchange(client, server)


def test_a_datagram_session_moves_to_the_new_namespace(launch, remote):
    """Its socket is in the old one, where nobody answers any more."""
    container = Namespace()
    try:
        with Service(container, container.inner) as service:
            published = Published(launch, service, f"name:{container.name}", "client", host=None)
            with remote.inside():
                client = udp.client(remote.outer, published.port)
            udp.exchange(client, service.udp)
        container.close()
        container.make()
        with client, Service(container, container.inner, service.port) as again:
            client.settimeout(0.05)

            def answered():
                client.send(b"again")
                again.udp.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    return udp.receive(again.udp)[1]
                return None

            assert wait_until(answered, lambda: published.proxy.log()) == tcp.address(client)
    finally:
        container.close()


def test_the_namespace_of_a_user_namespace(launch, container, remote):
    """As with userns-remap: who owns it is not root here, and root may enter it nevertheless."""
    owner = subprocess.Popen(["unshare", "--user", "--map-root-user", "--net", "sleep", "600"])
    try:
        own = os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(f"/proc/{owner.pid}/ns/net") != own, "it is in its namespace")
        subprocess.run(["umount", f"/run/netns/{container.name}"], check=True)
        subprocess.run(["mount", "--bind", f"/proc/{owner.pid}/ns/net",
                        f"/run/netns/{container.name}"], check=True)
        subprocess.run(["ip", "link", "del", container.link], check=False)
        container.connect()
        with Service(container, container.inner) as service:
            published = Published(launch, service, f"pid:{owner.pid}", "client", host=None)
            peers, own = seen(published, remote, remote.outer)
            assert peers == own
    finally:
        owner.kill()
        owner.wait()


# What a container can do with it.


SO_MARK, RETURN_MARK = 36, 0x7a171ead


def test_the_mark_is_no_way_out_of_the_container(launch, container, remote):
    """Whoever sets it there, with all capabilities, comes no further than the container's own lo."""
    with Service(container, container.inner) as service:
        published = Published(launch, service, f"name:{container.name}", "client", host=None)
        seen(published, remote, remote.outer)
        with tcp.listen(container.outer) as outside, container.inside():
            for marked in (False, True):
                with socket.socket() as probe:
                    probe.settimeout(1)
                    if marked:
                        probe.setsockopt(socket.SOL_SOCKET, SO_MARK, RETURN_MARK)
                    probe.bind((container.inner, 0))
                    # There is nobody at that port on its own lo.
                    reached = probe.connect_ex(tcp.address(outside)) == 0
                assert reached != marked


def test_a_container_that_removes_the_rules_harms_itself_alone(launch, container, remote):
    """And only for some seconds: what was set up is looked after."""
    with Namespace() as other, Service(container, container.inner) as service, \
            Service(other, other.inner) as theirs:
        published = Published(launch, service, "auto", "client", host=None)
        neighbour = Published(launch, theirs, "auto", "client", host=None)
        for each in (published, neighbour):
            peers, own = seen(each, remote, remote.outer)
            assert peers == own
        subprocess.run(["ip", "netns", "exec", container.name, "nft", "flush", "ruleset"],
                       check=False)
        ip("-n", container.name, "rule", "del", "priority", "100")
        ip("-n", container.name, "route", "flush", "table", str(RETURN_MARK))
        peers, own = seen(neighbour, remote, remote.outer)
        assert peers == own
        time.sleep(3.2)  # What is believed of a namespace is believed for three seconds.
        peers, own = seen(published, remote, remote.outer)
        assert peers == own


# What has to be known: these hold, too, and are in README.md.


def test_over_udp_a_client_holds_its_port_for_its_session(launch, container, remote):
    with Service(container, container.inner) as service:
        published = Published(launch, service, f"name:{container.name}", "client", host=None,
                              options=["--udp-timeout", "1"])
        port = next_port()
        with remote.inside():
            client = udp.client(remote.outer, published.port, (remote.inner, port))
        with client:
            assert udp.exchange(client, service.udp) == (remote.inner, port)
            with container.inside(), pytest.raises(OSError, match="in use"):
                udp.bind("0.0.0.0", port)

            def is_free():
                with contextlib.suppress(OSError), container.inside():
                    udp.bind("0.0.0.0", port).close()
                    return True
                return False

            wait_until(is_free, "the port is free after the session")


def test_a_firewall_in_the_container_sees_lo(launch, container, remote):
    rules = """table inet filter {
        chain input {
            type filter hook input priority 0; policy drop;
            iif lo accept
        }
    }
"""
    subprocess.run(["ip", "netns", "exec", container.name, "nft", "--file", "-"], check=True,
                   input=rules, text=True)
    with Service(container, container.inner) as service:
        published = Published(launch, service, f"name:{container.name}", "client", host=None)
        assert addresses(seen(published, remote, remote.outer)[0]) == {remote.inner}
        with socket.socket() as direct, pytest.raises(TimeoutError):
            direct.settimeout(0.3)
            direct.connect((service.host, service.port))


def test_who_has_the_address_alone_is_believed(launch, container, remote):
    """Also when it should be another's, who is not there."""
    address = container.inner
    container.close()
    ip("-n", remote.name, "address", "add", f"{address}/32", "dev", "lo")
    with Service(remote, address) as service:
        published = Published(launch, service, "auto", "container")
        assert published.peer_of_tcp()[0] == address


# Services as people run them.


def get(namespace, host, port):
    with inside(namespace):
        connection = http.client.HTTPConnection(host, port, timeout=20)
        connection.connect()
    connection.request("GET", "/")
    status = connection.getresponse().status
    own = connection.sock.getsockname()[0] if connection.sock else None
    connection.close()
    return status, own


@contextlib.contextmanager
def running_in(container, port, log_path, *command):
    with open(log_path, "ab") as log, container.inside():
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        def listens():
            with container.inside(), socket.socket() as probe:
                return probe.connect_ex((container.inner, port)) == 0
        wait_until(listens, f"{command[0]} listens")
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)


def test_nginx_logs_the_client(launch, container, remote, port, tmp_path):
    nginx = "/usr/sbin/nginx"
    if not os.path.exists(nginx):
        pytest.skip("no nginx is installed")
    log, configuration = tmp_path / "access.log", tmp_path / "nginx.conf"
    configuration.write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error.log;\n"
        "events {}\n"
        f"http {{ log_format peer '$remote_addr $status'; access_log {log} peer;\n"
        f"  client_body_temp_path {tmp_path}; proxy_temp_path {tmp_path};\n"
        f"  fastcgi_temp_path {tmp_path}; uwsgi_temp_path {tmp_path}; scgi_temp_path {tmp_path};\n"
        f"  server {{ listen {port}; return 204; }} }}\n")
    with running_in(container, port, tmp_path / "nginx.out", nginx, "-c", str(configuration),
                    "-e", str(tmp_path / "error.log")):
        served = next_port()
        launch.publish(f"{served}:{container.inner}:{port}",
                       options=["--container-netns", "auto", "--source", "client"])
        assert get(remote, remote.outer, served)[0] == 204
        assert get(None, "127.0.0.1", served)[0] == 204
        wait_until(lambda: [f"{remote.inner} 204", f"{container.outer} 204"] ==
                   log.read_text().splitlines(), lambda: log.read_text())


# Not http.server.HTTPServer, which asks for this machine's name: where /etc/hosts has none it waits
# for a name server, and there is none in the container's namespace.
HTTP_SERVER = """
import http.server, socketserver, sys
socketserver.TCPServer(("", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def test_pythons_http_server_logs_the_client(launch, container, remote, port, tmp_path):
    log = tmp_path / "http.log"
    with running_in(container, port, log, sys.executable, "-u", "-c", HTTP_SERVER, str(port)):
        served = next_port()
        launch.publish(f"{served}:{container.inner}:{port}",
                       options=["--container-netns", "auto", "--source", "client"])
        assert get(remote, remote.outer, served)[0] == 200
        wait_until(lambda: log.read_text().splitlines()[-1].startswith(f"{remote.inner} - - ["),
                   lambda: log.read_text())


def test_a_front_ends_word_counts(launch, container, remote):
    """What a trusted front end says of its client is what the service sees, without understanding
    the PROXY protocol; the front end may sit on the loopback."""
    with Service(container, container.inner) as service:
        published = Published(launch, service, f"name:{container.name}", "client", host=None,
                              options=["--accept-proxy-protocol", "127.0.0.0/8"])
        for said, expected in (("198.51.100.7", ("198.51.100.7", 4711)),
                               ("127.0.0.1", (container.outer, None))):
            client = tcp.connect("127.0.0.1", published.port)
            client.sendall(f"PROXY TCP4 {said} 192.0.2.1 4711 80\r\n".encode())
            host, port = service.peer_of_tcp(client)
            assert host == expected[0]
            assert expected[1] in (port, None)


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_a_front_ends_word_counts_for_each_datagram(launch, container, remote, family):
    """All from one socket: the service sees the clients, the front end gets the answers; and what
    it says cannot make a client the container itself or its loopback."""
    v4 = family == "v4"
    inner, gateway, host, front_end_ip = (
        (container.inner, container.outer, remote.outer, remote.inner) if v4 else
        (container.inner6, container.outer6, remote.outer6, remote.inner6))
    clients = ("198.51.100.7", "198.51.100.8") if v4 else ("2001:db8::7", "2001:db8::8")
    loopback = "127.0.0.1" if v4 else "::1"
    with Service(container, inner) as service:
        published = Published(launch, service, f"name:{container.name}", "client", host=None,
                              options=["--accept-proxy-protocol", front_end_ip])
        with remote.inside():
            front_end = udp.client(host, published.port)
        with front_end:
            for said, expected in ((clients[0], clients[0]), (clients[1], clients[1]),
                                   (clients[0], clients[0]), (loopback, gateway),
                                   (inner, gateway)):
                front_end.send(header("v2", (said, 4711), (host, 53), "udp") + b"query")
                data, session = udp.receive(service.udp)
                assert data == b"query"
                assert session[0] == expected
                if expected == said:
                    assert session[1] == 4711
                service.udp.sendto(b"answer", session)
                assert udp.receive(front_end)[0] == b"answer"
