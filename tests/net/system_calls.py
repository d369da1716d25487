"""System calls by name, and filters of them: seccomp(2)."""

import ctypes
import os
import platform

# x86_64, aarch64; None where the machine has no such call.
_NUMBERS = {
    "accept": (43, 202), "accept4": (288, 242), "access": (21, None), "bind": (49, 200),
    "capget": (125, 90), "capset": (126, 91), "clone3": (435, 435), "close": (3, 57),
    "connect": (42, 203), "epoll_create1": (291, 20), "epoll_ctl": (233, 21),
    "epoll_pwait": (281, 22), "epoll_wait": (232, None), "eventfd2": (290, 19), "execve": (59, 221),
    "faccessat": (269, 48), "fcntl": (72, 25), "flock": (73, 32), "fstat": (5, 80),
    "ftruncate": (77, 46), "getdents64": (217, 61), "getpeername": (52, 205),
    "getrusage": (98, 165), "getsockname": (51, 204), "getsockopt": (55, 209),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "io_uring_setup": (425, 425),
    "ioctl": (16, 29), "landlock_create_ruleset": (444, 444), "landlock_restrict_self": (446, 446),
    "listen": (50, 201), "lseek": (8, 62), "madvise": (28, 233), "memfd_create": (319, 279),
    "mkdir": (83, None), "mkdirat": (258, 34), "mmap": (9, 222), "newfstatat": (262, 79),
    "openat": (257, 56), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424),
    "pipe2": (293, 59), "poll": (7, None), "ppoll": (271, 73), "prctl": (157, 167),
    "pread64": (17, 67), "prlimit64": (302, 261), "pwrite64": (18, 68), "read": (0, 63),
    "readlink": (89, None), "readlinkat": (267, 78), "recvfrom": (45, 207), "recvmmsg": (299, 243),
    "recvmsg": (47, 212), "rename": (82, None), "renameat": (264, 38), "seccomp": (317, 277),
    "sendmmsg": (307, 269), "sendmsg": (46, 211), "sendto": (44, 206), "setgroups": (116, 159),
    "setns": (308, 268), "setresgid": (119, 149), "setresuid": (117, 147), "setsockopt": (54, 208),
    "shutdown": (48, 210), "signalfd4": (289, 74), "socket": (41, 198), "splice": (275, 76),
    "unlink": (87, None), "unlinkat": (263, 35), "wait4": (61, 260), "waitid": (247, 95),
    "write": (1, 64), "writev": (20, 66),
}
_COLUMN = {"x86_64": 0, "aarch64": 1}[platform.machine()]
NUMBERS = {name: numbers[_COLUMN] for name, numbers in _NUMBERS.items()
           if numbers[_COLUMN] is not None}

BPF_LD_W_ABS = 0x20
BPF_JMP_JEQ_K = 0x15
BPF_RET_K = 0x06
RET_ERRNO = 0x00050000
RET_USER_NOTIF = 0x7FC00000
RET_ALLOW = 0x7FFF0000
# Where they are in seccomp_data; of the argument, the lower half on a little-endian machine.
SYSTEM_CALL_NUMBER, THIRD_ARGUMENT = 0, 32
_SET_MODE_FILTER = 1
NEW_LISTENER = 8


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte),
                ("k", ctypes.c_uint32)]


class _Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction))]


def install(lines, flags=0):
    """Instructions as (code, jt, jf, k), for the calling thread and what it executes. Needs
    CAP_SYS_ADMIN. With NEW_LISTENER the descriptor that calls are told of by."""
    filter_ = (_Instruction * len(lines))(*(_Instruction(*line) for line in lines))
    program = _Program(len(lines), filter_)
    result = ctypes.CDLL(None, use_errno=True).syscall(
        NUMBERS["seccomp"], _SET_MODE_FILTER, flags, ctypes.byref(program))
    if result < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return result
