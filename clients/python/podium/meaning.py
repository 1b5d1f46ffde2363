"""What the registry says that one reference means, as a step of a watch tells it."""

from dataclasses import dataclass

from podium.current import same_version
from podium.v1.events_pb2 import Absence
from podium.v1.resolve_pb2 import Target
from podium.watching import Snapshot, Step


@dataclass(frozen=True)
class Meaning:
    """A target, or why there is none; the warnings are those of a version that may not serve."""

    target: Target | None
    absence: Absence = Absence.ABSENCE_UNSPECIFIED
    warnings: tuple[str, ...] = ()

    def is_version(self, other: Target | None) -> bool:
        """Whether it is this version, whatever is said about it."""
        return self.target is not None and other is not None and same_version(self.target, other)


def meaning_of(step: Step) -> Meaning:
    """What a reference means after this step of a watch that is about nothing else."""
    if not isinstance(step, Snapshot):
        last = step.events[-1]
        target = last.after.target if last.HasField("after") else None
        return Meaning(target, last.absence, tuple(last.warnings))
    if not step.references:
        return Meaning(None, Absence.ABSENCE_GONE)
    (reference,) = step.references
    return Meaning(reference.target if reference.HasField("target") else None, reference.absence, tuple(reference.warnings))
