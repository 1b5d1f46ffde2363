"""Events: ListEvents."""

from collections.abc import Iterable
from typing import Any, cast

from podium.v1 import events_pb2 as pb

from podium_server import tables
from podium_server.database import Database
from podium_server.errors import InvalidArgument
from podium_server.history import Event, check_in_history
from podium_server.ledger import Caller
from podium_server.limits import check_count, check_line
from podium_server.paging import Page
from podium_server.positions import parse_position
from podium_server.references import live_model

_KINDS = frozenset(pb.EventKind.values()) - {pb.EVENT_KIND_UNSPECIFIED}


class Events:
    """The RPC of events."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ListEvents(self, request: pb.ListEventsRequest, _caller: Caller) -> pb.ListEventsResponse:
        """See the contract."""
        page = Page(request, int, int)
        row = tables.Event
        place = (row.revision, row.ordinal)
        query = row.select().limit(page.size + 1)
        query = query.order_by(*(column.desc() for column in place) if request.newest_first else place)
        if page.after:
            revision, ordinal = page.after
            later = (row.revision == revision) & (row.ordinal > ordinal) | (row.revision > revision)
            earlier = (row.revision == revision) & (row.ordinal < ordinal) | (row.revision < revision)
            query = query.where(earlier if request.newest_first else later)
        for condition in self._conditions(request.filter):
            query = query.where(condition)
        found = (Event(*row) for row in cast("Iterable[tuple[Any, ...]]", query.tuples()))
        events, token = page.cut(((event.revision, event.ordinal), event.to_proto()) for event in found)
        return pb.ListEventsResponse(events=events, next_page_token=token)

    def _conditions(self, wanted: pb.EventFilter) -> list[object]:
        event = tables.Event
        conditions: list[object] = []
        if wanted.model:
            conditions.append(event.model_uid == live_model(self._database, wanted.model, "filter.model").uid)
        if wanted.kinds:
            check_count(wanted.kinds, "filter.kinds", len(_KINDS))
            if not _KINDS.issuperset(wanted.kinds):
                raise InvalidArgument("there is no such kind of event", field="filter.kinds")
            conditions.append(event.kind << list(wanted.kinds))
        if wanted.name:
            check_line(wanted.name, "filter.name")
            conditions.append(event.name == wanted.name)
        if wanted.after:
            position = parse_position(wanted.after, "filter.after")
            check_in_history(self._database, position, "filter.after")
            conditions.append(event.revision > position.revision)
        return conditions
