"""Scrapers that are slow, many, silent or talk nonsense cost the clients of the ports nothing, and
leave nothing behind."""

import contextlib
import random
import select
import socket
import time

import pytest

import process_facts
import tcp
from conftest import next_port
from deadline import ready, wait_until
from proxy_process import INSTRUMENTED

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
# MetricsServer::kScrapesMax and kScrapeMs.
SCRAPES_MAX, SCRAPE_SECONDS = 8, 10
# Ports that nobody uses, for figures that narrow buffers do not hold.
IDLE_PORTS = 200
BUFFERS = "/proc/sys/net/ipv4/tcp_wmem"


class Published:
    """A proxy with much to tell, one of whose ports a client uses all the while."""

    def __init__(self, launch, *options):
        self.backend = tcp.listen()
        self.port, self.metrics_port = next_port(), next_port()
        self.first_idle = next_port(IDLE_PORTS)
        mappings = [f"127.0.0.1:{self.port}:127.0.0.1:{tcp.address(self.backend)[1]}",
                    *(f"127.0.0.1:{self.first_idle + n}:127.0.0.1:9" for n in range(IDLE_PORTS))]
        self.proxy = launch.publish(*mappings, options=["--metrics", f"127.0.0.1:{self.metrics_port}",
                                                        *options])
        self.client = tcp.connect("127.0.0.1", self.port)
        self.server = tcp.accept(self.backend)

    def exchange(self):
        start = time.monotonic()
        tcp.exchange(self.client, self.server, b"q" * 1000, b"a" * 1000)
        assert time.monotonic() - start < 5

    def scraper(self, request=b"", receive_buffer=None):
        scraper = socket.socket()
        if receive_buffer:
            scraper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        scraper.settimeout(2 * SCRAPE_SECONDS)
        scraper.connect(("127.0.0.1", self.metrics_port))
        scraper.sendall(request)
        return scraper

    def scrape(self):
        with self.scraper(REQUEST) as scraper:
            reply = tcp.receive_all(scraper)
        assert is_whole(reply)
        return len(reply)

    def descriptors(self):
        return len(process_facts.descriptors(self.proxy.pid))

    def close(self):
        for end in (self.client, self.server, self.backend):
            end.close()


def is_whole(reply):
    head, _, body = reply.partition(b"\r\n\r\n")
    return head.startswith(b"HTTP/1.1 200 ") and f"Content-Length: {len(body)}".encode() in head


@pytest.fixture
def published(launch):
    with contextlib.closing(Published(launch)) as made:
        made.scrape()
        yield made


@pytest.fixture
def narrow_buffers():
    """Replies wait in the proxy and not in its sockets."""
    with open(BUFFERS, encoding="ascii") as file:
        before = file.read()
    with open(BUFFERS, "w", encoding="ascii") as file:
        file.write("4096 16384 65536")
    yield
    with open(BUFFERS, "w", encoding="ascii") as file:
        file.write(before)


@pytest.fixture
def leaves_nothing(published):
    """Afterwards the proxy has what it had: descriptors, and memory but for a few replies, which
    the allocator may keep."""
    reply = published.scrape()
    descriptors = published.descriptors()
    memory = process_facts.resident_bytes(published.proxy.pid)
    yield
    published.exchange()
    published.scrape()
    wait_until(lambda: published.descriptors() <= descriptors,
               lambda: f"{published.descriptors()} descriptors instead of {descriptors}")
    # The address sanitizer keeps what was freed.
    if not INSTRUMENTED:
        now = process_facts.resident_bytes(published.proxy.pid)
        assert now - memory < 2 * SCRAPES_MAX * reply


def test_a_thousand_at_once(published, leaves_nothing):
    start = time.monotonic()
    scrapers = [published.scraper(REQUEST) for _ in range(100 if INSTRUMENTED else 1000)]
    replies = {scraper.fileno(): b"" for scraper in scrapers}
    by_number = {scraper.fileno(): scraper for scraper in scrapers}
    poll = select.poll()
    for scraper in scrapers:
        poll.register(scraper, select.POLLIN)
    while by_number:
        published.exchange()
        for number, _ in poll.poll(10_000):
            piece = by_number[number].recv(1 << 20)
            replies[number] += piece
            if not piece:
                poll.unregister(number)
                by_number.pop(number).close()
                assert is_whole(replies.pop(number))
    said = published.proxy.log().count(f"--metrics: {SCRAPES_MAX} scrapes are open; further ones wait")
    # Three in ten seconds.
    assert 1 <= said <= 3 * (2 + (time.monotonic() - start) // 10)


def test_those_who_stay_are_shown_out(narrow_buffers, published, leaves_nothing):
    """Two of each kind, which are all that there may be; the next is served when they are gone."""
    before = published.descriptors()
    silent = [published.scraper() for _ in range(2)]
    half = [published.scraper(REQUEST[:-2]) for _ in range(2)]
    slow = [published.scraper(REQUEST[:5]) for _ in range(2)]
    deaf = [published.scraper(REQUEST, receive_buffer=4096) for _ in range(2)]
    staying = [*silent, *half, *slow, *deaf]
    wait_until(lambda: "scrapes are open" in published.proxy.log(), "the limit is not reached")
    with published.scraper(REQUEST) as next_one:
        while not ready(next_one, select.POLLIN, 0.5):
            published.exchange()
            for scraper in slow:
                with contextlib.suppress(ConnectionError):
                    scraper.send(b"x")
        assert is_whole(tcp.receive_all(next_one))
    # The others may have come later.
    wait_until(lambda: published.descriptors() <= before, "they are still there")
    for scraper in staying:
        with scraper, contextlib.suppress(ConnectionResetError):
            assert not is_whole(tcp.receive_all(scraper))


def test_those_who_go_in_the_middle(narrow_buffers, published, leaves_nothing):
    for _ in range(50):
        scraper = published.scraper(REQUEST, receive_buffer=4096)
        assert tcp.receive_exactly(scraper, 100).startswith(b"HTTP/1.1 200 ")
        tcp.close_with_reset(scraper)
        tcp.close_with_reset(published.scraper(REQUEST[:20]))
        published.exchange()


def test_what_comes_after_a_request_takes_nothing_of_the_reply(published, leaves_nothing):
    for more in (REQUEST * 3, b"x" * 50_000, b"\0"):
        with published.scraper(REQUEST + more) as scraper:
            # Had the connection been reset, what was on its way would be gone.
            assert is_whole(tcp.receive_all(scraper))
            published.exchange()


def test_nonsense(published, leaves_nothing):
    chance = random.Random(6)
    for status, request in {
            b"400": b"\r\n\r\n", b"404": b"GET / HTTP/1.1\r\n\r\n",
            b"405": b"DELETE /metrics HTTP/1.1\r\n\r\n",
            b"431": b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 60_000}.items():
        with published.scraper(request) as scraper:
            assert tcp.receive_all(scraper).startswith(b"HTTP/1.1 " + status)
    for _ in range(50):
        with published.scraper(chance.randbytes(chance.randrange(20_000))) as scraper, \
                contextlib.suppress(ConnectionError):
            scraper.shutdown(socket.SHUT_WR)
            tcp.receive_all(scraper)
        published.exchange()
