"""The reference rows: which version an alias, a stage or `latest` means, and how a change of one becomes an event.

Whatever changes a row goes through here, in a mutation, so that rows, events and view never differ.
"""

from podium.v1.events_pb2 import EventKind, EventState
from podium.v1.resolve_pb2 import Target
from podium.v1.versions_pb2 import Version

from podium_server import tables
from podium_server.errors import AliasNotFound, ModelNotFound, PodiumError, StageEmpty, TooMany, VersionNotFound
from podium_server.labels import read_labels
from podium_server.ledger import Transaction
from podium_server.lifecycles import Lifecycles
from podium_server.limits import MAX_ALIASES
from podium_server.names import LATEST, Reference, check_model_name
from podium_server.rows import Reader, find, get

ALIAS = EventKind.EVENT_KIND_ALIAS
STAGE = EventKind.EVENT_KIND_STAGE
LATEST_KIND = EventKind.EVENT_KIND_LATEST

_CONDITIONS = {
    "number": "model_id = ? AND number = CAST(? AS BIGINT) AND deleted_at IS NULL",
    "version": "model_id = ? AND version = ? AND deleted_at IS NULL",
    "digest": "model_id = ? AND digest = ? AND deleted_at IS NULL ORDER BY number DESC LIMIT 1",
}
_BY_REFERENCE = "SELECT number FROM reference WHERE model_id = ? AND kind = ? AND name = ?"


def live_model(reader: Reader, name: str, field: str = "model") -> tables.Model:
    """The model of that name; ModelNotFound if there is none."""
    model = get(reader, tables.Model, "name = ? AND deleted_at IS NULL", check_model_name(name, field))
    if model is None:
        raise ModelNotFound(f"there is no model {name}", model=name)
    return model


def find_version(reader: Reader, model: tables.Model, reference: Reference) -> tables.Version:
    """The version of a model that a reference means now; VersionNotFound, AliasNotFound or StageEmpty if there is none."""
    kind, value = reference.kind, reference.value
    if kind in ("alias", "stage"):
        event_kind = STAGE if kind == "stage" else LATEST_KIND if value == LATEST else ALIAS
        row = reader.one(_BY_REFERENCE, model.id, event_kind, value)
        if row is None:
            raise not_found(reference)
        kind, value = "number", row[0]
    version = get(reader, tables.Version, _CONDITIONS[kind], model.id, value)
    if version is None:
        raise not_found(reference)
    return version


def not_found(reference: Reference) -> PodiumError:
    """The error for a reference into a model that exists."""
    model, kind, value = reference
    if kind == "stage":
        return StageEmpty(f"no version of {model} is in stage {value}", model=model, stage=value)
    if kind == "alias" and value != LATEST:
        return AliasNotFound(f"{model} has no alias {value}", model=model, alias=value)
    return VersionNotFound(f"{model} has no version {value}" if kind != "alias" else f"{model} has no version yet", model=model)


def target_of(model: tables.Model, version: tables.Version, lifecycles: Lifecycles) -> Target:
    """What serving code needs of a version."""
    servable, warnings = lifecycles.serving(model.lifecycle_name, version.stage)
    return version.to_proto(Target, model=model.name, model_uid=model.uid, servable=servable, warnings=warnings)


def version_message(reader: Reader, model: tables.Model, version: tables.Version) -> Version:
    """A version, BASIC."""
    labels = read_labels(reader, model, version.number)
    aliases = reader.all(
        "SELECT name FROM reference WHERE model_id = ? AND kind = ? AND number = ?", model.id, ALIAS, version.number
    )
    return version.to_proto(
        Version, model=model.name, model_uid=model.uid, labels=labels, aliases=sorted(name for (name,) in aliases)
    )


def version_state(model: tables.Model, version: tables.Version, labels: dict[str, str] | None = None) -> EventState:
    """A version as events keep it: without free text, without who, without aliases (they have events of their own)."""
    state = version.to_proto(Version, model=model.name, model_uid=model.uid, description="", actor="")
    if labels:
        state.labels.update(labels)
    return EventState(version=state)


