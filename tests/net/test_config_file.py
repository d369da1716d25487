"""Options from a file, for proxies whose command line somebody else writes."""

import pytest

import tcp
from proxy_process import StatusPipe, run_to_end


@pytest.fixture
def config(tmp_path):
    """Writes a file and returns its path."""

    def write(text):
        path = tmp_path / "proxy.conf"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def backend():
    with tcp.listen() as listener:
        yield listener


def connections_max(proxy):
    return int(proxy.wait_for_log("at most").split("at most ")[1].split()[0])


def serve_docker(launch, port, backend, **how):
    return launch.docker("tcp", ("127.0.0.1", port), tcp.address(backend), **how)


def test_named_in_the_environment_in_dockers_mode(launch, port, backend, config):
    path = config("# for every proxy of this host\nmax-connections = 77\nlog-format=json\n")
    proxy = serve_docker(launch, port, backend, environment={"FAIRLEAD_PROXY_CONFIG": path})
    assert connections_max(proxy) == 77
    assert proxy.log().startswith("{")


def test_named_by_the_option_in_dockers_mode(launch, port, backend, config):
    proxy = serve_docker(launch, port, backend,
                         options=["-config", config("max-connections = 78")])
    assert connections_max(proxy) == 78


def test_by_hand(launch, port, backend, config):
    path = config("\n  max-connections  =  79  # few\r\n\n")
    container = "{}:{}".format(*tcp.address(backend))
    for how in ({"options": ["--config", path]},
                {"environment": {"FAIRLEAD_PROXY_CONFIG": path}}):
        proxy = launch.publish(f"127.0.0.1:{port}:{container}", **how)
        assert connections_max(proxy) == 79
        proxy.stop()


def test_the_option_goes_before_the_environment(launch, port, backend, config):
    proxy = serve_docker(launch, port, backend, options=["-config", config("max-connections=80")],
                         environment={"FAIRLEAD_PROXY_CONFIG": "/nowhere"})
    assert connections_max(proxy) == 80


def test_the_command_line_goes_before_the_file(launch, port, backend, config):
    proxy = serve_docker(launch, port, backend,
                         options=["-config", config("max-connections = 1"),
                                  "-max-connections", "81"])
    assert connections_max(proxy) == 81


def test_mappings_from_the_file(launch, port, backend, config):
    container = "{}:{}".format(*tcp.address(backend))
    launch.publish(options=["--config", config(f"publish = 127.0.0.1:{port}:{container}\n")])
    with tcp.connect("127.0.0.1", port) as client, tcp.accept(backend) as server:
        tcp.exchange(client, server)


def test_mappings_of_the_file_are_not_for_docker(launch, port, backend, config):
    """They are those of one service; a daemon's proxies would fight over them."""
    path = config("publish = 127.0.0.1:1:127.0.0.1:2\n")
    proxy = serve_docker(launch, port, backend, environment={"FAIRLEAD_PROXY_CONFIG": path})
    assert len(proxy.sockets()) == 1


@pytest.mark.parametrize("text, error", [
    ("engine = kqueue", 'proxy.conf:1: engine "kqueue": accepted: auto, io_uring, epoll'),
    ("\n\ncolour = red", 'proxy.conf:3: "colour" is no option; accepted: publish, engine'),
    ("engine", "proxy.conf:1: accepted: `option = value`, `# comment`"),
    ("[relay]", "proxy.conf:1: sections are not used here"),
    ("udp-timeout = soon", 'proxy.conf:1: udp-timeout "soon": accepted: whole seconds from 1'),
    ("publish = 80", "proxy.conf:1: publish"),
])
def test_a_broken_file_is_a_clear_error(config, text, error):
    path = config(text)
    ended = run_to_end("-p", "127.0.0.1:1:127.0.0.1:2", "--config", path)
    assert ended.code == 1
    assert error in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_broken_file_is_told_to_the_daemon(launch, port, config):
    path = config("engine = kqueue")
    with StatusPipe() as status:
        proxy = launch.start(launch.docker_arguments("tcp", ("127.0.0.1", port),
                                                     ("127.0.0.1", 9)),
                             at_3=status.write_end, environment={"FAIRLEAD_PROXY_CONFIG": path})
        assert status.read_all().decode() == \
            f'1\n{path}:1: engine "kqueue": accepted: auto, io_uring, epoll'
    assert proxy.wait() == 1


def test_a_file_that_is_named_has_to_be_there():
    ended = run_to_end("-p", "127.0.0.1:1:127.0.0.1:2",
                       environment={"FAIRLEAD_PROXY_CONFIG": "/nowhere/proxy.conf"})
    assert ended.code == 1
    assert "open /nowhere/proxy.conf: no such file or directory" in ended.stderr
