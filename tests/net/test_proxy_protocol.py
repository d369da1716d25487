"""PROXY headers: those that containers get, those that front ends bring; as bytes on the wire, and
with HAProxy and nginx at the other end."""

import contextlib
import signal
import socket
import struct
import subprocess

import pytest

import tcp
import udp
from conftest import PublishedTcp, PublishedUdp, next_port
from deadline import wait_until
from namespace import Namespace
from proxy_process import run_to_end
from test_log import counters

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def header(version, client, host, transport="tcp"):
    """As the specification has it, put together here and not by the proxy."""
    family = tcp.family_of(client[0])
    if version == "v1":
        name = "TCP6" if family == socket.AF_INET6 else "TCP4"
        return f"PROXY {name} {client[0]} {host[0]} {client[1]} {host[1]}\r\n".encode()
    block = b"".join(socket.inet_pton(family, end[0]) for end in (client, host))
    block += struct.pack("!HH", client[1], host[1])
    kind = (0x20 if family == socket.AF_INET6 else 0x10) | (2 if transport == "udp" else 1)
    return SIGNATURE + struct.pack("!BBH", 0x21, kind, len(block)) + block


def header_of(version, client):
    """What the proxy has to say of this connected socket."""
    transport = "udp" if client.type == socket.SOCK_DGRAM else "tcp"
    return header(version, client.getsockname()[:2], client.getpeername()[:2], transport)


def expect(server, expected):
    assert tcp.receive_exactly(server, len(expected)) == expected


# Towards the container.

@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("host,container", [("127.0.0.1", "127.0.0.1"), ("::1", "127.0.0.1"),
                                            ("127.0.0.1", "::1"), ("::1", "::1")])
def test_the_container_is_told_the_client_and_the_address_it_asked(launch, version, host,
                                                                   container):
    published = PublishedTcp(launch, host, container, options=["-proxy-protocol", version])
    client, server = published.open()
    with client, server:
        client.sendall(b"request")
        expect(server, header_of(version, client) + b"request")
        tcp.exchange(client, server)


def test_bulk_follows_the_header(launch, relay):
    published = PublishedTcp(launch, options=["-proxy-protocol", "v2"])
    client, server = published.open()
    with client, server:
        block = b"0123456789" * 100_000
        client.sendall(block)
        expect(server, header_of("v2", client) + block)
        server.sendall(block)
        expect(client, block)


def test_the_header_does_not_wait_for_the_client(launch, relay):
    """The server may speak first, and a client may say nothing at all."""
    published = PublishedTcp(launch, options=["-proxy-protocol", "v1"])
    client, server = published.open()
    with client, server:
        expect(server, header_of("v1", client))
        server.sendall(b"220 ready")
        expect(client, b"220 ready")
    client, server = published.open()
    with server:
        told = header_of("v1", client)
        client.close()
        assert tcp.receive_all(server) == told


def test_a_remote_client(launch):
    """Where masquerading hides it: the container's namespace knows the gateway alone."""
    with Namespace() as remote, Namespace() as container:
        with container.inside():
            backend = tcp.listen(container.inner)
        port = next_port()
        with backend:
            launch.publish(f"{port}:{container.inner}:{tcp.address(backend)[1]}",
                           options=["--proxy-protocol", "v2"])
            for host, client_ip in ((remote.outer, remote.inner), (remote.outer6, remote.inner6)):
                with remote.inside():
                    client = tcp.connect(host, port)
                with client, tcp.accept(backend) as server:
                    assert server.getpeername()[0] == container.outer
                    assert client.getsockname()[0] == client_ip
                    expect(server, header_of("v2", client))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_each_datagram_has_its_header(launch, host):
    published = PublishedUdp(launch, host, options=["-proxy-protocol", "v2"])
    with published.client() as client, published.client() as other:
        for sender in (client, other, client):
            told = header_of("v2", sender)
            for payload in (b"query", b"", b"x" * 9_000):
                sender.send(payload)
                data, session = udp.receive(published.backend)
                assert data == told + payload
            published.backend.sendto(b"answer", session)
            assert sender.recv(100) == b"answer"
        told = header_of("v2", client)
        udp.send_burst(client, [b"a" * 1_000] * 20 + [b"b"])
        for payload in [b"a" * 1_000] * 20 + [b"b"]:
            assert udp.receive(published.backend)[0] == told + payload


def test_the_largest_datagram_has_no_room_for_a_header(launch):
    published = PublishedUdp(launch, options=["-proxy-protocol", "v2"])
    with published.client() as client:
        client.send(b"x" * (udp.LARGEST_DATAGRAM - 28))
        assert len(udp.receive(published.backend)[0]) == udp.LARGEST_DATAGRAM
        client.send(b"x" * (udp.LARGEST_DATAGRAM - 27))
        wait_until(lambda: counters(published.proxy)["datagrams_dropped"] == 1, "not counted")


@pytest.mark.parametrize("version,mapping", [("v1", "53:127.0.0.1:53/udp"),
                                             ("v1", "53:127.0.0.1:53/sctp"),
                                             ("v2", "53:127.0.0.1:53/sctp")])
