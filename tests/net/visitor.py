"""A service that gives everyone back what they say, and clients that come again and again."""

import contextlib
import socket
import threading

import tcp
from deadline import wait_until


@contextlib.contextmanager
def served(listener):
    """Everyone who comes to it, until the end of the block."""
    def answer(server):
        with contextlib.suppress(OSError), server:
            while data := server.recv(1000):
                server.sendall(data)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(tcp.accept(listener),), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield
    listener.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def datagrams_served(sock):
    """The same for datagrams."""
    stopped = threading.Event()
    sock.settimeout(0.05)

    def serve():
        while not stopped.is_set():
            with contextlib.suppress(TimeoutError):
                sock.sendto(*sock.recvfrom(1000))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield
    stopped.set()
    thread.join(20)


class Visitor(threading.Thread):
    """A client that makes one exchange after another: each over a connection of its own, or, if it
    `stays`, all over one. `over` makes a connection."""

    def __init__(self, host, port, stays=False, over=tcp.connect):
        super().__init__(daemon=True)
        self._reach = lambda: over(host, port)
        self._stays = stays
        self.visits = 0
        self.failure = None
        self.stopped = threading.Event()
        self.start()

    def run(self):
        try:
            while not self.stopped.is_set():
                with self._reach() as client:
                    self._exchange(client)
                    while self._stays and not self.stopped.is_set():
                        self._exchange(client)
        except BaseException as failure:  # whatever it was is looked at by the test
            self.failure = failure

    def _exchange(self, client):
        client.sendall(b"ping")
        assert tcp.receive_exactly(client, 4) == b"ping"
        self.visits += 1

    def has_visited(self, times):
        before = self.visits
        wait_until(lambda: self.failure or self.visits >= before + times, "no visits")

    def end(self):
        self.stopped.set()
        self.join(20)
        assert self.failure is None, self.failure
