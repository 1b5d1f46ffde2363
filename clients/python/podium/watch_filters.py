"""What a watch is about, as words: references that can move, with globs for the model's name."""

import re
from collections.abc import Iterable
from typing import cast

from podium.errors import InvalidArgument
from podium.v1.events_pb2 import EventKind
from podium.v1.watch_pb2 import WatchFilter

LATEST = "latest"
MAX_MODEL_BYTES, MAX_NAME_BYTES = 256, 128

_SEGMENT = "[A-Za-z0-9][A-Za-z0-9._-]*"
_MODEL = re.compile(f"{_SEGMENT}(/{_SEGMENT})*")
_GLOB = re.compile("[A-Za-z0-9._/*-]+")
_NAME = re.compile(_SEGMENT)
_SIGN = re.compile("[:@#]")


def watch_filters(references: Iterable[str], kinds: Iterable[int] = ()) -> list[WatchFilter]:
    """Filters for `fraud@champion`, `team/*#production`, `fraud@latest`, and for all of `fraud`, `team/*` or, of none, everything.

    `kinds` are for models without a sign; aliases and stages if there are none.
    """
    several = cast("list[EventKind]", list(kinds))
    if not set(EventKind.values()[1:]).issuperset(several):
        raise InvalidArgument("kinds are those of EventKind", fields={"kinds": "there is no such kind of event"})
    filters = [_parse(reference, several) for reference in references]
    return filters or [WatchFilter(kinds=several)]


def followed(reference: str) -> WatchFilter:
    """The filter for one reference that moves; InvalidArgument for others."""
    if not _SIGN.search(reference) or "*" in reference:
        raise _refused(reference, "names no single reference: use NAME@ALIAS, NAME#STAGE or NAME@latest")
    return _parse(reference, [])


def _parse(reference: str, kinds: list[EventKind]) -> WatchFilter:
    cut = _SIGN.search(reference)
    model = reference[: cut.start()] if cut else reference
    grammar = _GLOB if "*" in model else _MODEL
    if not grammar.fullmatch(model) or len(model) > MAX_MODEL_BYTES:
        raise _refused(reference, "does not begin with a model's name, in which '*' and '**' may stand for others")
    if cut is None:
        return WatchFilter(model=model, kinds=kinds)
    sign, name = cut[0], reference[cut.end() :]
    if sign == ":" or name.startswith("sha256:"):
        raise _refused(reference, "means the same version for good: pull it instead")
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME_BYTES:
        raise _refused(reference, f"does not end with {'a stage' if sign == '#' else 'an alias'}")
    if kinds:
        raise _refused(reference, "says by its sign what it is about: kinds are for models")
    return WatchFilter(model=model, name=name, kinds=[_kind(sign, name)])


def _kind(sign: str, name: str) -> EventKind:
    if sign == "#":
        return EventKind.EVENT_KIND_STAGE
    return EventKind.EVENT_KIND_LATEST if name == LATEST else EventKind.EVENT_KIND_ALIAS


def _refused(reference: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"{reference!r} {why}", fields={"reference": why})
