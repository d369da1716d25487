"""Who is to reach what, and as whom, in every mode: a lab with all kinds of networks, and every case
to be probed there."""

import socket

from lab import HOST, HOST6, REMOTE, REMOTE6, ROUTER, Probe, run_probes

MODES = ("proxy", "dnat", "both")
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
NOTHING = None
# Stands for 127.0.0.1 where the sender's own kernel would not send to that.
FORGED = "203.0.113.9"

# Networks by name: the number in their subnets 10.N.0.0/24 and fd00:N::/64, and their options.
NETWORKS = {
    "web": (1, ()),
    "db": (2, ()),
    "shut": (3, ("--no-icc",)),
    "friend": (4, ("--allow-networks", "db")),
    "inner": (5, ("--internal",)),
    "plain": (6, ("--no-masquerade",)),
    "old": (7, ()),  # IPv4 alone
}

CONTAINERS = {"c1": "web", "c2": "web", "d1": "db", "s1": "shut", "s2": "shut", "f1": "friend",
              "i1": "inner", "i2": "inner", "p1": "plain", "o1": "old"}


def gateway(number, v6):
    return f"fd00:{number}::1" if v6 else f"10.{number}.0.1"


def container(number, v6, index=0):
    return f"fd00:{number}::{2 + index:x}" if v6 else f"10.{number}.0.{2 + index}"


def as_seen(mode, source, number, v6):
    """What a service on network `number` sees as the client of a port published on all addresses;
    NOTHING where the client does not reach it. Loopback clients ask loopback, others the host."""
    if source == "remote" and mode != "proxy":
        return REMOTE6 if v6 else REMOTE
    if source == "host" and mode == "both":
        return HOST6 if v6 else HOST
    # Packets to ::1 cannot leave by any other link, whatever is done to them.
    if source == "loopback" and mode == "dnat" and v6:
        return NOTHING
    return gateway(number, v6)


def published_cases(mode, v6):
    host, loopback = (HOST6, "::1") if v6 else (HOST, "127.0.0.1")
    for source in ("remote", "host", "c1", "c2", "d1"):
        yield source, host, 8080, "c1:80", as_seen(mode, source, 1, v6)
        yield source, host, 8082, "c1:82", as_seen(mode, source, 1, v6)
        yield source, host, 9005, "c1:9005", as_seen(mode, source, 1, v6)
        yield source, host, 9102, "c1:9005", as_seen(mode, source, 1, v6)
    yield "loopback", loopback, 8080, "c1:80", as_seen(mode, "loopback", 1, v6)
    yield "loopback", loopback, 9005, "c1:9005", as_seen(mode, "loopback", 1, v6)
    # All addresses of the host are its bridges', too.
    for source in ("remote", "c2", "d1"):
        yield source, gateway(1, v6), 8080, "c1:80", as_seen(mode, source, 1, v6)
    # Published on another address, or not at all.
    yield "loopback", loopback, 8082, "c1:82", NOTHING
    yield "c2", gateway(1, v6), 8082, "c1:82", NOTHING
    for source in ("remote", "host", "c2", "d1"):
        yield source, host, 83, "c1:83", NOTHING


def direct_cases(mode, v6):
    del mode
    for port in (80, 83):
        target = container(1, v6), port, f"c1:{port}"
        yield "host", *target, gateway(1, v6)
        yield "c2", *target, container(1, v6, 1)
        for source in ("remote", "router", "d1"):
            yield source, *target, NOTHING


def loopback_cases(mode, v6):
    host, loopback = (HOST6, "::1") if v6 else (HOST, "127.0.0.1")
    # In mode dnat a port cannot be published on ::1 at all.
    reached = NOTHING if v6 and mode == "dnat" else gateway(1, v6)
    yield "loopback", loopback, 8081, "c1:81", reached
    for source in ("remote", "router", "host", "c1", "c2", "d1"):
        yield source, host, 8081, "c1:81", NOTHING
    yield "c2", gateway(1, v6), 8081, "c1:81", NOTHING
    if v6:
        return
    # Forged: on the wire they are addressed to 127.0.0.1. The host's own service shows that such
    # packets come through where a link is told to let them, as this one's administrator has done.
    yield "router", FORGED, 5000, "host:5000", ROUTER
    for source in ("router", "c2", "d1"):
        yield source, FORGED, 8081, "c1:81", NOTHING
    for source in ("c2", "d1"):
        yield source, FORGED, 5000, "host:5000", NOTHING


def isolation_cases(mode, v6):
    host = HOST6 if v6 else HOST
    # No icc: siblings meet by published ports alone.
    yield "s2", container(3, v6), 80, "s1:80", NOTHING
    for source in ("s1", "s2", "c2"):
        yield source, host, 8095, "s1:80", as_seen(mode, source, 3, v6)
    # Allowed one way: with its own address, and to every port.
    for port in (80, 83):
        yield "d1", container(4, v6), port, f"f1:{port}", container(2, v6)
        yield "c2", container(4, v6), port, f"f1:{port}", NOTHING
    yield "f1", container(2, v6), 80, "d1:80", NOTHING
    # Internal: siblings and the host.
    yield "i2", container(5, v6), 80, "i1:80", container(5, v6, 1)
    yield "host", container(5, v6), 80, "i1:80", gateway(5, v6)
    for source in ("remote", "router", "c2"):
        yield source, container(5, v6), 80, "i1:80", NOTHING
    yield "i1", container(1, v6), 80, "c1:80", NOTHING


