"""Models: CreateModel, GetModel, ListModels, UpdateModel."""

import uuid
from typing import Any

from podium.v1 import models_pb2 as pb
from podium.v1.events_pb2 import EventKind, EventState

from podium_server import tables
from podium_server.database import Database
from podium_server.errors import Conflict, InvalidArgument, ModelExists
from podium_server.labels import OF_MODEL, parse_change, read_labels, write_labels
from podium_server.ledger import Caller, Ledger, Transaction
from podium_server.lifecycles import DEFAULT, Lifecycles
from podium_server.limits import check_description, check_labels, check_line
from podium_server.names import MAX_MODEL_NAME_BYTES, check_model_name
from podium_server.paging import Page
from podium_server.references import live_model
from podium_server.rows import Reader, get


class Models:
    """The RPCs of models."""

    def __init__(self, database: Database, ledger: Ledger, lifecycles: Lifecycles) -> None:
        self._database = database
        self._ledger = ledger
        self._lifecycles = lifecycles

    async def CreateModel(self, request: pb.CreateModelRequest, caller: Caller) -> bytes:
        """See the contract."""
        check_model_name(request.name, "name")
        check_description(request.description)
        check_labels(request.labels)
        if request.strategy not in pb.VersionStrategy.values():
            raise InvalidArgument(f"there is no strategy {request.strategy}", field="strategy")
        lifecycle = self._lifecycles.get(request.lifecycle or DEFAULT).name
        return await self._ledger.commit(request, caller, lambda tx: _create(tx, request, lifecycle))

    def GetModel(self, request: pb.GetModelRequest, _caller: Caller) -> pb.GetModelResponse:
        """See the contract."""
        return pb.GetModelResponse(model=_message(live_model(self._database, request.name, "name"), self._database))

    def ListModels(self, request: pb.ListModelsRequest, _caller: Caller) -> pb.ListModelsResponse:
        """See the contract."""
        page = Page(request, str)
        check_line(request.filter.name_prefix, "filter.name_prefix", MAX_MODEL_NAME_BYTES)
        check_labels(request.filter.labels, "filter.labels")
        query = tables.Model.select().where(tables.Model.deleted_at.is_null()).order_by(tables.Model.name).limit(page.size + 1)
        if page.after:
            query = query.where(tables.Model.name > page.after[0])
        if request.filter.name_prefix:
            # A range and not LIKE: it uses the index, and nothing in a prefix is special.
            query = query.where(tables.Model.name.between(request.filter.name_prefix, request.filter.name_prefix + "\U0010ffff"))
        for key, value in request.filter.labels.items():
            query = query.where(tables.Model.id << _labelled(key, value))
        rows = list(query)
        labels: dict[int, dict[str, str]] = {row.id: {} for row in rows}
        for owner, key, value in _labels_of(list(labels)):
            labels[owner][key] = value
        models, token = page.cut(((row.name,), row.to_proto(pb.Model, labels=labels[row.id])) for row in rows)
        return pb.ListModelsResponse(models=models, next_page_token=token)

    async def UpdateModel(self, request: pb.UpdateModelRequest, caller: Caller) -> bytes:
        """See the contract."""
        change = parse_change(request, request.model, "model")

        def update(tx: Transaction) -> pb.UpdateModelResponse:
            model = live_model(tx, request.model.name, "model.name")
            if request.model.etag and request.model.etag != model.etag:
                raise Conflict(f"{model.name} has changed since: read it again", current=model.etag)
            before = _message(model, tx)
            labels = change.labels(before.labels)
            description = model.description if change.description is None else change.description
            if (labels, description) == (dict(before.labels), model.description):
                return pb.UpdateModelResponse(model=before)
            model.description, model.update_time, model.etag = description, tx.now, tx.etag
            tx.run(
                "UPDATE model SET description = ?, update_time = ?, etag = ? WHERE id = ?",
                description,
                tx.now,
                tx.etag,
                model.id,
            )
            write_labels(tx, model, labels)
            after = _message(model, tx)
            tx.event(
                EventKind.EVENT_KIND_MODEL_UPDATED, model.name, model.uid, "",
                before=_state(before), after=_state(after), text=change.description,
            )  # fmt: skip
            return pb.UpdateModelResponse(model=after)

        return await self._ledger.commit(request, caller, update)


def _create(tx: Transaction, request: pb.CreateModelRequest, lifecycle: str) -> pb.CreateModelResponse:
    if get(tx, tables.Model, "name = ? AND deleted_at IS NULL", request.name):
        raise ModelExists(f"there is a model {request.name} already", model=request.name)
    strategy = request.strategy or pb.VersionStrategy.VERSION_STRATEGY_SEMANTIC
    tx.insert(
        tables.Model,
        (
            request.name,
            uuid.uuid4().hex,
            request.description,
            strategy,
            lifecycle,
            0,
            "",
            tx.now,
            tx.now,
            tx.etag,
            None,
        ),
    )
    model = live_model(tx, request.name)
    write_labels(tx, model, request.labels)
    message = _message(model, tx)
    tx.event(EventKind.EVENT_KIND_MODEL_CREATED, model.name, model.uid, "", after=_state(message), text=request.description or None)
    return pb.CreateModelResponse(model=message)


def _message(model: tables.Model, reader: Reader) -> pb.Model:
    return model.to_proto(pb.Model, labels=read_labels(reader, model))


def _state(model: pb.Model) -> EventState:
    state = EventState(model=model)
    state.model.description = ""  # free text stands in the event's own column
    return state


def _labels_of(ids: list[int]) -> Any:
    label = tables.Label
    return label.select(label.owner, label.key, label.value).where((label.number == OF_MODEL) & (label.owner << ids)).tuples()


def _labelled(key: str, value: str) -> Any:
    label = tables.Label
    return label.select(label.owner).where((label.number == OF_MODEL) & (label.key == key) & (label.value == value))
