"""A host with networks, containers and services on them, a router and a remote machine, all in
network namespaces; and probes of who reaches what.

    remote ---- router ---- host ==== containers of fairlead-net
        198.51.100.0/24   192.0.2.0/24

Every service answers whoever reaches it with its own name and the address it sees: "c1:80
10.1.0.1". So a probe shows whether something is reached, what, and as whom.
"""

import contextlib
import errno
import itertools
import os
import selectors
import shutil
import socket
import subprocess
import threading
import time

from fairlead_net import FairleadNet
from namespace import inside, ip

HOST, HOST6 = "192.0.2.1", "2001:db8:1::1"
ROUTER, ROUTER6 = "192.0.2.254", "2001:db8:1::fe"
REMOTE, REMOTE6 = "198.51.100.2", "2001:db8:2::2"

# How long what does not come is waited for, beyond what does come.
SILENCE_SECONDS = 0.3
_numbers = itertools.count(1)


class Services:
    """Sockets that answer, served by a thread."""

    def __init__(self):
        self._selector = selectors.DefaultSelector()
        self._wake, self._end = os.pipe()
        self._selector.register(self._wake, selectors.EVENT_READ, None)
        self._thread = None

    def add(self, namespace, name, port, address="", families=(socket.AF_INET, socket.AF_INET6)):
        with inside(namespace):
            for family, kind in itertools.product(families, (socket.SOCK_STREAM,
                                                             socket.SOCK_DGRAM)):
                sock = socket.socket(family, kind)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((address, port))
                if kind == socket.SOCK_STREAM:
                    sock.listen(128)
                sock.setblocking(False)
                self._selector.register(sock, selectors.EVENT_READ, f"{name}:{port}")

    def start(self):
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self):
        os.close(self._end)
        if self._thread is not None:
            self._thread.join()
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                key.fileobj.close()
        os.close(self._wake)
        self._selector.close()

    def _serve(self):
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                with contextlib.suppress(OSError):
                    self._answer(key.fileobj, key.data)

    @staticmethod
    def _answer(sock, name):
        if sock.type == socket.SOCK_STREAM:
            client, peer = sock.accept()
            with client:
                client.sendall(f"{name} {peer[0]}".encode())
        else:
            _, peer = sock.recvfrom(100)
            sock.sendto(f"{name} {peer[0]}".encode(), peer)


class Probe:
    """One attempt to reach (address, port) by TCP or UDP; `answer` is None until there is one, and
    stays None where nothing comes."""

    def __init__(self, kind, address, port, source=None):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.answer = None
        self.error = None
        self.socket = socket.socket(family, kind)
        self.socket.setblocking(False)
        try:
            if source is not None:
                self.socket.bind((source, 0))
            self.socket.connect((address, port))
        except BlockingIOError:
            pass
        except OSError as error:
            self.finish(error=error)
        self.ask()

    def ask(self):
        """A datagram may be lost; asking once more does no harm."""
        if self.pending() and self.socket.type == socket.SOCK_DGRAM:
            try:
                self.socket.send(b"who am I?")
            except OSError as error:
                self.finish(error=error)

    def pending(self):
        return self.socket.fileno() >= 0

    def receive(self):
        try:
            data = self.socket.recv(100)
        except BlockingIOError:
            return
        except OSError as error:
            self.finish(error=error)
            return
        self.finish(answer=data.decode() or None)

    def finish(self, answer=None, error=None):
        self.answer = answer
        self.error = errno.errorcode.get(error.errno) if error is not None else None
        self.socket.close()


def run_probes(probes, wanted, seconds=15):
    """Until every probe of `wanted` has an answer (or `seconds` are over), and then as long as
    silence has to last."""
    start = time.monotonic()
    asked = start
    with selectors.DefaultSelector() as selector:
        for probe in probes:
            if probe.pending():
                selector.register(probe.socket, selectors.EVENT_READ, probe)
        end = start + seconds
        while (now := time.monotonic()) < end:
            if end > now + SILENCE_SECONDS and not any(probe.pending() for probe in wanted):
                end = now + SILENCE_SECONDS
            for key, _ in selector.select(min(end - now, 0.05)):
                probe = key.data
                selector.unregister(probe.socket)
                probe.receive()
                if probe.pending():
                    selector.register(probe.socket, selectors.EVENT_READ, probe)
            if time.monotonic() > asked + 1:
                asked = time.monotonic()
                for probe in wanted:
                    if probe.pending():
                        descriptor = probe.socket
                        probe.ask()
                        if not probe.pending():
                            selector.unregister(descriptor)
    for probe in probes:
        if probe.pending():
            probe.finish()


