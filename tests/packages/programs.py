"""What the programs are made of, as far as manuals and completions have to agree with them."""

import os
import pathlib
import re
import subprocess
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ["FAIRLEAD_BUILD"])


@dataclass
class Program:
    binary: pathlib.Path
    manual: pathlib.Path
    # The section of the manual that follows OPTIONS.
    after_options: str
    # Where the errors are made that whoever starts the program can cause.
    sources: list


def _sources(*patterns):
    return [source for pattern in patterns for source in sorted(ROOT.glob(pattern))]


PROGRAMS = {
    "fairlead-proxy": Program(
        BUILD / "proxy/fairlead-proxy", ROOT / "packaging/man/fairlead-proxy.1", "DOCKER",
        _sources("proxy/main.cpp", "proxy/dial/*.cpp", "proxy/engine/ring.cpp",
                 "proxy/mapping/*.cpp", "proxy/metrics/*.cpp", "proxy/net/*.cpp",
                 "proxy/options/*.cpp", "proxy/process/*.cpp")),
    "fairlead-net": Program(
        BUILD / "netsetup/fairlead-net", ROOT / "packaging/man/fairlead-net.8", "FILES",
        _sources("netsetup/*/*.cpp")),
    "fairlead-docker": Program(
        BUILD / "docker/fairlead-docker", ROOT / "packaging/man/fairlead-docker.8", "FILES",
        _sources("docker/*.cpp")),
}


def help_options(program):
    """The long options that --help names."""
    text = subprocess.run([PROGRAMS[program].binary, "--help"], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    return set(re.findall(r"--[a-z][a-z-]+", text))
