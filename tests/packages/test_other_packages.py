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


def test_rpm_installs_and_is_removed(machine, rpm):
    root = ("rpm", "--root", "/run/fedora")
    machine.run("mkdir", "/run/fedora")
    # There is no shell in that directory to run the scripts with.
    machine.run(*root, "--install", "--nodeps", "--noscripts", str(rpm))
    assert "fairlead-proxy" in machine.run("chroot", "/run/fedora", "/usr/bin/fairlead-proxy",
                                           "--version").stdout
    machine.run(*root, "--erase", "--noscripts", "fairlead")
    found = machine.run("find", "/run/fedora", "-not", "-type", "d", "-not", "-path", "*/.rpmdb/*").stdout
    assert found == ""
