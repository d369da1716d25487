"""A port that was served a moment ago can be served again."""

import socket
import threading

import tcp
from conftest import PublishedTcp
from deadline import wait_until
from proxy_process import scaled


class Load:
    """Clients that connect, exchange and close as fast as they can, whether the port is served at
    the moment or not; and the backend that answers them."""

    def __init__(self, host, port, backend, threads=3):
        self._stop_asking = threading.Event()
        self._stop_answering = threading.Event()
        self.answered = 0
        self._backend = backend
        self._askers = [threading.Thread(target=self._ask, args=(host, port), daemon=True)
                        for _ in range(threads)]
        self._answerer = threading.Thread(target=self._answer, daemon=True)

    def __enter__(self):
        for thread in (*self._askers, self._answerer):
            thread.start()
        return self

    def __exit__(self, *_):
        # In this order, or the last questions would wait for their answer in vain.
        self._stop_asking.set()
        for thread in self._askers:
            thread.join(30)
            assert not thread.is_alive()
        self._stop_answering.set()
        self._answerer.join(30)

    def _ask(self, host, port):
        while not self._stop_asking.is_set():
            try:
                with tcp.connect(host, port) as client:
                    client.sendall(b"x" * 5000)
                    client.shutdown(socket.SHUT_WR)
                    if len(tcp.receive_all(client)) == 5000:
                        self.answered += 1
            except OSError:
                pass

    def _answer(self):
        self._backend.settimeout(0.1)
        while not self._stop_answering.is_set():
            try:
                with tcp.accept(self._backend) as server:
                    server.sendall(tcp.receive_all(server))
            except OSError:
                pass


def test_stop_and_start_50_times_under_load(launch):
    published = PublishedTcp(launch)
    host = (published.host, published.port)
    container = tcp.address(published.backend)
    with Load(*host, published.backend) as load:
        for _ in range(scaled(50)):
            enough = load.answered + 3
            wait_until(lambda enough=enough: load.answered >= enough, "nothing is answered")
            published.proxy.stop()
            published.proxy = launch.docker("tcp", host, container)


def test_connections_in_time_wait_are_no_obstacle(launch):
    """The proxy closes first, so that its own end of the connection is the one left over."""
    published = PublishedTcp(launch)
    client, server = published.open()
    with client, server:
        tcp.exchange(client, server)
        published.proxy.stop()
        assert client.recv(1) == b""
    again = launch.docker("tcp", (published.host, published.port),
                          tcp.address(published.backend))
    client, server = published.open()
    with client, server:
        tcp.exchange(client, server)
    again.wait_for_sockets(again.idle_sockets)
