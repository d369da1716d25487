"""A Machine whose files are a copy of this host's that costs nothing and is thrown away."""

import os

from machine import Machine
from programs import ROOT

_KEPT = "/run/overlay"

_SET_UP = """
set -e
mkdir /run/overlay /run/overlay/changed /run/overlay/work /run/root
mount -t overlay overlay -o lowerdir=/,upperdir=/run/overlay/changed,workdir=/run/overlay/work /run/root
for directory in /proc /sys /dev "$1" "$2"; do
  mkdir -p "/run/root$directory"
  mount --rbind "$directory" "/run/root$directory"
done
mount -t tmpfs tmpfs /run/root/run
mkdir /run/root/run/overlay /run/root/run/host
mount --bind /run/overlay /run/root/run/overlay
pivot_root /run/root /run/root/run/host
umount -l /run/host
rmdir /run/host
"""


class OverlayMachine(Machine):
    def __init__(self, packages):
        super().__init__()
        self.run("sh", "-c", _SET_UP, "sh", str(ROOT), str(packages))

    def dpkg(self, *words):
        return self.run("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", *map(str, words)).stdout

    def left_over(self):
        """Paths that are here and not on the host, but for what dpkg and man keep for themselves."""
        changed = self.path(_KEPT + "/changed")
        found = set()
        for directory, names, files in os.walk(changed):
            for name in (*names, *files):
                path = os.path.join(directory, name).removeprefix(changed)
                if not os.path.lexists(path) and not path.startswith(
                        ("/var/lib/dpkg/", "/var/log/", "/var/cache/man/")):
                    found.add(path)
        return found
