"""What happens to flows, to the rules of others and to the kernel's settings."""

import json
import os
import select
import socket
import threading

import pytest

import tcp
from deadline import wait_until
from fairlead_net import output_of
from lab import HOST, HOST6, REMOTE, Lab, Probe, run_probes

BACKENDS = ("nftables", "iptables")


@pytest.fixture
def make_lab(tmp_path):
    """A lab with network web, container c1 on it, and a service there at port 80."""
    labs = []

    def make(*options, network=("--mode", "dnat")):
        lab = Lab(tmp_path / "state", *options)
        labs.append(lab)
        lab.net("network", "create", "web", "--subnet", "10.1.0.0/24", "--subnet", "fd00:1::/64",
                *network)
        lab.attach("web", "c1")
        lab.serve("c1", 80)
        lab.services.start()
        return lab

    yield make
    for lab in labs:
        lab.stop()


def answer(lab, source, address, port, kind=socket.SOCK_STREAM, seconds=10):
    with lab.inside(source):
        probe = Probe(kind, address, port)
    run_probes([probe], [probe], seconds)
    return probe.answer


def reaches(lab, source="remote", address=HOST, port=8080):
    return answer(lab, source, address, port) is not None


def reaches_in_vain(lab, source="remote", address=HOST, port=8080):
    return answer(lab, source, address, port, seconds=0.3) is None


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["proxy", "dnat"])
@pytest.mark.parametrize("host", [HOST, HOST6], ids=["v4", "v6"])
def test_large_segments_shrink_to_a_narrow_path(make_lab, backend, mode, host):
    # The link behind the router is narrower than its ends know: the router has to say so, and its
    # word has to find the sender behind the translation.
    lab = make_lab("--firewall", backend, network=("--mode", mode))
    lab.net("publish", "web", "c1", "8090:90")
    lab.ip("router", "link", "set", "to-remote", "mtu", "1300")
    payload = b"x" * 300_000
    with lab.inside("c1"):
        listener = tcp.listen("::" if ":" in host else "", 90)
    with lab.inside("remote"):
        client = tcp.connect(host, 8090)
    with listener, client, tcp.accept(listener) as server:
        sender = threading.Thread(target=server.sendall, args=(payload,))
        sender.start()
        assert tcp.receive_exactly(client, len(payload)) == payload
        sender.join()


@pytest.mark.parametrize("backend", BACKENDS)
def test_connections_outlive_every_change_of_rules(make_lab, backend):
    lab = make_lab("--firewall", backend)
    lab.net("publish", "web", "c1", "8090:90")
    with lab.inside("c1"):
        listener = tcp.listen("", 90)
    with lab.inside("remote"):
        client = tcp.connect(HOST, 8090)
    with listener, client, tcp.accept(listener) as server:
        for command in (["publish", "web", "c1", "8091:91"], ["reload"],
                        ["unpublish", "web", "c1", "8091:91"]):
            lab.net(*command)
            tcp.exchange(client, server)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_udp_flow_follows_its_port_when_it_is_published_and_taken_back(make_lab, backend):
    lab = make_lab("--firewall", backend)
    with lab.inside("remote"):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with lab.inside("host"):
        local = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        local.bind(("", 5353))
    with client, other, local:
        client.connect((HOST, 5353))

        def asks():
            """One datagram; whether the container answers it."""
            client.send(b"?")
            readable, _, _ = select.select([client], [], [], 0.1)
            return bool(readable) and client.recv(100) == f"c1:80 {REMOTE}".encode()

        # A flow to the host itself, which knows no pause.
        assert not asks() and local.recv(10) == b"?"
        local.close()
        lab.net("publish", "web", "c1", "5353:80/udp")
        wait_until(asks, "the flow has moved to the container")
        lab.net("unpublish", "web", "c1", "5353:80/udp")
        with lab.inside("host"):
            again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            again.bind(("", 5353))
        with again:
            again.settimeout(10)
            client.send(b"!")
            assert again.recv(10) == b"!"


