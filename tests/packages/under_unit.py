#!/usr/bin/python3
"""Runs a command for which the kernel refuses the system calls that a systemd unit refuses.

under_unit.py UNIT-FILE COMMAND [ARGUMENT...]

For where systemd itself does not run. Which system calls a set like @system-service has is asked of
systemd-analyze, and the filter is made by libseccomp, as systemd makes it.
"""

import ctypes
import errno
import os
import subprocess
import sys

ALLOW = 0x7FFF0000


def settings(unit):
    """(name, value) of every line of the unit, in order."""
    with open(unit, encoding="utf-8") as file:
        for line in file:
            name, equals, value = line.strip().partition("=")
            if equals and not line.startswith("#"):
                yield name, value


def system_calls(word):
    """Those that `open` or `@file-system` stands for."""
    if not word.startswith("@"):
        return {word}
    listed = subprocess.run(["systemd-analyze", "syscall-filter", word], check=True,
                            stdout=subprocess.PIPE, text=True).stdout.splitlines()[1:]
    members = [line.strip() for line in listed if line.strip() and not line.strip().startswith("#")]
    return set().union(*map(system_calls, members))


def allowed_system_calls(unit):
    allowed = system_calls("@default")
    for name, value in settings(unit):
        if name == "SystemCallFilter":
            words = set().union(*map(system_calls, value.lstrip("~").split()))
            allowed = allowed - words if value.startswith("~") else allowed | words
    return allowed


def load_filter(unit):
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    refuse = 0x00050000 | getattr(errno, dict(settings(unit))["SystemCallErrorNumber"])
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(refuse)))
    for name in allowed_system_calls(unit):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        # Negative: not on this architecture, or not known to this libseccomp.
        if number >= 0 and seccomp.seccomp_rule_add(context, ctypes.c_uint32(ALLOW), number, 0) < 0:
            sys.exit(f"seccomp_rule_add {name}")
    if seccomp.seccomp_load(context) < 0:
        sys.exit("seccomp_load")


if __name__ == "__main__":
    unit, *command = sys.argv[1:]
    load_filter(unit)
    os.execvp(command[0], command)
