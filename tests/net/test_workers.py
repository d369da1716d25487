"""More threads when one cannot keep up, and one again when it can."""

import socket
import threading

import process_facts
import tcp
from conftest import PublishedTcp
from container_service import Published, Service
from deadline import wait_until
from namespace import Namespace
from proxy_process import INSTRUMENTED
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
    assert few == 1 or INSTRUMENTED
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


def test_each_loop_dials_in_the_containers_namespace(launch):
    """A thread is born into the namespace of the one that makes it, and moves by itself."""
    with Namespace() as container, Namespace() as remote, \
            Service(container, container.inner) as service:
        published = Published(launch, service, f"name:{container.name}", "client", host=None,
                              options=["--workers", "2", "--relay", "copy"])
        pid = published.proxy.pid
        with remote.inside():
            clients = [tcp.connect(remote.outer, published.port) for _ in range(STREAMS)]
        pairs = [(client, service.accept()[0]) for client in clients]
        few = process_facts.threads(pid)
        enough = threading.Event()
        bulk = Concurrently(*[lambda pair=pair: flood(pair[0], enough) for pair in pairs],
                            *[lambda pair=pair: swallow(pair[1]) for pair in pairs])
        try:
            wait_until(lambda: process_facts.threads(pid) == few + 1, "there is no second loop",
                       seconds=40)
            for _ in range(6):
                with remote.inside():
                    client = tcp.connect(remote.outer, published.port)
                assert service.peer_of_tcp(client)[0] == remote.inner
        finally:
            enough.set()
        bulk.results()
        for pair in pairs:
            for end in pair:
                end.close()
