"""The packages for those who have no dpkg."""

import subprocess
import tarfile

import pytest


def test_tarball_is_of_static_programs(packages, tmp_path):
    [path] = packages.glob("*-static.tar.gz")
    with tarfile.open(path) as tarball:
        tarball.extractall(tmp_path)
    [top] = tmp_path.iterdir()
    programs = [path for name in ("bin", "sbin") for path in (top / name).glob("*")]
    assert "fairlead-proxy" in {path.name for path in programs}
    for program in programs:
        # A root directory without a dynamic linker or library in it.
        ended = subprocess.run(["unshare", "--root", top, f"/{program.relative_to(top)}", "--version"],
                               stdout=subprocess.PIPE, text=True)
        assert ended.stdout.startswith(program.name)


@pytest.fixture
def rpm(packages):
    [found] = packages.glob("*.rpm")
    return found


# What systemctl is asked to do, where systemd does not run.
_SYSTEMCTL = "#!/bin/sh\necho \"$*\" >> /run/asked\n"


def older_rpm(packages, directory):
    subprocess.run(["cpack", "--config", packages.parent / "CPackConfig.cmake", "-G", "RPM", "-D",
                    "CPACK_PACKAGE_VERSION=0.0.1", "-B", directory], check=True,
                   stdout=subprocess.DEVNULL)
    [path] = directory.glob("*.rpm")
    return path.read_bytes()


def test_rpm_is_installed_upgraded_and_removed(machine, packages, rpm, tmp_path):
    def asked():
        text = machine.run("sh", "-c", "cat /run/asked; rm /run/asked").stdout
        return text.splitlines()

    with open(machine.path("/run/older.rpm"), "wb") as file:
        file.write(older_rpm(packages, tmp_path))
    machine.run("mkdir", "-p", "/run/systemd/system")
    with open(machine.path("/usr/bin/systemctl"), "w", encoding="ascii") as file:
        file.write(_SYSTEMCTL)
    before = machine.left_over()

    def rpm_does(*words, check=True):
        # What it depends on is known to dpkg alone.
        return machine.run("rpm", *words, "--nodeps", check=check)

    rpm_does("--install", "/run/older.rpm")
    assert asked() == ["daemon-reload"]
    assert machine.run("rpm", "--verify", "--nodeps", "fairlead").stdout == ""
    machine.run("fairlead-docker", "enable")
    rpm_does("--upgrade", str(rpm))
    assert asked() == ["daemon-reload", "daemon-reload"]
    assert machine.run("rpm", "--query", "fairlead").stdout.startswith("fairlead-0.1.0")
    assert "/usr/bin/fairlead-proxy" in machine.run("cat", "/etc/docker/daemon.json").stdout

    # A daemon would not start without its proxy, so the package stays where it cannot be told.
    machine.run("sh", "-c", "cp /etc/docker/daemon.json /run && echo '{' > /etc/docker/daemon.json")
    rpm_does("--erase", "fairlead", check=False)
    assert "fairlead-proxy" in machine.run("fairlead-proxy", "--version").stdout
    machine.run("cp", "/run/daemon.json", "/etc/docker/daemon.json")
    asked()
    rpm_does("--erase", "fairlead")
    assert asked() == ["stop fairlead-net.service fairlead-net-reload@*.service",
                       "stop fairlead-proxy@*.socket fairlead-proxy@*.service", "daemon-reload"]
    kept_by_rpm = {path for path in machine.left_over() if "/.rpmdb" in path}
    assert machine.left_over() - before - kept_by_rpm == set()


def test_rpm_owns_no_directory_of_others(rpm):
    listed = subprocess.run(["rpm", "--query", "--package", "--list", "--verbose", rpm], check=True,
                            stdout=subprocess.PIPE, text=True).stdout
    lines = [line.split() for line in listed.splitlines()]
    assert {(line[2], line[3]) for line in lines} == {("root", "root")}
    assert {line[-1] for line in lines if line[0].startswith("d")} == {
        "/usr/lib/systemd/system/fairlead-net-reload@firewalld.service.d",
        "/usr/share/doc/fairlead", "/usr/share/doc/fairlead/examples"}