class References:
    """Changes reference rows within a mutation."""

    def __init__(self, lifecycles: Lifecycles) -> None:
        self._lifecycles = lifecycles

    def row(self, tx: Transaction, model: tables.Model, kind: int, name: str) -> tables.Reference | None:
        """What a reference means now."""
        return get(tx, tables.Reference, "model_id = ? AND kind = ? AND name = ?", model.id, kind, name)

    def point(
        self,
        tx: Transaction,
        model: tables.Model,
        kind: int,
        name: str,
        version: tables.Version,
        before: tables.Reference | None,
    ) -> None:
        """Makes a reference mean a version; `before` is its row."""
        target = target_of(model, version, self._lifecycles)
        content = target.SerializeToString()
        if before is None:
            tx.insert(tables.Reference, (model.id, kind, name, version.number, content, tx.now, tx.revision))
        elif before.target != content:
            tx.run(
                "UPDATE reference SET number = ?, target = ?, time = ?, revision = ? WHERE model_id = ? AND kind = ? AND name = ?",
                version.number, content, before.time if before.number == version.number else tx.now, tx.revision,
                model.id, kind, name,
            )  # fmt: skip
        else:
            return
        tx.event(
            kind, model.name, model.uid, name,
            before=_state(before) if before else None, after=EventState(target=target),
        )  # fmt: skip

    def alias(
        self,
        tx: Transaction,
        model: tables.Model,
        name: str,
        version: tables.Version,
        before: tables.Reference | None,
    ) -> None:
        """Makes an alias mean a version; TooMany if it is new and the model has as many as it may."""
        if before is None:
            row = tx.one("SELECT count(*) FROM reference WHERE model_id = ? AND kind = ?", model.id, ALIAS)
            if row and row[0] >= MAX_ALIASES:
                raise TooMany(f"{model.name} has {MAX_ALIASES} aliases: delete some first", limit=MAX_ALIASES)
        self.point(tx, model, ALIAS, name, version, before)

    def clear(self, tx: Transaction, model: tables.Model, before: tables.Reference) -> None:
        """Makes a reference mean nothing."""
        tx.run("DELETE FROM reference WHERE model_id = ? AND kind = ? AND name = ?", model.id, before.kind, before.name)
        tx.event(before.kind, model.name, model.uid, before.name, before=_state(before))

    def transition(
        self,
        tx: Transaction,
        model: tables.Model,
        version: tables.Version,
        stage: str,
    ) -> None:
        """Moves a version to another stage, and with it every reference that this changes."""
        before, left = version_state(model, version, read_labels(tx, model, version.number)), version.stage
        version.stage, version.stage_entered = stage, tx.revision
        version.update_time, version.etag = tx.now, tx.etag
        tx.run(
            "UPDATE version SET stage = ?, stage_entered = ?, update_time = ?, etag = ? WHERE id = ?",
            stage, tx.revision, tx.now, tx.etag, version.id,
        )  # fmt: skip
        after = version_state(model, version, dict(before.version.labels))
        tx.event(
            EventKind.EVENT_KIND_VERSION_TRANSITIONED, model.name, model.uid, version.version,
            before=before, after=after,
        )  # fmt: skip
        self.point(tx, model, STAGE, stage, version, self.row(tx, model, STAGE, stage))
        for row in find(tx, tables.Reference, "model_id = ? AND number = ? ORDER BY kind, name", model.id, version.number):
            if (row.kind, row.name) == (STAGE, left):
                self._leave(tx, model, row)
            elif row.kind != STAGE:
                self.point(tx, model, row.kind, row.name, version, row)

    def register(self, tx: Transaction, model: tables.Model, version: tables.Version) -> None:
        """Lets `latest`, and the stage that a new version starts in, mean it."""
        condition = "model_id = ? AND ((kind = ? AND name = ?) OR (kind = ? AND name = ?))"
        found = find(tx, tables.Reference, condition, model.id, LATEST_KIND, LATEST, STAGE, version.stage)
        before = {row.kind: row for row in found}
        self.point(tx, model, LATEST_KIND, LATEST, version, before.get(LATEST_KIND))
        if version.stage:
            self.point(tx, model, STAGE, version.stage, version, before.get(STAGE))

    def _leave(self, tx: Transaction, model: tables.Model, row: tables.Reference) -> None:
        head = get(
            tx, tables.Version,
            "model_id = ? AND stage = ? AND deleted_at IS NULL ORDER BY stage_entered DESC, number DESC LIMIT 1",
            model.id, row.name,
        )  # fmt: skip
        if head is None:
            self.clear(tx, model, row)
        else:
            self.point(tx, model, STAGE, row.name, head, row)


def _state(row: tables.Reference) -> EventState:
    return EventState(target=Target.FromString(row.target))
