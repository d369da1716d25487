"""`status --watch`, on a terminal and elsewhere, and what proxies have counted."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

import tcp
from deadline import wait_until
from fairlead_net import inside


@pytest.fixture
def published(net, container):
    net("network", "create", "web", "--subnet", "10.5.0.0/24", "--mode", "both")
    net("attach", "web", "c1", "--netns", "name:" + container("c1"))
    net("publish", "web", "c1", "8080:80", "8081:81/udp")
    return net


class Terminal:
    """A pseudo-terminal with a program on it."""

    def __init__(self, *command):
        self._own, theirs = pty.openpty()
        self.resize(24, 100)
        self.process = subprocess.Popen(command, stdout=theirs, stdin=theirs,
                                        stderr=subprocess.PIPE, start_new_session=True)
        os.close(theirs)
        self.output = ""

    def resize(self, rows, columns):
        fcntl.ioctl(self._own, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        while select.select([self._own], [], [], 0.02)[0]:
            try:
                self.output += os.read(self._own, 65536).decode()
            except OSError:
                break  # nobody has the other end any more
        return self.output

    def last_frame(self):
        return self.read().split("\033[H")[-1]

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        os.close(self._own)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_a_terminal_has_one_table_that_is_drawn_anew(published, end):
    terminal = Terminal(*published.command("status", "--watch"))
    try:
        wait_until(lambda: "8081:81/udp" in terminal.last_frame(), "the table is there")
        assert terminal.output.startswith("\033[?1049h\033[?25l")
        published("publish", "web", "c1", "8082:82")
        wait_until(lambda: "8082:82/tcp" in terminal.last_frame(), "the new port is there")
        terminal.resize(24, 30)
        terminal.process.send_signal(signal.SIGWINCH)
        wait_until(lambda: all(len(line.split("\033")[0]) <= 30
                               for line in terminal.last_frame().split("\r\n")),
                   "the table is as wide as the window")
        terminal.process.send_signal(end)
        assert terminal.process.wait(timeout=10) == 0
        assert terminal.read().endswith("\033[?25h\033[?1049l")
    finally:
        terminal.close()


def test_elsewhere_one_table_follows_the_other(published):
    started = time.monotonic()
    watch = subprocess.Popen(published.command("status", "--watch", "--interval", "1"),
                             stdout=subprocess.PIPE, text=True)
    try:
        tables = [[watch.stdout.readline() for _ in range(4)] for _ in range(2)]
    finally:
        watch.terminate()
        assert watch.wait(timeout=10) == 0
        watch.stdout.close()
    assert time.monotonic() - started > 0.9
    for table in tables:
        assert table[0].split()[:4] == ["NETWORK", "CONTAINER", "MODE", "PORT"]
        assert table[1].split()[:5] == ["web", "c1", "both", "8080:80/tcp", "0"]
        assert table[3] == "\n"
        assert not any("\033" in line for line in table)
    # Nothing to compare with at first, then a rate.
    assert tables[0][1].split()[5] == "-" and tables[1][1].split()[5] == "0"


def rows(net):
    """The first table, cell by cell, by published port."""
    with subprocess.Popen(net.command("status", "--watch"), stdout=subprocess.PIPE,
                          text=True) as watch:
        lines = list(iter(watch.stdout.readline, "\n"))
        watch.terminate()
    heading = lines[0]
    starts = [at for at in range(len(heading))
              if heading[at] != " " and (at == 0 or heading[at - 1] == " ")]
    table = [[line[start:end].strip() for start, end in zip(starts, [*starts[1:], None])]
             for line in lines[1:]]
    return {row[3]: row[4:] for row in table}


def exchange_with(listener, address, port):
    """12,345 bytes to the container, 6,789 back, and the connection stays open."""
    with tcp.connect(address, port) as client, tcp.accept(listener) as server:
        client.sendall(b"x" * 12_345)
        received = b""
        while len(received) < 12_345:
            received += server.recv(65536)
        server.sendall(b"y" * 6_789)
        received = b""
        while len(received) < 6_789:
            received += client.recv(65536)
        yield


@pytest.mark.parametrize("mode, address, translated, proxied", [
    ("proxy", "10.5.0.1", "-", ["1", "-", "1"]),
    ("both", "127.0.0.1", "0", ["1", "-", "1"]),
    ("dnat", "10.5.0.1", "1", ["-", "-", "-"]),
])
def test_each_port_has_what_came_by_it(net, container, mode, address, translated, proxied):
    """Also one whose neighbour is published as well."""
    net("network", "create", "web", "--subnet", "10.5.0.0/24", "--mode", mode)
    net("attach", "web", "c1", "--netns", "name:" + container("c1"))
    net("publish", "web", "c1", "8080:80", "8081:81", "8090-8099:90-99")
    with inside("c1"):
        listener = tcp.listen("0.0.0.0", 81)
    with listener:
        for _ in exchange_with(listener, address, 8081):
            found = rows(net)
            told = next(port for port in net.container("c1")["activity"]
                        if port["port"] == "8081:81/tcp")
    assert found["8081:81/tcp"][:5] == [translated, "-", *proxied]
    expected = {"port": "8081:81/tcp"}
    if translated != "-":
        expected["translated"] = int(translated)
    if mode != "dnat":
        expected |= {"proxied": 1, "open": 1, "bytes_to_container": 12_345,
                     "bytes_to_client": 6_789}
    assert told == expected
    assert dict(zip(*map(str.split, net("status").splitlines()[:2])))["PROXIED"] == proxied[0]
    idle = found["8080:80/tcp"]
    assert found["8090-8099:90-99/tcp"] == idle
    assert idle[:5] == ["-" if mode == "proxy" else "0", "-",
                        *(["-", "-", "-"] if mode == "dnat" else ["0", "-", "0"])]


def test_rates_are_what_passes_meanwhile(net, container):
    net("network", "create", "web", "--subnet", "10.5.0.0/24", "--mode", "proxy")
    net("attach", "web", "c1", "--netns", "name:" + container("c1"))
    net("publish", "web", "c1", "8081:81")
    with inside("c1"):
        listener = tcp.listen("0.0.0.0", 81)
    with listener, subprocess.Popen(net.command("status", "--watch"), stdout=subprocess.PIPE,
                                    text=True) as watch:
        assert list(iter(watch.stdout.readline, "\n"))
        for _ in exchange_with(listener, "127.0.0.1", 8081):
            while (line := watch.stdout.readline().split()[4:])[:5] != ["-", "-", "1", "1", "1"]:
                pass
        watch.terminate()
    # A refresh takes a moment more or less than a second: 12,345 and 6,789 bytes.
    assert line[6] == line[8] == "kB"
    assert 8 < float(line[5]) <= 12.5 and 4 < float(line[7]) <= 7


def test_a_proxy_that_does_not_answer_holds_up_nobody(published):
    pid = published.container("c1")["proxy"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert rows(published)["8080:80/tcp"] == ["0", "-", "no answer", "-", "-", "-", "-"]
        assert "no answer" in published("status")
        assert published.container("c1")["activity"][0]["proxied"] is None
    finally:
        os.kill(pid, signal.SIGCONT)
    assert rows(published)["8080:80/tcp"][2] == "0"


def sockets(net):
    return os.listdir(os.path.join(net.state_directory, "metrics"))


def test_sockets_of_proxies_are_roots_and_go_with_them(published, tmp_path, monkeypatch):
    pid = published.container("c1")["proxy"]["pid"]
    assert sockets(published) == [f"{pid}.sock"]
    facts = os.stat(os.path.join(published.state_directory, "metrics", f"{pid}.sock"))
    assert (facts.st_uid, facts.st_gid, facts.st_mode & 0o777) == (0, 0, 0o660)
    # Of one that was killed.
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not published.container("c1")["proxy"]["running"], "the proxy ends")
    assert sockets(published) == [f"{pid}.sock"]
    assert rows(published)["8080:80/tcp"][2] == "no answer"
    published("reload")
    assert sockets(published) == [f"{published.container('c1')['proxy']['pid']}.sock"]
    # Of one that may not remove it, and would have it elsewhere.
    config = tmp_path / "proxy.conf"
    config.write_text("user = 4321:4321\nmetrics = 127.0.0.1:9100\n", encoding="ascii")
    monkeypatch.setenv("FAIRLEAD_PROXY_CONFIG", str(config))
    published("publish", "web", "c1", "8082:82")
    assert rows(published)["8082:82/tcp"][2] == "0"
    assert sockets(published) == [f"{published.container('c1')['proxy']['pid']}.sock"]
    published("unpublish", "web", "c1", "--all")
    assert sockets(published) == []
