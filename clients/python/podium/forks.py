"""Forks and calls take turns: a process can be forked only while none of its threads is inside gRPC, else the child hangs.

Before a fork, streams are cancelled, and calls that a push or pull repeats: whoever runs one goes on where it stopped. Other
calls are short, and are waited for.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc

log = logging.getLogger("podium")

PATIENCE_SECONDS = 5.0  # then the fork goes ahead: a server that does not answer must not stop the program


class Turns:
    """Who is inside gRPC now. `generation` is 0 in the first process and one more in each that was forked from it."""

    def __init__(self) -> None:
        self._begin(0)

    def _begin(self, generation: int) -> None:
        self.generation = generation
        self._changed = threading.Condition()
        self._inside = 0
        self._forking = False
        self._cancels: set[Callable[[], object]] = set()

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Holds forks back; waits while one is under way."""
        with self._changed:
            self._changed.wait_for(lambda: not self._forking)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def cancelled_by_forks(self, cancel: Callable[[], object]) -> Iterator[None]:
        """Within `calling`: says how to end this call when somebody wants to fork."""
        with self._changed:
            self._cancels.add(cancel)
            if self._forking:
                cancel()
        try:
            yield
        finally:
            with self._changed:
                self._cancels.discard(cancel)

    def opened(self, call: grpc.Call) -> None:
        """Within `calling`: this stream stays open while nobody is inside. A fork cancels it, and waits until it has ended."""
        changed = self._changed

        def ended() -> None:
            with changed:
                self._inside -= 1
                self._cancels.discard(call.cancel)
                changed.notify_all()

        with changed:
            self._inside += 1
            self._cancels.add(call.cancel)
            if self._forking:
                call.cancel()
        if not call.add_callback(ended):
            ended()

    def before_fork(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._forking)
            self._forking = True
            for cancel in self._cancels:
                cancel()
            if not self._changed.wait_for(lambda: not self._inside, PATIENCE_SECONDS):
                log.warning("a process is forked while a call to a Podium server is under way: the child may hang")

    def after_fork_in_parent(self) -> None:
        with self._changed:
            self._forking = False
            self._changed.notify_all()

    def after_fork_in_child(self) -> None:
        # Only the thread that forked lives on: what the others held or did is void here.
        self._begin(self.generation + 1)


turns = Turns()
os.register_at_fork(
    before=turns.before_fork,
    after_in_parent=turns.after_fork_in_parent,
    after_in_child=turns.after_fork_in_child,
)
