"""A control group for memory, to have the kernel count its own part of what a process costs."""

import os
import tempfile
import time


class ControlGroup:
    """Of version 1 or 2. Needs root and the memory controller, see available()."""

    _FIRST, _SECOND = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"

    @classmethod
    def available(cls):
        return os.access(f"{cls._FIRST}/tasks", os.W_OK) or (
            os.access(f"{cls._SECOND}/cgroup.subtree_control", os.W_OK) and
            "memory" in _read(f"{cls._SECOND}/cgroup.subtree_control"))

    def __init__(self, pid):
        """What the process takes from now on is counted here."""
        self._first = os.path.isdir(self._FIRST)
        top = self._FIRST if self._first else self._SECOND
        # Process ids are those of a namespace and name nothing on the machine.
        self._directory = tempfile.mkdtemp(prefix="fairlead-test-", dir=top)
        if self._first:
            # Without a limit what is queued in TCP sockets is not counted.
            self._write("memory.kmem.tcp.limit_in_bytes", 1 << 40)
        self._write("cgroup.procs", pid)

    def kernel_bytes(self):
        """Sockets, pipes, tables, and what is queued in them."""
        if self._first:
            return sum(int(_read(f"{self._directory}/memory.{name}.usage_in_bytes"))
                       for name in ("kmem", "kmem.tcp"))
        lines = _read(f"{self._directory}/memory.stat").splitlines()
        fields = dict(line.split() for line in lines)
        return int(fields["kernel"]) + int(fields["sock"])

    def close(self):
        """REQUIRES: the process has ended."""
        end = time.monotonic() + 5
        while True:
            try:
                os.rmdir(self._directory)
                return
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def _write(self, name, value):
        with open(f"{self._directory}/{name}", "w", encoding="ascii") as file:
            file.write(str(value))


def _read(path):
    with open(path, encoding="ascii") as file:
        return file.read()
