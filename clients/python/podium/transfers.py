"""What uploads and downloads share: threads side by side that stop together, and patience with a server that is away."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

from grpc import StatusCode
from tenacity import RetryCallState, Retrying, retry_if_exception, sleep_using_event, wait_random_exponential

from podium.errors import PodiumError
from podium.waiting import get

WORKERS = 4

_CUT = {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED}
_MAY_PASS = {"UPLOAD_BUSY", "OVERLOADED", "OFFSET_MISMATCH", "CONTENT_MISMATCH"}

Item = TypeVar("Item")


class Stopped(Exception):
    """Another thread has failed, or nobody wants this any more: it need not go on."""


class Crew:
    """Threads that work off a list. The first failure, Ctrl-C, and `stop` end them all."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._cancels: set[Callable[[], object]] = set()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def run(self, work: Callable[[Item], object], items: Iterable[Item]) -> None:
        """Does the work for every item; raises the first failure once all threads are back.

        A program that ends does not wait for these threads, only for its own, which wait here.
        """
        todo = list(items)
        shared = iter(todo)
        ended: SimpleQueue[BaseException | None] = SimpleQueue()
        threads = [
            threading.Thread(target=self._work_off, args=(work, shared, ended), name="podium", daemon=True) for _ in todo[:WORKERS]
        ]
        for thread in threads:
            thread.start()
        failures: list[BaseException] = []
        try:
            for _ in threads:
                if failure := get(ended):
                    self.stop()
                    failures.append(failure)
        except BaseException:
            self.stop()
            raise
        finally:
            for thread in threads:
                thread.join()
        for first in failures:
            raise first
        self.check()

    def stop(self) -> None:
        """Ends all that it does. `run` and `pause` raise Stopped, or what they were ended with."""
        self._stop.set()
        with self._lock:
            for cancel in self._cancels:
                cancel()

    @contextmanager
    def stoppable(self, cancel: Callable[[], object]) -> Iterator[None]:
        """Says how to end what this thread is waiting for."""
        with self._lock:
            self._cancels.add(cancel)
        if self.stopped:
            cancel()
        try:
            yield
        finally:
            with self._lock:
                self._cancels.discard(cancel)

    def check(self) -> None:
        """Raises Stopped if the crew is stopped."""
        if self._stop.is_set():
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Sleeps; raises Stopped as soon as the crew is stopped."""
        if self._stop.wait(seconds):
            raise Stopped

    def attempts(self, patience: Callable[[RetryCallState], bool]) -> Retrying:
        """Attempts of one transfer, with growing pauses, for as long as patience lasts: see Patience."""
        return Retrying(
            retry=retry_if_exception(lambda error: not self.stopped and may_resume(error)),
            stop=patience,
            wait=wait_random_exponential(multiplier=0.1, max=2),
            sleep=sleep_using_event(self._stop),
            reraise=True,
        )

    def _work_off(self, work: Callable[[Item], object], shared: Iterator[Item], ended: SimpleQueue[BaseException | None]) -> None:
        try:
            for item in shared:
                self.check()
                work(item)
        except BaseException as error:  # noqa: BLE001  who waits for this thread raises it
            ended.put(error)
        else:
            ended.put(None)


class Patience:
    """Gives a transfer up once no byte has moved for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.moved()

    def moved(self) -> None:
        """Bytes have moved: the clock starts again."""
        self._since = time.monotonic()

    def __call__(self, _: RetryCallState) -> bool:
        return time.monotonic() - self._since > self._seconds


def may_resume(error: BaseException) -> bool:
    """Whether the same transfer may well go on in a moment: it was cut, or somebody else is in the way."""
    return isinstance(error, PodiumError) and (error.code in _CUT or error.reason in _MAY_PASS)
