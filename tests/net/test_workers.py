"""More threads when one cannot keep up, and one again when it can."""

import socket
import threading

import process_facts
import tcp
from conftest import PublishedTcp
from deadline import wait_until
from proxy_process import SANITIZED
from transfer import Concurrently

STREAMS = 6
BLOCK = b"x" * (1 << 20)


def flood(sock, enough):
    while not enough.is_set():
        sock.sendall(BLOCK)
    sock.shutdown(socket.SHUT_WR)


def swallow(sock):
    space = bytearray(1 << 20)
    while sock.recv_into(space):
        pass


def test_a_saturated_loop_gets_help_until_it_has_time_again(launch):
    """Bulk on several connections, copied so that it takes a processor. What is asked meanwhile
    is answered, on whichever loop that is."""
    published = PublishedTcp(launch, options=["-workers", "2", "-relay", "copy"])
    pid = published.proxy.pid
    pairs = [published.open() for _ in range(STREAMS)]
    asking = published.open()
    few = process_facts.threads(pid)
    assert few == 1 or SANITIZED
    enough = threading.Event()
    bulk = Concurrently(*[lambda pair=pair: flood(pair[0], enough) for pair in pairs],
                        *[lambda pair=pair: swallow(pair[1]) for pair in pairs])
    try:
        def has_help():
            tcp.exchange(*asking)
            return process_facts.threads(pid) == few + 1
        wait_until(has_help, "there is no second loop", seconds=40)
        for _ in range(20):
            tcp.exchange(*asking)
    finally:
        enough.set()
    bulk.results()
    wait_until(lambda: process_facts.threads(pid) == few, "the second loop does not end",
               seconds=20)
    tcp.exchange(*asking)
    for pair in [asking, *pairs]:
        for end in pair:
            end.close()
