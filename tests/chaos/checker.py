"""Compares what clients were told with what happened: the log of each history, replayed, explains every reply."""

import time
import traceback
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate

from explaining import Outcome, explain, explain_conflict
from podium.v1.events_pb2 import Event
from replay import Replay, revision_of
from watched import ALIASES

from chaos.calls import READS, Call

CLOCK_SECONDS = 60.0  # far less than a wrong clock is wrong


class History:
    """One log, when it was that of the database, at which revision the clients came, and all of their calls."""

    def __init__(self, events: list[Event], epoch: tuple[float, float], start: int, calls: list[Call]) -> None:
        self.began, self.ended = epoch
        self.replay = Replay(events)
        self.positions = {event.position for event in events}
        self.last = events[-1].revision
        self.found: dict[str, list[int]] = defaultdict(list)
        for revision, group in self.replay.revisions.items():
            if revision > start:
                self.found[group[0].request_id].append(revision)
        told = sorted((call.returned, revision_of(call.reply.position)) for call in calls if self.has(call))
        made = sorted((call.sent, revision) for call in calls if call.method not in READS for revision in self.of(call))
        self._returned = [at for at, _ in told]
        self._highest = list(accumulate((revision for _, revision in told), max))
        self._sent = [at for at, _ in made]
        self._lowest = list(accumulate((revision for _, revision in reversed(made)), min))[::-1]

    def has(self, call: Call) -> bool:
        """Whether a call was told a position of this history."""
        return bool(call.reply) and getattr(call.reply, "position", "") in self.positions

    def of(self, call: Call) -> list[int]:
        """The revisions that a call made."""
        return self.found.get(getattr(call.request, "request_id", ""), [])

    def saw(self, call: Call) -> bool:
        """Whether this was the history of the database while a call was under way."""
        return call.sent <= self.ended and call.returned >= self.began

    def window(self, call: Call) -> tuple[int, int]:
        """The first and the last revision at which the head may have stood while a call was under way.

        The first is the highest that anybody had been told of before it was sent, the last comes right before the lowest of those
        that were asked for only after it had returned.
        """
        before = bisect_left(self._returned, call.sent)
        after = bisect_right(self._sent, call.returned)
        first = self._highest[before - 1] if before else 1
        last = self._lowest[after] - 1 if after < len(self._sent) else self.last
        return first, last

    def explain(self, call: Call) -> None:
        """AssertionError if this history is no reason for what a call was told."""
        if call.method in READS:
            self._explain_read(call)
        elif call.reply:
            self._explain_change(call)
        else:
            assert self.saw(call)
            self._explain_refusal(call, *self.window(call))

    def _explain_change(self, call: Call) -> None:
        assert self.has(call), "the position of an acknowledged change is in the log"
        explain(self.replay, self.of(call), call.method, call.request, call.reply)
        first, last = self.window(call)
        revision = revision_of(call.reply.position)
        assert first + bool(self.of(call)) <= revision <= last, f"between {first} and {last}"

    def _explain_read(self, call: Call) -> None:
        request, asked = call.request, call.request.at_least
        if call.refusal and call.refusal.reason == "POSITION_UNKNOWN":
            assert self.saw(call) and asked not in self.positions
            return
        assert not asked or asked in self.positions, "a position that was cut is not reached"
        first, last = revision_of(asked) if asked else 0, self.window(call)[1]
        if call.refusal:
            self._explain_refusal(call, first, last)
            return
        if call.method == "ResolveVersion":
            self._explain_resolved(call, first, last)
        else:
            version = call.reply.version
            wanted = (version.stage, list(version.aliases))
            assert wanted in self._states(request.reference, first, last), f"between {first} and {last}"

    def _explain_resolved(self, call: Call, first: int, last: int) -> None:
        assert self.has(call)
        reference, target, revision = call.request.reference, call.reply.target, revision_of(call.reply.position)
        assert first <= revision <= last, f"between {first} and {last}"
        if ":" in reference:  # what is read may be newer than the position that is told
            assert target.stage in self.replay.between(reference, revision, last)
        else:
            assert target == self.replay.target(reference, revision)

    def _states(self, reference: str, first: int, last: int) -> Iterator[tuple[object, list[str]]]:
        """The stages and aliases that a version had, one after the other."""
        model, _, number = reference.partition(":")
        names = [f"{model}@{alias}" for alias in ALIASES]
        for revision in self.replay.moments([reference, *names], first, last):
            meant = sorted(name.partition("@")[2] for name in names if self.replay.at(name, revision) == int(number))
            yield self.replay.at(reference, revision), meant

    def _explain_refusal(self, call: Call, first: int, last: int) -> None:
        """Some state between two revisions was the reason for a refusal."""
        request, refusal = call.request, call.refusal
        outcome = Outcome(request, None, refusal, first, last)
        if refusal.reason == "CONFLICT" and call.method == "TransitionStage":
            explain_conflict(self.replay, outcome, request.reference, current=str, expected=request.expected_stage)
        elif refusal.reason == "CONFLICT":
            explain_conflict(
                self.replay, outcome, f"{model_of(call)}@{request.alias}", current=int, expected=request.expected_number
            )
        elif call.method == "DeleteAlias":
            assert refusal.reason == "ALIAS_NOT_FOUND"
            assert 0 in self.replay.between(f"{request.model}@{request.alias}", first, last)
        else:
            assert refusal.reason in {"ALIAS_NOT_FOUND", "STAGE_EMPTY"}, refusal.message
            assert 0 in self.replay.between(request.reference, first, last)


