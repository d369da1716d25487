"""fairlead-net beside a real dockerd, and who reaches what in Docker's own networks.

What is to be reached, and as whom, is in tests/netsetup/reachability.py; that it is so without Docker
is for tests/netsetup/test_reachability.py to see.
"""

import json
import os

import pytest

from docker_daemon import IMAGE, Daemon, DaemonUnavailable, make_machine
from lab import HOST, REMOTE, Lab
from reachability import (CONTAINERS, FORGED, KINDS, NETWORKS, NOTHING, PORTS, V6_LOOPBACK, all_cases,
                          build, check, container, expected_answer, gateway, probe, serve)


@pytest.fixture
def start_lab(tmp_path):
    """A lab with a dockerd on its host, which runs with these options."""
    closing = []

    def start(*options):
        if "FAIRLEAD_NET" not in os.environ:
            pytest.skip("no fairlead-net beside the proxy")
        try:
            machine = make_machine()
            closing.append(machine.close)
            lab = Lab(tmp_path / "state", host=machine.net_file)
            closing.append(lab.stop)
            # Where it switches this on itself, it drops what it does not know.
            lab.sysctl("host", "net.ipv4.ip_forward=0")
            # Docker 20.10 has rules of IPv6 as an experiment.
            daemon = Daemon(machine, None, tmp_path / "log", "--experimental", *options)
        except (OSError, DaemonUnavailable) as error:
            pytest.skip(f"no dockerd can run here: {error}")
        closing.insert(0, daemon.close)
        return lab, daemon

    yield start
    for close in reversed(closing):
        close()


def run(lab, daemon, name, *options):
    """Runs a container of Docker's that does nothing, as a machine of the lab."""
    daemon.docker("run", "--detach", "--name", name, "--volume", "/usr:/usr:ro", *options, IMAGE,
                  "/usr/bin/sleep", "infinity")
    facts = json.loads(daemon.docker("inspect", name))[0]
    lab.add(name, daemon.machine.path(f"/proc/{facts['State']['Pid']}/ns/net"))
    return facts["NetworkSettings"]


def publish_options(ports):
    return [word for port in ports for kind in KINDS for word in ("--publish", f"{port}/{kind}")]


def foreign_rules(lab):
    """What is not ours, without what it has counted and when that was."""
    saved = "".join(lab.run("host", program) for program in ("iptables-save", "ip6tables-save"))
    return [line.partition(" [")[0] for line in saved.splitlines()
            if "FAIRLEAD" not in line and not line.startswith("#")]


def cases_beside(mode, docker):
    """Docker's container x1 publishes 8060:80."""
    for kind in KINDS:
        yield "published", kind, ("remote", HOST, 8060, "x1:80", REMOTE)
        yield "published", kind, ("host", HOST, 8060, "x1:80", HOST)
        yield "published", kind, ("loopback", "127.0.0.1", 8060, "x1:80", docker["Gateway"])
        yield "published", kind, ("c2", HOST, 8060, "x1:80", docker["Gateway"])
        yield "published", kind, ("x1", HOST, 8080, "c1:80", gateway(1, False))
        yield "loopback", kind, ("x1", HOST, 8081, "c1:81", NOTHING)
        for port in (80, 83):
            yield "direct", kind, ("x1", container(1, False), port, f"c1:{port}", NOTHING)
        yield "direct", kind, ("c2", docker["IPAddress"], 83, "x1:83", NOTHING)


def test_who_reaches_what_is_the_same_beside_docker(start_lab):
    lab, daemon = start_lab("--ip6tables")
    docker = run(lab, daemon, "x1", *publish_options(["8060:80"]))
    before = foreign_rules(lab)
    assert ":FORWARD DROP" in before

    build(lab, "dnat", "x1")
    lab.net("reload", "--firewall", "auto")
    assert "iptables is used instead of nftables: iptables, chain FORWARD drops" in lab.net.notes
    check(probe(lab, [*all_cases("dnat"), *cases_beside("dnat", docker)]))
    for mode in ("both", "proxy"):
        document = json.loads(lab.net("network", "ls", "--json"))
        for network in document["networks"]:
            network["mode"] = mode
            for its in network["containers"]:
                if its["name"] == "c1" and mode == "both":
                    its["ports"] += [f"{V6_LOOPBACK}/{kind}" for kind in KINDS]
        lab.net("apply", "-", stdin=json.dumps(document))
        check(probe(lab, [*all_cases(mode), *cases_beside(mode, docker)]))

    daemon.docker("network", "create", "late", "--opt", "com.docker.network.bridge.name=late")
    assert any("-o late -j RETURN" in problem for problem in lab.net.problems())
    lab.net("reload")
    daemon.docker("network", "rm", "late")
    assert lab.net.problems() == []

    lab.net("apply", "-", stdin='{"networks": []}')
    assert foreign_rules(lab) == before
    check(probe(lab, [case for case in cases_beside("proxy", docker) if case[2][3] == "x1:80"
                      and case[2][0] != "c2"]))


