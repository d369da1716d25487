"""How the proxy ends."""

import os
import select
import signal
import subprocess
import sys
import time

import pytest

import process_facts
import tcp
import udp
from conftest import PublishedTcp, next_port
from deadline import ready, wait_until
from proxy_process import BINARY, STOP_SECONDS, StatusPipe, scaled
from transfer import Concurrently

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_idle(published, number):
    begin = time.monotonic()
    published.proxy.stop(number)
    assert time.monotonic() - begin < STOP_SECONDS / 4


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_with_open_connections(published, number):
    """Nothing is drained: clients and servers see the end at once."""
    pairs = [published.open() for _ in range(scaled(200))]
    for client, server in pairs:
        tcp.exchange(client, server)
    published.proxy.stop(number)
    for client, server in pairs:
        for end in (client, server):
            tcp.expect_closed(end)
            end.close()


def pump(sender, receiver):
    """Until the proxy in between is gone."""

    def send():
        try:
            while True:
                sender.sendall(b"x" * 100_000)
        except OSError:
            pass

    def receive():
        try:
            while receiver.recv(1 << 20):
                pass
        except OSError:
            pass

    return send, receive


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_under_full_load(published, relay, number):
    pairs = [published.open() for _ in range(4)]
    busy = Concurrently(*(function for client, server in pairs
                          for function in (*pump(client, server), *pump(server, client))))
    time.sleep(0.05)
    published.proxy.stop(number)
    busy.results()
    for pair in pairs:
        for end in pair:
            end.close()


def test_while_connections_are_stalled(published, relay):
    pairs = [published.open() for _ in range(5)]
    for client, server in pairs:
        tcp.send_until_stuck(client, quiet_seconds=0.02)
        tcp.send_until_stuck(server, quiet_seconds=0.02)
    published.proxy.stop()
    for pair in pairs:
        for end in pair:
            end.close()


def test_under_a_flood_of_datagrams(launch, port):
    with udp.bind() as backend, udp.client("127.0.0.1", port) as client:
        proxy = launch.docker("udp", ("127.0.0.1", port), tcp.address(backend))
        stopped = []

        def flood():
            while not stopped:
                try:
                    client.send(b"x" * 1000)
                except ConnectionRefusedError:
                    return

        flooding = Concurrently(flood)
        udp.receive(backend)
        try:
            proxy.stop()
        finally:
            stopped.append(True)
        flooding.results()


def test_two_signals_at_once(published):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        os.kill(published.proxy.pid, number)
    assert published.proxy.wait() == 0


def test_right_after_the_status(launch):
    """A daemon that has just seen `0` may change its mind."""
    for _ in range(scaled(50)):
        PublishedTcp(launch).proxy.stop(signal.SIGINT)


def test_before_the_status(launch):
    """A signal at any moment of the start ends the proxy; early on by its default action."""
    for step in range(20):
        with StatusPipe() as status:
            arguments = launch.docker_arguments("tcp", ("127.0.0.1", next_port()),
                                                ("127.0.0.1", 9))
            proxy = launch.start(arguments, at_3=status.write_end)
            time.sleep(step * 0.0002)
            proxy.send_signal(signal.SIGTERM)
            assert proxy.wait() in (0, -signal.SIGTERM)


def test_sighup_ends_it_by_the_default_action(published):
    """As Go programs do: a terminal that goes away takes the proxy along."""
    published.proxy.send_signal(signal.SIGHUP)
    assert published.proxy.wait() == -signal.SIGHUP


def test_sigpipe_and_others_that_come_with_traffic_do_not_end_it(published):
    published.proxy.send_signal(signal.SIGPIPE)
    published.proxy.send_signal(signal.SIGUSR1)
    published.proxy.send_signal(signal.SIGCONT)
    client, server = published.open()
    with client, server:
        tcp.exchange(client, server)


def test_the_descriptor_limit_is_raised(launch):
    """The daemon hands on its soft limit, often 1,024; two descriptors a connection."""
    published = PublishedTcp(launch, wrapper=["prlimit", "--nofile=256:4096"])
    assert process_facts.soft_descriptor_limit(published.proxy.pid) == 4096


PARENT = """
import ctypes, os, signal, subprocess, sys
PR_SET_PDEATHSIG = 1
proxy = subprocess.Popen(sys.argv[1:], preexec_fn=lambda: ctypes.CDLL(None).prctl(
    PR_SET_PDEATHSIG, signal.SIGTERM))
print(proxy.pid, flush=True)
signal.pause()
"""


def test_the_death_of_the_daemon_ends_it(launch, port):
    """dockerd asks for SIGTERM at its own death (PR_SET_PDEATHSIG); nothing that the proxy does
    when it starts may undo that."""
    with tcp.listen() as backend:
        arguments = launch.docker_arguments("tcp", ("127.0.0.1", port), tcp.address(backend))
        with subprocess.Popen([sys.executable, "-c", PARENT, BINARY, *arguments],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
            try:
                proxy = os.pidfd_open(int(parent.stdout.readline()))
            except BaseException:
                parent.kill()
                raise
            try:
                def served():
                    try:
                        return tcp.connect("127.0.0.1", port)
                    except ConnectionRefusedError:
                        return None

                wait_until(served, "the proxy does not serve").close()
            finally:
                parent.kill()
        gone = ready(proxy, select.POLLIN, STOP_SECONDS)
        if not gone:
            signal.pidfd_send_signal(proxy, signal.SIGKILL)
        os.close(proxy)
        assert gone
