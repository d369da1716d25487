"""Network namespaces beside the one the tests run in."""

import contextlib
import ctypes
import itertools
import subprocess

from deadline import wait_until

CLONE_NEWNET = 0x40000000

_numbers = itertools.count(1)


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=20)


def add_ipv6(address, device, namespace=None):
    """An address, and prefix, that can be used at once: the kernel adds the route to it a little
    later, from a work queue."""
    where = ("-n", namespace) if namespace else ()
    ip(*where, "address", "add", address, "dev", device, "nodad")
    shown = ["ip", *where, "-6", "route", "show", "table", "local", address.split("/")[0]]
    wait_until(lambda: subprocess.run(shown, check=True, capture_output=True, timeout=20).stdout,
               f"no route to {address}")


def _enter(descriptor):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def inside(name):
    """This thread, within the named namespace: a socket made here belongs to it for good."""
    with open("/proc/thread-self/ns/net", "rb") as home, \
            open(f"/run/netns/{name}", "rb") as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


class Namespace:
    """A namespace joined to the tests' own by a veth pair: `inner` is its address there, `outer`
    the address at this end; both exist for IPv4 and for IPv6."""

    def __init__(self):
        number = next(_numbers)
        self.name = f"fairlead-test-{number}"
        self.link = f"fl{number}"
        network = f"10.{77 + number // 256}.{number % 256}"
        self.outer, self.inner = f"{network}.1", f"{network}.2"
        self.outer6, self.inner6 = f"fd77:{number}::1", f"fd77:{number}::2"
        self.make()

    def make(self):
        """Also to make it anew, after close(): the same names and addresses."""
        ip("netns", "add", self.name)
        self.connect()

    def connect(self):
        """Joins what has the name to the tests' own."""
        try:
            ip("link", "add", self.link, "type", "veth", "peer", "name", "eth0",
               "netns", self.name)
            ip("address", "add", f"{self.outer}/24", "dev", self.link)
            ip("link", "set", self.link, "up")
            for arguments in (("link", "set", "lo", "up"),
                              ("address", "add", f"{self.inner}/24", "dev", "eth0"),
                              ("link", "set", "eth0", "up"),
                              ("route", "add", "default", "via", self.outer)):
                ip("-n", self.name, *arguments)
            add_ipv6(f"{self.outer6}/64", self.link)
            add_ipv6(f"{self.inner6}/64", "eth0", self.name)
            ip("-n", self.name, "route", "add", "default", "via", self.outer6)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        # The pair ends with the namespace, but later, while sockets in it linger.
        subprocess.run(["ip", "link", "del", self.link], check=False, capture_output=True,
                       timeout=20)
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True,
                       timeout=20)

    def inside(self):
        return inside(self.name)

    def swallow(self, address):
        """Makes everything sent to `address`, which nobody has, vanish without an answer."""
        ip("route", "add", address, "dev", self.link)
        ip("neighbour", "add", address, "lladdr", "02:00:00:00:00:01", "dev", self.link,
           "nud", "permanent")


@contextlib.contextmanager
def sysctl(name, value):
    """Another value for a while; of those that every network namespace has for itself."""
    path = "/proc/sys/" + name.replace(".", "/")

    def write(text):
        with open(path, "w", encoding="ascii") as file:
            file.write(text)

    with open(path, encoding="ascii") as file:
        before = file.read().strip()
    write(str(value))
    try:
        yield
    finally:
        write(before)
