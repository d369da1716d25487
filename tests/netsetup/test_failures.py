"""Programs that fail or are missing, and runs that are killed in the middle of their rules."""

import itertools
import os
import shutil

import pytest

import tcp
from failing_tools import TROUBLES, FailingTools, iptables_rules
from fairlead_net import Failed, FairleadNet, host_facts, identities, inside, links, output_of, rules

NETWORK = ["network", "create", "web", "--subnet", "10.5.0.0/24", "--subnet", "fd05::/64"]

# Every command that changes rules, from nothing to nothing.
COMMANDS = [
    NETWORK,
    ["attach", "web", "c1", "--netns", "name:c1"],
    ["publish", "web", "c1", "8080:80", "127.0.0.1:8081:80"],
    ["publish", "web", "c1", "8082:80/udp", "9000-9009:9000-9009"],
    ["unpublish", "web", "c1", "9000-9009:9000-9009"],
    ["apply", "-"],
    ["reload"],
    ["detach", "web", "c1"],
    ["network", "rm", "web"],
]


class NetInPlaces(FairleadNet):
    """fairlead-net with words in front of its command, as `env PATH=...`."""

    def __init__(self, state_directory, options, *prefix):
        super().__init__(state_directory, options)
        self._prefix = prefix

    def command(self, *arguments):
        return [*self._prefix, *super().command(*arguments)]


@pytest.fixture
def make_net(host, tmp_path):
    made = []

    def make(options, *prefix):
        made.append(NetInPlaces(tmp_path / "state", options, *prefix))
        return made[-1]

    yield make
    for net in made:
        net.stop()


def with_more_ports(net):
    """The document of what there is, and port 8085."""
    return net("network", "ls", "--json").replace('"8080:80/tcp"', '"8080:80/tcp", "8085:80/tcp"')


def facts(net):
    """What a command that has failed leaves as it was."""
    networks = net.networks()
    for network in networks.values():
        for container in network["containers"]:
            # They end by themselves.
            container.pop("draining", None)
    return identities(), iptables_rules(), networks


def is_served(net):
    """Where port 8080 is published, it leads to the container."""
    if not any("8080:80/tcp" in c["ports"] for c in net.json("status")["containers"]):
        return True
    with inside("c1"):
        listener = tcp.listen("", 80)
    with listener, tcp.connect("10.5.0.1", 8080) as client, tcp.accept(listener) as server:
        server.sendall(b"x")
        return client.recv(1) == b"x"


@pytest.mark.parametrize("trouble", TROUBLES)
def test_each_call_of_iptables_restore_goes_wrong_once(make_net, container, tmp_path, trouble):
    container("c1")
    tools = FailingTools(tmp_path, trouble)
    net = make_net(["--firewall", "iptables"], "env", f"PATH={tools.path}")
    struck = 0
    for command in COMMANDS:
        stdin = with_more_ports(net) if command[0] == "apply" else None
        before = facts(net)
        for call in itertools.count():
            tools.strike(call)
            try:
                net(*command, stdin=stdin)
                # Nothing has gone wrong, or what differs could not be loaded, but everything.
                break
            except Failed as failure:
                struck += 1
                if trouble.startswith("fails"):
                    assert "tables-restore: the kernel is out of sorts" in failure.message
            tools.spare()
            if trouble.startswith("killed"):
                net("reload")
            assert facts(net) == before, f"{command}, call {call}"
            assert net("check") == "" and is_served(net)
        tools.spare()
        assert net("check") == "" and is_served(net)
    assert struck >= (4 if trouble.startswith("fails") else 2 * len(COMMANDS) - 4)
    assert rules() == "" and links().keys() == {"lo"}


@pytest.mark.parametrize("trouble", ["fails", "fails half-way"])
@pytest.mark.parametrize("program", FailingTools.NAMES)
def test_what_one_family_refuses_comes_into_force_for_neither(make_net, container, tmp_path,
                                                              program, trouble):
    container("c1")
    tools = FailingTools(tmp_path, trouble)
    net = make_net(["--firewall", "iptables"], "env", f"PATH={tools.path}")
    for command in COMMANDS[:3]:
        net(*command)
    more = with_more_ports(net)
    before = facts(net)
    for command in (["publish", "web", "c1", "8085:80"],
                    ["apply", "-"],
                    ["network", "create", "db", "--bridge", "br-8085", "--subnet", "10.6.0.0/24",
                     "--subnet", "fd06::/64"]):
        tools.refuse(program, "8085")
        with pytest.raises(Failed, match=f"{program}: the kernel is out of sorts"):
            net(*command, stdin=more)
        tools.spare()
        assert facts(net) == before
        assert net("check") == "" and is_served(net)


def test_a_caller_that_ignores_the_end_of_its_children(make_net, container):
    container("c1")
    net = make_net(["--firewall", "iptables"], "env", "--ignore-signal=CHLD")
    for command in COMMANDS[:3]:
        net(*command)
    assert net("check") == "" and is_served(net)


def only_these(directory, *tools):
    """Words in front of a command that finds these programs in the places of the system, and no
    other ones that fairlead-net might run."""
    for tool in tools:
        shutil.copy(os.path.realpath(shutil.which(tool)), os.path.join(directory, tool))
    return ["unshare", "--mount", "env", "PATH=/usr/bin", "sh", "-c",
            f'mount --bind {directory} /usr/sbin && exec "$@"', "sh"]


IPTABLES = ("iptables-save", "iptables-restore")


def test_without_ip6tables_there_are_networks_of_ipv4(make_net, tmp_path):
    net = make_net(["--firewall", "iptables"], *only_these(tmp_path, *IPTABLES))
    before = host_facts()
    with pytest.raises(Failed, match="ip6tables-restore: not found, and a network has an IPv6 "):
        net(*NETWORK)
    assert host_facts() == before and net.networks() == {}
    net("network", "create", "old", "--subnet", "10.6.0.0/24")
    assert net("check") == "" and "10.6.0.0/24" in output_of("iptables-save")


def test_without_iptables_nftables_has_to_do(make_net, tmp_path):
    net = make_net([], *only_these(tmp_path))
    before = host_facts()
    with pytest.raises(Failed, match="iptables-restore: not found; install iptables, or use "):
        net(*NETWORK, "--firewall", "iptables")
    assert host_facts() == before
    net(*NETWORK)
    assert net("check") == "" and "table inet fairlead" in rules()
    net("network", "rm", "web")
    # Rules that only iptables could overrule.
    output_of("iptables", "-P", "FORWARD", "DROP")
    with pytest.raises(Failed, match="iptables, chain FORWARD drops forwarded packets that no rule"
                                     " accepts there; iptables-restore: not found"):
        net(*NETWORK)
    assert links().keys() == {"lo"}