class HostProgram(FairleadNet):
    """fairlead-net in a namespace, perhaps with other programs first in its PATH."""

    def __init__(self, namespace, state_directory, options, path):
        super().__init__(state_directory, options)
        self._prefix = ["nsenter", f"--net=/run/netns/{namespace}", "env", f"PATH={path}"]

    def command(self, *arguments):
        return [*self._prefix, *super().command(*arguments)]


class Lab:
    """`host` is the file of a network namespace to take for the host's, if there is one already.

    REQUIRES: stop() is called, whatever happens."""

    def __init__(self, state_directory, *options, path=os.environ["PATH"], host=None):
        self._prefix = f"lab{next(_numbers)}-"
        self._names = []
        self.services = Services()
        self.add("host", host)
        for name in ("router", "remote"):
            self.add(name)
        self.net = HostProgram(self.name("host"), state_directory, options, path)
        self._wire("host", HOST, HOST6, "router", ROUTER, ROUTER6)
        self._wire("router", "198.51.100.1", "2001:db8:2::1", "remote", REMOTE, REMOTE6)
        self.sysctl("router", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for machine, v4, v6 in (("host", ROUTER, ROUTER6),
                                ("remote", "198.51.100.1", "2001:db8:2::1")):
            self.ip(machine, "route", "add", "default", "via", v4)
            self.ip(machine, "-6", "route", "add", "default", "via", v6)

    def name(self, machine):
        return self._prefix + machine

    def add(self, machine, there=None):
        """`there` as `host` of the constructor."""
        ip("netns", "add", self.name(machine))
        self._names.append(self.name(machine))
        if there is not None:
            name = f"/run/netns/{self.name(machine)}"
            subprocess.run(["umount", name], check=True, timeout=20)
            subprocess.run(["mount", "--bind", there, name], check=True, timeout=20)
        # Addresses are used at once; nothing else could have them.
        self.sysctl(machine, "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
        self.ip(machine, "link", "set", "lo", "up")

    def attach(self, network, machine, *options):
        self.add(machine)
        self.net("attach", network, machine, "--netns", "name:" + self.name(machine), *options)

    def ip(self, machine, *arguments):
        ip("-n", self.name(machine), *arguments)

    def run(self, machine, *command, stdin=None):
        """Its standard output. Fails the test if the command fails."""
        done = subprocess.run(["ip", "netns", "exec", self.name(machine), *command], check=False,
                              capture_output=True, text=True, input=stdin, timeout=30)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def sysctl(self, machine, *settings):
        self.run(machine, "sysctl", "-q", "-w", *settings)

    def serve(self, machine, *ports, **how):
        for port in ports:
            self.services.add(self.name(machine), machine, port, **how)

    def inside(self, machine):
        return inside(self.name(machine))

    def stop(self):
        try:
            self.net.stop()
        finally:
            self.services.close()
            for name in self._names:
                subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True,
                               timeout=20)

    def _wire(self, near, near_v4, near_v6, far, far_v4, far_v6):
        ip("link", "add", "to-" + far, "netns", self.name(near), "type", "veth", "peer", "name",
           "to-" + near, "netns", self.name(far))
        for machine, other, v4, v6 in ((near, far, near_v4, near_v6), (far, near, far_v4, far_v6)):
            self.ip(machine, "address", "add", v4 + "/24", "dev", "to-" + other)
            self.ip(machine, "address", "add", v6 + "/64", "dev", "to-" + other, "nodad")
            self.ip(machine, "link", "set", "to-" + other, "up")


class BackendMissing(Exception):
    """The machine has not the programs."""


def backend_options(backend, directory):
    """Options of fairlead-net for `nftables`, `iptables-nft` or `iptables-legacy`, and a PATH in
    which the iptables of that kind come first, by links in the directory."""
    if backend == "nftables":
        return ["--firewall", "nftables"], os.environ["PATH"]
    for family in ("iptables", "ip6tables"):
        for program in ("", "-save", "-restore"):
            kind = shutil.which(f"{family}-{backend.removeprefix('iptables-')}{program}")
            if kind is None:
                raise BackendMissing(f"no {backend} here")
            os.symlink(kind, os.path.join(directory, family + program))
    return ["--firewall", "iptables"], f"{directory}:{os.environ['PATH']}"
