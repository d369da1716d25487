"""The Debian package, installed on a copy of this machine."""

import re
import subprocess

from programs import PROGRAMS


def test_lintian_finds_nothing(deb):
    checked = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", deb],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert checked.returncode == 0, checked.stdout


def test_all_is_where_it_is_looked_for(installed):
    for program in PROGRAMS:
        assert f"{program} (commit" in installed.run(program, "--version").stdout
        assert program in installed.run("man", "--whatis", program).stdout
        assert "complete -F" in installed.run("bash", "-c", f"""
            . /usr/share/bash-completion/bash_completion
            _completion_loader {program}
            complete -p {program}""").stdout


def older_package(deb, directory):
    """The same with a lower version and a file that the newer one has no more."""
    unpacked = directory / "older"
    subprocess.run(["dpkg-deb", "--raw-extract", deb, unpacked], check=True)
    control = unpacked / "DEBIAN/control"
    control.write_text(re.sub("(?m)^Version: .*$", "Version: 0.0.1", control.read_text()))
    (unpacked / "usr/share/fairlead-was-here").touch()
    subprocess.run(["dpkg-deb", "--build", unpacked, directory / "older.deb"], check=True,
                   stdout=subprocess.DEVNULL)
    return (directory / "older.deb").read_bytes()


def test_upgrade_and_removal_leave_nothing_behind(machine, deb, tmp_path):
    with open(machine.path("/run/older.deb"), "wb") as file:
        file.write(older_package(deb, tmp_path))
    machine.dpkg("--no-triggers", "--install", "/run/older.deb")
    assert {"/usr/bin/fairlead-proxy", "/usr/share/fairlead-was-here"} <= machine.left_over()
    machine.dpkg("--no-triggers", "--install", deb)
    assert "0.0.1" not in machine.run("dpkg-query", "--show", "fairlead").stdout
    assert "/usr/bin/fairlead-proxy" in machine.left_over()
    assert "/usr/share/fairlead-was-here" not in machine.left_over()
    machine.run("systemctl", "--root=/", "enable", "fairlead-net", "fairlead-proxy@8080.socket",
                "fairlead-net-reload@firewalld")
    machine.dpkg("--no-triggers", "--remove", "fairlead")
    machine.dpkg("--no-triggers", "--purge", "fairlead")
    assert machine.left_over() == set()
