"""A steady load on an HTTP server."""

import http.client
import threading
from contextlib import closing
from typing import Self

PATIENCE_SECONDS = 60


class Load:
    """Clients that ask in a loop until the block ends.

    A client's turn is what a subclass says. If one raises, that is a failure, and ends the load.
    """

    def __init__(self, address: str, clients: int) -> None:
        self.failures: list[Exception] = []
        self._address = address
        self._answered = threading.Condition()
        self._turns = [0] * clients
        self._ends = False
        self._threads = [threading.Thread(target=self._run, args=(place,)) for place in range(clients)]

    def turn(self, connection: http.client.HTTPConnection, place: int, number: int) -> None:
        """What one client does in its turn of this number."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends = True
        for thread in self._threads:
            thread.join()

    def wait_for(self, true, problem="it never came true"):
        """Waits until it is true, which is asked after each turn."""
        with self._answered:
            assert self._answered.wait_for(lambda: self.failures or true(), PATIENCE_SECONDS), problem
        if self.failures:
            raise AssertionError("a request failed") from self.failures[0]

    def round(self, count=1):
        """Waits until each client has begun and ended so many turns."""
        goals = [turns + count + 1 for turns in self._turns]
        self.wait_for(lambda: all(turns >= goal for turns, goal in zip(self._turns, goals, strict=True)), "requests hang")

    def _run(self, place: int) -> None:
        with closing(http.client.HTTPConnection(self._address, timeout=PATIENCE_SECONDS)) as connection:
            while not self._ends and not self.failures:
                try:
                    self.turn(connection, place, self._turns[place])
                except Exception as error:
                    self.failures.append(error)
                with self._answered:
                    self._turns[place] += 1
                    self._answered.notify_all()
