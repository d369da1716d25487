"""A running fairlead-proxy, started as a daemon starts it or as a person does."""

import dataclasses
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time

import process_facts
from deadline import ready, wait_until

BINARY = os.environ["FAIRLEAD_PROXY"]

# Low numbers are what the started process is to find at 3 and 4; everything that is to become one
# of those is first moved out of their way.
FIRST_SPARE_DESCRIPTOR = 200


def _is_instrumented():
    with open(BINARY, "rb") as binary:
        image = binary.read()
    return any(name in image for name in (b"__asan_init", b"__tsan_init", b"__gcov_init"))


INSTRUMENTED = _is_instrumented()

# Sizes and numbers of connections are divided by this; instrumentation slows everything down.
SCALE = int(os.environ.get("FAIRLEAD_TEST_SCALE", "8" if INSTRUMENTED else "1"))

STOP_SECONDS = 10.0 if INSTRUMENTED else 2.0


def refusing(error, *system_calls):
    """The wrapper for a proxy for which these system calls fail with `error`, as in "EPERM"."""
    script = os.path.join(os.path.dirname(__file__), "exec_refusing.py")
    return [sys.executable, script, error, ",".join(system_calls)]


def scaled(number):
    return max(1, number // SCALE)


@dataclasses.dataclass
class Ended:
    """A command that has come to its end by itself."""

    code: int
    stdout: str
    stderr: str


def run_to_end(*arguments, wrapper=(), environment=None, timeout=20):
    """For command lines that print something and end, with nothing at descriptors 3 and 4."""
    result = subprocess.run([*wrapper, BINARY, *arguments], capture_output=True, text=True,
                            stdin=subprocess.DEVNULL, timeout=timeout, check=False,
                            env={**os.environ, **(environment or {})})
    return Ended(result.returncode, result.stdout, result.stderr)


class ProxyProcess:
    """Started at once. `at_3` and `at_4` are descriptors of ours to be seen there, or None for
    nothing there. `wrapper` is a command that ends in exec of its arguments."""

    def __init__(self, arguments, *, at_3=None, at_4=None, wrapper=(), environment=None):
        self._log = tempfile.TemporaryFile(prefix="fairlead-proxy-log-")
        null = os.open("/dev/null", os.O_RDWR)
        wanted = {0: null, 1: null, 2: self._log.fileno(), 3: at_3, 4: at_4}
        actions = []
        moved = []
        for number, source in wanted.items():
            if source is None:
                actions.append((os.POSIX_SPAWN_CLOSE, number))
                continue
            spare = fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, FIRST_SPARE_DESCRIPTOR)
            moved.append(spare)
            actions.append((os.POSIX_SPAWN_DUP2, spare, number))
        command = [*wrapper, BINARY, *arguments]
        environment = {**os.environ, **(environment or {})}
        try:
            self.pid = os.posix_spawnp(command[0], command, environment, file_actions=actions,
                                       setsigdef=[signal.SIGPIPE])
        finally:
            for descriptor in (null, *moved):
                os.close(descriptor)
        self._pidfd = os.pidfd_open(self.pid)
        self.code = None  # the exit status once it has ended; -N when ended by signal N
        # For the check at the end that every connection has been let go of.
        self.serves_only_tcp = False
        self.idle_sockets = None  # how many there are while nobody is connected

    # What it says.

    def log(self):
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def wait_for_log(self, text, seconds=5.0):
        wait_until(lambda: text in self.log(), lambda: f"no {text!r} in the log:\n{self.log()}",
                   seconds)
        return self.log()

    # Its end.

    def running(self):
        if self.code is None and ready(self._pidfd, select.POLLIN, 0):
            self._reap()
        return self.code is None

    def send_signal(self, number):
        if self.running():
            os.kill(self.pid, number)

    def wait(self, seconds=STOP_SECONDS):
        """Its exit status, -N for signal N."""
        if self.code is None:
            if not ready(self._pidfd, select.POLLIN, seconds):
                raise AssertionError(f"still running after {seconds} s; its log:\n{self.log()}")
            self._reap()
        return self.code

    def stop(self, number=signal.SIGTERM):
        """Stops it as a daemon does, and checks that it ends promptly, with success and without a
        report of a sanitizer."""
        assert self.running(), f"ended by itself with {self.code}; its log:\n{self.log()}"
        os.kill(self.pid, number)
        assert self.wait() == 0, f"exit status {self.code}; its log:\n{self.log()}"
        self.check_log()

    def check_log(self):
        log = self.log()
        for complaint in ("Sanitizer", "runtime error:", "terminate called", "Assertion"):
            assert complaint not in log, log

    def kill(self):
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def close(self):
        """Leaves nothing behind, however the test went."""
        self.kill()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
            self._log.close()

    def _reap(self):
        _, status = os.waitpid(self.pid, 0)
        self.code = os.waitstatus_to_exitcode(status)

    # Its state.

    def sockets(self):
        return process_facts.sockets(self.pid)

    def wait_for_sockets(self, number, seconds=10.0):
        wait_until(lambda: len(self.sockets()) == number,
                   lambda: f"{len(self.sockets())} sockets instead of {number}; its log:\n"
                           f"{self.log()[-2000:]}", seconds)


class StatusPipe:
    """The daemon's end of descriptor 3."""

    def __init__(self):
        self.read_end, self.write_end = os.pipe()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close_write_end()
        os.close(self.read_end)

    def close_write_end(self):
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def read(self, size, seconds=16.0):
        """One read(2), as the daemon reads; 16 s is where it gives up."""
        self.close_write_end()
        assert ready(self.read_end, select.POLLIN, seconds), "no status within 16 s"
        return os.read(self.read_end, size)

    def read_all(self):
        status = b""
        while piece := self.read(4096):
            status += piece
        return status


class ReadySocket:
    """A service manager's notification socket."""

    def __init__(self, path):
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()
        os.unlink(self.path)

    def receive(self, seconds=10.0):
        """The next message; None when there is none in time."""
        self._socket.settimeout(seconds)
        try:
            return self._socket.recv(4096).decode()
        except TimeoutError:
            return None

    def wait_for(self, text, proxy):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            message = self.receive(seconds=0.02)
            if message is not None and text in message.splitlines():
                return
            if message is None and not proxy.running():
                break
        raise AssertionError(f"no {text} (exit status {proxy.code}); its log:\n{proxy.log()}")
