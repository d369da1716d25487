"""What the kernel says about a running process."""

import ctypes
import os
import socket

CLOCK_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
SYS_PIDFD_GETFD = 438  # the same number on every architecture


def status_field(pid, name):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith(name + ":"):
                return line.split(":", 1)[1].strip()
    raise KeyError(name)


def resident_bytes(pid):
    """Memory of its own: anonymous pages, not the pages of the executable file."""
    return int(status_field(pid, "RssAnon").split()[0]) * 1024


def threads(pid):
    return int(status_field(pid, "Threads"))


def wake_ups(pid):
    return int(status_field(pid, "voluntary_ctxt_switches"))


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS_PER_SECOND


def descriptors(pid):
    """{number: what it is}, as `socket:[123]`, `pipe:[124]`, `anon_inode:[eventpoll]`, `/dev/null`."""
    result = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            result[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            pass  # closed between the two calls
    return result


def sockets(pid):
    """The numbers of its descriptors that are sockets."""
    return {fd for fd, target in descriptors(pid).items() if target.startswith("socket:")}


def soft_descriptor_limit(pid):
    with open(f"/proc/{pid}/limits", encoding="ascii") as limits:
        for line in limits:
            if line.startswith("Max open files"):
                return int(line.split()[3])
    raise KeyError("Max open files")


def borrowed_socket(pid, fd):
    """The process's own socket, to ask the kernel for its options. The caller closes it, soon."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    try:
        copy = libc.syscall(SYS_PIDFD_GETFD, pidfd, fd, 0)
        if copy < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        return socket.socket(fileno=copy)
    finally:
        os.close(pidfd)
