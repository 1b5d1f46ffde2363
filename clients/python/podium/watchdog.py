"""Ends streams that are silent for too long: one thread of the process looks at all that are open."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc


class Guard:
    """Cancels a stream that keeps its reader waiting for more than `seconds`; then it is `expired`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.expired = False
        self._call: grpc.Call | None = None
        self._since: float | None = None  # when its reader began to wait

    def over(self, call: grpc.Call) -> None:
        """Guards this stream until it ends."""
        self._call = call
        _watchdog.add(self)
        if not call.add_callback(lambda: _watchdog.remove(self)):
            _watchdog.remove(self)

    def allow(self, seconds: float) -> None:
        """From now on it may be silent for so long."""
        self.seconds = seconds
        _watchdog.look()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Its reader waits: what a slow reader has not asked for is not missing."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def left(self, now: float) -> float:
        """In how many seconds, at the earliest, it may have been silent for too long."""
        since = self._since
        return self.seconds if since is None else since + self.seconds - now

    def expire(self) -> None:
        self.expired = True
        if self._call:
            self._call.cancel()


class _Watchdog:
    """The thread runs while there is something to guard."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._changed = threading.Condition()
        self._guards: set[Guard] = set()
        self._thread: threading.Thread | None = None

    def add(self, guard: Guard) -> None:
        with self._changed:
            self._guards.add(guard)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="podium-watchdog", daemon=True)
                self._thread.start()
            self._changed.notify()

    def remove(self, guard: Guard) -> None:
        with self._changed:
            self._guards.discard(guard)
            self._changed.notify()

    def look(self) -> None:
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while self._guards:
                now = time.monotonic()
                for guard in list(self._guards):
                    if guard.left(now) <= 0:
                        self._guards.discard(guard)
                        guard.expire()
                self._changed.wait(min((guard.left(now) for guard in list(self._guards)), default=0))
            self._thread = None


_watchdog = _Watchdog()
os.register_at_fork(after_in_child=_watchdog.begin)
