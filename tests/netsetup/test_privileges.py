"""What fairlead-net, the programs that it runs and its proxies keep of root's privileges."""

import os
import pathlib
import shutil
import signal
import subprocess

import pytest

import tcp
from deadline import wait_until
from fairlead_net import FairleadNet, PROXY, inside
from process_facts import status_field

(CAP_DAC_READ_SEARCH, CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_NET_BIND_SERVICE, CAP_NET_ADMIN,
 CAP_NET_RAW, CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_SYS_RESOURCE) = 2, 5, 6, 7, 10, 12, 13, 19, 21, 24

TO_LOOK = {CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_NET_RAW}
TO_CHANGE = TO_LOOK | {CAP_NET_BIND_SERVICE, CAP_SYS_RESOURCE, CAP_SETUID, CAP_SETGID, CAP_KILL}

USER = 4321


def capabilities(status, name="CapPrm"):
    """Of a text like /proc/PID/status."""
    line = next(line for line in status.splitlines() if line.startswith(name + ":"))
    return {bit for bit in range(64) if int(line.split()[1], 16) >> bit & 1}


def check_kept(status, kept):
    """These and no others, but for what the tests themselves have not got."""
    own = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    assert capabilities(status) == kept & capabilities(own)
    assert capabilities(status, "CapEff") == kept & capabilities(own)
    assert capabilities(status, "CapInh") == capabilities(status, "CapAmb") == set()
    assert "NoNewPrivs:\t1\n" in status


@pytest.fixture
def noting(tmp_path):
    """Makes a program that leaves its /proc/PID/status where the returned function finds it, and
    then is the one of that path."""
    def make(program, name):
        note = tmp_path / f"{name}.status"
        script = tmp_path / name
        script.write_text(f'#!/bin/sh\ncat /proc/$$/status >{note}\nexec {program} "$@"\n',
                          encoding="ascii")
        script.chmod(0o755)
        return lambda: note.read_text(encoding="ascii")
    return make


def test_who_looks_cannot_change_users_or_bind_low_ports(net):
    net("network", "create", "web", "--subnet", "10.5.0.0/24")
    with subprocess.Popen(net.command("status", "--watch"), stdout=subprocess.PIPE) as watching:
        assert watching.stdout.readline()
        check_kept(pathlib.Path(f"/proc/{watching.pid}/status").read_text(encoding="ascii"),
                   TO_LOOK)
        watching.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("firewall", ["nftables", "iptables"])
def test_programs_that_are_run_have_no_more(host, container, tmp_path, noting, monkeypatch,
                                            firewall):
    of_tool = noting(shutil.which("iptables-restore"), "iptables-restore")
    of_proxy = noting(PROXY, "fairlead-proxy")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    net = FairleadNet(tmp_path / "state", ["--firewall", firewall, "--proxy",
                                           tmp_path / "fairlead-proxy"])
    try:
        net("network", "create", "web", "--subnet", "10.5.0.0/24")
        net("attach", "web", "c1", "--netns", "name:" + container("c1"))
        net("publish", "web", "c1", "80:80")
        check_kept(of_proxy(), TO_CHANGE)
        if firewall == "iptables":
            check_kept(of_tool(), TO_CHANGE)
        assert net.problems() == []
    finally:
        net.stop()


def test_proxies_may_have_a_user_and_dial_inside(net, container, tmp_path, monkeypatch):
    """And are ended nevertheless."""
    config = tmp_path / "proxy.conf"
    config.write_text(f"user = {USER}:{USER}\ncontainer-netns = name:c1\nsource = client\n",
                      encoding="ascii")
    monkeypatch.setenv("FAIRLEAD_PROXY_CONFIG", str(config))
    net("network", "create", "web", "--subnet", "10.5.0.0/24", "--mode", "proxy")
    net("attach", "web", "c1", "--netns", "name:" + container("c1"))
    net("publish", "web", "c1", "80:80")
    pid = net.container("c1")["proxy"]["pid"]
    assert status_field(pid, "Uid").split()[0] == str(USER)
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    assert capabilities(status) == {CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH}
    with inside("c1"):
        listener = tcp.listen("0.0.0.0", 80)
    with listener, tcp.connect("10.5.0.1", 80) as client, tcp.accept(listener) as server:
        tcp.exchange(client, server)
    net("unpublish", "web", "c1", "80:80")
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the proxy does not end")


def test_folders_of_others_are_looked_into(net, container, tmp_path):
    """For the namespaces of their containers, and for documents."""
    others = tmp_path / "home"
    others.mkdir(0o700)
    namespace = others / "c1"
    namespace.touch()
    subprocess.run(["mount", "--bind", "/run/netns/" + container("c1"), namespace], check=True,
                   timeout=20)
    try:
        os.chown(others, USER, USER)
        net("network", "create", "web", "--subnet", "10.5.0.0/24")
        net("attach", "web", "c1", "--netns", namespace)
        document = others / "networks.json"
        document.write_text(net("network", "ls", "--json"), encoding="utf-8")
        document.chmod(0o600)
        os.chown(document, USER, USER)
        net("apply", document)
        assert net.problems() == []
        net("detach", "web", "c1")
    finally:
        subprocess.run(["umount", namespace], check=True, timeout=20)
