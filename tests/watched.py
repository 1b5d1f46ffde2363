"""What watches under faults are about, and how what each was told compares with the log."""

from bisect import bisect_right
from itertools import pairwise
from operator import attrgetter

from google.protobuf.message import Message
from podium.v1.events_pb2 import ABSENCE_UNSERVABLE, Event, EventKind
from replay import ALIAS, LATEST, SIGNS, STAGE, revision_of
from watcher import Choice, Filter, Segment, Watcher

MODELS = ["risk/fraud", "risk/churn", "search/rank", "search/rank/large"]
ALIASES = ["champion", "challenger", "canary"]
STAGES = ["development", "staging", "production", "deprecated"]
EVERY_KIND = tuple(kind for kind in EventKind.values() if kind)

CHOICES = [
    Choice((Filter("risk/fraud", "champion"),)),
    Choice((Filter("risk/fraud", "champion", (ALIAS,)),), for_serving=True),
    Choice((Filter("risk/*"),)),
    Choice((Filter("search/**", "production", (STAGE,)),), for_serving=True),
    Choice((Filter("**", "", EVERY_KIND),)),
    Choice((Filter("**", "", EVERY_KIND),), for_serving=True),
    Choice((Filter("", "", (LATEST,)),)),
    Choice((Filter("search/*"), Filter("**/fraud", "", (EventKind.EVENT_KIND_VERSION_REGISTERED,)))),
    Choice((Filter("*/r*k", "canary", (ALIAS,)), Filter("search/rank", "", EVERY_KIND)), for_serving=True),
    Choice((Filter("nothing/**", "", EVERY_KIND),)),
]


def compare(watcher: Watcher, histories: list[list[Event]]) -> None:
    """For each segment of a watch there is one history that has all of it."""
    for segment in watcher.segments:
        revisions = [revision_of(position) for position in segment.positions]
        assert all(earlier <= later for earlier, later in pairwise(revisions)), "a watch never goes back"
        reasons = [difference(history, watcher.choice, segment, revisions) for history in histories]
        assert None in reasons, f"{watcher.choice}: {reasons}"


def difference(history: list[Event], choice: Choice, segment: Segment, revisions: list[int]) -> str | None:
    """How a segment differs from what this history says that it should be; None if it does not."""
    places = {event.position: event.revision for event in history}
    if missing := [position for position in segment.positions if position not in places]:
        return f"the history does not have {len(missing)} of {len(segment.positions)} positions"
    expected = [
        choice.shown(event) for event in history if revisions[0] < event.revision <= revisions[-1] and choice.chooses(event)
    ]
    if segment.events != expected:
        return f"{len(segment.events)} events, expected {len(expected)}"
    if segment.counts != [bisect_right(expected, revision, key=attrgetter("revision")) for revision in revisions]:
        return "a position came without all that is up to it, or with more"
    known: dict[str, Message] = {}
    for event in history:
        if event.revision <= revisions[0] and event.kind in SIGNS and choice.chooses(event):
            name = f"{event.model}{SIGNS[event.kind]}{event.name}"
            known[name] = event.after.target
            if not event.HasField("after"):
                del known[name]
    told = {f"{one.model}{SIGNS[one.kind]}{one.name}": one for one in segment.references}
    if len(told) != len(segment.references) or told.keys() != known.keys():
        return f"the snapshot has {sorted(told)}, expected {sorted(known)}"
    for name, reference in told.items():
        withheld = choice.for_serving and not known[name].servable
        if withheld != (reference.absence == ABSENCE_UNSERVABLE) or (not withheld and reference.target != known[name]):
            return f"the snapshot shows another {name}"
    return None
