"""By hand: -p MAPPING, any number of them in one process."""

import pytest

import namespace
import process_facts
import tcp
import udp
from conftest import next_port
from proxy_process import run_to_end


@pytest.fixture
def backend():
    with tcp.listen() as listener:
        yield listener


def try_tcp(host, port, backend):
    with tcp.connect(host, port) as client, tcp.accept(backend) as server:
        tcp.exchange(client, server)


@pytest.mark.parametrize("form, hosts", [
    ("{port}:127.0.0.1:{container}", ["127.0.0.1", "127.0.0.2", "::1"]),
    ("{port}:127.0.0.1:{container}/tcp", ["127.0.0.1", "::1"]),
    ("127.0.0.1:{port}:127.0.0.1:{container}", ["127.0.0.1"]),
    ("0.0.0.0:{port}:127.0.0.1:{container}", ["127.0.0.1", "127.0.0.2"]),
    ("[::1]:{port}:127.0.0.1:{container}", ["::1"]),
    ("[::]:{port}:127.0.0.1:{container}", ["::1"]),
    ("{port}-{port}:127.0.0.1:{container}-{container}", ["127.0.0.1", "::1"]),
])
def test_forms(launch, port, backend, form, hosts):
    launch.publish(form.format(port=port, container=tcp.address(backend)[1]))
    for host in hosts:
        try_tcp(host, port, backend)
    for host in {"127.0.0.1", "127.0.0.2", "::1"} - set(hosts):
        if form.startswith("{port}"):
            continue
        with pytest.raises(ConnectionRefusedError):
            tcp.connect(host, port)


def test_an_ipv6_container(launch, port):
    with tcp.listen("::1") as backend:
        launch.publish(f"{port}:[::1]:{tcp.address(backend)[1]}")
        for host in ("127.0.0.1", "::1"):
            try_tcp(host, port, backend)


def test_many_mappings_and_protocols_in_one_process(launch, backend):
    """The same port number for TCP and UDP, on several addresses, to several containers."""
    port = next_port()
    with udp.bind() as datagrams, tcp.listen("::1") as backend6:
        container = tcp.address(backend)[1]
        proxy = launch.publish(f"127.0.0.1:{port}:127.0.0.1:{container}/tcp",
                               f"127.0.0.2:{port}:[::1]:{tcp.address(backend6)[1]}",
                               f"127.0.0.1:{port}:127.0.0.1:{tcp.address(datagrams)[1]}/udp",
                               f"[::1]:{port}:127.0.0.1:{container}/tcp")
        try_tcp("127.0.0.1", port, backend)
        try_tcp("127.0.0.2", port, backend6)
        try_tcp("::1", port, backend)
        with udp.client("127.0.0.1", port) as client:
            udp.exchange(client, datagrams)
        assert process_facts.threads(proxy.pid) == 1
        assert len(proxy.sockets()) == proxy.idle_sockets + 1  # and the UDP session


def test_a_range_of_1000_ports(launch):
    first, container = next_port(1000), next_port(1000)
    proxy = launch.publish(f"127.0.0.1:{first}-{first + 999}:"
                           f"127.0.0.1:{container}-{container + 999}")
    assert proxy.idle_sockets == 1000 + 1
    assert process_facts.threads(proxy.pid) == 1
    for offset in (0, 1, 499, 998, 999):
        with tcp.listen(port=container + offset) as backend:
            try_tcp("127.0.0.1", first + offset, backend)


def test_a_range_of_udp_ports(launch):
    first, container = next_port(100), next_port(100)
    launch.publish(f"127.0.0.1:{first}-{first + 99}:127.0.0.1:{container}-{container + 99}/udp")
    for offset in (0, 42, 99):
        with udp.bind(port=container + offset) as backend, \
                udp.client("127.0.0.1", first + offset) as client:
            udp.exchange(client, backend)


def refused(code, *arguments):
    ended = run_to_end(*arguments)
    assert ended.code == code, ended
    assert ended.stdout == ""
    assert ended.stderr.startswith("fairlead-proxy: ")
    assert ended.stderr.endswith("\n") and ended.stderr.count("\n") == 1
    return ended.stderr


def test_one_busy_port_is_all_or_nothing(launch, backend):
    first = next_port(50)
    with tcp.listen(port=first + 37):
        error = refused(1, "-p", f"127.0.0.1:{first}-{first + 49}:127.0.0.1:1000-1049")
        assert f"127.0.0.1:{first + 37}" in error
        assert "address already in use" in error
    launch.publish(f"127.0.0.1:{first}:127.0.0.1:{tcp.address(backend)[1]}")
    try_tcp("127.0.0.1", first, backend)


