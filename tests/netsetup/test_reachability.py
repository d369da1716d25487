"""Who reaches what, and as whom, in every mode and over every firewall back end: by packets.

For each mode and back end one lab with all kinds of networks is built, every case of reachability.py
is probed there at once, and each test looks at its part of the outcome.
"""

import socket

import pytest

from lab import HOST, HOST6, BackendMissing, Lab, Probe, backend_options, run_probes
from reachability import MODES, PARTS, all_cases, build, check, probe

BACKENDS = ("nftables", "iptables-nft", "iptables-legacy")


class Reached:
    """A lab, and the answers that came in it."""

    def __init__(self, lab, mode):
        self.lab, self.mode = lab, mode
        self.answers = probe(lab, all_cases(mode))


@pytest.fixture(scope="module", params=[(mode, backend) for mode in MODES for backend in BACKENDS],
                ids="-".join)
def reached(request, tmp_path_factory):
    mode, backend = request.param
    try:
        options, path = backend_options(backend, tmp_path_factory.mktemp("programs"))
    except BackendMissing as missing:
        pytest.skip(str(missing))
    lab = Lab(tmp_path_factory.mktemp("lab") / "state", *options, path=path)
    try:
        build(lab, mode)
        yield Reached(lab, mode)
    finally:
        lab.stop()


@pytest.mark.parametrize("part", PARTS)
def test_who_reaches_what(reached, part):
    check(reached.answers, part)


def test_siblings_are_kept_apart_without_br_netfilter_too(reached):
    """With it, which is how every namespace begins here, bridged packets meet the rules, too."""
    for family in ("iptables", "ip6tables"):
        reached.lab.sysctl("host", f"net.bridge.bridge-nf-call-{family}=0")
    reached.lab.net("reload")
    check(probe(reached.lab, all_cases(reached.mode, ["isolation"])))


@pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])
def test_a_refusal_of_the_container_comes_back(reached, v6):
    with reached.lab.inside("remote"):
        asking = Probe(socket.SOCK_DGRAM, HOST6 if v6 else HOST, 8099)
    run_probes([asking], [])
    # It is the proxy's own datagram that is refused, where there is one; the client is not told.
    assert asking.error == (None if reached.mode == "proxy" else "ECONNREFUSED")
