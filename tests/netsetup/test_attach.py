"""Containers on a network: their links, addresses and routes."""

import os
import subprocess

import pytest

from fairlead_net import Failed, addresses, host_facts, links, output_of, routes
from namespace import ip


@pytest.fixture
def web(net):
    net("network", "create", "web", "--subnet", "10.5.0.0/24", "--subnet", "fd05::/64", "--mtu",
        "1400")
    return net


def port_flags(name):
    text = output_of("bridge", "-details", "link", "show", "dev", name)
    return {flag for flag in ("hairpin", "isolated") if f"{flag} on" in text}


def test_a_container_gets_its_link_addresses_and_routes(web, container):
    web("attach", "web", "c1", "--netns", "name:" + container("c1"))
    inside = links("c1")
    assert inside["lo"]["flags"].count("UP") == 1
    eth0 = inside["eth0"]
    assert addresses(eth0) == {"10.5.0.2/24", "fd05::2/64"}
    assert eth0["address"] == "02:f1:0a:05:00:02" and eth0["mtu"] == 1400
    for family, gateway in (("-4", "10.5.0.1"), ("-6", "fd05::1")):
        default = [route for route in routes("c1", family) if route["dst"] == "default"]
        assert [(route["gateway"], route["dev"]) for route in default] == [(gateway, "eth0")]

    outside = links()[web.container("c1")["link"]]
    assert outside["master"] == "fl-web" and outside["mtu"] == 1400
    assert outside["link_index"] == eth0["ifindex"]
    assert web.problems() == []


def test_addresses_are_the_next_free_ones_or_those_asked_for(web, container):
    for name in ("c1", "c2", "c3"):
        container(name)
    web("attach", "web", "c1", "--netns", "name:c1", "--ip", "10.5.0.3", "--mac",
        "02:00:00:00:00:99", "--ifname", "net0")
    web("attach", "web", "c2", "--netns", "/run/netns/c2")
    web("attach", "web", "c3", "--netns", "name:c3")
    assert addresses(links("c1")["net0"]) == {"10.5.0.3/24", "fd05::2/64"}
    assert links("c1")["net0"]["address"] == "02:00:00:00:00:99"
    assert addresses(links("c2")["eth0"]) == {"10.5.0.2/24", "fd05::3/64"}
    assert addresses(links("c3")["eth0"]) == {"10.5.0.4/24", "fd05::4/64"}


def test_a_namespace_may_be_that_of_a_process(web):
    with subprocess.Popen(["unshare", "--net", "sleep", "60"]) as process:
        try:
            own = os.readlink("/proc/self/ns/net")
            while os.readlink(f"/proc/{process.pid}/ns/net") == own:
                assert process.poll() is None
            web("attach", "web", "c1", "--netns", f"pid:{process.pid}")
            shown = output_of("nsenter", "--net", "--target", str(process.pid), "ip", "address")
            assert "10.5.0.2/24" in shown
        finally:
            process.kill()


def test_a_second_network_does_not_take_the_way_out(web, container):
    container("c1")
    web("network", "create", "db")
    web("attach", "web", "c1", "--netns", "name:c1")
    web("attach", "db", "c1", "--netns", "name:c1", "--ifname", "eth1")
    default = [route for route in routes("c1") if route["dst"] == "default"]
    assert [route["dev"] for route in default] == ["eth0"]
    assert web.problems() == []


def test_ports_of_the_bridge_follow_mode_and_icc(net, container):
    container("c1")
    net("network", "create", "a", "--mode", "dnat")
    net("network", "create", "b", "--mode", "both", "--no-icc")
    net("attach", "a", "c1", "--netns", "name:c1")
    net("attach", "b", "c1", "--netns", "name:c1", "--ifname", "eth1")
    flags = {c["network"]: port_flags(c["link"]) for c in net.json("status")["containers"]}
    assert flags == {"a": {"hairpin"}, "b": {"isolated"}}


def test_an_internal_network_has_no_way_out(net, container):
    net("network", "create", "inner", "--internal")
    net("attach", "inner", "c1", "--netns", "name:" + container("c1"))
    assert [route["dst"] for route in routes("c1")] == ["10.210.0.0/24"]


