"""System calls of fairlead-net fail, one at a time: the command says so and leaves the network as it
was, or does without the call and has done all it should.

Every day some calls of each kind fail; with FAIRLEAD_FAULTS=full, all of them.
"""

import itertools
import json
import os
import subprocess

import pytest

from fairlead_net import PROGRAM, FairleadNet, links
from supervisor import Supervisor

STEP = 1 if os.environ.get("FAIRLEAD_FAULTS") == "full" else 9

# How a call may fail.
CALLS = {
    "clone3": "EAGAIN",
    "execve": "ENOMEM",
    "flock": "ENOLCK",
    "memfd_create": "ENFILE",
    "recvmsg": "ENOBUFS",
    "rename": "EIO",
    "sendmsg": "ENOBUFS",
    "setns": "EPERM",
}

# From nothing to nothing.
COMMANDS = [
    ["network", "create", "web", "--subnet", "10.5.0.0/24", "--subnet", "fd05::/64", "--mode",
     "both"],
    ["attach", "web", "c1", "--netns", "name:c1"],
    ["publish", "web", "c1", "8080:80", "8081:81/udp"],
    ["reload"],
    ["unpublish", "web", "c1", "8081:81/udp"],
    ["detach", "web", "c1"],
    ["network", "rm", "web"],
]

# libnftables ends the process where it does not understand the kernel, and where it gets no socket.
LIBRARY_GIVES_UP = ("nf_tables kernel ABI is broken", "Unable to initialize Netlink socket")

pytestmark = pytest.mark.skipif("asan" in PROGRAM or "tsan" in PROGRAM,
                                reason="sanitizers make system calls of their own")


def document(net):
    """What there is, whichever process serves it: one that was stopped is started anew."""
    there = json.loads(net("network", "ls", "--json"))
    for network in there["networks"]:
        for container in network["containers"]:
            container.pop("proxy", None)
            container.pop("draining", None)
    return there, sorted(links())


def problem(net, done, before):
    """What is wrong after a command; empty: nothing."""
    if any(words in done.stderr for words in LIBRARY_GIVES_UP):
        net("reload")
    elif done.returncode not in (0, 1):
        return "ended badly"
    elif done.returncode == 1 and not done.stderr.startswith("fairlead-net: "):
        return "no message"
    if done.returncode == 1 and document(net) != before:
        return f"{document(net)} instead of {before}"
    return "\n".join(net.problems())


@pytest.mark.parametrize("firewall", ["nftables", "iptables"])
def test_each_system_call_of_a_containers_life(host, tmp_path, container, firewall):
    container("c1")
    net = FairleadNet(tmp_path / "state", ["--firewall", firewall])
    struck, wrong = 0, []
    with Supervisor(*CALLS, first_only=True) as supervisor:
        try:
            for turn, command in enumerate(COMMANDS):
                before, restored = document(net), net("network", "ls", "--json")
                for call, error in CALLS.items():
                    for number in itertools.count(1 + turn % STEP, STEP):
                        supervisor.fail(call, number, error)
                        done = subprocess.run([*supervisor.wrapper, *net.command(*command)],
                                              check=False, capture_output=True, text=True,
                                              timeout=60)
                        failed = supervisor.relent()
                        struck += failed
                        if found := problem(net, done, before):
                            wrong.append(f"{command} {call} {number}: {done.stderr}: {found}")
                            net("reload")
                        if done.returncode == 0:
                            net("apply", "-", stdin=restored)
                        if not failed:
                            break
                net(*command)
        finally:
            net.stop()
    print(firewall, struck, "calls failed")
    assert wrong == []
    assert struck > 40 and links().keys() == {"lo"}
