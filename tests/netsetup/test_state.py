"""Whole states, what is brought back, and runs that are cut short."""

import json
import os
import signal
import subprocess
import time

import pytest

import tcp
from fairlead_net import (Failed, addresses, identities, inside, links, output_of, routes,
                          rules)
from namespace import ip

DESIRED = {"networks": [
    {"name": "web", "subnets": ["10.5.0.0/24"], "mode": "proxy", "containers": [
        {"name": "c1", "netns": "name:c1", "ports": ["8080:80", "8081:81"]},
        {"name": "c2", "netns": "/run/netns/c2", "addresses": ["10.5.0.9"]}]},
    {"name": "db", "icc": False, "allow_networks": ["web"], "containers": [
        {"name": "c3", "netns": "name:c3"}]}]}


@pytest.fixture
def containers(container):
    for name in ("c1", "c2", "c3"):
        container(name)


def apply(net, desired, *options):
    return net("apply", "-", *options, stdin=json.dumps(desired))


def without(desired, container):
    changed = json.loads(json.dumps(desired))
    for network in changed["networks"]:
        network["containers"] = [c for c in network["containers"] if c["name"] != container]
    return changed


def test_a_whole_state_is_made_and_only_what_differs_is_changed(net, containers):
    apply(net, DESIRED)
    assert net("check") == ""
    before = identities()
    pid = net.container("c1")["proxy"]["pid"]
    assert addresses(links("c2")["eth0"]) == {"10.5.0.9/24"}

    apply(net, DESIRED)
    assert identities() == before
    assert net.container("c1")["proxy"]["pid"] == pid

    fewer = without(DESIRED, "c2")
    fewer["networks"][1]["mtu"] = 1400
    apply(net, fewer)
    assert links("c2").keys() == {"lo"} and links()["fl-db"]["mtu"] == 1400
    assert identities()["fl-web"] == before["fl-web"]
    assert net.container("c1")["proxy"]["pid"] == pid and net("check") == ""

    apply(net, {"networks": []})
    assert links().keys() == {"lo"} and net.networks() == {}


def test_what_is_shown_may_be_applied(net, containers):
    apply(net, DESIRED)
    shown = net("network", "ls", "--json")
    before = identities()
    net("apply", "-", stdin=shown)
    assert identities() == before and net("network", "ls", "--json") == shown


def test_a_state_that_cannot_be_is_refused_as_a_whole(net, containers):
    apply(net, DESIRED)
    shown = net("network", "ls", "--json")
    for change, message in (
            (lambda d: d["networks"][1].update(subnets=["10.5.0.0/16"]), "overlaps 10.5.0.0/16 of network db"),
            (lambda d: d["networks"][0].update(bridges="x"), "-: networks[0].bridges"),
            (lambda d: d["networks"][1]["containers"][0].update(ports=["8080:1"]), "both publish"),
            (lambda d: d["networks"][1]["containers"][0].update(netns="name:c9"), "/run/netns/c9")):
        desired = json.loads(json.dumps(DESIRED))
        change(desired)
        with pytest.raises(Failed) as refused:
            apply(net, desired)
        assert refused.value.code == 1 and message in refused.value.message
        assert net("network", "ls", "--json") == shown
    with pytest.raises(Failed, match="open /nowhere.json: no such file"):
        net("apply", "/nowhere.json")


def test_a_network_may_change_its_mode(net, containers):
    apply(net, DESIRED)
    for mode in ("dnat", "both", "proxy"):
        desired = json.loads(json.dumps(DESIRED))
        desired["networks"][0]["mode"] = mode
        apply(net, desired)
        assert net("check") == ""
        assert ("proxy" in net.container("c1")) == (mode != "dnat")
        with inside("c1"):
            listener = tcp.listen("10.5.0.2", 80)
        with listener, tcp.connect("127.0.0.1", 8080) as client, tcp.accept(listener) as server:
            server.sendall(b"x")
            assert client.recv(1) == b"x"


def test_reload_brings_back_what_was_lost(net, containers):
    desired = json.loads(json.dumps(DESIRED))
    desired["networks"][0]["mode"] = "both"
    apply(net, desired)
    link = net.container("c2")["link"]
    output_of("nft", "flush", "ruleset")
    ip("link", "delete", link)
    ip("address", "flush", "dev", "fl-db")
    ip("link", "set", "fl-web", "down")
    ip("-n", "c1", "route", "delete", "default")
    with open("/proc/sys/net/ipv4/ip_forward", "w", encoding="ascii") as file:
        file.write("0")
    problems = "\n".join(net.problems())
    for problem in ("firewall: ", link, "fl-db has lost 10.210.0.1", "fl-web is down",
                    "net/ipv4/ip_forward is 0 and should be 1"):
        assert problem in problems
    net("reload")
    assert net("check") == ""
    assert addresses(links("c2")["eth0"]) == {"10.5.0.9/24"}
    assert [r["gateway"] for r in routes("c1") if r["dst"] == "default"] == ["10.5.0.1"]
    # Once more, with nothing to do.
    before = identities(), rules()
    net("reload")
    assert (identities(), rules()) == before


def test_reload_goes_on_without_containers_that_are_gone(net, containers):
    apply(net, DESIRED)
    ip("netns", "delete", "c2")
    output_of("nft", "flush", "ruleset")
    net("reload")
    assert "container c2: its namespace /run/netns/c2 is gone" in net.notes
    assert [problem for problem in net.problems() if "c2" not in problem] == []


def test_a_change_of_back_end_leaves_nothing_of_the_other(net, containers):
    apply(net, DESIRED, "--firewall", "iptables")
    assert "FAIRLEAD" in output_of("iptables-save") and net("check") == ""
    # It stays until another one is asked for.
    net("publish", "web", "c2", "8090:90")
    assert "table inet fairlead" not in rules()
    net("reload", "--firewall", "nftables")
    assert "FAIRLEAD" not in output_of("iptables-save")
    assert "table inet fairlead" in rules() and net("check") == ""


def test_a_killed_run_is_repaired_by_the_next_one(net, containers):
    """Killed a little later each time, until it is done before that."""
    desired = json.loads(json.dumps(DESIRED))
    desired["networks"][0]["mode"] = "both"
    states = (desired, {"networks": []})
    unfinished = 0
    for time_of_death_ms in range(0, 60, 3):
        target = states[time_of_death_ms % 2]
        with subprocess.Popen(net.command("apply", "-"), stdin=subprocess.PIPE, text=True,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            process.stdin.write(json.dumps(target))
            process.stdin.close()
            time.sleep(time_of_death_ms / 1000)
            process.send_signal(signal.SIGKILL)
        unfinished += os.path.exists(os.path.join(net.state_directory, "unfinished.json"))
        if time_of_death_ms % 4:
            net("reload")
        else:
            apply(net, target)
        assert net("check") == ""
        proxies = [c["proxy"]["pid"] for c in net.json("status")["containers"] if "proxy" in c]
        own = f"FAIRLEAD_NET_STATE={net.state_directory}".encode()
        assert sorted(proxies) == sorted(processes_with(own))
        expected = {"lo"} | {n["bridge"] for n in net.networks().values()}
        expected |= {c["link"] for c in net.json("status")["containers"]}
        assert links().keys() == expected
    assert unfinished > 0


def processes_with(variable):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if variable in file.read().split(b"\0"):
                    found.append(int(pid))
        except OSError:
            pass  # has ended
    return found
