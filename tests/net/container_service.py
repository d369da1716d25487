"""A service in a network namespace, and ports that a proxy publishes for it."""

import contextlib
import subprocess

import tcp
import udp
from conftest import next_port


@contextlib.contextmanager
def process_in(namespace):
    """A process that does nothing there; its pid."""
    with namespace.inside():
        process = subprocess.Popen(["sleep", "600"])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


class Service:
    """TCP and UDP at one port of a namespace, and the addresses that its clients are seen with."""

    def __init__(self, namespace, host, port=None):
        self.host, self.port = host, port or next_port()
        with namespace.inside():
            self.tcp = tcp.listen(host, self.port)
            self.udp = udp.bind(host, self.port)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.tcp.close()
        self.udp.close()

    def accept(self):
        """The server's end of a connection, and its (host, port) of the peer."""
        server, peer = self.tcp.accept()
        server.settimeout(20)
        return server, peer[:2]

    def peer_of_tcp(self, client):
        """What the service sees as the peer of a connected client, which is served and closed."""
        with client:
            server, peer = self.accept()
            with server:
                tcp.exchange(client, server)
        return peer

    def peer_of_udp(self, client):
        with client:
            return udp.exchange(client, self.udp)


class Published:
    """A port that leads to a service, over TCP and UDP: of one address, or of all of this host's."""

    def __init__(self, launch, service, netns, source="gateway", options=(), host="127.0.0.1", **how):
        self.service, self.host, self.port = service, host, next_port()
        bind = "" if host is None else f"{_bracketed(host)}:"
        self.proxy = launch.publish(
            *(f"{bind}{self.port}:{_bracketed(service.host)}:{service.port}/{kind}"
              for kind in ("tcp", "udp")),
            options=["--container-netns", netns, "--source", source, *options], **how)

    def peer_of_tcp(self, host=None, source=None):
        """The (host, port) that the service sees when this thread asks at `host`."""
        return self.service.peer_of_tcp(tcp.connect(host or self.host, self.port, source))

    def peer_of_udp(self, host=None, source=None):
        return self.service.peer_of_udp(udp.client(host or self.host, self.port, source))


def _bracketed(host):
    return f"[{host}]" if ":" in host else host
