"""`status --watch`, on a terminal and elsewhere."""

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

from deadline import wait_until


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
        assert table[1].split() == ["web", "c1", "both", "8080:80/tcp", "0", table[1].split()[5], "0"]
        assert table[3] == "\n"
        assert not any("\033" in line for line in table)
    # Nothing to compare with at first, then a rate.
    assert tables[0][1].split()[5] == "-" and tables[1][1].split()[5] == "0"