def model_of(call: Call) -> str:
    """The model that a change of an alias is about."""
    return getattr(call.request, "model", "") or call.request.reference.partition("@")[0].partition(":")[0].partition("#")[0]


def violations(histories: list[History], calls: list[Call]) -> Iterator[str]:
    """All that cannot be."""
    for history in histories:
        yield from misplaced(history, calls)
    cuts = [history.ended for history in histories[:-1]]
    for call in calls:
        if call.method == "FindMissingBlobs" or not (call.reply or call.refusal):
            continue
        if call.refusal and call.refusal.reason == "BLOBS_MISSING" and any(call.since <= cut <= call.returned for cut in cuts):
            continue
        reasons = [reason for history in histories if (reason := failure(history, call))]
        if len(reasons) == len(histories):
            yield f"{call}: {reasons}"


def failure(history: History, call: Call) -> str:
    """Why a history does not explain a call; empty if it does."""
    try:
        history.explain(call)
    except AssertionError as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f"{frame.name}: {frame.line} {error}"
    return ""


def misplaced(history: History, calls: list[Call]) -> Iterator[str]:
    """What is in a log and should not be there, or not there."""
    by_id = {call.request.request_id: call for call in calls if call.method not in READS}
    offset = time.time() - time.monotonic()
    for request_id, revisions in history.found.items():
        events = [event for revision in revisions for event in history.replay.revisions[revision]]
        call = by_id.get(request_id)
        if not call:
            if request_id:
                yield f"nobody asked for {events}"
            continue
        if len(revisions) > 1:
            yield f"{call}: took effect {len(revisions)} times, at {revisions}"
        if {event.actor for event in events} != {call.actor}:
            yield f"{call}: has the actor {events[0].actor}"
        if call.refusal and not call.lost:
            yield f"{call}: was refused, and is in the log at {revisions}"
        if (known := history.window(call)[0]) >= revisions[0]:
            yield f"{call}: took effect at {revisions}, though {known} had been acknowledged when it was sent"
        at = events[0].time.ToNanoseconds() / 1e9 - offset
        if not call.sent - CLOCK_SECONDS <= at <= history.ended + CLOCK_SECONDS:
            yield f"{call}: took effect {at - call.sent:.0f} s after it was sent, by the clock of its event"
