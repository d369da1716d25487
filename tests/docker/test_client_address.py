"""What a container's log says of its clients when the proxy dials inside its network namespace."""

import pytest

from clients import ask_tcp, ask_udp
from docker_daemon import HOST_V4, HOST_V6

REMOTE_V4 = "192.0.2.2"


@pytest.fixture(scope="module", params=["gateway", "client"])
def source(request):
    return request.param


@pytest.fixture(scope="module")
def published(start_daemon, source, tmp_path_factory):
    """A daemon without DNAT, so that the proxy serves remote clients, too."""
    config = tmp_path_factory.mktemp("config") / "proxy.conf"
    # The gateway's address is what is shown when nothing is said of the source.
    config.write_text("container-netns = auto\n" + ("source = client\n" if source == "client" else ""))
    daemon = start_daemon("--iptables=false", "--ip6tables=false",
                          environment={"FAIRLEAD_PROXY_CONFIG": str(config)})
    daemon.run_service("sibling")
    daemon.run_service("web", "--publish", "8080:80", "--publish", "8080:80/udp")
    return daemon


@pytest.mark.parametrize("ask", [ask_tcp, ask_udp], ids=["tcp", "udp"])
def test_the_log_of_the_container(published, source, ask):
    web, sibling = published.serving("web"), published.serving("sibling")
    remote, host = published.remote.network, published.machine.network
    clients = [  # where from, the address asked, and what the client is with `source = client`
        (remote(), HOST_V4, REMOTE_V4),
        (sibling.network(), HOST_V4, sibling.address),
        (host(), "127.0.0.1", web.gateway),
        (web.network(), HOST_V4, web.gateway),
        # The container has no IPv6 address, so this one cannot be shown.
        (remote(), HOST_V6, web.gateway),
    ]
    before = len(logged(published))
    for network, address, _ in clients:
        ask(network, address, 8080)
    expected = [own if source == "client" else web.gateway for _, _, own in clients]
    assert logged(published)[before:] == expected


def test_a_container_that_is_started_again(published, source):
    published.docker("restart", "--time", "0", "web")
    web = published.serving("web")
    expected = REMOTE_V4 if source == "client" else web.gateway
    for ask in (ask_tcp, ask_udp):
        assert ask(published.remote.network(), HOST_V4, 8080) == expected
    assert dials_inside(published, web)


def logged(daemon):
    return daemon.docker("logs", "web").splitlines()


def dials_inside(daemon, container):
    """Whether a proxy has left there what leads the answers back."""
    rules = daemon.machine.run("nsenter", "--target", str(container.pid), "--net", "ip", "rule")
    return "fwmark 0x7a171ead" in rules.stdout