def test_a_busy_ipv6_port_is_an_error_when_all_addresses_are_asked_for(port):
    with tcp.listen("::", port):
        error = refused(1, "-p", f"{port}:127.0.0.1:9")
        assert f"[::]:{port}" in error


@pytest.mark.parametrize("mapping, says", [
    ("80", "80"),
    ("127.0.0.1:80", "127.0.0.1:80"),
    ("8080:127.0.0.1:80/icmp", "icmp"),
    ("8080:127.0.0.1:0", "1 to 65535"),
    ("0:127.0.0.1:80", "1 to 65535"),
    ("65536:127.0.0.1:80", "1 to 65535"),
    ("-1:127.0.0.1:80", ""),
    ("8080-8089:127.0.0.1:80-88", "8080-8089"),
    ("8089-8080:127.0.0.1:80-89", "8089-8080"),
    ("::1:8080:127.0.0.1:80", "::1"),
    ("[::1:8080:127.0.0.1:80", "[::1"),
    ("localhost:8080:127.0.0.1:80", "localhost"),
    ("8080:web:80", "web"),
    ("", ""),
])
def test_wrong_mappings_are_quoted(mapping, says):
    # With `=`, or a mapping that begins with a dash would be taken for another option.
    error = refused(2, f"--publish={mapping}")
    assert says in error
    assert "--publish" in error


@pytest.mark.parametrize("first, second", [
    ("8080:127.0.0.2:80", "8080:127.0.0.3:80"),
    ("127.0.0.1:8080:127.0.0.2:80", "8080:127.0.0.3:80"),
    ("8000-8100:127.0.0.2:1000-1100", "127.0.0.1:8099-8200:127.0.0.3:1000-1101"),
    ("[::1]:8080:127.0.0.2:80", "[::]:8080:127.0.0.3:80"),
    ("8080:127.0.0.2:80/udp", "8080:127.0.0.3:80/udp"),
])
def test_mappings_that_overlap(first, second):
    error = refused(1, "-p", first, "-p", second)
    for mapping in (first, second):
        assert mapping.removesuffix("/udp") in error


@pytest.mark.parametrize("mapping", [
    "8080:127.0.0.1:8080", "127.0.0.1:8080:127.0.0.1:8080", "[::]:8080:[::1]:8080",
    "8000-8100:127.0.0.1:8050-8150", "8080:127.5.6.7:8080/udp",
])
def test_mappings_to_themselves(mapping):
    assert mapping.removesuffix("/udp") in refused(1, "-p", mapping)


def test_the_same_port_of_two_protocols_or_families_does_not_overlap(launch, port):
    launch.publish(f"0.0.0.0:{port}:127.0.0.1:9", f"[::]:{port}:127.0.0.1:9",
                   f"0.0.0.0:{port}:127.0.0.1:9/udp")


def test_nothing_to_publish():
    assert "-p MAPPING" in refused(2)


@pytest.mark.parametrize("arguments", [
    ["--engine", "kqueue"], ["--relay=zero-copy"], ["--udp-timeout", "0"], ["--udp-timeout", "1s"],
    ["--connect-timeout", "-1"], ["--max-connections", "0"], ["--max-udp-sessions", "many"],
    ["--log-level", "loud"], ["--log-format", "xml"], ["--config", ""],
])
def test_wrong_values_are_quoted_and_the_right_ones_named(arguments):
    name, value = arguments if len(arguments) == 2 else arguments[0].split("=")
    error = refused(2, "-p", "1:127.0.0.1:2", *arguments)
    assert name in error and value in error and "accepted" in error


def test_unknown_options_and_stray_words():
    assert "--what" in refused(2, "--what")
    assert "word" in refused(2, "-p", "1:127.0.0.1:2", "word")
    assert refused(2, "-p")


def test_help():
    ended = run_to_end("--help")
    assert ended.code == 0 and ended.stderr == ""
    for option in ("--publish", "--config", "--engine", "--relay", "--udp-timeout",
                   "--connect-timeout", "--max-connections", "--max-udp-sessions", "--log-level",
                   "--log-format", "--version", "--help"):
        assert option in ended.stdout


def test_a_host_without_ipv6(launch, port):
    """All addresses of such a host are those of IPv4."""
    with namespace.Namespace() as bare:
        namespace.ip("netns", "exec", bare.name, "sysctl", "-q", "-w",
                     "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.lo.disable_ipv6=1")
        with bare.inside():
            inner_backend = tcp.listen()
        with inner_backend:
            launch.publish(f"{port}:127.0.0.1:{tcp.address(inner_backend)[1]}",
                           wrapper=["nsenter", f"--net=/run/netns/{bare.name}"])
            with bare.inside():
                client = tcp.connect("127.0.0.1", port)
            with client, tcp.accept(inner_backend) as server:
                tcp.exchange(client, server)
