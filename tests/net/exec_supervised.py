#!/usr/bin/python3
"""Runs a command whose system calls somebody else decides about.

exec_supervised.py SOCKET SYSCALL[,SYSCALL...] COMMAND [ARGUMENT...]

A seccomp filter stops the process at each of these calls, and at execve, until the supervisor has
answered; the descriptor for that is sent to the UNIX socket of this path. See supervisor.py.
"""

import array
import os
import queue
import socket
import sys
import threading

from system_calls import (BPF_JMP_JEQ_K, BPF_LD_W_ABS, BPF_RET_K, NEW_LISTENER, NUMBERS,
                          RET_ALLOW, RET_USER_NOTIF, SYSTEM_CALL_NUMBER, install)


def supervise(calls):
    lines = [(BPF_LD_W_ABS, 0, 0, SYSTEM_CALL_NUMBER)]
    for name in calls:
        lines += [(BPF_JMP_JEQ_K, 0, 1, NUMBERS[name]), (BPF_RET_K, 0, 0, RET_USER_NOTIF)]
    lines.append((BPF_RET_K, 0, 0, RET_ALLOW))
    return install(lines, NEW_LISTENER)


def send_listener(path, made):
    """On a thread that was there before the filter, and so is free of it."""
    with socket.socket(socket.AF_UNIX) as supervisor:
        supervisor.connect(path)
        listener = made.get()
        supervisor.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                      array.array("i", [listener]))])
    os.close(listener)


if __name__ == "__main__":
    made = queue.SimpleQueue()
    sender = threading.Thread(target=send_listener, args=(sys.argv[1], made))
    sender.start()
    made.put(supervise(["execve", *sys.argv[2].split(",")]))
    sender.join()
    os.execv(sys.argv[3], sys.argv[3:])
