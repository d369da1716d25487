"""A machine made of namespaces, and sockets in the network of any process.

A Machine is one keeper process that is the first process of its own network, mount and process
namespaces. Everything started in it is killed by the kernel when the keeper ends, and every mount,
link and firewall rule in it goes with the last process, so nothing outlives a test run however that
ends: the keeper is killed when the thread that started it dies.
"""

import contextlib
import ctypes
import os
import signal
import subprocess

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000

# The first process of a process namespace inherits orphans and has to reap them.
_KEEPER = """
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print(flush=True)
while True:
    signal.pause()
"""


def _setns(fd):
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")


@contextlib.contextmanager
def network_of(net_file):
    """In the block the calling thread is in that network namespace: sockets made there stay in it."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        other = os.open(net_file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(other)
        finally:
            os.close(other)
        try:
            yield
        finally:
            _setns(own)
    finally:
        os.close(own)


class Machine:
    """Own network, mounts and processes; an empty /run, so that no daemon of the host is seen. With
    the programs and libraries below `usr` laid over the host's."""

    def __init__(self, usr=None):
        self._unshare = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--ipc",
             "--fork", "--kill-child=KILL", "--mount-proc", "/usr/bin/python3", "-c", _KEEPER],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self._unshare.stdout.readline() != "\n":
            raise OSError(f"no namespaces here: {self._unshare.communicate()[1].strip()}")
        self.pid = int(_read(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children"))
        self.net_file = f"/proc/{self.pid}/ns/net"
        self.run("mount", "-t", "tmpfs", "tmpfs", "/run")
        if usr:
            self.run("mount", "-t", "overlay", "overlay", "/usr", "-o", f"lowerdir={usr}:/usr")
        self.run("ip", "link", "set", "lo", "up")

    def close(self):
        if self._unshare.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self._unshare.communicate()

    def command(self, *words):
        return ["nsenter", "--target", str(self.pid), "--net", "--mount", "--pid", "--ipc", "--",
                *words]

    def start(self, *words, **options):
        return subprocess.Popen(self.command(*words), stdin=subprocess.DEVNULL, **options)

    def run(self, *words, check=True, timeout=60, **options):
        """The finished process, with its output as text. Fails the test if the command fails."""
        done = subprocess.run(self.command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=timeout, **options)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(words)}: exit status {done.returncode}: "
                                 f"{done.stderr.strip()}")
        return done

    def path(self, path):
        """The same file as it is named from outside."""
        return f"/proc/{self.pid}/root{path}"

    def network(self):
        return network_of(self.net_file)

    def processes(self, executable):
        """Pids, as this machine numbers them, of what runs from that file."""
        file = os.stat(executable)
        found = []
        for name in os.listdir(self.path("/proc")):
            with contextlib.suppress(OSError, ValueError):
                other = os.stat(self.path(f"/proc/{int(name)}/exe"))
                if (other.st_dev, other.st_ino) == (file.st_dev, file.st_ino):
                    found.append(int(name))
        return found

    def join(self, other, own_addresses, other_addresses):
        """A link between two machines, with these addresses (with prefix length) at its ends."""
        subprocess.run(["ip", "link", "add", "wire", "netns", str(self.pid), "type", "veth", "peer",
                        "name", "wire", "netns", str(other.pid)], check=True)
        for machine, addresses in ((self, own_addresses), (other, other_addresses)):
            for address in addresses:
                machine.run("ip", "address", "add", address, "dev", "wire", "nodad")
            machine.run("ip", "link", "set", "wire", "up")

    def listening(self):
        return listening_sockets(f"/proc/{self.pid}")


def listening_sockets(proc_directory):
    """(protocol, port) of every socket that accepts or receives in the network of a process."""
    found = set()
    for protocol, state in (("tcp", "0A"), ("udp", "07")):
        for table in (protocol, protocol + "6"):
            for line in _read(f"{proc_directory}/net/{table}").splitlines()[1:]:
                fields = line.split()
                if fields[3] == state:
                    found.add((protocol, int(fields[1].rpartition(":")[2], 16)))
    return found


def _read(path):
    with open(path, encoding="ascii") as file:
        return file.read()
