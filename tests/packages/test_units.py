"""The systemd units: what systemd says of them, and the proxy under what they forbid.

systemd itself is not started.
"""

import os
import pathlib
import shutil

import pytest

from clients import ask_tcp, ask_udp
from docker_daemon import wait_until
from under_unit import settings

UNITS = "/usr/lib/systemd/system"
SERVICE = f"{UNITS}/fairlead-proxy@.service"
_HERE = pathlib.Path(__file__).parent


def test_verify_finds_nothing(installed):
    for unit in ("fairlead-proxy@web.service", "fairlead-proxy@8080.socket", "fairlead-net.service",
                 "fairlead-net-reload@nftables.service", "fairlead-net-reload@firewalld.service"):
        verified = installed.run("systemd-analyze", "verify", f"{UNITS}/{unit}", check=False)
        complaints = [line for line in verified.stderr.splitlines() if "fairlead" in line]
        assert (verified.returncode, complaints) == (0, []), unit


@pytest.mark.parametrize("unit, exposure", [("fairlead-proxy@", 20), ("fairlead-net", 60),
                                            ("fairlead-net-reload@", 60)])
def test_exposure_is_low(installed, unit, exposure):
    """Of 100; a service that forbids nothing has 96. Who changes the network has to be root."""
    installed.run("systemd-analyze", "security", "--offline=true", f"--threshold={exposure}",
                  f"{UNITS}/{unit}.service")


def capabilities(machine, name, unit=SERVICE):
    """`+net_bind_service`, as setpriv takes what a setting of the unit lists."""
    words = " ".join(value for key, value in settings(machine.path(unit)) if key == name).split()
    return ",".join("+" + word.removeprefix("CAP_").lower() for word in words)


def start_under_unit(machine, *command, unit=SERVICE):
    """As a user that is nobody, with the capabilities and the system calls of the unit, and without
    a sight of other users' processes (ProtectProc=invisible)."""
    shutil.copy(_HERE / "under_unit.py", machine.path("/run"))
    ambient = capabilities(machine, "AmbientCapabilities", unit)
    bounding = capabilities(machine, "CapabilityBoundingSet", unit)
    return machine.start("unshare", "--mount", "sh", "-c",
                         'mount -t proc -o hidepid=invisible proc /proc && exec "$@"', "sh",
                         "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                         f"--bounding-set=-all,{bounding}", f"--inh-caps=-all,{ambient}",
                         f"--ambient-caps=-all,{ambient}", "/run/under_unit.py", unit, *command)


@pytest.fixture(scope="module")
def service(installed):
    """What the proxy publishes: an echo on port 80, for as long as the machine lives."""
    installed.start("/usr/bin/python3", "-B", str(_HERE.parent / "docker/service.py"), "80")
    wait_until(lambda: {("tcp", 80), ("udp", 80)} <= installed.listening(), "the service listens")


@pytest.mark.parametrize("relay", ["copy", "splice"])
@pytest.mark.parametrize("engine", ["io_uring", "epoll"])
def test_proxy_lives_with_what_its_unit_forbids(installed, service, engine, relay):
    with open(installed.path("/run/web.conf"), "w", encoding="ascii") as config:
        config.write(f"engine = {engine}\nrelay = {relay}\npublish = 127.0.0.1:81:127.0.0.1:80\n"
                     "publish = 127.0.0.1:81:127.0.0.1:80/udp\n")
    proxy = start_under_unit(installed, "fairlead-proxy", "--config", "/run/web.conf")
    wait_until(lambda: ("udp", 81) in installed.listening(), "the proxy listens")
    [pid] = installed.processes(installed.path("/usr/bin/fairlead-proxy"))
    try:
        ask_tcp(installed.network(), "127.0.0.1", 81, os.urandom(1 << 20))
        ask_udp(installed.network(), "127.0.0.1", 81)
    finally:
        installed.run("kill", str(pid))
        assert proxy.wait(timeout=10) == 0


@pytest.fixture(scope="module")
def container(installed):
    """A network namespace with an echo on port 80; the pid of that, in this machine."""
    for words in ("netns add c2", "link add flc2 type veth peer name eth0 netns c2",
                  "address add 10.9.0.1/24 dev flc2", "link set flc2 up",
                  "address add 192.0.2.1/32 dev lo", "-n c2 address add 10.9.0.2/24 dev eth0",
                  "-n c2 link set eth0 up", "-n c2 link set lo up",
                  "-n c2 route add default via 10.9.0.1"):
        installed.run("ip", *words.split())
    installed.start("ip", "netns", "exec", "c2", "/usr/bin/python3", "-B",
                    str(_HERE.parent / "docker/service.py"), "80")
    wait_until(lambda: len(installed.run("ip", "netns", "exec", "c2", "ss", "-Hlntu")
                           .stdout.splitlines()) == 4, "the service listens")
    yield installed.run("ip", "netns", "pids", "c2").stdout.split()[0]
    installed.run("ip", "netns", "delete", "c2")


@pytest.mark.parametrize("netns", ["name:c2", "pid:{pid}"])
def test_containers_are_entered_with_what_the_example_adds(installed, container, netns):
    example = "/usr/share/doc/fairlead/examples/container-netns.conf"
    drop_in = f"{UNITS}/fairlead-proxy@web.service.d/container-netns.conf"
    installed.run("install", "-D", "-m", "644", example, drop_in)
    test_verify_finds_nothing(installed)
    installed.run("sh", "-c", f"cat '{SERVICE}' {example} > /run/both.service")
    with open(installed.path("/run/netns.conf"), "w", encoding="ascii") as config:
        config.write(f"container-netns = {netns.format(pid=container)}\nsource = client\n"
                     "publish = 192.0.2.1:82:10.9.0.2:80\npublish = 192.0.2.1:82:10.9.0.2:80/udp\n")
    proxy = start_under_unit(installed, "fairlead-proxy", "--config", "/run/netns.conf",
                             unit="/run/both.service")
    wait_until(lambda: ("udp", 82) in installed.listening(), "the proxy listens")
    [pid] = installed.processes(installed.path("/usr/bin/fairlead-proxy"))
    try:
        assert ask_tcp(installed.network(), "192.0.2.1", 82) == "192.0.2.1"
        assert ask_udp(installed.network(), "192.0.2.1", 82) == "192.0.2.1"
    finally:
        installed.run("kill", str(pid))
        assert proxy.wait(timeout=10) == 0


@pytest.mark.parametrize("unit", ["fairlead-net", "fairlead-net-reload@"])
def test_networks_are_made_with_what_their_units_forbid(installed, unit):
    shutil.copy(_HERE / "under_unit.py", installed.path("/run"))
    unit = f"{UNITS}/{unit}.service"
    bounding = capabilities(installed, "CapabilityBoundingSet", unit)

    def net(*words):
        return installed.run("setpriv", f"--bounding-set=-all,{bounding}", "/run/under_unit.py",
                             unit, "fairlead-net", *words)

    installed.run("ip", "netns", "add", "c1")
    net("network", "create", "web")
    net("attach", "web", "c1", "--netns", "name:c1")
    net("publish", "web", "c1", "8080:80")
    assert ("tcp", 8080) in installed.listening()
    installed.run("nft", "flush", "ruleset")
    net("reload")
    net("check")
    net("network", "rm", "web")
    installed.run("ip", "netns", "delete", "c1")
