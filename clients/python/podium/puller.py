"""The thread that brings what a follower is to have next: the newest, one at a time, again and again until it is there."""

import logging
import threading
import time
from collections.abc import Callable

from podium.backoff import Backoff
from podium.current import same_version
from podium.errors import PodiumError
from podium.transfers import Crew, Stopped
from podium.v1.resolve_pb2 import Target

log = logging.getLogger("podium")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds


class Puller:
    """Calls `bring(target, crew)` for the newest target, and again while that fails, which `failed(target, error)` is told.

    A newer target that is another version stops the crew.
    """

    def __init__(self, bring: Callable[[Target, Crew], object], failed: Callable[[Target, Exception], object]) -> None:
        self._bring, self._failed = bring, failed
        self._changed = threading.Condition()
        self._wanted: Target | None = None  # None: there is nothing to do
        self._due = 0.0  # by the monotonic clock
        self._backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        self._running: tuple[Target, Crew] | None = None
        self._given_up = False  # what runs is not wanted any more
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="podium-puller", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def want(self, target: Target | None) -> None:
        """From now on this is the newest; None stops what is under way."""
        with self._changed:
            self._wanted = target
            self._hurry()
            if self._running and not same_version(self._running[0], target):
                self._give_up()

    def hurry(self) -> None:
        """What failed may well go better now."""
        with self._changed:
            self._hurry()

    def close(self) -> None:
        """Stops what is under way, for good."""
        with self._changed:
            self._closed = True
            self._give_up()
            self._changed.notify_all()

    def join(self, seconds: float) -> None:
        """Waits until the thread has ended, unless it is the one that asks."""
        if threading.current_thread() is not self._thread:
            self._thread.join(seconds)

    def _hurry(self) -> None:
        self._backoff.reset()
        self._due = 0.0
        self._changed.notify_all()

    def _give_up(self) -> None:
        if self._running:
            self._given_up = True
            self._running[1].stop()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            target, crew = job
            failure = self._attempt(target, crew)
            with self._changed:
                self._running = None
                failed = failure is not None and not self._given_up
                if failed and self._wanted is None:
                    self._wanted, self._due = target, time.monotonic() + self._backoff.next()
            if failed and failure:
                self._failed(target, failure)

    def _next(self) -> tuple[Target, Crew] | None:
        """What is to be done now, once there is something; None at the end."""
        with self._changed:
            while not self._closed:
                if self._wanted is None:
                    self._changed.wait()
                elif (seconds := self._due - time.monotonic()) > 0:
                    self._changed.wait(seconds)
                else:
                    self._running, self._wanted, self._given_up = (self._wanted, Crew()), None, False
                    return self._running
            return None

    def _attempt(self, target: Target, crew: Crew) -> Exception | None:
        try:
            self._bring(target, crew)
        except Exception as error:
            if not isinstance(error, PodiumError | OSError | Stopped):
                log.exception("a follower failed to pull a version")
            return error
        return None
