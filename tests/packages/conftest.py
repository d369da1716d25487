import os
import pathlib
import signal

import pytest

from overlay import OverlayMachine

# Fixtures clean up after a termination as they do after Ctrl-C.
signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def packages():
    return pathlib.Path(os.environ["FAIRLEAD_BUILD"]) / "packages"


@pytest.fixture(scope="session")
def deb(packages):
    [found] = packages.glob("*.deb")
    return found


@pytest.fixture
def machine(packages):
    made = OverlayMachine(packages)
    yield made
    made.close()


@pytest.fixture(scope="session")
def installed(packages, deb):
    """A machine with the package on it, for tests that leave it so."""
    made = OverlayMachine(packages)
    made.dpkg("--install", deb)
    yield made
    made.close()
