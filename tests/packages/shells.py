"""What each shell offers for a command line that ends where a person presses the tabulator."""

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
import time

from programs import ROOT

COMPLETIONS = ROOT / "packaging/completions"


class Bash:
    def __init__(self, program, _directory):
        self._program = program

    def offers(self, *words):
        # `complete -p` says which function bash would call, and with these variables it calls it.
        script = f"""
            source {COMPLETIONS}/{self._program}.bash
            [[ $(complete -p {self._program}) =~ -F\\ ([^ ]+) ]]
            compopt() {{ :; }}  # There is none outside a completion that bash has begun.
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            "${{BASH_REMATCH[1]}}"
            printf '%s\\n' "${{COMPREPLY[@]}}"
            """
        return set(_output("bash", "--norc", "-ec", script, "bash", self._program, *words).split())


class Fish:
    def __init__(self, program, directory):
        self._program, self._home = program, directory

    def offers(self, *words):
        line = " ".join((self._program, *words))
        script = f"source {COMPLETIONS}/{self._program}.fish; complete --do-complete '{line}'"
        output = _output("fish", "--no-config", "--command", script, HOME=str(self._home))
        return {offer.split("\t")[0] for offer in output.splitlines()}


class Zsh:
    """Completes nothing without a terminal and an editor, so it gets both."""

    def __init__(self, program, directory):
        self._program = program
        shutil.copy(COMPLETIONS / f"{program}.zsh", directory / f"_{program}")
        # Says when the list has been drawn: keys that came before would keep it from being so.
        self._set_up = (f"fpath=({directory} $fpath); autoload -U compinit; compinit -D -u; "
                        "LISTMAX=1000; list() { zle list-choices; zle -R; print -n lis''ted >/dev/tty }; "
                        "zle -N list; bindkey '^T' list; PS1=re''ady'> '")

    def offers(self, *words):
        pid, terminal = pty.fork()
        if pid == 0:
            os.execvpe("zsh", ["zsh", "-f", "-i"], {**os.environ, "TERM": "dumb"})
        try:
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 200, 200, 0, 0))
            _type(terminal, self._set_up + "\n")
            # From here on the editor reads the keys, and not the line discipline of the terminal.
            _read_until(terminal, "ready> ")
            _type(terminal, " ".join((self._program, *words)) + "\x14")
            shown = _read_until(terminal, "listed")
        finally:
            os.close(terminal)
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        shown = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", shown)
        listing = shown.partition("\n")[2].partition("listed")[0]
        if words[-1].startswith("-"):
            return set(re.findall(r"(?<!\S)--?[a-zA-Z][a-z-]*", listing))
        # The line is drawn again below the list.
        return set(listing.split()) - {"ready>", self._program, *words}


SHELLS = {"bash": Bash, "zsh": Zsh, "fish": Fish}


def _output(*command, **environment):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60,
                          env={**os.environ, **environment}).stdout


def _type(terminal, text):
    os.write(terminal, text.encode())


def _read_until(terminal, text, seconds=30):
    shown, deadline = "", time.monotonic() + seconds
    while text not in shown:
        if not select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
            raise AssertionError(f"no {text} in {shown!r}")
        shown += os.read(terminal, 1 << 16).decode(errors="replace").replace("\r", "")
    return shown
