"""Programs in the place of iptables-restore and ip6tables-restore, of which calls go wrong."""

import os
import shutil
import stat

from fairlead_net import output_of

# How a call goes wrong: nothing of it is done, or only its first table; or fairlead-net is killed
# before it or after.
TROUBLES = {
    "fails": 'echo "the kernel is out of sorts" >&2; exit 4',
    "fails half-way": 'restore "$(echo "$input" | sed /^COMMIT/q)" "$@"\n'
                      'echo "the kernel is out of sorts" >&2; exit 4',
    "killed before": "kill -KILL $PPID; exit 4",
    "killed after": 'restore "$input" "$@"; kill -KILL $PPID; exit 4',
}

_SCRIPT = """#!/bin/sh
restore() {{
  echo "$1" | {{ shift; {real} "$@"; }}
}}
input=$(cat)
read -r left <{directory}/calls-left
echo $((left - 1)) >{directory}/calls-left
if [ "$left" -eq 0 ] || echo "$input" | grep -q -f {directory}/refused-by-{name}; then
  {trouble}
fi
restore "$input" "$@"
"""


class FailingTools:
    """`path` is a PATH in which the programs come first."""

    NAMES = ("iptables-restore", "ip6tables-restore")

    def __init__(self, directory, trouble):
        self._directory = directory
        for name in self.NAMES:
            with open(self._file(name), "w", encoding="ascii") as program:
                program.write(_SCRIPT.format(name=name, real=shutil.which(name),
                                             directory=directory, trouble=TROUBLES[trouble]))
            os.chmod(self._file(name), stat.S_IRWXU)
        self.path = f"{directory}:{os.environ['PATH']}"
        self.spare()

    def strike(self, call):
        """The call of that number from now on, counted from 0, goes wrong."""
        self._write("calls-left", f"{call}\n")

    def refuse(self, name, text):
        """So does every call of that program with this in its input."""
        self._write(f"refused-by-{name}", f"{text}\n")

    def spare(self):
        self.strike(-1)
        for name in self.NAMES:
            self._write(f"refused-by-{name}", "")

    def _file(self, name):
        return os.path.join(self._directory, name)

    def _write(self, name, text):
        with open(self._file(name), "w", encoding="ascii") as file:
            file.write(text)


def iptables_rules():
    """What both families have, without what it has counted and when that was."""
    saved = output_of("iptables-save") + output_of("ip6tables-save")
    return [line.partition(" [")[0] for line in saved.splitlines() if not line.startswith("#")]
