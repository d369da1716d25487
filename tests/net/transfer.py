"""Streams of random bytes that both ends take a hash of."""

import hashlib
import random
import socket
import threading

_BLOCK = random.Random(20).randbytes(4 << 20)


def send_stream(sock, size, seed, chunk_max=1 << 20):
    """Sends `size` bytes in pieces of random length up to `chunk_max`, then half-closes; returns
    the hash. No two pieces are alike, so that a lost or misplaced one changes the hash."""
    rng = random.Random(seed)
    digest = hashlib.sha256()
    view = memoryview(_BLOCK)
    left = size
    while left:
        length = min(left, rng.randint(1, chunk_max))
        start = rng.randint(0, len(_BLOCK) - length)
        piece = view[start:start + length]
        digest.update(piece)
        sock.sendall(piece)
        left -= length
    sock.shutdown(socket.SHUT_WR)
    return digest.hexdigest()


def receive_stream(sock, seed=0, chunk_max=1 << 20):
    """Reads to the end in pieces of random length up to `chunk_max`; returns size and hash."""
    rng = random.Random(seed)
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(chunk_max))
    size = 0
    while count := sock.recv_into(buffer[:rng.randint(1, chunk_max)]):
        digest.update(buffer[:count])
        size += count
    return size, digest.hexdigest()


class Concurrently:
    """Runs functions at the same time, each in a thread; `results()` waits for them all and raises
    what the first of them raised."""

    def __init__(self, *functions):
        self._outcomes = [None] * len(functions)
        self._threads = [threading.Thread(target=self._run, args=item, daemon=True)
                         for item in enumerate(functions)]
        for thread in self._threads:
            thread.start()

    def _run(self, index, function):
        try:
            self._outcomes[index] = (function(), None)
        except BaseException as error:  # pylint: disable=broad-except
            self._outcomes[index] = (None, error)

    def results(self, seconds=60):
        for thread in self._threads:
            thread.join(seconds)
            assert not thread.is_alive(), f"still busy after {seconds} s"
        for _, error in self._outcomes:
            if error is not None:
                raise error
        return [value for value, _ in self._outcomes]
