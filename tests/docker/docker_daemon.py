"""A dockerd in a Machine, and containers that run service.py."""

import itertools
import json
import os
import re
import shutil
import tarfile
import time

from machine import Machine, listening_sockets, network_of

# Where a remote machine finds the daemon's.
HOST_V4, HOST_V6 = "192.0.2.1", "2001:db8::1"

IMAGE = "fairlead-test"
_HERE = os.path.dirname(os.path.abspath(__file__))
_numbers = itertools.count(1)


class DaemonUnavailable(Exception):
    """dockerd did not come up. It does not start a proxy before a port is published, so this is
    the machine's doing and not the proxy's."""


def make_machine():
    """One for a Daemon. Where FAIRLEAD_DOCKER names a Debian suite, with the Docker of that one."""
    usr = os.environ.get("FAIRLEAD_DOCKER_USR")
    if usr == "":
        raise DaemonUnavailable(f"apt cannot fetch the one of {os.environ['FAIRLEAD_DOCKER']}")
    if usr is None and not shutil.which("dockerd"):
        raise DaemonUnavailable("none is installed")
    return Machine(usr)


class Container:
    def __init__(self, daemon, name):
        facts = json.loads(daemon.docker("inspect", name))[0]
        self.name = name
        # As the daemon's machine numbers processes.
        self.pid = facts["State"]["Pid"]
        self.address = facts["NetworkSettings"]["IPAddress"]
        self.gateway = facts["NetworkSettings"]["Gateway"]
        self._proc = daemon.machine.path(f"/proc/{self.pid}")

    def network(self):
        return network_of(self._proc + "/ns/net")

    def listening(self):
        return listening_sockets(self._proc)


class Daemon:
    """`proxy` None: which one it starts is for its configuration to say."""

    def __init__(self, machine, proxy, log_path, *options, environment=None):
        self.machine = machine
        self.proxy = proxy
        self._log_path = log_path
        self._cgroup = f"fairlead-test-{os.getpid()}-{next(_numbers)}"
        self.command = [
            "env", *(f"{name}={value}" for name, value in (environment or {}).items()),
            "dockerd", "--data-root=/run/docker-data",
            *([f"--userland-proxy-path={proxy}"] if proxy else []),
            # systemd's driver would ask the host's systemd about processes it cannot see.
            "--exec-opt=native.cgroupdriver=cgroupfs", f"--cgroup-parent=/{self._cgroup}", *options]
        self.start()
        _write_image(machine.path("/run/image.tar"))
        self.docker("import", "/run/image.tar", IMAGE)

    def start(self):
        with open(self._log_path, "ab") as log:
            process = self.machine.start(*self.command, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while self.machine.run("docker", "version", check=False).returncode != 0:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise DaemonUnavailable(self.log()[-1] if self.log() else "dockerd said nothing")
            time.sleep(0.05)
        with open(self.machine.path("/run/docker.pid"), encoding="ascii") as file:
            self.pid = int(file.read())
        self._process = process
        version = self.docker("version", "--format", "{{.Server.Version}}")
        self.version = tuple(map(int, re.findall(r"\d+", version)[:2]))

    def kill(self, name="KILL"):
        """Signals dockerd alone and waits for its end."""
        self.machine.run("kill", f"-{name}", str(self.pid))
        self._process.wait(timeout=60)

    def close(self):
        """REQUIRES: the machine is closed. Removes what a killed daemon leaves of its cgroups."""
        deadline = time.monotonic() + 5
        for top in _cgroup_directories(self._cgroup):
            for directory, _, _ in os.walk(top, topdown=False):
                while True:
                    try:
                        os.rmdir(directory)
                        break
                    except OSError:
                        # The kernel lets go of killed processes a moment later.
                        if time.monotonic() > deadline:
                            raise
                        time.sleep(0.02)

    def log(self):
        with open(self._log_path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()

    def docker(self, *words, **options):
        return self.machine.run("docker", *words, **options).stdout.strip()

    def run_service(self, name, *options, ports=(80, 80)):
        """`docker run` of a container that serves these ports, once it does."""
        first, last = ports
        self.docker("run", "--detach", "--name", name, "--stop-timeout", "1",
                    "--volume", "/usr:/usr:ro", "--volume", f"{_HERE}/service.py:/service.py:ro",
                    *options, IMAGE, "/usr/bin/python3", "-B", "/service.py", str(first), str(last))
        return self.serving(name, first, last)

    def serving(self, name, first=80, last=80):
        """The container, once its service listens."""
        container = Container(self, name)
        wanted = {(protocol, port) for protocol in ("tcp", "udp") for port in range(first, last + 1)}
        wait_until(lambda: wanted <= container.listening(), "the service listens")
        return container

    def remove(self, *names):
        self.docker("rm", "--force", "--volumes", *names)

    def proxies(self):
        return self.machine.processes(self.proxy)


def wait_until(condition, what, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def _write_image(path):
    """An image of names alone: the programs are the machine's own /usr, mounted read-only."""
    with tarfile.open(path, mode="w") as tar:
        for name in ("usr", "tmp", "etc"):
            directory = tarfile.TarInfo(name)
            directory.type = tarfile.DIRTYPE
            directory.mode = 0o755
            tar.addfile(directory)
        for name in ("bin", "sbin", "lib", "lib64"):
            link = tarfile.TarInfo(name)
            link.type = tarfile.SYMTYPE
            link.linkname = f"usr/{name}"
            tar.addfile(link)


def _cgroup_directories(name):
    with open("/proc/self/mounts", encoding="ascii") as file:
        for line in file:
            _, mount_point, kind, *_ = line.split()
            path = os.path.join(mount_point, name)
            if kind in ("cgroup", "cgroup2") and os.path.isdir(path):
                yield path
