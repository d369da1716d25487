"""Making, showing and removing networks."""

import fcntl
import json
import os
import subprocess

import pytest

from fairlead_net import Failed, addresses, host_facts, links
from namespace import ip


def test_a_network_is_a_bridge_with_the_gateways_addresses(net):
    net("network", "create", "web", "--subnet", "10.5.0.0/24", "--subnet", "fd05::/64",
        "--gateway", "10.5.0.254", "--mtu", "1400")
    bridge = links()["fl-web"]
    assert addresses(bridge) == {"10.5.0.254/24", "fd05::1/64"}
    assert bridge["mtu"] == 1400 and "UP" in bridge["flags"]
    assert bridge["linkinfo"]["info_kind"] == "bridge"
    # Stable: made from the address, so that containers need not learn another one.
    assert bridge["address"] == "02:f1:0a:05:00:fe"
    assert net.problems() == []


def test_a_network_is_listed_and_shown(net):
    net("network", "create", "web", "--mode", "proxy", "--no-icc")
    assert "web" in net("network", "ls") and "fl-web" in net("network", "ls")
    shown = net("network", "inspect", "web")
    assert "10.210.0.0/24" in shown and "10.210.0.1" in shown
    web = net.json("network", "inspect", "web")
    assert web["mode"] == "proxy" and web["icc"] is False and web["containers"] == []


@pytest.mark.parametrize("mode", ["proxy", "dnat", "both"])
def test_removing_leaves_the_host_as_it_was(net, container, mode):
    before = host_facts()
    net("network", "create", "web", "--mode", mode, "--subnet", "10.5.0.0/24", "--subnet",
        "fd05::/64", "--forwarding", "interface", "--no-icc")
    net("network", "create", "db", "--allow-networks", "web", "--mode", mode)
    net("attach", "web", "c1", "--netns", "name:" + container("c1"))
    net("publish", "web", "c1", "8080:80", "5353:53/udp", "127.0.0.1:9000-9009:9000-9009")
    assert host_facts() != before
    with pytest.raises(Failed, match="allows \"web\", which is no other network"):
        net("network", "rm", "web")
    net("network", "rm", "db")
    net("network", "rm", "web")
    assert host_facts() == before
    assert links("c1").keys() == {"lo"}
    left = [name for _, _, names in os.walk(net.state_directory) for name in names]
    assert left == ["lock"]


def test_creating_twice_is_creating_once(net):
    net("network", "create", "web", "--subnet", "10.5.0.0/24")
    index = links()["fl-web"]["ifindex"]
    net("network", "create", "web", "--subnet", "10.5.0.0/24")
    net("network", "create", "web")
    assert links()["fl-web"]["ifindex"] == index
    with pytest.raises(Failed, match="is there already with other settings"):
        net("network", "create", "web", "--subnet", "10.6.0.0/24")
    assert addresses(links()["fl-web"]) == {"10.5.0.1/24"}


def test_a_default_subnet_overlaps_no_network_and_no_route(net):
    ip("link", "add", "up1", "type", "veth", "peer", "name", "up2")
    ip("link", "set", "up1", "up")
    ip("route", "add", "10.210.0.0/23", "dev", "up1")
    net("network", "create", "a")
    net("network", "create", "b")
    subnets = {name: network["subnets"] for name, network in net.networks().items()}
    assert subnets == {"a": ["10.210.2.0/24"], "b": ["10.210.3.0/24"]}


@pytest.mark.parametrize("options, code, message", [
    (["--subnet", "10.5.0.1/24"], 2, "did you mean 10.5.0.0/24"),
    (["--subnet", "nonsense"], 2, "--subnet"),
    (["--subnet", "10.77.0.0/24"], 1, "overlaps the host's route to 10.77.0.0/16 by up1"),
    (["--subnet", "10.4.0.0/16"], 1, "overlaps 10.4.1.0/24 of network there"),
    (["--gateway", "10.9.0.1"], 1, "not within a subnet"),
    (["--bridge", "up1"], 1, "interface up1 is there already"),
    (["--bridge", "a-name-too-long1"], 1, "interface name"),
    (["--adopt", "up1"], 1, "no bridge up1 to adopt"),
    (["--adopt", "br1", "--subnet", "10.5.0.0/24"], 2, "--subnet"),
    (["--allow-networks", "nothing"], 1, "which is no other network"),
    (["--mtu", "1"], 1, "MTU 1"),
    (["--mode", "nat"], 2, "proxy, dnat, both"),
    (["--netns", "name:c1"], 2, "is an option of attach"),
    (["--firewall", "pf"], 2, "auto, nftables, iptables, none"),
    (["--state-dir", "here"], 2, "an absolute path"),
    (["again"], 2, "usage: fairlead-net network create NAME"),
])
def test_what_cannot_be_meant_is_refused_and_changes_nothing(net, options, code, message):
    ip("link", "add", "up1", "type", "veth", "peer", "name", "up2")
    ip("link", "set", "up1", "up")
    ip("route", "add", "10.77.0.0/16", "dev", "up1")
    net("network", "create", "there", "--subnet", "10.4.1.0/24")
    before = host_facts()
    with pytest.raises(Failed) as refused:
        net("network", "create", "web", *options)
    assert refused.value.code == code and message in refused.value.message
    assert host_facts() == before
    assert net.networks().keys() == {"there"}


