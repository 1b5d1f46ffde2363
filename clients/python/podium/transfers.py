"""What uploads and downloads share: threads side by side that stop together, and patience with a server that is away."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TypeVar

from grpc import StatusCode
from tenacity import RetryCallState, Retrying, retry_if_exception, sleep_using_event, wait_random_exponential

from podium.errors import PodiumError

WORKERS = 4

_CUT = {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED}
_MAY_PASS = {"UPLOAD_BUSY", "OVERLOADED", "OFFSET_MISMATCH", "CONTENT_MISMATCH"}

Item = TypeVar("Item")


class Stopped(Exception):
    """Another thread has failed; this one need not go on."""


class Crew:
    """Threads that work off a list. The first failure, and Ctrl-C, stops them all."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._cancels: set[Callable[[], object]] = set()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def run(self, work: Callable[[Item], object], items: Iterable[Item]) -> None:
        """Does the work for every item; raises the first failure once all threads are back."""
        with ThreadPoolExecutor(WORKERS, "podium") as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self._cancel_all()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

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

    def attempts(self, patience: "Patience") -> Retrying:
        """Attempts of one transfer, with growing pauses, for as long as patience lasts."""
        return Retrying(
            retry=retry_if_exception(lambda error: not self.stopped and may_resume(error)),
            stop=patience,
            wait=wait_random_exponential(multiplier=0.1, max=2),
            sleep=sleep_using_event(self._stop),
            reraise=True,
        )

    def _cancel_all(self) -> None:
        self._stop.set()
        with self._lock:
            for cancel in self._cancels:
                cancel()


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
