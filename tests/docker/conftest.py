import os
import signal

import pytest

from docker_daemon import HOST_V4, HOST_V6, Daemon, DaemonUnavailable, make_machine
from machine import Machine

# Fixtures clean up after a termination as they do after Ctrl-C.
signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def proxy():
    return os.environ["FAIRLEAD_PROXY"]


@pytest.fixture(scope="session")
def start_daemon(tmp_path_factory, proxy):
    """Starts a daemon on a machine of its own, with a second machine wired to it."""
    closing = []

    def start(*options, environment=None):
        try:
            machine = make_machine()
            closing.append(machine)
            remote = Machine()
            closing.append(remote)
            machine.join(remote, [f"{HOST_V4}/24", f"{HOST_V6}/64"],
                         ["192.0.2.2/24", "2001:db8::2/64"])
            log = tmp_path_factory.mktemp("dockerd") / "log"
            daemon = Daemon(machine, proxy, log, *options, environment=environment)
        except (OSError, DaemonUnavailable) as error:
            pytest.skip(f"no dockerd can run here: {error}")
        daemon.remote = remote
        closing.insert(len(closing) - 2, daemon)
        return daemon

    yield start
    for made in reversed(closing):
        made.close()


@pytest.fixture(scope="module", params=["iptables", "no iptables"])
def any_daemon(request, start_daemon):
    """With the daemon's DNAT rules and without: then the proxy is all there is."""
    if request.param == "iptables":
        return start_daemon()
    return start_daemon("--iptables=false", "--ip6tables=false")


@pytest.fixture(scope="module")
def daemon(start_daemon):
    return start_daemon()