@pytest.mark.parametrize("backend", BACKENDS)
def test_counters_tell_connections_and_drops(make_lab, backend):
    lab = make_lab("--firewall", backend)
    lab.net("publish", "web", "c1", "8080:80", "9000-9009:75-84")
    lab.ip("router", "route", "add", "10.1.0.0/24", "via", HOST)
    for port in (8080, 8080, 9005):
        assert reaches(lab, port=port)
    assert reaches_in_vain(lab, address="10.1.0.2", port=80)
    status = lab.net.json("status")
    assert status["containers"][0]["translated"] == 3
    assert status["dropped"]["direct access"] >= 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_protocols_are_known_where_no_file_names_them(make_lab, backend):
    """A bare machine has no /etc/protocols, and nft then shows numbers."""
    lab = make_lab("--firewall", backend)
    lab.net("publish", "web", "c1", "8080:80")
    assert reaches(lab)
    seen = output_of("unshare", "--mount", "sh", "-c",
                     'mount --bind /dev/null /etc/protocols && exec "$@"', "sh",
                     *lab.net.command("--json", "status"))
    status = json.loads(seen)
    assert status["problems"] == []
    assert status["containers"][0]["translated"] == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_was_flushed_is_missed_and_comes_back_with_reload(make_lab, backend):
    lab = make_lab("--firewall", backend)
    lab.net("publish", "web", "c1", "8080:80")
    assert lab.net.problems() == []
    if backend == "nftables":
        lab.run("host", "nft", "flush", "ruleset")
    else:
        lab.run("host", "iptables", "-t", "nat", "-F", "FAIRLEAD-DNAT")
        lab.run("host", "iptables", "-D", "FORWARD", "-j", "FAIRLEAD")
    assert any(backend in problem for problem in lab.net.problems())
    assert reaches_in_vain(lab)
    lab.net("reload")
    assert lab.net.problems() == [] and reaches(lab)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["dnat", "both"])
def test_changes_lead_to_what_a_reload_makes_anew(make_lab, backend, mode):
    lab = make_lab("--firewall", backend, network=("--mode", mode))

    def rules():
        if backend == "nftables":
            listed = json.loads(lab.run("host", "nft", "--json", "--stateless", "list", "table",
                                        "inet", "fairlead"))["nftables"]
            for thing in (thing for entry in listed for thing in entry.values()):
                thing.pop("handle", None)
                # A hash has no order.
                thing.get("elem", []).sort(key=json.dumps)
            return listed
        saved = lab.run("host", "iptables-save") + lab.run("host", "ip6tables-save")
        return [line for line in saved.splitlines() if not line.startswith(("#", ":PRE", ":POST"))]

    many = [f"{port}:80" for port in range(9001, 9061, 2)]
    lab.net("publish", "web", "c1", *many, "127.0.0.1:7000:80", "7100-7199:7100-7199/udp",
            f"{HOST}:7200-7203:80-83")
    for change in (["publish", "web", "c1", "9002:80", "127.0.0.1:7001:80", f"[{HOST6}]:7300:80"],
                   ["unpublish", "web", "c1", "9001:80", "7100-7199:7100-7199/udp"],
                   ["publish", "web", "c1", "7150-7160:7150-7160/udp", "9004:81/udp"],
                   ["network", "create", "db", "--allow-networks", "web", "--mode", "dnat"],
                   ["network", "rm", "db"],
                   ["unpublish", "web", "c1", *many[1:20]],
                   ["unpublish", "web", "c1", "--all"]):
        lab.net(*change)
        changed = rules()
        lab.net("reload")
        assert changed == rules(), change


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_change_repairs_rules_that_are_not_what_they_were(make_lab, backend):
    lab = make_lab("--firewall", backend)
    lab.net("publish", "web", "c1", "8080:80")
    if backend == "nftables":
        lab.run("host", "nft", "delete", "table", "inet", "fairlead")
    else:
        for chain in ("-F", "-X"):
            lab.run("host", "iptables", "-t", "nat", chain)
    lab.net("publish", "web", "c1", "8081:80")
    assert reaches(lab) and reaches(lab, port=8081)


