"""TCP peers for tests: both ends of a relayed connection are held by the test itself."""

import contextlib
import errno
import select
import socket
import struct

from deadline import ready


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def listen(host="127.0.0.1", port=0, backlog=4096, dual_stack=False):
    listener = socket.socket(family_of(host), socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if listener.family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual_stack else 1)
    listener.bind((host, port))
    if backlog is not None:
        listener.listen(backlog)
    return listener


def address(sock):
    return sock.getsockname()[:2]


def _send_at_once(sock):
    """Whatever waits for more bytes or for an acknowledgement, it is not these sockets."""
    sock.settimeout(20)
    if sock.proto != getattr(socket, "IPPROTO_SCTP", None):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def connect(host, port, source=None):
    client = socket.socket(family_of(host), socket.SOCK_STREAM)
    _send_at_once(client)
    if source is not None:
        client.bind((source, 0))
    try:
        client.connect((host, port))
    except BaseException:
        client.close()
        raise
    return client


def reach(host, port):
    """Someone listens there. A proxy whose backend refuses resets the client at once, perhaps before
    connect() returns, and that shows it as well."""
    with contextlib.suppress(ConnectionResetError):
        connect(host, port).close()


def accept(listener):
    server, _ = listener.accept()
    _send_at_once(server)
    return server


def waiting_clients(port):
    """Of whoever listens on that port over IPv4: those that have not been accepted."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file][1:]
    # Address and port; state, of which 0A is LISTEN; lengths of the two queues.
    return sum(int(row[4].split(":")[1], 16) for row in rows
               if row[3] == "0A" and int(row[1].split(":")[1], 16) == port)


def receive_exactly(sock, size):
    pieces = []
    while size:
        piece = sock.recv(min(size, 1 << 20))
        assert piece, f"end of stream, {size} bytes short"
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def receive_all(sock):
    pieces = []
    while piece := sock.recv(1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def exchange(client, server, message=b"ping", answer=b"pong"):
    """One message each way."""
    client.sendall(message)
    assert receive_exactly(server, len(message)) == message
    server.sendall(answer)
    assert receive_exactly(client, len(answer)) == answer


def close_with_reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def expect_reset(sock, seconds=10.0):
    """Reads whatever is still there and then the reset; a FIN in its place fails."""
    sock.settimeout(seconds)
    try:
        while sock.recv(1 << 20):
            pass
    except ConnectionResetError:
        return
    raise AssertionError("the stream ended with a FIN instead of a reset")


def expect_closed(sock, seconds=10.0):
    """Nothing but the end, as a FIN or as a reset."""
    sock.settimeout(seconds)
    try:
        assert sock.recv(1) == b""
    except ConnectionResetError:
        pass


def connect_in_vain(host, port):
    """To a port whose backend cannot be reached. The proxy accepts and closes; when it is quick,
    connect(2) itself returns the reset."""
    try:
        with connect(host, port) as client:
            expect_closed(client)
    except ConnectionResetError:
        pass


def send_until_stuck(sock, quiet_seconds=0.3, block=b"x" * 65536):
    """Sends until nothing has gone out for `quiet_seconds`; returns how much went."""
    sock.setblocking(False)
    total = 0
    try:
        while ready(sock, select.POLLOUT, quiet_seconds):
            try:
                total += sock.send(block)
            except BlockingIOError:
                pass
    finally:
        sock.settimeout(20)
    return total


def is_reset(sock):
    """Whether a reset has come in, without reading what may be before it. After a FIN Linux calls
    it EPIPE."""
    if not ready(sock, 0, 0):
        return False
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (errno.ECONNRESET, errno.EPIPE)
