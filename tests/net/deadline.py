"""Waiting for something to become true, no longer than necessary and never for ever."""

import select
import time

DEFAULT_SECONDS = 10.0


def wait_until(condition, what, seconds=DEFAULT_SECONDS):
    """Polls until `condition()` is true and returns its value; fails with `what` after `seconds`.

    `what` may be a function, to describe how things stand at the end.
    """
    end = time.monotonic() + seconds
    pause = 0.0005
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(f"after {seconds} s: {what() if callable(what) else what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)


def ready(descriptor, events, seconds):
    """Whether poll(2) reports `events` within `seconds`. (select(2) ends at descriptor 1023.)"""
    poll = select.poll()
    poll.register(descriptor, events)
    return bool(poll.poll(seconds * 1000))
