"""What runs in the containers: service.py FIRST-PORT [LAST-PORT]

On every port, TCP and UDP, IPv4 and IPv6: says the client's address on a line, to the client and in
its log, then echoes. A TCP connection is answered at once, served to its end and then closed.
"""

import contextlib
import selectors
import socket
import sys


def serve(first, last):
    ready = selectors.DefaultSelector()
    for port in range(first, last + 1):
        for family, any_address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                # A container may have no IPv6.
                with contextlib.suppress(OSError):
                    ready.register(listener(family, kind, any_address, port), selectors.EVENT_READ,
                                   accept if kind == socket.SOCK_STREAM else answer)
    while True:
        for key, _ in ready.select():
            with contextlib.suppress(ConnectionError):
                key.data(key.fileobj, ready)


def listener(family, kind, address, port):
    made = socket.socket(family, kind)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if kind == socket.SOCK_STREAM:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, port))
    if kind == socket.SOCK_STREAM:
        made.listen(128)
    return made


def accept(listening, ready):
    connection, client = listening.accept()
    print(client[0], flush=True)
    connection.sendall(f"{client[0]}\n".encode())
    ready.register(connection, selectors.EVENT_READ, echo)


def echo(connection, ready):
    try:
        data = connection.recv(1 << 16)
        if data:
            connection.sendall(data)
            return
    except ConnectionError:
        pass
    ready.unregister(connection)
    connection.close()


def answer(sock, _):
    data, client = sock.recvfrom(1 << 16)
    print(client[0], flush=True)
    sock.sendto(f"{client[0]}\n".encode() + data, client)


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[-1]))
