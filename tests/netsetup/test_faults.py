"""System calls of fairlead-net fail, one at a time: the command says so and leaves the network as it
was, or does without the call and has done all it should. Either way clients are served.

Every day some calls of each kind fail; with FAIRLEAD_FAULTS=full, all of them.
"""

import contextlib
import json
import os
import socket
import subprocess
import threading

import pytest

from fairlead_net import PROGRAM, FairleadNet, inside
from supervisor import Supervisor
from system_calls import NUMBERS

STEP = 1 if os.environ.get("FAIRLEAD_FAULTS") == "full" else 17
# Those of the calls to fail that this run is for, as in "openat,read".
ONLY = os.environ.get("FAIRLEAD_FAULT_CALLS")

# How a call may fail. Left out are close(2), which closes also where it fails; memory, for want of
# which a process ends wherever it is, as when it is killed (test_failures.py); and what cannot fail
# with arguments like these, as getpid(2) or lseek(2) of a file.
CALLS = {
    "access": "EACCES",
    "bind": "EADDRINUSE",
    "capget": "EPERM",
    "capset": "EPERM",
    "clone3": "EAGAIN",
    "connect": "ECONNREFUSED",
    "execve": "ENOMEM",
    "faccessat": "EACCES",
    "fcntl": "EMFILE",
    "flock": "ENOLCK",
    "ftruncate": "EIO",
    "getdents64": "EIO",
    "getsockname": "ENOBUFS",
    "getsockopt": "ENOBUFS",
    "ioctl": "EIO",
    "memfd_create": "ENFILE",
    "mkdir": "ENOSPC",
    "mkdirat": "ENOSPC",
    "newfstatat": "EACCES",
    "openat": "EMFILE",
    "pidfd_open": "EMFILE",
    "pidfd_send_signal": "EPERM",
    "poll": "ENOMEM",
    "ppoll": "ENOMEM",
    "prctl": "EINVAL",
    "pread64": "EIO",
    "prlimit64": "EPERM",
    "read": "EIO",
    "readlink": "EACCES",
    "readlinkat": "EACCES",
    "recvfrom": "ENOMEM",
    "recvmsg": "ENOBUFS",
    "rename": "EIO",
    "renameat": "EIO",
    "sendmsg": "ENOBUFS",
    "sendto": "ENOBUFS",
    "setns": "EPERM",
    "setsockopt": "ENOBUFS",
    "socket": "EMFILE",
    "unlink": "EIO",
    "unlinkat": "EIO",
    "wait4": "EINTR",
    "waitid": "EINTR",
    "write": "ENOSPC",
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

pytestmark = pytest.mark.skipif(any(kind in PROGRAM for kind in ("asan", "tsan", "coverage")),
                                reason="instrumentation makes system calls of its own")


class Service:
    """Says hello to whoever connects, in a container."""

    def __init__(self, name):
        with inside(name):
            self._socket = socket.create_server(("::", 80), family=socket.AF_INET6, backlog=64,
                                                dualstack_ipv6=True)
        self._socket.settimeout(None)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self):
        with contextlib.suppress(OSError):  # shut down
            while True:
                client, _ = self._socket.accept()
                with client, contextlib.suppress(OSError):
                    client.sendall(b"hello")


def is_served(host):
    with contextlib.suppress(OSError), socket.create_connection((host, 8080), timeout=5) as client:
        return client.recv(5) == b"hello"
    return False


def document(net):
    """What there is, whichever process serves it: one that was stopped is started anew."""
    there = json.loads(net("network", "ls", "--json"))
    for network in there["networks"]:
        for container in network["containers"]:
            container.pop("proxy", None)
            container.pop("draining", None)
    return there, sorted(name for _, name in socket.if_nameindex())


def problem(net, done, before, after):
    """What is wrong after a command; empty: nothing."""
    if done.returncode not in (0, 1):
        return "ended badly"
    if done.returncode == 1 and "fairlead-net: " not in done.stderr:
        return "no message"
    # libnftables ends the process where it does not understand the kernel, or gets no socket.
    if "a library has ended this run half-way; `fairlead-net reload` takes it back" in done.stderr:
        net("reload")
    there = document(net)
    if there != (after if done.returncode == 0 else before):
        return f"{there} instead of {before}"
    published = any("8080:80/tcp" in container["ports"] for network in there[0]["networks"]
                    for container in network["containers"])
    for host in ("127.0.0.1", "10.5.0.1"):
        if is_served(host) != published:
            return f"{host} is {'not ' if published else ''}served"
    return "\n".join(net.problems())


def calls_to_fail(counts, turn):
    """(call, number): each kind as often as it is made, from another one on in each turn."""
    calls = [(call, number) for call in CALLS if call in NUMBERS
             for number in range(1, counts.get(call, 0) + 1)]
    if ONLY:
        calls = [(call, number) for call, number in calls if call in ONLY.split(",")]
    return calls[turn % STEP::STEP]


@pytest.mark.parametrize("firewall", ["nftables", "iptables"])
def test_each_system_call_of_a_containers_life(host, tmp_path, container, firewall):
    net = FairleadNet(tmp_path / "state", ["--firewall", firewall])
    struck, wrong = 0, []
    # Its first call after the loader's, before it has looked at anything.
    with Service(container("c1")), Supervisor(*CALLS, first_only=True, since="prctl") as supervisor:

        def run(wrapper, command):
            return subprocess.run([*wrapper, *net.command(*command)], check=False,
                                  capture_output=True, text=True, timeout=60)

        try:
            for turn, command in enumerate(COMMANDS):
                before, restored = document(net), net("network", "ls", "--json")
                supervisor.count()
                assert run(supervisor.wrapper, command).returncode == 0
                counts = supervisor.counted()
                after = document(net)
                net("apply", "-", stdin=restored)
                for call, number in calls_to_fail(counts, turn):
                    supervisor.fail(call, number, CALLS[call])
                    done = run(supervisor.wrapper_for(call), command)
                    struck += supervisor.relent()
                    if found := problem(net, done, before, after):
                        wrong.append(f"{command} {call} {number}: {done.returncode} {done.stderr}: {found}")
                        print(wrong[-1], flush=True)
                        net("reload")
                    if done.returncode == 0 and before != after:
                        net("apply", "-", stdin=restored)
                net(*command)
        finally:
            net.stop()
    print(firewall, struck, "calls failed")
    assert wrong == []
