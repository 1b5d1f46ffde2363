"""Measures two servers by turns, of which the other is stopped meanwhile."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")


class Server(Protocol):
    """A server that can be stopped for a while."""

    def paused(self) -> AbstractContextManager[None]:
        """Stops it for a while."""


@dataclass(frozen=True)
class Turns:
    """How often two servers are measured."""

    rounds: int
    ours: Server
    theirs: Server

    def take(self, ours: Callable[[int], T], theirs: Callable[[int], T]) -> list[tuple[T, T]]:
        """Measures both in each round, in changing order; the first, number 0, warms up and does not count."""
        pairs = []
        for number in range(self.rounds + 1):
            if number % 2:
                pairs.append((self._while_paused(self.theirs, ours, number), self._while_paused(self.ours, theirs, number)))
            else:
                later = self._while_paused(self.ours, theirs, number)
                pairs.append((self._while_paused(self.theirs, ours, number), later))
        return pairs[1:]

    @staticmethod
    def _while_paused(other: Server, measure: Callable[[int], T], number: int) -> T:
        with other.paused():
            return measure(number)
