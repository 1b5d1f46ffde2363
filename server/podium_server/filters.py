"""What a watch is about: the rules of its filters, ready to be asked for each event."""

from collections.abc import Iterable
from typing import NamedTuple

from podium.v1.events_pb2 import EventKind
from podium.v1.watch_pb2 import WatchFilter

from podium_server.errors import InvalidArgument
from podium_server.globs import check_glob, glob_matches, is_glob
from podium_server.limits import MAX_WATCH_FILTERS, check_line
from podium_server.names import MAX_VERSION_BYTES, check_model_name

_KINDS = frozenset(EventKind.values()) - {EventKind.EVENT_KIND_UNSPECIFIED}
_DEFAULT_KINDS = frozenset({EventKind.EVENT_KIND_ALIAS, EventKind.EVENT_KIND_STAGE})


class _Rule(NamedTuple):
    """A name (empty for all) and kinds: what a filter says beside the model."""

    name: str
    kinds: frozenset[int]


class Chosen:
    """The union of filters: the models that they name, the globs for others, and what they want of each."""

    def __init__(self, filters: Iterable[WatchFilter]) -> None:
        self._exact: dict[str, set[_Rule]] = {}
        self._globs: dict[str, set[_Rule]] = {}
        for model, rule in map(_parse, *_numbered(filters)):
            (self._globs if is_glob(model) else self._exact).setdefault(model, set()).add(rule)

    @property
    def models(self) -> Iterable[str]:
        """The models that are named."""
        return self._exact

    @property
    def has_globs(self) -> bool:
        """Whether there may be others."""
        return bool(self._globs)

    def of_model(self, model: str) -> list[_Rule]:
        """The rules for one model."""
        rules = list(self._exact.get(model, ()))
        for glob, more in self._globs.items():
            if glob_matches(glob, model):
                rules += more
        return rules

    def has(self, model: str, kind: int, name: str) -> bool:
        """Whether it is about such an event."""
        return chooses(self.of_model(model), kind, name)


def chooses(rules: Iterable[_Rule], kind: int, name: str) -> bool:
    """Whether one of a model's rules chooses such an event of it."""
    return any(kind in rule.kinds and rule.name in ("", name) for rule in rules)


def _numbered(filters: Iterable[WatchFilter]) -> tuple[range, list[WatchFilter]]:
    found = list(filters) or [WatchFilter()]
    if len(found) > MAX_WATCH_FILTERS:
        raise InvalidArgument(f"a watch has at most {MAX_WATCH_FILTERS} filters: use globs, or several watches", field="filters")
    return range(len(found)), found


def _parse(place: int, wanted: WatchFilter) -> tuple[str, _Rule]:
    field = f"filters[{place}]"
    model = check_glob(wanted.model, f"{field}.model") or "**"
    if not is_glob(model):
        check_model_name(model, f"{field}.model")
    check_line(wanted.name, f"{field}.name", MAX_VERSION_BYTES)
    if len(wanted.kinds) > len(_KINDS) or not _KINDS.issuperset(wanted.kinds):
        raise InvalidArgument("there is no such kind of event", field=f"{field}.kinds")
    return model, _Rule(wanted.name, frozenset(wanted.kinds) or _DEFAULT_KINDS)
