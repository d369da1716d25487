"""fairlead-test-churn: TCP connections whose both ends it holds and checks, tests/load/churn.cpp."""

import contextlib
import json
import os
import subprocess

from conftest import next_port

PROGRAM = os.environ["FAIRLEAD_TEST_CHURN"]


class Churn:
    """Begun at once. The proxy has to lead from `front` to `back`, ports of 127.0.0.1."""

    def __init__(self, front, back, connections, at_once, *, per_second=0, seed=1, crowd=False):
        arguments = [front, back, connections, at_once, per_second, seed]
        self._process = subprocess.Popen(
            [PROGRAM, *map(str, arguments), *(["crowd"] if crowd else [])],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout.readline() == "ready\n"

    def result(self, seconds=None):
        """What it found, when it has come to its end."""
        text, _ = self._process.communicate(timeout=seconds)
        assert self._process.returncode == 0
        return json.loads(text)

    def stop(self):
        """What it found so far."""
        self._process.terminate()
        return self.result(60)

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def running(*arguments, **how):
    churn = Churn(*arguments, **how)
    try:
        yield churn
    finally:
        churn.close()


def check(found):
    """Nothing was lost, mixed up, cut short or left hanging, on any connection."""
    assert found["faults"] == {} and found["unfinished"] == 0, found
    assert found["whole_clients"] == found["whole_services"], found
