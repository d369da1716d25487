"""UDP peers for tests."""

import socket
import struct

from tcp import family_of

IP_PKTINFO = 8
SOL_UDP = 17
UDP_SEGMENT = 103
UDP_GRO = 104
LARGEST_DATAGRAM = 65507


def bind(host="127.0.0.1", port=0, receive_buffer_bytes=None):
    sock = socket.socket(family_of(host), socket.SOCK_DGRAM)
    sock.settimeout(20)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if receive_buffer_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    sock.bind((host, port))
    return sock


def client(host, port, source=None):
    """A connected socket: it receives only what comes from exactly this address and port."""
    sock = socket.socket(family_of(host), socket.SOCK_DGRAM)
    sock.settimeout(20)
    if source is not None:
        sock.bind(source)
    sock.connect((host, port))
    return sock


def receive(sock):
    """The datagram and the sender's (host, port)."""
    data, sender = sock.recvfrom(70_000)
    return data, sender[:2]


def nothing_comes(sock, seconds=0.2):
    sock.settimeout(seconds)
    try:
        sock.recv(70_000)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(20)
    return False


def exchange(sender, backend, message=b"ping", answer=b"pong"):
    """One datagram each way; returns the address the backend was spoken to from."""
    sender.send(message)
    data, session = receive(backend)
    assert data == message
    backend.sendto(answer, session)
    assert receive(sender)[0] == answer
    return session


def send_burst(sock, datagrams, to=None):
    """Datagrams of equal size (the last may be shorter), handed to the kernel as one send, the way
    senders that care for speed do it."""
    size = len(datagrams[0])
    control = [(SOL_UDP, UDP_SEGMENT, struct.pack("H", size))]
    sock.sendmsg(datagrams, control, 0, *([] if to is None else [to]))