def test_an_adopted_bridge_stays_as_it_was(net, container):
    ip("link", "add", "br1", "address", "02:00:00:00:00:01", "type", "bridge")
    ip("link", "set", "br1", "up")
    ip("address", "add", "10.6.0.7/24", "dev", "br1")
    before = links()["br1"]
    net("network", "create", "web", "--adopt", "br1")
    net("attach", "web", "c1", "--netns", "name:" + container("c1"))
    assert addresses(links("c1")["eth0"]) == {"10.6.0.1/24"}
    assert net.networks()["web"]["gateways"] == ["10.6.0.7"]
    net("network", "rm", "web")
    after = links()["br1"]
    for fact in ("address", "mtu", "ifindex"):
        assert after[fact] == before[fact]
    assert addresses(after) == addresses(before)
    assert "UP" in after["flags"]


def test_a_dry_run_shows_everything_and_changes_nothing(net):
    before = host_facts()
    shown = net("network", "create", "web", "--subnet", "10.5.0.0/24", "--dry-run")
    assert "make bridge fl-web: 10.5.0.1/24, MAC 02:f1:0a:05:00:01" in shown
    assert "net/ipv4/ip_forward = 1" in shown and "table inet fairlead" in shown
    planned = net.json("network", "create", "web", "--subnet", "10.5.0.0/24", "--dry-run")
    assert planned["sysctls"]["net/ipv4/ip_forward"] == "1"
    assert host_facts() == before
    assert not os.path.exists(net.state_directory)


def test_one_writes_at_a_time_and_the_next_is_told_who(net):
    net("network", "create", "web")
    with open(os.path.join(net.state_directory, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("process 4711 (fairlead-net apply x)\n")
        lock.flush()
        with pytest.raises(Failed, match=r"held by process 4711 \(fairlead-net apply x\)"):
            net("network", "rm", "web")
        # Whoever looks does not wait.
        assert "web" in net("network", "ls", timeout=4)
    net("network", "rm", "web")


@pytest.mark.parametrize("damage, message", [
    (lambda text: text[:100], "networks/web.json: parse error"),
    (lambda text: text.replace('"mtu"', '"mut"'), "networks/web.json: mut: there is no such field"),
    (lambda text: text.replace("1400", '"wide"'), "networks/web.json: mtu: a whole number"),
    (lambda text: text.replace('"web"', '"wbe"', 1), "belongs elsewhere"),
])
def test_a_damaged_state_is_an_error_and_is_not_lost(net, damage, message):
    net("network", "create", "web", "--mtu", "1400")
    path = os.path.join(net.state_directory, "networks/web.json")
    with open(path, encoding="utf-8") as file:
        good = file.read()
    bad = damage(good)
    assert bad != good
    with open(path, "w", encoding="utf-8") as file:
        file.write(bad)
    for command in (["network", "ls"], ["network", "create", "db"], ["network", "rm", "web"]):
        with pytest.raises(Failed) as refused:
            net(*command)
        assert refused.value.code == 1 and message in refused.value.message
    with open(path, encoding="utf-8") as file:
        assert file.read() == bad
    assert "fl-web" in links()
    with open(path, "w", encoding="utf-8") as file:
        file.write(good)
    assert json.loads(good)["name"] in net("network", "ls")


def test_without_the_privilege_it_says_so(net):
    done = subprocess.run(["setpriv", "--bounding-set", "-net_admin",
                           *net.command("network", "create", "web")],
                          check=False, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert "CAP_NET_ADMIN" in done.stderr
    assert "fl-web" not in links()
