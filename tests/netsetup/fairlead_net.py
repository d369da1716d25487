"""Running fairlead-net, and looking at what it has done."""

import contextlib
import ctypes
import json
import os
import subprocess

from namespace import CLONE_NEWNET

PROGRAM = os.environ["FAIRLEAD_NET"]
BUILD = os.path.dirname(os.path.dirname(PROGRAM))
PROXY = os.path.join(BUILD, "proxy", "fairlead-proxy")


def enter_new_network_namespace():
    """This process and those it starts from now on have a network of their own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout


def links(namespace=None):
    """{name: what `ip` tells of it}"""
    inside = [] if namespace is None else ["-n", namespace]
    found = json.loads(output_of("ip", *inside, "-details", "-json", "address"))
    return {link["ifname"]: link for link in found}


def addresses(link):
    """Those of global scope, with their lengths."""
    return {f"{info['local']}/{info['prefixlen']}" for info in link["addr_info"]
            if info["scope"] == "global"}


def identities():
    """What makes a link of the host the same one as before."""
    return {name: (link["ifindex"], link["address"], link["mtu"], "UP" in link["flags"],
                   link.get("master"), addresses(link)) for name, link in links().items()}


def rules():
    """Everything in nftables, without what it has counted."""
    return output_of("nft", "--stateless", "list", "ruleset")


def routes(namespace, family="-4"):
    return json.loads(output_of("ip", family, "-n", namespace, "-json", "route"))


def host_facts():
    """Everything that has to be as it was before once the last network is removed."""
    settings = {}
    for family in ("ipv4", "ipv6"):
        for directory, _, names in os.walk(f"/proc/sys/net/{family}"):
            if "/neigh/" in directory:
                continue
            for name in names:
                path = os.path.join(directory, name)
                try:
                    with open(path, encoding="ascii") as file:
                        settings[path] = file.read()
                except OSError:
                    pass  # may be written only
    # The kernel counts and moves these by itself.
    for moving in ("tcp_fastopen_key", "stable_secret"):
        settings = {path: value for path, value in settings.items() if moving not in path}
    return {"links": {name: link["address"] for name, link in links().items()},
            "routes": output_of("ip", "route", "show", "table", "all"),
            "nftables": rules(),
            "iptables": output_of("iptables-save"),
            "sysctls": settings}


class Failed(Exception):
    def __init__(self, code, message):
        super().__init__(f"exit {code}: {message}")
        self.code, self.message = code, message


class FairleadNet:
    """The program, with one state directory."""

    def __init__(self, state_directory, options=()):
        self.state_directory = str(state_directory)
        self.options = list(options)

    def command(self, *arguments):
        return [PROGRAM, *map(str, arguments), "--state-dir", self.state_directory, *self.options]

    def __call__(self, *arguments, stdin=None, timeout=30):
        """Its standard output; raises Failed where it fails."""
        done = subprocess.run(self.command(*arguments), check=False, capture_output=True, text=True,
                              input=stdin, timeout=timeout)
        self.notes = done.stderr
        if done.returncode != 0:
            prefix = "fairlead-net: "
            raise Failed(done.returncode, done.stderr.removeprefix(prefix).strip() or done.stdout)
        return done.stdout

    def json(self, *arguments, **how):
        return json.loads(self(*arguments, "--json", **how))

    def container(self, name):
        """What `status` tells of it."""
        for container in self.json("status")["containers"]:
            if container["container"] == name:
                return container
        raise KeyError(name)

    def problems(self):
        return self.json("status")["problems"]

    def networks(self):
        return {network["name"]: network for network in self.json("network", "ls")["networks"]}

    def stop(self):
        """Ends everything that was started, and removes it."""
        try:
            self("apply", "-", stdin='{"networks": []}')
        finally:
            own = f"FAIRLEAD_NET_STATE={self.state_directory}".encode()
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    with open(f"/proc/{pid}/environ", "rb") as file:
                        if own in file.read().split(b"\0"):
                            os.kill(int(pid), 9)
                except OSError:
                    pass  # has ended


@contextlib.contextmanager
def inside(name):
    """This thread, within a named namespace: a socket made here belongs to it for good."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(descriptor):
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    with open("/proc/thread-self/ns/net", "rb") as home, open(f"/run/netns/{name}", "rb") as there:
        enter(there.fileno())
        try:
            yield
        finally:
            enter(home.fileno())