def test_protocols_without_such_a_header_are_a_usage_error(version, mapping):
    ended = run_to_end("-p", "80:127.0.0.9:80", "-p", mapping, "--proxy-protocol", version)
    assert ended.code == 2
    assert f"--proxy-protocol {version}" in ended.stderr and mapping in ended.stderr


# From front ends.

@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("told", [(("203.0.113.9", 5000), ("198.51.100.1", 443)),
                                  (("2001:db8::9", 5000), ("2001:db8::1", 443))])
def test_the_client_is_who_the_front_end_says(launch, relay, version, told):
    published = PublishedTcp(launch, options=["-accept-proxy-protocol", "127.0.0.0/8",
                                              "-proxy-protocol", "v1"])
    with published.connect() as client:
        client.sendall(header(version, *told) + b"request")
        with tcp.accept(published.backend) as server:
            expect(server, header("v1", *told) + b"request")
            tcp.exchange(client, server)


def test_without_a_header_of_its_own_the_container_gets_the_payload_alone(launch, relay):
    published = PublishedTcp(launch, options=["-accept-proxy-protocol", "127.0.0.1"])
    with published.connect() as client:
        told = header("v2", ("203.0.113.9", 5000), ("198.51.100.1", 443))
        for byte in told:
            client.sendall(bytes([byte]))
        client.sendall(b"request")
        with tcp.accept(published.backend) as server:
            expect(server, b"request")
            tcp.exchange(client, server)


def test_others_are_plain_clients(launch):
    published = PublishedTcp(launch, options=["-accept-proxy-protocol", "127.0.0.2,fd00::/8"])
    client, server = published.open()
    with client, server:
        tcp.exchange(client, server, message=b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n")
    with published.connect(source="127.0.0.2") as client:
        client.sendall(b"PROXY UNKNOWN\r\nhello")
        with tcp.accept(published.backend) as server:
            expect(server, b"hello")


def test_a_wrong_header_is_refused_counted_and_logged(launch):
    published = PublishedTcp(launch, options=["-accept-proxy-protocol", "127.0.0.1"])
    for _ in range(20):
        with published.connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            tcp.expect_reset(client)
    with published.connect() as client:
        client.sendall(b"PROXY TCP4 1.2.3.4")
        client.shutdown(socket.SHUT_WR)
        tcp.expect_reset(client)
    now = counters(published.proxy)
    assert now["proxy_headers_refused"] == 21
    assert now["connections_accepted"] == now["connections_open"] == 0
    assert 1 <= published.proxy.log().count("begins as no PROXY header does") <= 3


def test_a_missing_header_is_waited_for_five_seconds(launch):
    published = PublishedTcp(launch, options=["-accept-proxy-protocol", "127.0.0.1"])
    with published.connect() as silent, published.connect() as slow:
        slow.sendall(b"PROXY ")
        for client in (silent, slow):
            tcp.expect_reset(client)
        published.proxy.wait_for_log("none came within 5 s")
        assert counters(published.proxy)["proxy_headers_refused"] == 2


def test_the_log_names_the_client_and_not_the_front_end(launch, port):
    with tcp.listen(backlog=None) as dead:
        proxy = launch.docker("tcp", ("127.0.0.1", port), tcp.address(dead),
                              options=["-accept-proxy-protocol", "127.0.0.1"])
        with tcp.connect("127.0.0.1", port) as client:
            client.sendall(b"PROXY TCP4 203.0.113.9 198.51.100.1 5000 443\r\n")
            tcp.expect_reset(client)
        proxy.wait_for_log("for 203.0.113.9:5000: connection refused")


def connected_udp(sender, published):
    """A front end's socket, of a source address of its own."""
    return udp.client(published.host, published.port, (sender, 0))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("told", [(("203.0.113.9", 5000), ("198.51.100.1", 443)),
                                  (("2001:db8::9", 5000), ("2001:db8::1", 443))])
def test_the_client_of_a_datagram_is_who_the_front_end_says(launch, host, told):
    published = PublishedUdp(launch, host, options=["-accept-proxy-protocol", "127.0.0.1,::1",
                                                    "-proxy-protocol", "v2"])
    header_of_client = header("v2", *told, "udp")
    other = header("v2", (told[0][0], 5001), told[1], "udp")
    with published.client() as front_end:
        sessions = {}
        for said in (header_of_client, other, header_of_client):
            front_end.send(said + b"query")
            data, session = udp.receive(published.backend)
            assert data == said + b"query"
            assert sessions.setdefault(said, session) == session
        assert len(set(sessions.values())) == 2
        for session in sessions.values():
            published.backend.sendto(b"answer", session)
            assert front_end.recv(100) == b"answer"
        # A health check: the front end speaks for itself.
        front_end.send(SIGNATURE + b"\x20\0\0\0alive?")
        assert udp.receive(published.backend)[0] == header_of("v2", front_end) + b"alive?"


def test_each_datagram_of_a_burst_has_its_own_client(launch):
    """Handed over as one send, as a fast front end does: what the kernel keeps together on its way
    over loopback is taken apart, since each datagram begins with a header."""
    published = PublishedUdp(launch, options=["-accept-proxy-protocol", "127.0.0.1"])
    with published.client() as front_end:
        burst = [header("v2", ("203.0.113.9", 5000 + i % 3), ("198.51.100.1", 443), "udp") +
                 f"{i:04}".encode() for i in range(30)]
        udp.send_burst(front_end, burst)
        received = {}
        for _ in burst:
            data, session = udp.receive(published.backend)
            received.setdefault(session, []).append(int(data))
        assert sorted(received.values()) == [list(range(first, 30, 3)) for first in range(3)]


def test_a_wrong_header_of_a_datagram_is_dropped_counted_and_logged(launch):
    published = PublishedUdp(launch, options=["-accept-proxy-protocol", "127.0.0.1"])
    whole = header("v2", ("203.0.113.9", 5000), ("198.51.100.1", 443), "udp")
    with published.client() as front_end, \
            connected_udp("127.0.0.2", published) as stranger:
        for bad in (b"plain", b"", whole[:20], b"PROXY UNKNOWN\r\nquery") * 5:
            front_end.send(bad)
        front_end.send(whole + b"good")
        assert udp.receive(published.backend)[0] == b"good"
        # From anybody else it is not a header.
        stranger.send(whole + b"payload")
        assert udp.receive(published.backend)[0] == whole + b"payload"
        now = counters(published.proxy)
        assert now["proxy_headers_refused"] == now["datagrams_dropped"] == 20
        log = published.proxy.log()
        assert 1 <= log.count(": it begins as no PROXY header does") <= 3


# With others that speak it.

@contextlib.contextmanager
def running(directory, port, command, configuration):
    """A server in the foreground, once it accepts connections on the port."""
    file = directory / "configuration"
    file.write_text(configuration)
    log = directory / "log"
    with open(log, "wb") as output:
        server = subprocess.Popen([*command, str(file)], stdin=subprocess.DEVNULL, stdout=output,
                                  stderr=output)

    def accepts():
        assert server.poll() is None, log.read_text()
        with contextlib.suppress(ConnectionRefusedError):
            tcp.connect("127.0.0.1", port).close()
            return True
        return False

    try:
        wait_until(accepts, lambda: log.read_text())
        yield
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)


