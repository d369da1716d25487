"""What somebody does first: make a network, connect a namespace, publish a port, see that it works,
and remove it all. Fixtures and helpers stay out of it where the commands themselves are the point."""

import itertools
import subprocess
import sys

import pytest

from deadline import wait_until
from fairlead_net import FairleadNet, host_facts, output_of
from lab import BackendMissing, backend_options
from namespace import ip

MODES = ("proxy", "dnat", "both")


def facts(path):
    """Everything that has to be as it was before, with the iptables of this PATH."""
    saved = {}
    for program in ("iptables-save", "ip6tables-save"):
        lines = output_of("env", f"PATH={path}", program).splitlines()
        saved[program] = [line.split(" [")[0] for line in lines if not line.startswith("#")]
    return {**host_facts(), **saved,
            "link list": output_of("ip", "-oneline", "-details", "link"),
            "rules of routing": output_of("ip", "rule")}


def page(*prefix, address):
    return output_of(*prefix, "curl", "--silent", "--show-error", "--fail", "--max-time", "10",
                     f"http://{address}:8080/")


@pytest.mark.parametrize("backend", ["nftables", "iptables-nft", "iptables-legacy"])
def test_every_mode_works_at_once_and_leaves_nothing(host, container, tmp_path, backend):
    try:
        options, path = backend_options(backend, str(tmp_path))
    except BackendMissing as reason:
        pytest.skip(str(reason))
    net = FairleadNet(tmp_path / "state", options)
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text("hello from c1\n")
    container("c1")
    container("remote")
    ip("-n", "c1", "link", "set", "lo", "up")
    ip("link", "add", "uplink", "type", "veth", "peer", "name", "eth0", "netns", "remote")
    ip("address", "add", "192.0.2.1/24", "dev", "uplink")
    ip("link", "set", "uplink", "up")
    ip("-n", "remote", "address", "add", "192.0.2.2/24", "dev", "eth0")
    ip("-n", "remote", "link", "set", "eth0", "up")
    remote = ("ip", "netns", "exec", "remote")
    server = subprocess.Popen(["ip", "netns", "exec", "c1", sys.executable, "-m", "http.server",
                               "80", "--directory", site], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: output_of("ip", "netns", "exec", "c1", "ss", "-Hltn", "sport = :80"),
                   "the web server listens")
        if backend == "iptables-legacy":
            # Their tables are there from the first use that anyone makes of them, and stay.
            for program, table in itertools.product(("iptables", "ip6tables"),
                                                    ("raw", "nat", "filter")):
                output_of("env", f"PATH={path}", program, "-t", table, "-S")
        before = facts(path)
        for mode in MODES:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("PATH", path)
                net("network", "create", "web", "--mode", mode)
                net("attach", "web", "c1", "--netns", "name:c1")
                net("publish", "web", "c1", "8080:80")
                assert page(address="127.0.0.1") == "hello from c1\n", mode
                assert page(*remote, address="192.0.2.1") == "hello from c1\n", mode
                assert facts(path) != before
                net("network", "rm", "web")
            assert facts(path) == before, mode
    finally:
        server.terminate()
        server.wait()
        net.stop()
