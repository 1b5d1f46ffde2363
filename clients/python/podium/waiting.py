"""Waits that a signal ends.

CPython learns of a signal that comes right before it waits for a lock only when that wait is over, so Ctrl-C would be lost in a
wait without an end. The main thread alone runs handlers: it does not wait for long at once.
"""

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

LONGEST_SECONDS = 0.5

Item = TypeVar("Item")


def wait_for(changed: threading.Condition, true: Callable[[], object], timeout: float | None = None) -> bool:
    """As `changed.wait_for`: whether it is true, after up to `timeout` seconds; None waits for as long as it takes."""
    end = None if timeout is None else time.monotonic() + timeout
    while not true():
        left = None if end is None else end - time.monotonic()
        if left is not None and left <= 0:
            return False
        changed.wait(min((bound for bound in (left, _longest()) if bound is not None), default=None))
    return True


def get(queue: SimpleQueue[Item]) -> Item:
    """The next item of a queue, once there is one."""
    while True:
        try:
            return queue.get(timeout=_longest())
        except Empty:
            pass


def _longest() -> float | None:
    return LONGEST_SECONDS if threading.current_thread() is threading.main_thread() else None