def get(host, port):
    """The client's address and the body of the answer."""
    with tcp.connect(host, port) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return client.getsockname(), tcp.receive_all(client).split(b"\r\n\r\n", 1)[1].decode()


HAPROXY = """
defaults
  mode http
  timeout connect 10s
  timeout client 10s
  timeout server 10s
frontend behind
  bind 127.0.0.1:{behind} accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst_port]"
listen before
  mode tcp
  bind 127.0.0.1:{before}
  server fairlead 127.0.0.1:{published} send-proxy-v2
"""


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_haproxy_on_both_sides(launch, tmp_path, version):
    """client, HAProxy, fairlead-proxy, HAProxy: the last one knows the client and the port of the
    first one that it asked; and the client alone without the first."""
    behind, before, published = next_port(), next_port(), next_port()
    configuration = HAPROXY.format(behind=behind, before=before, published=published)
    launch.docker("tcp", ("127.0.0.1", published), ("127.0.0.1", behind),
                  options=["-proxy-protocol", version, "-accept-proxy-protocol", "127.0.0.1"])
    direct = next_port()
    launch.docker("tcp", ("127.0.0.1", direct), ("127.0.0.1", behind),
                  options=["-proxy-protocol", version])
    with running(tmp_path, before, ["haproxy", "-db", "-f"], configuration):
        for port in (before, direct):
            client, body = get("127.0.0.1", port)
            assert body == f"{client[0]} {client[1]} {port}"


NGINX = """
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
master_process off;
user root;
pid {directory}/pid;
error_log stderr;
events {{ }}
http {{
  access_log off;
  server {{
    listen 127.0.0.1:{behind} proxy_protocol;
    return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_port";
  }}
}}
stream {{
  server {{
    listen 127.0.0.1:{before};
    proxy_pass 127.0.0.1:{published};
    proxy_protocol on;
  }}
}}
"""


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_nginx_on_both_sides(launch, tmp_path, version):
    behind, before, published = next_port(), next_port(), next_port()
    configuration = NGINX.format(directory=tmp_path, behind=behind, before=before,
                                 published=published)
    launch.docker("tcp", ("127.0.0.1", published), ("127.0.0.1", behind),
                  options=["-proxy-protocol", version, "-accept-proxy-protocol", "127.0.0.1"])
    direct = next_port()
    launch.docker("tcp", ("127.0.0.1", direct), ("127.0.0.1", behind),
                  options=["-proxy-protocol", version])
    with running(tmp_path, before, ["nginx", "-p", str(tmp_path), "-c"], configuration):
        for port in (before, direct):
            client, body = get("127.0.0.1", port)
            assert body == f"{client[0]} {client[1]} {port}"
