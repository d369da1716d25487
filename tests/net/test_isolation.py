"""What a proxy that serves has given up, as the kernel tells it."""

import os
import mmap
import pathlib
import signal
import socket
import subprocess
import sys

import pytest

import injected_call
import process_facts
import tcp
from conftest import PublishedTcp, next_port
from container_service import Published, Service, process_in
from deadline import wait_until
from injected_call import inject
from namespace import Namespace
from proxy_process import BINARY, INSTRUMENTED, refusing

sandboxed = pytest.mark.skipif(INSTRUMENTED, reason="instrumentation needs files and to look at itself")

taken_over = pytest.mark.skipif(not injected_call.AVAILABLE,
                                reason="injects system calls on x86_64 only")

CAP_NET_ADMIN, CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_SYS_ADMIN = 12, 2, 19, 21
USER = 4321


def capabilities(proxy):
    sets = {name: int(process_facts.status_field(proxy.pid, name), 16)
            for name in ("CapInh", "CapPrm", "CapAmb")}
    assert sets["CapInh"] == sets["CapAmb"] == 0
    for thread in os.listdir(f"/proc/{proxy.pid}/task"):
        # What is kept is in effect while a dial is made, and never else.
        assert int(process_facts.status_field(f"{proxy.pid}/task/{thread}", "CapEff"), 16) == 0
    return {bit for bit in range(64) if sets["CapPrm"] >> bit & 1}


def test_a_relay_has_no_privileges(published):
    assert capabilities(published.proxy) == set()
    assert process_facts.status_field(published.proxy.pid, "NoNewPrivs") == "1"


@sandboxed
def test_system_calls_are_filtered(published):
    assert process_facts.status_field(published.proxy.pid, "Seccomp") == "2"


OPEN = ("openat", -100, b"/etc/passwd\0", os.O_RDONLY)  # AT_FDCWD
EXECUTE = ("execve", b"/bin/true\0", 0, 0)
MAKE_RING = ("io_uring_setup", 8, bytes(120))


@sandboxed
@taken_over
@pytest.mark.parametrize("attempt, outcome", [
    (OPEN, "EACCES"),
    (EXECUTE, "SIGSYS"),
    (MAKE_RING, "SIGSYS"),
    (("socket", socket.AF_UNIX, socket.SOCK_STREAM, 0), "SIGSYS"),
    (("socket", socket.AF_PACKET, socket.SOCK_RAW, 0), "SIGSYS"),
    (("bind", 0, 0, 0), "SIGSYS"),
    (("clone", signal.SIGCHLD, 0, 0, 0, 0), "SIGSYS"),
    (("ptrace", 16, 1, 0, 0), "SIGSYS"),  # PTRACE_ATTACH
    (("mmap", 0, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC,
      mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0), "SIGSYS"),
], ids=lambda value: value[0] if isinstance(value, tuple) else value)
def test_who_takes_it_over_gains_nothing(launch, attempt, outcome):
    """In the process that serves, and may yet start further loops."""
    published = PublishedTcp(launch, options=("-workers", "2"))
    client, server = published.open()
    with client, server:
        tcp.exchange(client, server)
        assert inject(published.proxy.pid, *attempt) == outcome
        if outcome != "SIGSYS":
            tcp.exchange(client, server)
    published.backend.close()


@sandboxed
@taken_over
@pytest.mark.parametrize("refused, outcome", [
    (["seccomp"], "EACCES"),
    # That it is Landlock that refuses.
    (["seccomp", "landlock_create_ruleset"], None),
])
def test_landlock_refuses_files_where_there_is_no_filter(launch, refused, outcome):
    published = PublishedTcp(launch, wrapper=refusing("ENOSYS", *refused))
    opened = inject(published.proxy.pid, *OPEN)
    assert opened == outcome if outcome else opened > 2
    if outcome:
        assert inject(published.proxy.pid, *EXECUTE) == outcome
    published.backend.close()


@sandboxed
def test_its_memory_is_hidden_from_its_user(launch):
    """A process that is not dumpable belongs to root as far as /proc is concerned."""
    published = PublishedTcp(launch, options=("-user", f"{USER}:{USER}"))
    assert os.stat(f"/proc/{published.proxy.pid}/mem").st_uid == 0
    published.backend.close()


