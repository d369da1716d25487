"""Large transfers arrive unchanged."""

import pytest

from proxy_process import scaled
from transfer import Concurrently, receive_stream, send_stream

SIZE = scaled(64 << 20)


def test_both_ways_at_once(relay, published):
    client, server = published.open()
    with client, server:
        sent_up, sent_down, received_up, received_down = Concurrently(
            lambda: send_stream(client, SIZE, seed=1),
            lambda: send_stream(server, SIZE, seed=2),
            lambda: receive_stream(server, seed=3),
            lambda: receive_stream(client, seed=4)).results()
    assert received_up == (SIZE, sent_up)
    assert received_down == (SIZE, sent_down)


@pytest.mark.parametrize("chunk_max", [7, 1500, 20_000, 300_000])
def test_chunks_of_random_size(relay, published, chunk_max):
    """Sender and reader cut the stream up differently, in small pieces and in large ones."""
    size = min(scaled(8 << 20), chunk_max * 1000)
    client, server = published.open()
    with client, server:
        sent_up, sent_down, received_up, received_down = Concurrently(
            lambda: send_stream(client, size, seed=chunk_max, chunk_max=chunk_max),
            lambda: send_stream(server, size, seed=chunk_max + 1, chunk_max=3 * chunk_max),
            lambda: receive_stream(server, seed=chunk_max + 2, chunk_max=2 * chunk_max),
            lambda: receive_stream(client, seed=chunk_max + 3, chunk_max=chunk_max)).results()
    assert received_up == (size, sent_up)
    assert received_down == (size, sent_down)


def test_eight_streams_at_once(relay, published):
    size = SIZE // 8
    pairs = [published.open() for _ in range(8)]
    senders = [lambda client=client, seed=seed: send_stream(client, size, seed)
               for seed, (client, _) in enumerate(pairs)]
    receivers = [lambda server=server: receive_stream(server) for _, server in pairs]
    results = Concurrently(*senders, *receivers).results()
    for sent, received in zip(results[:8], results[8:]):
        assert received == (size, sent)
    for client, server in pairs:
        client.close()
        server.close()