def test_the_users_chain_comes_first_and_is_never_flushed(make_lab):
    lab = make_lab("--firewall", "nftables")
    lab.net("publish", "web", "c1", "8080:80")
    lab.run("host", "nft", "add rule inet fairlead user ip saddr", REMOTE, "drop")
    for command in (["reload"], ["publish", "web", "c1", "8081:80"]):
        lab.net(*command)
        assert reaches_in_vain(lab)
    lab.run("host", "nft", "flush chain inet fairlead user")

    lab.run("host", "iptables", "-N", "FAIRLEAD-USER")
    lab.run("host", "iptables", "-A", "FAIRLEAD-USER", "-s", REMOTE, "-j", "DROP")
    lab.net.options = ["--firewall", "iptables"]
    lab.net("reload")
    assert reaches_in_vain(lab)
    lab.net("network", "rm", "web")
    assert "-A FAIRLEAD-USER -s 198.51.100.2/32 -j DROP" in lab.run("host", "iptables-save")


def test_one_back_end_takes_the_place_of_the_other(make_lab):
    lab = make_lab("--firewall", "nftables")
    lab.net("publish", "web", "c1", "8080:80")
    assert "inet fairlead" in lab.run("host", "nft", "list", "tables")
    lab.net.options = ["--firewall", "iptables"]
    lab.net("reload")
    assert "inet fairlead" not in lab.run("host", "nft", "list", "tables") and reaches(lab)
    lab.net.options = ["--firewall", "nftables"]
    lab.net("reload")
    assert "FAIRLEAD" not in lab.run("host", "iptables-save") and reaches(lab)


def test_a_foreign_policy_that_drops_is_overruled_where_it_can_be(make_lab):
    lab = make_lab()
    lab.net("publish", "web", "c1", "8080:80")
    assert "inet fairlead" in lab.run("host", "nft", "list", "tables") and reaches(lab)
    # What Docker and ufw do.
    for program in ("iptables", "ip6tables"):
        lab.run("host", program, "-P", "FORWARD", "DROP")
        lab.run("host", program, "-A", "FORWARD", "-m", "mark", "--mark", "7", "-j", "ACCEPT")
    assert reaches_in_vain(lab)
    lab.net("reload", "--firewall", "auto")
    assert "iptables is used instead of nftables: iptables, chain FORWARD" in lab.net.notes
    for host in (HOST, HOST6):
        assert reaches(lab, address=host)
    assert reaches(lab, "c1", REMOTE, 80) is False  # nobody listens, but it is refused
    lab.net("network", "rm", "web")
    saved = lab.run("host", "iptables-save")
    assert ":FORWARD DROP" in saved and "-A FORWARD -m mark --mark 0x7 -j ACCEPT" in saved
    assert "FAIRLEAD" not in saved


@pytest.mark.parametrize("chain", ["INPUT", "FORWARD"])
def test_tables_of_others_are_left_with_the_chains_they_had(make_lab, chain):
    """iptables makes a built-in chain of nf_tables when a rule is put into it, here our hook."""
    lab = make_lab("--firewall", "iptables")
    lab.net("network", "rm", "web")
    for program in ("iptables", "ip6tables"):
        lab.run("host", program, "-A", chain, "-m", "mark", "--mark", "7", "-j", "ACCEPT")
        lab.run("host", program, "-t", "nat", "-A", "POSTROUTING", "-o", "eth9", "-j", "MASQUERADE")
        lab.run("host", program, "-P", "OUTPUT", "DROP")
        lab.run("host", program, "-t", "nat", "-N", "OTHERS")
    before = lab.run("host", "nft", "--stateless", "list", "ruleset")
    lab.net("network", "create", "web", "--subnet", "10.1.0.0/24", "--subnet", "fd00:1::/64")
    assert lab.run("host", "nft", "--stateless", "list", "ruleset") != before
    lab.net("network", "rm", "web")
    assert lab.run("host", "nft", "--stateless", "list", "ruleset") == before