@pytest.mark.parametrize("netns, source, user, kept", [
    ("name:{name}", "container", None, {CAP_SYS_ADMIN}),
    ("name:{name}", "client", None, {CAP_SYS_ADMIN, CAP_NET_ADMIN}),
    ("/run/netns/{name}", "gateway", USER, {CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_DAC_READ_SEARCH}),
    ("auto", "container", None, {CAP_SYS_ADMIN, CAP_SYS_PTRACE}),
    ("auto", "client", USER, {CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE}),
    ("pid:{pid}", "gateway", None, {CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_SYS_PTRACE}),
])
def test_entering_namespaces_keeps_what_that_takes(launch, netns, source, user, kept):
    with Namespace() as container, Service(container, container.inner) as service, \
            process_in(container) as pid:
        published = Published(launch, service, netns.format(name=container.name, pid=pid), source,
                              options=("--user", f"{user}:{user}") if user else ())
        for _ in range(2):
            assert capabilities(published.proxy) == kept
            published.peer_of_tcp()
            published.peer_of_udp()
        log = published.proxy.wait_for_log(f"dial {container.inner} in its network namespace")
        assert " warn " not in log


@sandboxed
def test_a_namespaces_name_opens_no_other_file(launch):
    """What is not in the folder of namespaces cannot be opened by way of it: Landlock."""
    with Namespace() as container, Service(container, container.inner) as service:
        link = pathlib.Path("/run/netns/fairlead-test-link")
        published = Published(launch, service, f"name:{link.name}", "client")
        link.symlink_to("/etc/passwd")
        try:
            assert published.peer_of_tcp()[0] == container.outer
            published.proxy.wait_for_log(f"from the host: open {link}: permission denied")
        finally:
            link.unlink()


def test_serves_as_another_user(launch):
    """Also on a port that only root can bind."""
    with tcp.listen() as backend:
        address = tcp.address(backend)
        proxy = launch.publish(f"127.0.0.1:81:{address[0]}:{address[1]}",
                               options=("--user", f"{USER}:{USER + 1}"))
        uids = process_facts.status_field(proxy.pid, "Uid").split()
        gids = process_facts.status_field(proxy.pid, "Gid").split()
        assert set(uids) == {str(USER)} and set(gids) == {str(USER + 1)}
        assert process_facts.status_field(proxy.pid, "Groups") == ""
        assert capabilities(proxy) == set()
        with tcp.connect("127.0.0.1", 81) as client, tcp.accept(backend) as server:
            tcp.exchange(client, server)


def test_a_user_that_cannot_be_taken_on_is_an_error(launch):
    """Nothing is served then, and dockerd is told."""
    proxy = launch.start(["-p", f"127.0.0.1:{next_port()}:127.0.0.1:80", "--user", "0:0"],
                         wrapper=["setpriv", "--reuid", str(USER), "--clear-groups"])
    assert proxy.wait() == 1
    assert "--user 0:0: setgroups: operation not permitted" in proxy.log()


def test_ends_with_its_parent_also_as_another_user(launch):
    """dockerd has the kernel end its proxies with it; a change of user makes the kernel forget."""
    port = next_port()
    parent = subprocess.Popen(
        [sys.executable, "-c", f"""
import ctypes, os, sys, time
child = os.fork()
if child == 0:
    ctypes.CDLL(None).prctl(1, 9)
    os.execv({BINARY!r}, [{BINARY!r}, "-p", "127.0.0.1:{port}:127.0.0.1:80", "--user", "{USER}:{USER}"])
print(child, flush=True)
time.sleep(60)
"""], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        child = int(parent.stdout.readline())
        wait_until(lambda: process_facts.status_field(child, "Uid").split()[0] == str(USER),
                   "the user is not changed")
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not pathlib.Path(f"/proc/{child}").exists(), "the proxy outlives its parent")


def test_the_first_line_of_the_log_may_come_later(launch):
    """The C library reads the time zone from a file when it is first asked for a date; no file can
    be opened by then."""
    port, nobody = next_port(2), next_port()
    proxy = launch.docker("tcp", ("127.0.0.1", port), ("127.0.0.1", nobody),
                          options=("-log-level", "warn"))
    assert proxy.log() == ""
    tcp.connect_in_vain("127.0.0.1", port)
    proxy.wait_for_log("connection refused")


@sandboxed
@pytest.mark.parametrize("call, consequence", [
    ("seccomp", "the proxy may make any system call"),
    ("landlock_create_ruleset", "the proxy keeps the right to open files"),
    ("capset", "the proxy keeps its capabilities"),
])
def test_serves_on_kernels_that_lack_a_part(launch, call, consequence):
    with tcp.listen() as backend:
        address = tcp.address(backend)
        port = next_port()
        proxy = launch.publish(f"127.0.0.1:{port}:{address[0]}:{address[1]}",
                               wrapper=refusing("ENOSYS", call))
        assert proxy.log().count(consequence) == 1
        with tcp.connect("127.0.0.1", port) as client, tcp.accept(backend) as server:
            tcp.exchange(client, server)
