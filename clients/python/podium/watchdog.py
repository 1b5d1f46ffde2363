"""Ends streams that are silent for too long: one thread of the process looks at all that are open.

A stream is read by a thread of its own, which can be left behind. grpcio 1.85 was seen to never end a call that had been cancelled
while its connection failed, about once in 300,000 streams: whoever waits inside gRPC then waits for ever.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Generic, TypeVar

import grpc

from podium.waiting import get

Message = TypeVar("Message")


class Left(Exception):
    """The stream was left behind."""


class Receiver(Generic[Message]):
    """Gives what `read` returns, which a thread calls once for each message that is wanted, until it returns None or raises."""

    def __init__(self, read: Callable[[], Message | None]) -> None:
        self._read = read
        self._wanted: SimpleQueue[bool] = SimpleQueue()
        self._came: SimpleQueue[Message | BaseException | None] = SimpleQueue()
        threading.Thread(target=self._run, name="podium-receiver", daemon=True).start()

    def next(self) -> Message | None:
        """The next message, None after the last; or raises what reading raised, or `Left`."""
        self._wanted.put(True)
        came = get(self._came)
        if isinstance(came, BaseException):
            try:
                raise came
            finally:
                del came  # the error has this frame, and would be kept by it until garbage is collected
        return came

    def leave(self) -> None:
        """Ends the wait of who waits; the thread ends when gRPC lets it."""
        self._came.put(Left())
        self._wanted.put(False)

    def _run(self) -> None:
        while self._wanted.get():
            try:
                came = self._read()
            except BaseException as error:  # noqa: BLE001  it is raised where the message is wanted
                self._came.put(error.with_traceback(None))  # nobody may want it any more, and its frames have this queue
                return
            self._came.put(came)
            if came is None:
                return


class Guard:
    """Ends a stream that keeps its reader waiting for more than `seconds`; then it is `expired`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.expired = False
        self._end: Callable[[], object] = lambda: None
        self._since: float | None = None  # when its reader began to wait

    def over(self, call: grpc.Call, end: Callable[[], object]) -> None:
        """Guards this stream until it ends; `end` cancels it, and ends its reader's wait also where gRPC does not."""
        self._end = end
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
        self._end()


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
