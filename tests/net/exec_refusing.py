#!/usr/bin/python3
"""Runs a command for which the kernel refuses some system calls.

exec_refusing.py ERRNO-NAME SYSCALL[:N][,SYSCALL[:N]...] COMMAND [ARGUMENT...]

With `:N` only calls whose third argument is N.

A seccomp filter, as container engines put one around everything they run: it stays in force over
exec and cannot be taken off.
"""

import errno
import os
import sys

from system_calls import (BPF_JMP_JEQ_K, BPF_LD_W_ABS, BPF_RET_K, NUMBERS, RET_ALLOW, RET_ERRNO,
                          SYSTEM_CALL_NUMBER, THIRD_ARGUMENT, install)


def refuse(error_number, calls):
    refusal = (BPF_RET_K, 0, 0, RET_ERRNO | error_number)
    lines = []
    for call in calls:
        name, _, third = call.partition(":")
        condition = [(BPF_LD_W_ABS, 0, 0, THIRD_ARGUMENT),
                     (BPF_JMP_JEQ_K, 0, 1, int(third))] if third else []
        lines += [(BPF_LD_W_ABS, 0, 0, SYSTEM_CALL_NUMBER),
                  (BPF_JMP_JEQ_K, 0, len(condition) + 1, NUMBERS[name]), *condition, refusal]
    lines.append((BPF_RET_K, 0, 0, RET_ALLOW))
    install(lines)


if __name__ == "__main__":
    refuse(getattr(errno, sys.argv[1]), sys.argv[2].split(","))
    os.execvp(sys.argv[3], sys.argv[3:])
