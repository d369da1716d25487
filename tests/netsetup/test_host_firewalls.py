"""Published ports beside ufw and firewalld, and after they have loaded their rules anew."""

import contextlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

from deadline import wait_until
from fairlead_net import output_of
from namespace import ip

FIREWALLS = os.environ["FAIRLEAD_FIREWALLS"]

pytestmark = pytest.mark.skipif(not FIREWALLS, reason="apt cannot fetch ufw and firewalld")

HOST = "203.0.113.1"
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/></policy></busconfig>
"""


@pytest.fixture
def installed(tmp_path):
    """As if the firewalls were installed, in this mount namespace: what they write is lost."""
    with contextlib.ExitStack() as mounts:
        room = tmp_path / "room"
        room.mkdir()
        output_of("mount", "-t", "tmpfs", "tmpfs", room)
        mounts.callback(output_of, "umount", "--lazy", room)
        for name in ("usr", "etc"):
            for part in ("upper", "work"):
                (room / name / part).mkdir(parents=True)
            output_of("mount", "-t", "overlay", "overlay", f"/{name}", "-o",
                      f"lowerdir={FIREWALLS}/{name}:/{name},upperdir={room}/{name}/upper,"
                      f"workdir={room}/{name}/work")
            mounts.callback(output_of, "umount", "--lazy", f"/{name}")
        yield


class Ufw:
    """Denies what comes in, as it does when it is enabled."""

    @classmethod
    @contextlib.contextmanager
    def running(cls, _directory):
        output_of("ufw", "--force", "enable")
        yield cls()
        output_of("ufw", "--force", "disable")

    def rules(self):
        return [line for program in ("iptables-save", "ip6tables-save")
                for line in re.sub(r"\[\d+:\d+\]", "", output_of(program)).splitlines()
                if "ufw" in line]

    def reload(self):
        output_of("ufw", "reload")

    def open(self, port):
        output_of("ufw", "allow", f"{port}/tcp")


class Firewalld:
    """With the interface to the outside in zone public, which denies what comes in but ssh."""

    @classmethod
    @contextlib.contextmanager
    def running(cls, directory):
        with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
            path = directory / "bus"
            (directory / "bus.conf").write_text(BUS.format(path=path))
            patch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={path}")

            def start(*command):
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL,
                                           stderr=subprocess.DEVNULL)
                stack.callback(process.wait, 20)
                stack.callback(process.terminate)

            start("dbus-daemon", f"--config-file={directory}/bus.conf", "--nofork", "--nopidfile")
            wait_until(path.exists, "the bus is there")
            start("firewalld", "--nofork", "--nopid")
            wait_until(lambda: subprocess.run(["firewall-cmd", "--state"], check=False,
                                              capture_output=True, timeout=20).returncode == 0,
                       "firewalld runs", 20)
            yield cls()

    def rules(self):
        return output_of("nft", "--stateless", "list", "table", "inet", "firewalld")

    def reload(self):
        output_of("firewall-cmd", "--reload")

    def open(self, port):
        output_of("firewall-cmd", f"--add-port={port}/tcp")


@pytest.fixture
def remote(host, container):
    """A machine on the outside; what it says of the port, None when it gets no answer."""
    container("remote")
    ip("link", "add", "wan0", "type", "veth", "peer", "name", "eth0", "netns", "remote")
    ip("address", "add", f"{HOST}/24", "dev", "wan0")
    ip("link", "set", "wan0", "up")
    ip("-n", "remote", "address", "add", "203.0.113.2/24", "dev", "eth0")
    ip("-n", "remote", "link", "set", "eth0", "up")

    def ask(wait_seconds=10):
        asked = subprocess.run(["ip", "netns", "exec", "remote", "curl", "--silent", "--fail",
                                "--max-time", str(wait_seconds), f"http://{HOST}:8080/"],
                               check=False, capture_output=True, text=True, timeout=20)
        return asked.stdout if asked.returncode == 0 else None

    return ask


@pytest.fixture
def service(container, tmp_path):
    container("c1")
    ip("-n", "c1", "link", "set", "lo", "up")
    site = pathlib.Path(tmp_path / "site")
    site.mkdir()
    (site / "index.html").write_text("hello\n")
    server = subprocess.Popen(["ip", "netns", "exec", "c1", sys.executable, "-m", "http.server",
                               "80", "--directory", site], stderr=subprocess.DEVNULL)
    yield
    server.terminate()
    server.wait(20)


@pytest.mark.parametrize("firewall", [Ufw, Firewalld])
def test_ports_stay_published_when_a_firewall_loads_its_rules_anew(
        host, installed, remote, service, net, tmp_path, firewall):
    with firewall.running(tmp_path) as running:
        running.reload()
        before = running.rules()
        for mode in ("dnat", "both", "proxy"):
            net("network", "create", "web", "--mode", mode)
            net("attach", "web", "c1", "--netns", "name:c1")
            net("publish", "web", "c1", "8080:80")
            wait_until(lambda: output_of("curl", "--silent", "--max-time", "10",
                                         "http://127.0.0.1:8080/") == "hello\n", "the host is served")
            # As with Docker: the kernel takes clients past the rules for what comes in. A proxy is
            # a program like any other.
            expected = None if mode == "proxy" else "hello\n"
            patience = 1 if expected is None else 10
            assert remote(patience) == expected, mode
            running.reload()
            assert remote(patience) == expected, f"{mode}, after a reload of the firewall"
            net("reload")
            assert remote(patience) == expected, f"{mode}, and one of ours"
            assert running.rules() == before, mode
            if mode == "proxy":
                running.open(8080)
                assert remote() == "hello\n"
            net("detach", "web", "c1")
            net("network", "rm", "web")
