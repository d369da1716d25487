"""Makes a running process make a system call of our choice, as whoever has taken it over could:
ptrace(2)."""

import contextlib
import ctypes
import errno
import os
import platform
import signal

AVAILABLE = platform.machine() == "x86_64"

_CALL_NUMBERS = {"bind": 49, "clone": 56, "execve": 59, "io_uring_setup": 425, "mmap": 9,
                 "openat": 257, "ptrace": 101, "socket": 41}
_SINGLE_STEP, _GET_REGISTERS, _SET_REGISTERS = 9, 12, 13
_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17
_SYSCALL_INSTRUCTION = b"\x0f\x05"
_BELOW_THE_STACK = 4096

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class _Registers(ctypes.Structure):
    """user_regs_struct of <sys/user.h>."""

    _fields_ = [(name, ctypes.c_ulonglong) for name in (
        "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss "
        "fs_base gs_base ds es fs gs").split()]


def _ptrace(request, pid, address=None, data=None):
    if _libc.ptrace(request, pid, address, data) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def _wait(pid):
    """For the next stop of the process; its end is left for its parent to learn of."""
    flags = os.WSTOPPED | os.WEXITED
    seen = os.waitid(os.P_PID, pid, flags | os.WNOWAIT)
    if seen.si_code in (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED):
        return None
    return os.waitid(os.P_PID, pid, flags)


@contextlib.contextmanager
def _stopped(pid):
    """In a system call that waits, and afterwards as it was, if it lives."""
    _ptrace(_SEIZE, pid)
    _ptrace(_INTERRUPT, pid)
    _wait(pid)
    registers = _Registers()
    _ptrace(_GET_REGISTERS, pid, None, ctypes.addressof(registers))
    yield registers
    with contextlib.suppress(ProcessLookupError):
        _ptrace(_SET_REGISTERS, pid, None, ctypes.addressof(registers))
        _ptrace(_DETACH, pid)


def inject(pid, call, *arguments):
    """What the process's main thread, which waits for something, gets from the call: a number, or
    the name of an error like "EACCES"; or the name of the signal that the process was ended with.
    Arguments that are bytes are put into its memory."""
    with _stopped(pid) as waiting, open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        changed = _Registers.from_buffer_copy(waiting)
        changed.rip -= len(_SYSCALL_INSTRUCTION)
        memory.seek(changed.rip)
        assert memory.read(len(_SYSCALL_INSTRUCTION)) == _SYSCALL_INSTRUCTION, "not in a call"
        changed.rax = _CALL_NUMBERS[call]
        # No call that was interrupted, to be made again.
        changed.orig_rax = 2 ** 64 - 1
        place = changed.rsp - _BELOW_THE_STACK
        for register, argument in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), arguments):
            if isinstance(argument, bytes):
                memory.seek(place)
                memory.write(argument)
                place, argument = place + len(argument), place
            setattr(changed, register, argument % 2 ** 64)
        _ptrace(_SET_REGISTERS, pid, None, ctypes.addressof(changed))
        _ptrace(_SINGLE_STEP, pid)
        stop = _wait(pid)
        if stop is None:
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            return signal.Signals(ended.si_status).name
        _ptrace(_GET_REGISTERS, pid, None, ctypes.addressof(changed))
        result = ctypes.c_longlong(changed.rax).value
        return result if result >= 0 else errno.errorcode[-result]
