"""What the server needs and others operate: whether it answers, as logs and health tell, so that nobody waits for it in vain.

Health has the names `database` and `blobs` beside the service's own. That stays SERVING while one of them is away: resolution goes
on from memory, and if every server at a database that is away said NOT_SERVING, clients would ask none of them.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from grpc_health.v1.health_pb2 import HealthCheckResponse

from podium_server.blobs.errors import StoreError
from podium_server.errors import StorageUnavailable, one_line

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
PROBE_SECONDS = 10.0
TROUBLED_SECONDS = 1.0
SILENT_LOOKS = 6  # and not a time: a process that was stopped for a while has not looked


class Dependency:
    """Something that one thread asks again and again, so that everybody knows whether it answers."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._trouble: str | None = None
        self._failures = 0
        self._asked = 0
        self._answered = 0

    def check(self) -> None:
        """StorageUnavailable while it does not answer: whoever asked it now would wait for nothing."""
        if self._trouble is not None:
            raise StorageUnavailable(f"the {self.name} cannot be used now (the server's log tells why): try again later")

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around each question of the thread, one that is answered at once.

        Two that fail one after the other are trouble, until one does not: the first may have met a connection that was cut.
        """
        self._asked += 1
        try:
            yield
        except Exception as error:
            self._failures += 1
            if self._failures > 1:
                self._trouble = one_line(error)
            raise
        else:
            self._failures, self._trouble = 0, None
        finally:
            self._answered = self._asked

    async def watch(self, tell: Callable[[str, Any], Awaitable[None]]) -> None:
        """Runs for ever: tells at first, and whenever it stops answering or answers again, which is logged too."""
        looks, asked = 0, 0
        told: str | None = ""
        while True:
            looks = looks + 1 if self._answered != self._asked == asked else 0
            asked = self._asked
            if looks == SILENT_LOOKS:
                self._trouble = f"it has not answered for {LOOK_SECONDS * SILENT_LOOKS:g} s"
            trouble = self._trouble
            if trouble != told:
                if trouble is not None:
                    log.error("the %s cannot be used: %s", self.name, trouble)
                elif told:
                    log.warning("the %s can be used again", self.name)
                await tell(self.name, HealthCheckResponse.SERVING if trouble is None else HealthCheckResponse.NOT_SERVING)
                told = trouble
            await asyncio.sleep(LOOK_SECONDS)


class Probe:
    """A thread that asks a dependency now and then, for one that nothing else asks all the time."""

    def __init__(self, standing: Dependency, question: Callable[[], None]) -> None:
        self._standing = standing
        self._question = question
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"probe {standing.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Asks no more."""
        self._stop.set()

    def _run(self) -> None:
        again = 0.0
        while not self._stop.wait(again):
            again = PROBE_SECONDS
            with suppress(StoreError), self._standing.asking():
                self._question()
                continue
            again = TROUBLED_SECONDS