def test_a_foreign_table_that_drops_is_reported_with_the_remedy(make_lab):
    lab = make_lab()
    lab.run("host", "nft", "table inet mine { chain forward { type filter hook forward priority 0; "
                           "policy drop; }; }")
    lab.net("reload", "--firewall", "auto")
    assert ("table inet mine, chain forward drops forwarded packets that no rule accepts there"
            in lab.net.notes)
    assert "have it accept what comes in and goes out by fl-web" in lab.net.notes


def setting(lab, name):
    return lab.run("host", "sysctl", "-n", name).strip()


def test_forwarding_by_interface_leaves_the_switches_off(make_lab):
    lab = make_lab(network=("--mode", "dnat", "--forwarding", "interface"))
    lab.net("publish", "web", "c1", "8080:80")
    assert setting(lab, "net.ipv4.ip_forward") == "0"
    assert setting(lab, "net.ipv4.conf.to-router.forwarding") == "1"
    assert reaches(lab) and reaches(lab, address=HOST6)
    if os.path.exists("/proc/sys/net/ipv6/conf/all/force_forwarding"):
        assert setting(lab, "net.ipv6.conf.all.forwarding") == "0"


def test_settings_are_given_back_whatever_the_order(make_lab):
    lab = make_lab(network=("--mode", "dnat"))
    # An interface that forwarded before, and one network of each kind, the first of which goes first.
    lab.net("network", "rm", "web")
    lab.sysctl("host", "net.ipv4.conf.to-router.forwarding=1")
    lab.net("network", "create", "a", "--subnet", "10.8.0.0/24")
    assert setting(lab, "net.ipv4.ip_forward") == "1"
    lab.net("network", "create", "b", "--subnet", "10.9.0.0/24", "--forwarding", "interface")
    lab.net("network", "rm", "a")
    assert setting(lab, "net.ipv4.ip_forward") == "0"
    for interface in ("to-router", "fl-b"):
        assert setting(lab, f"net.ipv4.conf.{interface}.forwarding") == "1"
    assert setting(lab, "net.ipv4.conf.lo.forwarding") == "0"
    lab.net("network", "rm", "b")
    assert setting(lab, "net.ipv4.conf.to-router.forwarding") == "1"
    assert setting(lab, "net.ipv4.ip_forward") == "0"


def test_a_setting_that_someone_else_has_taken_over_stays(make_lab):
    lab = make_lab(network=("--mode", "dnat", "--forwarding", "interface"))
    lab.sysctl("host", "net.ipv4.ip_forward=1")
    lab.net("network", "rm", "web")
    assert setting(lab, "net.ipv4.ip_forward") == "1"


def test_a_host_that_is_advertised_its_route_goes_on_taking_it(make_lab):
    lab = make_lab(network=("--mode", "dnat"))
    assert setting(lab, "net.ipv6.conf.to-router.accept_ra") == "2"
    assert setting(lab, "net.ipv6.conf.fl-web.accept_ra") == "0"
    lab.net("reload")
    assert setting(lab, "net.ipv6.conf.to-router.accept_ra") == "2"
    lab.net("network", "rm", "web")
    assert setting(lab, "net.ipv6.conf.to-router.accept_ra") == "1"


def test_without_a_firewall_only_the_proxy_publishes(make_lab):
    lab = make_lab("--firewall", "none", network=("--mode", "proxy"))
    lab.net("publish", "web", "c1", "8080:80")
    assert reaches(lab)
    assert "fairlead" not in lab.run("host", "nft", "list", "ruleset")
