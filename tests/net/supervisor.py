"""Makes a chosen system call of a process under test fail, once: seccomp_unotify(2).

The calls of io_uring's operations are none, and pass by; those that set a ring up do not.
"""

import errno
import fcntl
import os
import select
import socket
import struct
import sys
import tempfile
import threading
from collections import Counter

from system_calls import NUMBERS

_NAMES = {number: name for name, number in NUMBERS.items()}
# struct seccomp_notif: id, pid, flags, then seccomp_data: number, architecture, address, arguments.
_CALL = struct.Struct("=QIIiIQ6Q")
# struct seccomp_notif_resp: id, value, error, flags.
_ANSWER = struct.Struct("=QqiI")
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1


class Supervisor:
    """Start processes with `wrapper`. Every call passes but the one that is to fail. Calls are
    counted anew when a program is executed; with `first_only`, those of the first program alone,
    with the execve of what it starts, and from its first call of `since` on, if that is given: what
    the loader needs comes before."""

    def __init__(self, *calls, first_only=False, since=None):
        self._first_only = first_only
        self._since = since
        self._first = None
        self._begun = False
        self._directory = tempfile.TemporaryDirectory(prefix="fairlead-supervisor-")
        path = os.path.join(self._directory.name, "socket")
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        self._socket.listen(8)
        script = os.path.join(os.path.dirname(__file__), "exec_supervised.py")
        self._start = [sys.executable, "-S", script, path]
        self.wrapper = self.wrapper_for(*calls)
        self._lock = threading.Lock()
        self._counts = Counter()
        self._target = None
        self.fired = False
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.write(self._stop_write, b"x")
        self._thread.join()
        for descriptor in (self._stop_read, self._stop_write):
            os.close(descriptor)
        self._socket.close()
        self._directory.cleanup()

    def wrapper_for(self, *calls):
        """Stops at these calls alone, which costs less."""
        known = [call for call in (*calls, self._since) if call in NUMBERS]
        return [*self._start, ",".join(dict.fromkeys(known))]

    def fail(self, call, number, error):
        """The `number`-th `call` from now on, counted from 1, fails with `error`, as in "EMFILE"."""
        self._begin((call, number, getattr(errno, error)))

    def count(self):
        """Nothing fails from now on, and calls are counted."""
        self._begin(None)

    def counted(self):
        """{call: how many there were}"""
        with self._lock:
            return dict(self._counts)

    def _begin(self, target):
        with self._lock:
            self._counts.clear()
            self._first = None
            self._begun = False
            self._target = target
            self.fired = False

    def relent(self):
        """Whatever has not failed by now will not. Whether it has."""
        with self._lock:
            self._target = None
            return self.fired

    def _serve(self):
        """Each process has a listener of its own, until it ends."""
        poll = select.poll()
        for descriptor in (self._stop_read, self._socket.fileno()):
            poll.register(descriptor, select.POLLIN)
        listeners = set()
        while True:
            for descriptor, events in poll.poll():
                if descriptor == self._stop_read:
                    for listener in listeners:
                        os.close(listener)
                    return
                if descriptor == self._socket.fileno():
                    listeners.add(self._accept())
                    for listener in listeners:
                        poll.register(listener, select.POLLIN)
                elif events & select.POLLIN:
                    self._answer(descriptor)
                else:
                    poll.unregister(descriptor)
                    listeners.remove(descriptor)
                    os.close(descriptor)

    def _accept(self):
        connection, _ = self._socket.accept()
        with connection:
            _, (listener,), _, _ = socket.recv_fds(connection, 1, 1)
        return listener

    def _answer(self, listener):
        buffer = bytearray(_CALL.size)
        try:
            fcntl.ioctl(listener, _RECEIVE, buffer)
            identity, thread, _, number, *_ = _CALL.unpack(buffer)
            error = self._decide(_NAMES[number], thread)
            answer = _ANSWER.pack(identity, 0, -error, 0 if error else _CONTINUE)
            fcntl.ioctl(listener, _SEND, bytearray(answer))
        except OSError as gone:
            # The call was interrupted by a signal, or the process was killed in it.
            if gone.errno not in (errno.ENOENT, errno.EINTR):
                raise

    def _decide(self, name, thread):
        with self._lock:
            if name == "execve" and not (self._first_only and self._first):
                self._counts.clear()
                self._first = thread
                return 0
            if self._first_only and name != "execve" and \
                    not os.path.exists(f"/proc/{self._first}/task/{thread}"):
                return 0
            if self._since and not self._begun and name != self._since:
                return 0
            self._begun = True
            self._counts[name] += 1
            if self._target is None or self._target[:2] != (name, self._counts[name]):
                return 0
            self.fired = True
            _, _, error = self._target
            self._target = None
            return error
