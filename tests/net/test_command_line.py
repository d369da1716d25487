"""The command line in Docker's form: Go's flag package, to the letter."""

import re

import pytest

import proxy_process
import tcp
from conftest import next_port
from proxy_process import run_to_end

# `-h` alone is answered as by hand; any of Docker's flags makes the whole line Docker's.
DOCKER = ("-proto", "tcp")


def test_h_prints_the_usage_and_succeeds():
    for flag in ("-h", "--h", "-help", "--help"):
        ended = run_to_end(*DOCKER, flag)
        assert ended.code == 0
        assert ended.stdout == ""
        assert ended.stderr.startswith(f"Usage of {proxy_process.BINARY}:\n  -container-ip ")


def test_the_usage_lists_dockers_flags():
    usage = run_to_end(*DOCKER, "-h").stderr
    for line in ("  -container-port int\n    \tcontainer port (default -1)\n",
                 "  -host-port int\n    \thost port (default -1)\n",
                 "  -proto string\n    \tproxy protocol (default \"tcp\")\n",
                 "  -use-listen-fd\n    \tuse a supplied listen fd\n",
                 "  -v\tprint version information and quit\n",
                 "  -version\n    \tprint version information and quit\n"):
        assert line in usage


@pytest.mark.parametrize("arguments, message", [
    (["-what"], "flag provided but not defined: -what"),
    (["--what=1"], "flag provided but not defined: -what"),
    (["-host-port"], "flag needs an argument: -host-port"),
    (["-host-ip"], "flag needs an argument: -host-ip"),
    (["-host-port", "http"], 'invalid value "http" for flag -host-port: parse error'),
    (["-host-port", ""], 'invalid value "" for flag -host-port: parse error'),
    (["-host-port", "99999999999999999999"],
     'invalid value "99999999999999999999" for flag -host-port: value out of range'),
    (["-container-port=8O"], 'invalid value "8O" for flag -container-port: parse error'),
    (["-host-ip", "localhost"],
     'invalid value "localhost" for flag -host-ip: invalid IP address: localhost'),
    (["-container-ip", "::1%lo"],
     'invalid value "::1%lo" for flag -container-ip: invalid IP address: ::1%lo'),
    (["-use-listen-fd=yes"], 'invalid boolean value "yes" for -use-listen-fd: parse error'),
    (["---proto", "tcp"], "bad flag syntax: ---proto"),
    (["-=tcp"], "bad flag syntax: -=tcp"),
])
def test_errors_have_gos_texts_and_status_2(arguments, message):
    ended = run_to_end(*DOCKER, *arguments)
    assert ended.code == 2
    assert ended.stdout == ""
    first, second = ended.stderr.splitlines()[:2]
    assert first == message
    assert second == f"Usage of {proxy_process.BINARY}:"


@pytest.mark.parametrize("flag", ["-v", "--v", "-version", "--version"])
def test_version(flag):
    ended = run_to_end(flag)
    assert ended.code == 0
    assert re.match(r"fairlead-proxy \(commit \S+\) version \d+\.\d+\.\d+\n", ended.stdout)
    assert "liburing" in ended.stdout
    assert re.search(r"engine (io_uring|epoll)", ended.stdout)
    assert ended.stderr == ""


def test_version_is_looked_at_when_the_whole_line_is_right():
    assert run_to_end("-version", *DOCKER).code == 0
    assert run_to_end("-version", *DOCKER, "-what").code == 2
    assert run_to_end(*DOCKER, "-version=false", "-h").code == 0


def forms(host, container):
    """Ways to say the same to Go's flag package."""
    host_ip, host_port = host
    container_ip, container_port = container
    plain = ["-proto", "tcp", "-host-ip", host_ip, "-host-port", host_port,
             "-container-ip", container_ip, "-container-port", container_port]
    return {
        "as dockerd does": plain,
        "two dashes": ["-" + str(item) if str(item).startswith("-") else item for item in plain],
        "equals signs": [f"{name}={value}" for name, value in zip(plain[::2], plain[1::2])],
        "the last one wins": ["-host-port", "1", "-proto=sctp", *plain],
        "hexadecimal and separators": [*plain[:5], hex(host_port), *plain[6:9],
                                       f"{container_port:_}"],
        "proto is tcp by default": plain[2:],
        "what follows a bare word is ignored": [*plain, "word", "-what", "-host-port", "1"],
        "what follows two dashes is ignored": [*plain, "--", "-what"],
        "a boolean with a value": [*plain, "-use-listen-fd=F"],
    }


@pytest.mark.parametrize("form", forms(("", 1), ("", 1)).keys())
def test_forms_of_the_same_line(launch, form):
    with tcp.listen() as backend:
        host = ("127.0.0.1", next_port())
        arguments = forms(host, tcp.address(backend))[form]
        with proxy_process.StatusPipe() as status:
            launch.start(arguments, at_3=status.write_end)
            assert status.read_all() == b"0\n"
        with tcp.connect(*host) as client, tcp.accept(backend) as server:
            tcp.exchange(client, server)


def test_options_of_fairlead_may_be_given_as_go_flags(launch, port):
    """So that a wrapper script can add them to what a daemon gives."""
    with tcp.listen() as backend:
        proxy = launch.docker("tcp", ("127.0.0.1", port), tcp.address(backend),
                              options=["-log-level=debug", "--connect-timeout", "5",
                                       "-max-connections=10"])
        assert "at most 10 connections" in proxy.wait_for_log("at most")


def test_a_wrong_option_of_fairlead_is_a_usage_error():
    ended = run_to_end(*DOCKER, "-engine", "kqueue")
    assert ended.code == 2
    assert ended.stderr.startswith('invalid value "kqueue" for flag -engine: ')
    assert "auto, io_uring, epoll" in ended.stderr
