"""Clients of service.py. Each returns the client address that the service saw."""

import contextlib
import socket
import threading


def ask_tcp(network, host, port, payload=b"ping"):
    """One connection, half-closed by the client, served to its end."""
    with network:
        connection = socket.create_connection((host, port), timeout=10)

    def send():
        with contextlib.suppress(OSError):  # The reader sees what is missing.
            connection.sendall(payload)
            connection.shutdown(socket.SHUT_WR)

    with connection, connection.makefile("rb") as reply:
        sender = threading.Thread(target=send)
        sender.start()
        seen, echoed = reply.readline(), reply.read()
        sender.join()
    assert echoed == payload, f"{len(echoed)} of {len(payload)} bytes came back"
    return seen.decode().strip()


def ask_udp(network, host, port, payload=b"ping"):
    """One datagram. A connected socket takes no reply from another address than it asked."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with network, socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect((host, port))
        client.send(payload)
        seen, _, echoed = client.recv(1 << 16).partition(b"\n")
    assert echoed == payload
    return seen.decode()


def is_refused(network, host, port):
    try:
        with network, socket.create_connection((host, port), timeout=10):
            return False
    except ConnectionRefusedError:
        return True
