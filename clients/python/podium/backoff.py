"""Growing pauses with full jitter, for loops that begin anew whenever something has come."""

import random


class Backoff:
    """Pauses of any length up to a limit (seconds) that doubles from `first` to `longest`."""

    def __init__(self, first: float, longest: float) -> None:
        self._first, self._longest = first, longest
        self.reset()

    def reset(self) -> None:
        self._limit = self._first

    def next(self) -> float:
        """How many seconds to wait now."""
        limit, self._limit = self._limit, min(2 * self._limit, self._longest)
        return random.uniform(0, limit)  # noqa: S311  spreads those who wait