# Docker has no way to let one network into another.
DOCKER_NETWORKS = {name: options for name, options in NETWORKS.items() if name != "friend"}
DOCKER_OPTIONS = {"shut": ["--opt", "com.docker.network.bridge.enable_icc=false"],
                  "inner": ["--internal"],
                  "plain": ["--opt", "com.docker.network.bridge.enable_ip_masquerade=false"]}
# The ranges would be fifteen processes of docker-proxy for each family and protocol.
DOCKER_PORTS = {**PORTS, "c1": [*(port for port in PORTS["c1"] if port.count("-") != 2),
                                "9005:9005", "9102:9005", V6_LOOPBACK]}


def build_docker(lab, daemon):
    for name, (number, _) in DOCKER_NETWORKS.items():
        v6 = [] if name == "old" else ["--ipv6", "--subnet", f"fd00:{number}::/64"]
        daemon.docker("network", "create", "--subnet", f"10.{number}.0.0/24", *v6,
                      *DOCKER_OPTIONS.get(name, []), name)
    containers = [name for name, network in CONTAINERS.items() if network in DOCKER_NETWORKS]
    on_network = {}
    for name in containers:
        network = CONTAINERS[name]
        number, _ = NETWORKS[network]
        index = on_network[network] = on_network.get(network, -1) + 1
        v6 = [] if network == "old" else ["--ip6", container(number, True, index)]
        run(lab, daemon, name, "--network", network, "--ip", container(number, False, index), *v6,
            *publish_options(DOCKER_PORTS.get(name, [])))
    serve(lab, containers)


DOCKER_MODES = {"both": ["--ip6tables"], "dnat": ["--ip6tables", "--userland-proxy=false"],
                "proxy": ["--iptables=false", "--ip6tables=false"]}


def docker_may_answer(version, mode, part, kind, case):
    """Instead of what ours does: a list of what Docker may say; empty where there is no difference.
    README.md tells of those that are about safety."""
    source, address, _, service, seen = case
    v6 = ":" in address
    before_28 = version < (28, 0)
    own = {"c2": container(1, v6, 1), "d1": container(2, v6), "i1": container(5, v6),
           "c1": container(1, v6), "s1": container(3, v6), "s2": container(3, v6, 1)}
    own_answer = f"{service} {own.get(source)}"
    anyone = [f"{service} {address}" for address in
              (*own.values(), "198.51.100.2", "2001:db8:2::2", "192.0.2.254", "2001:db8:1::fe")]
    if seen is NOTHING:
        if mode == "proxy" and part in ("direct", "isolation", "outward"):
            return anyone  # --iptables=false: nothing is isolated or guarded
        if (before_28 and part in ("direct", "outward") and source in ("remote", "router")
                and address != HOST):
            return anyone  # published ports of containers asked directly
        if address == FORGED and (mode == "dnat" or
                                  source == "router" and (before_28 or mode == "proxy")):
            return [*anyone, f"{service} {gateway(1, v6)}"]  # loopback from a bridge or the wire
        return []
    if mode == "proxy" and part == "outward":
        return [own_answer]  # --iptables=false: nothing is masqueraded
    if mode == "dnat" and source == "c2" and service.startswith("c1:"):
        return [own_answer]  # not masqueraded among siblings, which needs br_netfilter
    if mode == "dnat" and source in ("c2", "d1", "s1", "s2") and part in ("published", "isolation"):
        return [None]  # published ports of other networks and, without icc, of the own one
    if version < (23, 0) and source == "i2" and v6:
        return [None]  # siblings of an internal network, by IPv6: their neighbour discovery is dropped
    if (before_28 and kind == "udp" and mode != "dnat"
            and (source in own or address == gateway(1, v6))):
        return [None]  # docker-proxy answers from another address than was asked
    if not before_28 and mode != "proxy" and part == "outward" and source == "p1":
        return [None]  # answers to addresses that are not masqueraded are taken for direct access
    return []


@pytest.mark.parametrize("mode", DOCKER_MODES)
def test_docker_lets_the_same_reach_the_same(start_lab, mode):
    lab, daemon = start_lab(*DOCKER_MODES[mode])
    build_docker(lab, daemon)
    cases = [(part, kind, case) for part, kind, case in all_cases(mode)
             if case[0] != "f1" and not case[3].startswith("f1:")]

    def may_answer(case):
        return docker_may_answer(daemon.version, mode, *case)

    answers = probe(lab, cases, lambda *case: case[2][4] is NOTHING or None in may_answer(case))
    for case, answer in answers.items():
        if answer != expected_answer(case[2]) and answer in may_answer(case):
            answers[case] = expected_answer(case[2])
    check(answers)
