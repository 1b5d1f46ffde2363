"""The thread that reads a watch for as long as it is not closed, whatever the watch ends with."""

import logging
import threading
from collections.abc import Callable

from podium.backoff import Backoff
from podium.errors import PodiumError
from podium.watching import Step, Watch

log = logging.getLogger("podium")

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds: what a watch ends with is likely to come back


class Reader:
    """Calls `apply(step)` for all that watches say, each opened by `open_watch`, and `lost(error)` when one ends with an error.

    A process that serves goes on with what it has, and a proxy that led to another server may lead back one day.
    """

    def __init__(
        self, open_watch: Callable[[], Watch], apply: Callable[[Step], object], lost: Callable[[Exception], object]
    ) -> None:
        self._open_watch, self._apply, self._lost = open_watch, apply, lost
        self._changed = threading.Condition()
        self._closed = False
        self.watch = open_watch()
        self._thread = threading.Thread(target=self._run, name="podium-reader", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def close(self) -> None:
        """Ends the watch, for good."""
        with self._changed:
            self._closed = True
            self.watch.close()
            self._changed.notify_all()

    def join(self, seconds: float) -> None:
        """Waits until the thread has ended, unless it is the one that asks."""
        if threading.current_thread() is not self._thread:
            self._thread.join(seconds)

    def _run(self) -> None:
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while not self._closed:
            try:
                for step in self.watch:
                    backoff.reset()
                    self._apply(step)
            except Exception as error:
                if isinstance(error, PodiumError):
                    log.warning("a follower's watch ended: %s", error)
                else:
                    log.exception("a follower's watch ended")
                self._lost(error)
                self._begin_again(backoff.next())

    def _begin_again(self, seconds: float) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed, seconds):
                self.watch = self._open_watch()
