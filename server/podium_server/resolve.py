"""Resolution: ResolveVersion, which serving code calls. Answered on the event loop from the view's bytes.

References by number, version or digest are not in the view; their targets are read once and kept until a version of the model
changes or comes (a stage is part of a target, and of several versions with one digest the highest number counts).
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from podium.v1.resolve_pb2 import ResolveVersionRequest, ResolveVersionResponse, Target

from podium_server.errors import ModelNotFound, NotCaughtUp, NotServable
from podium_server.history import in_history
from podium_server.ledger import Caller
from podium_server.lifecycles import Lifecycles
from podium_server.names import Reference, parse_reference
from podium_server.positions import Position
from podium_server.references import find_version, live_model, not_found, target_of
from podium_server.rows import Reader
from podium_server.view import Entry, View

KEPT_ENTRIES = 65_536


class _Kept(NamedTuple):
    """An entry that was read when the database was at a revision of one of the view's histories."""

    entry: Entry
    revision: int
    history: int


class Resolve:
    """The RPC of resolution."""

    def __init__(self, view: View, lifecycles: Lifecycles, read: Callable[[Callable[[Reader], _Kept]], Awaitable[_Kept]]) -> None:
        self._view = view
        self._lifecycles = lifecycles
        self._read = read
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def ResolveVersion(self, request: ResolveVersionRequest, _caller: Caller) -> bytes:
        """See the contract."""
        # Before waiting: what is read is never older than the position that the reply shows, nor of another history.
        tail = self._view.tail
        entry = self._view.entry(request.reference) or await self._find(request.reference)
        if request.for_serving and not entry.servable:
            raise NotServable(f"{request.reference} may not serve: {'; '.join(entry.warnings)}", warnings="; ".join(entry.warnings))
        return entry.reply + tail

    async def find_target(self, text: str) -> Target:
        """The target of a reference, for downloads."""
        entry = self._view.entry(text) or await self._find(text)
        return ResolveVersionResponse.FromString(entry.reply).target

    async def _find(self, text: str) -> Entry:
        reference = parse_reference(text)
        model = self._view.models.get(reference.model)
        if model is None:
            raise ModelNotFound(f"there is no model {reference.model}", model=reference.model)
        if reference.kind in ("alias", "stage"):
            raise not_found(reference)
        kept = self._kept.get(text)
        history = self._view.history
        if kept is None or kept.history != history or model.changed > kept.revision:
            shown = self._view.position
            kept = await self._read(lambda reader: self._load(reader, reference, history, shown))
            self._kept[text] = kept
            if len(self._kept) > KEPT_ENTRIES:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(text)
        return kept.entry

    def _load(self, reader: Reader, reference: Reference, history: int, shown: Position) -> _Kept:
        if not in_history(reader, shown):
            raise NotCaughtUp("history was cut, which this server is about to notice: try again")
        head = reader.one("SELECT revision FROM head")
        assert head is not None
        model = live_model(reader, reference.model, "reference")
        version = find_version(reader, model, reference)
        return _Kept(Entry.of(target_of(model, version, self._lifecycles)), head[0], history)
