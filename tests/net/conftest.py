"""Fixtures: the proxy, over each engine and each way of relaying, and addresses to use it at."""

import itertools
import os
import re
import socket

import pytest

import tcp
import udp
from control_group import ControlGroup
from proxy_process import ProxyProcess, ReadySocket, StatusPipe

# Nothing in these tests waits for ever for the network.
socket.setdefaulttimeout(20)

# What whoever runs the tests has left open is not handed on to every proxy.
for _descriptor in map(int, os.listdir("/proc/self/fd")):
    if _descriptor > 2:
        try:
            os.set_inheritable(_descriptor, False)
        except OSError:
            pass  # the one that listed the directory

ENGINES = ("io_uring", "epoll")


def pytest_addoption(parser):
    parser.addoption("--engine", action="append", metavar="NAME",
                     help="io_uring or epoll (both by default), or `default`: no option is added to "
                          "Docker's, so that docker-proxy can be tested, too")


def pytest_generate_tests(metafunc):
    # A module with a fixture of this name chooses for itself.
    if "engine" in metafunc.fixturenames and not hasattr(metafunc.module, "engine"):
        metafunc.parametrize("engine", metafunc.config.getoption("--engine") or ENGINES,
                             scope="session")


@pytest.fixture(params=["auto", "copy", "splice"])
def relay(request):
    """Ask for it where the way bytes are moved matters: the proxy is then started with each."""
    return request.param


_ports = itertools.count(10_000)


def next_port(count=1):
    """The first of `count` consecutive ports that no other test uses, for TCP and for UDP."""
    first = next(_ports)
    for _ in range(count - 1):
        next(_ports)
    assert first + count < 32_768, "the ports below ip_local_port_range are used up"
    return first


@pytest.fixture
def port():
    return next_port()


class Launcher:
    """Starts proxies and sees to their end."""

    def __init__(self, engine, relay, directory):
        self._options = {}
        if engine != "default":
            self._options = {"engine": engine, **({} if relay is None else {"relay": relay})}
        self._directory = directory
        self._started = []
        self._groups = []

    def start(self, arguments, **how):
        """With exactly these arguments; returns without waiting for anything."""
        proxy = ProxyProcess([str(argument) for argument in arguments], **how)
        self._started.append(proxy)
        return proxy

    def docker_arguments(self, proto, host, container, *, use_listen_fd=False, options=()):
        """What dockerd puts on the command line, then the options of this test as Go flags."""
        arguments = ["-proto", proto, "-host-ip", host[0], "-host-port", host[1],
                     "-container-ip", container[0], "-container-port", container[1]]
        if use_listen_fd:
            arguments.append("-use-listen-fd")
        for name, value in self._options.items():
            arguments += ["-" + name, value]
        return [str(argument) for argument in (*arguments, *options)]

    def docker(self, proto, host, container, *, listen_socket=None, options=(), **how):
        """As dockerd does: status pipe at 3, perhaps a socket at 4; returns when it is ready."""
        arguments = self.docker_arguments(proto, host, container, options=options,
                                          use_listen_fd=listen_socket is not None)
        with StatusPipe() as status:
            proxy = self.start(arguments, at_3=status.write_end,
                               at_4=None if listen_socket is None else listen_socket.fileno(),
                               **how)
            text = status.read_all()
        assert text == b"0\n", f"status {text}; its log:\n{proxy.log()}"
        proxy.serves_only_tcp = proto == "tcp"
        proxy.idle_sockets = 1 + ("-metrics" in options)
        return proxy

    def publish(self, *mappings, options=(), environment=None, **how):
        """As a person does, with -p MAPPING for each; returns when it is ready."""
        arguments = [item for mapping in mappings for item in ("-p", mapping)]
        for name, value in self._options.items():
            arguments += ["--" + name, value]
        with ReadySocket(os.path.join(self._directory, f"ready-{len(self._started)}")) as ready:
            environment = {"NOTIFY_SOCKET": ready.path, **(environment or {})}
            proxy = self.start([*arguments, *options], environment=environment, **how)
            ready.wait_for("READY=1", proxy)
        proxy.serves_only_tcp = not any(m.endswith(("/udp", "/sctp")) for m in mappings)
        served = re.search(r"serve (\d+) sockets", proxy.log())
        # And the one to whoever waits for READY=1, and that of the metrics.
        proxy.idle_sockets = int(served.group(1)) + 1 + ("--metrics" in options)
        return proxy

    def group_of(self, proxy):
        """A control group with what the proxy takes from now on; None where none can be made."""
        if not ControlGroup.available():
            return None
        self._groups.append(ControlGroup(proxy.pid))
        return self._groups[-1]

    def close(self):
        """Stops what is still running; a proxy for TCP has closed every connection by then."""
        try:
            for proxy in self._started:
                if proxy.running():
                    if proxy.serves_only_tcp:
                        proxy.wait_for_sockets(proxy.idle_sockets)
                    proxy.stop()
        finally:
            self.close_at_once()

    def close_at_once(self):
        for closed in (*self._started, *self._groups):
            closed.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if call.when == "call":
        item.test_failed = report.failed


@pytest.fixture
def launch(request, engine, tmp_path):
    chosen = request.getfixturevalue("relay") if "relay" in request.fixturenames else None
    launcher = Launcher(engine, chosen, tmp_path)
    yield launcher
    # After a failure the first report is the one to read; it may hold connections open, too.
    if getattr(request.node, "test_failed", True):
        launcher.close_at_once()
    else:
        launcher.close()


class PublishedTcp:
    """A port served by a proxy, whose backend is a listening socket of the test."""

    def __init__(self, launch, host="127.0.0.1", container="127.0.0.1", options=(), **how):
        self.backend = tcp.listen(container)
        self.host, self.port = host, next_port()
        self.proxy = launch.docker("tcp", (self.host, self.port), tcp.address(self.backend),
                                   options=options, **how)

    def connect(self, source=None):
        return tcp.connect(self.host, self.port, source)

    def open(self, source=None):
        """A new connection: the client's end and the server's end."""
        client = self.connect(source)
        return client, tcp.accept(self.backend)


class PublishedUdp:
    """A UDP port served by a proxy, whose backend is a socket of the test."""

    def __init__(self, launch, host="127.0.0.1", container="127.0.0.1", options=(), **how):
        self.backend = udp.bind(container)
        self.host, self.port = host, next_port()
        self.proxy = launch.docker("udp", (self.host, self.port), tcp.address(self.backend),
                                   options=options, **how)

    def client(self, host=None, source=None):
        return udp.client(host or self.host, self.port, source)


@pytest.fixture
def published_udp(launch):
    """One UDP port on loopback, ready for use."""
    udp_port = PublishedUdp(launch)
    yield udp_port
    udp_port.backend.close()


@pytest.fixture
def published(launch):
    """One TCP port on loopback, ready for use."""
    tcp_port = PublishedTcp(launch)
    yield tcp_port
    tcp_port.backend.close()
