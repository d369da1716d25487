"""fairlead-docker and the removal of the package, under a real dockerd."""

import os
import shutil

import pytest

from docker_daemon import Daemon, DaemonUnavailable

FAIRLEAD, DOCKERS = "/usr/bin/fairlead-proxy", "/usr/sbin/docker-proxy"


@pytest.fixture
def daemon(machine, deb, tmp_path):
    if not shutil.which("dockerd"):
        pytest.skip("no dockerd is installed")
    machine.dpkg("--no-triggers", "--install", deb)
    # A daemon that starts for the first time changes its directory.
    machine.run("rm", "-rf", "/etc/docker")
    try:
        made = Daemon(machine, None, tmp_path / "log")
    except DaemonUnavailable as error:
        pytest.skip(f"no dockerd can run here: {error}")
    yield made
    machine.close()
    made.close()


def started_proxies(daemon):
    """Of a port published now: how many run Fairlead's program and how many Docker's."""
    daemon.run_service("web", "--publish", "8080:80")
    programs = [daemon.machine.path(program) for program in (FAIRLEAD, DOCKERS)]
    counts = [len(daemon.machine.processes(program)) if os.path.exists(program) else 0
              for program in programs]
    status = daemon.machine.run("fairlead-docker", "status", check=False).stdout
    daemon.remove("web")
    return counts, status


def restart(daemon):
    daemon.kill("TERM")
    daemon.start()


def test_docker_uses_fairlead_while_it_is_enabled_and_its_own_after_removal(daemon):
    machine = daemon.machine
    counts, status = started_proxies(daemon)
    assert counts == [0, 2]
    assert "Docker's own proxy is used" in status
    assert "has started with it" in status
    assert "2 of its proxies run /usr/" in status

    enabled = machine.run("fairlead-docker", "enable").stdout
    assert f"userland-proxy-path is {FAIRLEAD}" in enabled
    assert "systemctl restart docker" in enabled
    # A reload is not enough, which is why a restart is asked for.
    machine.run("kill", "-HUP", str(daemon.pid))
    counts, status = started_proxies(daemon)
    assert counts == [0, 2]
    assert "systemctl restart docker" in status

    restart(daemon)
    counts, status = started_proxies(daemon)
    assert counts == [2, 0]
    assert "has started with it" in status
    assert f"2 of its proxies run {FAIRLEAD}" in status

    machine.dpkg("--no-triggers", "--remove", "fairlead")
    restart(daemon)
    assert started_proxies(daemon)[0] == [0, 2]
    assert not [path for path in machine.left_over() if "daemon.json" in path]


def test_an_option_on_the_command_line_of_the_daemon_is_not_contradicted(daemon):
    daemon.kill("TERM")
    daemon.command.append(f"--userland-proxy-path={DOCKERS}")
    daemon.start()
    refused = daemon.machine.run("fairlead-docker", "enable", check=False)
    assert refused.returncode == 1
    assert f"has --userland-proxy-path {DOCKERS} on its command line" in refused.stderr
    restart(daemon)
