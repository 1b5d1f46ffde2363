"""What the registry says that one reference means, and how far that can be relied on: what a follower's state follows from."""

from dataclasses import dataclass, replace

from podium.current import State
from podium.v1.events_pb2 import Absence
from podium.v1.resolve_pb2 import Target
from podium.watching import Snapshot, Step


@dataclass(frozen=True)
class Meaning:
    """A target, or why there is none; the warnings are those of a version that may not serve."""

    target: Target | None
    absence: Absence = Absence.ABSENCE_UNSPECIFIED
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Standing:
    """Whether the watch is up, what it said last, if anything, and whether that came after history was cut."""

    connected: bool = False
    meaning: Meaning | None = None
    restored: bool = False

    def after(self, step: Step) -> "Standing":
        """What is true once a step of a watch about nothing else has been read. An ordinary change ends `restored`."""
        meaning = _meaning_of(step)
        restored = isinstance(step, Snapshot) and (step.restored or (self.restored and meaning == self.meaning))
        return replace(self, meaning=meaning, restored=restored)

    @property
    def target(self) -> Target | None:
        """What the reference means, as far as is known."""
        return self.meaning.target if self.meaning else None

    @property
    def state(self) -> State:
        """See State: the first that holds."""
        if not self.connected:
            return State.STALE
        if self.meaning and not self.meaning.target:
            return State.UNSERVABLE if self.meaning.absence == Absence.ABSENCE_UNSERVABLE else State.GONE
        return State.RESTORED if self.restored else State.CONNECTED


def _meaning_of(step: Step) -> Meaning:
    if not isinstance(step, Snapshot):
        last = step.events[-1]
        target = last.after.target if last.HasField("after") else None
        return Meaning(target, last.absence, tuple(last.warnings))
    if not step.references:
        return Meaning(None, Absence.ABSENCE_GONE)
    (reference,) = step.references
    return Meaning(reference.target if reference.HasField("target") else None, reference.absence, tuple(reference.warnings))
