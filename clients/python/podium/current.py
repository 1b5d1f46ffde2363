"""What a follower says: the version that is current, and how far that can be relied on."""

from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path

from podium.v1.resolve_pb2 import Target


class State(StrEnum):
    """How what a follower has stands to what the registry says; the first that holds of STALE, GONE, UNSERVABLE, RESTORED.

    CONNECTED: changes arrive as they happen. STALE: the registry does not answer, so there may be changes that are not known.
    GONE: the reference means nothing any more. UNSERVABLE: it means a version that may not serve. RESTORED: history was cut (a
    backup was restored), so that what it means may be older than what it meant before; until it changes next.

    `current` stays the last good version in all of them. A process that serves must not fall over because somebody deleted an
    alias or because the registry is away; whether it stops serving is its own decision, for which this is the ground.
    """

    CONNECTED = "connected"
    STALE = "stale"
    GONE = "gone"
    UNSERVABLE = "unservable"
    RESTORED = "restored"


@dataclass(frozen=True)
class Current:
    """A version whose files are on this machine: `path` is a read-only folder in the cache, verified before it came here.

    The other fields are those of the contract's Target, as the registry said them last.
    """

    reference: str
    path: Path
    model: str
    model_uid: str
    number: int
    version: str
    digest: str
    record_digest: str
    stage: str
    servable: bool
    warnings: tuple[str, ...]


# The fields of a Target that serving code is told.
TARGET_FIELDS = tuple(field.name for field in fields(Current) if field.name in Target.DESCRIPTOR.fields_by_name)


def current_of(reference: str, path: Path, target: Target) -> Current:
    values = {name: getattr(target, name) for name in TARGET_FIELDS}
    return Current(reference=reference, path=path, **{**values, "warnings": tuple(target.warnings)})


def same_version(one: Target | None, other: Target | None) -> bool:
    """Whether both are one version, whatever is said about it; or both are none."""
    if one is None or other is None:
        return one is other
    return (one.model_uid, one.number, one.digest) == (other.model_uid, other.number, other.digest)
