"""Why calls were answered as they were: what the log, replayed, must say about each reply."""

from collections.abc import Callable
from typing import NamedTuple

from conftest import Refusal
from google.protobuf.message import Message
from grpc import StatusCode
from replay import Replay, revision_of


class Outcome(NamedTuple):
    """One call: what was asked, what came back, and the revisions of the database before and after it."""

    request: Message
    reply: Message | None
    refusal: Refusal | None
    first: int
    last: int

    @property
    def revision(self) -> int:
        return revision_of(self.reply.position)

    def changed(self, replay: Replay) -> bool:
        """Whether the call made the revision at which its reply says that it stands."""
        return replay.revisions[self.revision][0].request_id == self.request.request_id


def explain(replay: Replay, found: list[int], method: str, request: Message, reply: Message) -> None:
    """A mutation that was acknowledged is in the log once or changed nothing; `found` are the revisions with its request id."""
    revision = revision_of(reply.position)
    assert found in ([revision], [])
    assert replay.position(revision) == reply.position
    if rule := _RULES.get(method):
        rule(replay, revision, bool(found), request, reply)


def explain_conflict(replay: Replay, outcome: Outcome, key: str, *, current: Callable[[str], object], expected: object) -> None:
    """The value that a lost compare-and-set tells was there while the call was under way, and is not the expected one."""
    refusal = outcome.refusal
    assert (refusal.code, refusal.reason) == (StatusCode.ABORTED, "CONFLICT"), refusal.message
    told = current(refusal.metadata["current"])
    assert told != expected
    assert told in replay.between(key, outcome.first, outcome.last)


def _registered(replay: Replay, revision: int, changed: bool, request: Message, reply: Message) -> None:
    version = reply.version
    assert changed or not reply.created
    known = replay.versions[version.model][version.number]
    assert (known.version, known.digest, known.record_digest) == (version.version, version.digest, version.record_digest)
    entered = replay.registered[version.model, version.number]
    assert entered == revision if reply.created else entered <= revision
    for alias in request.aliases:
        assert replay.at(f"{version.model}@{alias}", revision) == version.number


def _alias_set(replay: Replay, revision: int, changed: bool, request: Message, reply: Message) -> None:
    key, before = f"{reply.alias.model}@{request.alias}", revision - changed
    assert replay.at(key, revision) == reply.alias.number == _meant(replay, request.reference, before)
    assert replay.at(key, before) == reply.previous_number
    assert changed is (reply.previous_number != reply.alias.number)
    if request.HasField("expected_number"):
        assert reply.previous_number == request.expected_number


def _alias_deleted(replay: Replay, revision: int, changed: bool, request: Message, reply: Message) -> None:
    assert changed
    (event,) = replay.revisions[revision]
    assert event.before.target.number == reply.previous_number and not event.HasField("after")
    if request.HasField("expected_number"):
        assert reply.previous_number == request.expected_number


def _moved(replay: Replay, revision: int, changed: bool, request: Message, reply: Message) -> None:
    version, before = reply.version, revision - changed
    key = f"{version.model}:{version.number}"
    assert version.number == _meant(replay, request.reference, before)
    assert replay.at(key, revision) == version.stage == request.stage
    if request.HasField("expected_stage"):
        assert replay.at(key, before) == request.expected_stage
    events = replay.revisions[revision] if changed else []
    moved = {event.after.version.number for event in events if event.after.HasField("version")}
    assert moved - {version.number} == set(reply.archived_numbers)


def _noted(replay: Replay, revision: int, changed: bool, request: Message, reply: Message) -> None:
    assert changed
    assert [event.text for event in replay.revisions[revision]] == [request.text]


def _meant(replay: Replay, reference: str, revision: int) -> object:
    """The number that a reference, movable or of a number, meant at a revision."""
    model, _, number = reference.partition(":")
    return int(number) if number else replay.at(model, revision)


_RULES = {
    "RegisterVersion": _registered,
    "SetAlias": _alias_set,
    "DeleteAlias": _alias_deleted,
    "TransitionStage": _moved,
    "AddNote": _noted,
}
