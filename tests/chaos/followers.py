"""Followers of an alias, as services have them: what each showed, and whether that can be."""

import threading
from pathlib import Path

import podium
from podium.v1.events_pb2 import Event
from replay import ALIAS

from chaos.load import FOLLOWED

SECONDS = 120.0
NAME = "champion"
REFERENCE = f"{FOLLOWED}@{NAME}"


class Followed:
    """A follower by way of one address, and all numbers that it ever showed."""

    def __init__(self, address: str, cache: Path) -> None:
        self._registry = podium.connect(address, cache=cache)
        self.follower = self._registry.follow(REFERENCE)
        self.numbers: list[int] = []
        self.changes = self.follower.changes()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for current in self.changes:
            says = (current.path / "n").read_text()
            assert says == f"{FOLLOWED} {current.number}"
            self.numbers.append(current.number)

    def reach(self, number: int) -> None:
        """Returns when it shows this version and hears of changes, as it does when RESTORED, too."""
        up = {podium.State.CONNECTED, podium.State.RESTORED}
        there = self.follower.wait_for(lambda one: one.current.number == number and one.state in up, SECONDS)
        assert there, f"a follower is {self.follower.state} at {self.follower.current.number}: {self.follower.problem}"

    def explain(self, histories: list[list[Event]]) -> None:
        """What it showed is what the alias meant, in that order, in one history after the other."""
        meant = iter([number for history in histories for number in meanings(history)])
        missing = [number for number in self.numbers if number not in meant]  # each is looked for behind the one before
        assert not missing, f"a follower showed {self.numbers}, and {missing} does not follow"

    def close(self) -> None:
        self.follower.close()
        self._reader.join(SECONDS)
        self._registry.close()


def meanings(history: list[Event]) -> list[int]:
    """The numbers that the alias meant, one after the other."""
    changes = [event for event in history if (event.model, event.kind, event.name) == (FOLLOWED, ALIAS, NAME)]
    return [event.after.target.number for event in changes]
