"""Options reach the proxies that a daemon starts with a fixed command line."""

import os

import pytest

from clients import ask_tcp


def uses_io_uring(daemon):
    for pid in daemon.proxies():
        directory = daemon.machine.path(f"/proc/{pid}/fd")
        links = [os.readlink(f"{directory}/{name}") for name in os.listdir(directory)]
        yield any("io_uring" in link for link in links)


@pytest.fixture
def write_config(tmp_path):
    def write(text):
        path = tmp_path / "proxy.conf"
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.parametrize("engine", ["epoll", "io_uring"])
def test_config_file_named_in_the_environment(start_daemon, write_config, engine):
    path = write_config(f"engine = {engine}\n")
    daemon = start_daemon(environment={"FAIRLEAD_PROXY_CONFIG": path})
    try:
        daemon.run_service("web", "--publish", "8080:80")
    except AssertionError as error:
        if "io_uring" in str(error):
            pytest.skip(f"no io_uring here: {error}")
        raise
    ask_tcp(daemon.machine.network(), "127.0.0.1", 8080)
    assert list(uses_io_uring(daemon)) == [engine == "io_uring"] * 2


def test_broken_config_file_is_a_clear_error(start_daemon, write_config):
    path = write_config("enjine = epoll\n")
    daemon = start_daemon(environment={"FAIRLEAD_PROXY_CONFIG": path})
    with pytest.raises(AssertionError) as failure:
        daemon.run_service("web", "--publish", "8080:80")
    assert path in str(failure.value)
    assert "enjine" in str(failure.value)