def test_attaching_twice_is_attaching_once(web, container):
    container("c1")
    web("attach", "web", "c1", "--netns", "name:c1")
    index = links("c1")["eth0"]["ifindex"]
    web("attach", "web", "c1", "--netns", "name:c1")
    assert links("c1")["eth0"]["ifindex"] == index
    with pytest.raises(Failed, match="attached already with other addresses"):
        web("attach", "web", "c1", "--netns", "name:c1", "--ip", "10.5.0.9")


def test_detaching_takes_the_link_and_gives_the_address_back(web, container):
    container("c1")
    container("c2")
    web("attach", "web", "c1", "--netns", "name:c1")
    web("detach", "web", "c1")
    assert links("c1").keys() == {"lo"} and links().keys() == {"lo", "fl-web"}
    web("attach", "web", "c2", "--netns", "name:c2")
    assert "10.5.0.2/24" in addresses(links("c2")["eth0"])
    with pytest.raises(Failed, match="there is no container c1"):
        web("detach", "web", "c1")


def test_detaching_works_when_the_namespace_is_gone(web, container):
    container("c1")
    web("attach", "web", "c1", "--netns", "name:c1")
    ip("netns", "delete", "c1")
    assert any("c1" in problem and "namespace" in problem for problem in web.problems())
    web("detach", "web", "c1")
    assert links().keys() == {"lo", "fl-web"} and web.problems() == []


def test_a_container_that_comes_back_keeps_its_address(web, container):
    container("c1")
    container("c2")
    web("attach", "web", "c1", "--netns", "name:c1")
    web("attach", "web", "c2", "--netns", "name:c2")
    ip("netns", "delete", "c1")
    ip("netns", "add", "c1")
    assert any("another one than was attached" in problem for problem in web.problems())
    web("attach", "web", "c1", "--netns", "name:c1")
    assert addresses(links("c1")["eth0"]) == {"10.5.0.2/24", "fd05::2/64"}
    assert web.problems() == []


def test_ipv6_is_switched_on_where_it_is_off_for_new_interfaces(web, container):
    container("c1")
    output_of("ip", "netns", "exec", "c1", "sysctl", "-w", "net.ipv6.conf.default.disable_ipv6=1")
    web("attach", "web", "c1", "--netns", "name:c1")
    assert "fd05::2/64" in addresses(links("c1")["eth0"])


@pytest.mark.parametrize("arguments, code, message", [
    (["nothing", "c1", "--netns", "name:c1"], 1, "there is no network nothing"),
    (["web", "c1"], 2, "--netns is missing"),
    (["web", "c1", "--netns", "c1"], 2, "accepted: an absolute PATH, pid:N, name:NAME"),
    (["web", "c1", "--netns", "name:c9"], 1, "network namespace /run/netns/c9: no such file"),
    (["web", "c1", "--netns", "/etc/passwd"], 1, "/etc/passwd: the file is no network namespace"),
    (["web", "c1", "--netns", "/proc/self/ns/net"], 1, "is the host's own"),
    (["web", "c1", "--netns", "name:c1", "--ifname", "lo"], 1, "interface name \"lo\""),
    (["web", "c1", "--netns", "name:c1", "--ifname", "taken"], 1, "has an interface taken already"),
    (["web", "c1", "--netns", "name:c1", "--ip", "10.6.0.2"], 1, "not within a subnet"),
    (["web", "c1", "--netns", "name:c1", "--ip", "10.5.0.1"], 1, "the gateway"),
    (["web", "c1", "--netns", "name:c1", "--ip", "10.5.0.255"], 1, "no host's own"),
    (["web", "c2", "--netns", "name:c1", "--ip", "10.5.0.2"], 1, "two containers have"),
    (["web", "-c", "--netns", "name:c1"], 2, "unrecognised option"),
    (["web", "a/b", "--netns", "name:c1"], 1, "container name \"a/b\""),
    (["web", "c1", "--netns", "name:c1", "--mac", "01:00:00:00:00:01"], 2, "multicast"),
])
def test_what_cannot_be_attached_is_refused_and_changes_nothing(web, container, arguments, code,
                                                                message):
    container("c1")
    ip("-n", "c1", "link", "add", "taken", "type", "bridge")
    web("attach", "web", "first", "--netns", "name:" + container("first"))
    before = host_facts()
    with pytest.raises(Failed) as refused:
        web("attach", *arguments)
    assert refused.value.code == code and message in refused.value.message
    assert host_facts() == before and links("c1").keys() == {"lo", "taken"}