def outward_cases(mode, v6):
    remote, host = (REMOTE6, HOST6) if v6 else (REMOTE, HOST)
    yield "c1", remote, 7000, "remote:7000", host
    yield "s1", remote, 7000, "remote:7000", host
    yield "i1", remote, 7000, "remote:7000", NOTHING
    # Not masqueraded: its address goes out, and only published ports come in.
    yield "p1", remote, 7000, "remote:7000", container(6, v6)
    yield "remote", container(6, v6), 80, "p1:80", NOTHING
    yield "remote", host, 8096, "p1:80", as_seen(mode, "remote", 6, v6)


def other_family_cases(mode, v6):
    host, loopback = (HOST6, "::1") if v6 else (HOST, "127.0.0.1")
    for source, address in (("remote", host), ("host", host), ("loopback", loopback)):
        seen = as_seen(mode, source, 7, v6=False)
        if v6:
            # Only the proxy gets an IPv6 client to a container of IPv4.
            seen = NOTHING if mode == "dnat" else gateway(7, v6=False)
        yield source, address, 8070, "o1:80", seen


PARTS = {"published": published_cases, "direct": direct_cases, "loopback": loopback_cases,
         "isolation": isolation_cases, "outward": outward_cases,
         "other family": other_family_cases}


def forge_loopback(lab, machine, link):
    """What the machine sends to FORGED is addressed to 127.0.0.1 on the wire; the answers come back
    as from FORGED."""
    lab.run(machine, "nft", "-f", "-", stdin=f"""
        table netdev forge {{
          chain out {{
            type filter hook egress device "{link}" priority 0;
            ip daddr {FORGED} ip daddr set 127.0.0.1
          }}
          chain in {{
            type filter hook ingress device "{link}" priority 0;
            ip saddr 127.0.0.1 ip saddr set {FORGED}
          }}
        }}
        """)


# What the containers publish, by TCP and UDP. Mode dnat cannot have what is in V6_LOOPBACK.
PORTS = {"c1": ["8080:80", f"{HOST}:8082:82", f"[{HOST6}]:8082:82", "127.0.0.1:8081:81",
                "9000-9009:9000-9009", "9100-9104:9003-9007", "8099:99"],
         "s1": ["8095:80"], "p1": ["8096:80"], "o1": ["8070:80"]}
V6_LOOPBACK = "[::1]:8081:81"


def build(lab, mode, *others):
    """`others` are containers that somebody else has made, with services like all."""
    for name, (number, options) in NETWORKS.items():
        subnets = ["--subnet", f"10.{number}.0.0/24"]
        if name != "old":
            subnets += ["--subnet", f"fd00:{number}::/64"]
        lab.net("network", "create", name, *subnets, "--mode", mode, *options)
    for name, network in CONTAINERS.items():
        lab.attach(network, name)
    for name, ports in PORTS.items():
        if name == "c1" and mode != "dnat":
            ports = [*ports, V6_LOOPBACK]
        lab.net("publish", CONTAINERS[name], name,
                *[f"{port}/{kind}" for port in ports for kind in KINDS])
    serve(lab, [*CONTAINERS, *others])


def serve(lab, containers):
    """The services, a router that leads outsiders to the containers, and senders of forged
    packets."""
    for name in containers:
        lab.serve(name, 80, 83)
    lab.serve("c1", 81, 82, 9005)
    lab.serve("remote", 7000)
    lab.serve("host", 5000, address="127.0.0.1", families=(socket.AF_INET,))
    lab.ip("router", "route", "add", "10.0.0.0/8", "via", HOST)
    lab.ip("router", "-6", "route", "add", "fd00::/16", "via", HOST6)
    lab.sysctl("host", "net.ipv4.conf.to-router.route_localnet=1")
    lab.ip("router", "route", "add", FORGED, "via", HOST)
    for forger, link in (("router", "to-host"), ("c2", "eth0"), ("d1", "eth0")):
        forge_loopback(lab, forger, link)
    lab.services.start()


def all_cases(mode, parts=tuple(PARTS)):
    """(part, kind, case)"""
    return [(part, kind, case) for part in parts for v6 in (False, True) for kind in KINDS
            for case in PARTS[part](mode, v6)]


def probe(lab, cases, may_be_silent=lambda part, kind, case: case[4] is NOTHING):
    """{(part, kind, case): the answer}; None where none comes, which is waited for as long as
    silence lasts where it may be."""
    probes = {}
    # By source, so that a namespace is entered once.
    for part, kind, case in sorted(cases, key=lambda case: case[2][0]):
        source, address, port, _, _ = case
        with lab.inside("host" if source == "loopback" else source):
            probes[part, kind, case] = Probe(KINDS[kind], address, port)
    run_probes(probes.values(),
               [probe for case, probe in probes.items() if not may_be_silent(*case)])
    return {key: probe.answer for key, probe in probes.items()}


def expected_answer(case):
    _, _, _, service, seen = case
    return f"{service} {seen}" if seen else None


def check(answers, part=None):
    """Those of the part, or all, are as the cases say."""
    wrong = []
    for (of, kind, case), answer in answers.items():
        expected = expected_answer(case)
        if part in (of, None) and answer != expected:
            source, address, port, _, _ = case
            wrong.append(f"{of}: {kind} {source} to {address} port {port}: "
                         f"{answer or 'nothing'} instead of {expected or 'nothing'}")
    assert not wrong, "\n".join(wrong)
