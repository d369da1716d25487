#!/usr/bin/python3
"""Runs a command for which the kernel refuses some system calls.

exec_refusing.py ERRNO-NAME SYSCALL[:N][,SYSCALL[:N]...] COMMAND [ARGUMENT...]

With `:N` only calls whose third argument is N.

A seccomp filter, as container engines put one around everything they run: it stays in force over
exec and cannot be taken off.
"""

import ctypes
import errno
import os
import platform
import sys

SYSCALLS = {
    "x86_64": {"socket": 41, "accept": 43, "accept4": 288, "pipe2": 293,
               "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
               "capset": 126, "seccomp": 317, "landlock_create_ruleset": 444},
    "aarch64": {"socket": 198, "accept": 202, "accept4": 242, "pipe2": 59,
                "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
                "capset": 91, "seccomp": 277, "landlock_create_ruleset": 444},
}[platform.machine()]

BPF_LD_W_ABS = 0x20
BPF_JMP_JEQ_K = 0x15
BPF_RET_K = 0x06
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_ALLOW = 0x7FFF0000
# Where they are in seccomp_data; of the argument, the lower half on a little-endian machine.
SYSCALL_NUMBER, THIRD_ARGUMENT = 0, 32
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2


class Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte),
                ("k", ctypes.c_uint32)]


class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.POINTER(Instruction))]


def refuse(error_number, calls):
    refusal = (BPF_RET_K, 0, 0, SECCOMP_RET_ERRNO | error_number)
    lines = []
    for call in calls:
        name, _, third = call.partition(":")
        condition = [(BPF_LD_W_ABS, 0, 0, THIRD_ARGUMENT),
                     (BPF_JMP_JEQ_K, 0, 1, int(third))] if third else []
        lines += [(BPF_LD_W_ABS, 0, 0, SYSCALL_NUMBER),
                  (BPF_JMP_JEQ_K, 0, len(condition) + 1, SYSCALLS[name]), *condition, refusal]
    lines.append((BPF_RET_K, 0, 0, SECCOMP_RET_ALLOW))
    filter_ = (Instruction * len(lines))(*(Instruction(*line) for line in lines))
    program = Program(len(lines), filter_)
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
                      (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)):
        if libc.prctl(*arguments) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    refuse(getattr(errno, sys.argv[1]), sys.argv[2].split(","))
    os.execvp(sys.argv[3], sys.argv[3:])
