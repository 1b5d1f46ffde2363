"""Versions: GetVersion, ListVersions, ListFiles, UpdateVersion, AddNote."""

import heapq
from collections.abc import Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

from podium.v1 import versions_pb2 as pb
from podium.v1.events_pb2 import EventKind
from podium.v1.records_pb2 import VersionRecord

from podium_server import tables
from podium_server.database import Database
from podium_server.errors import Conflict, InvalidArgument
from podium_server.labels import parse_change, read_labels, write_labels
from podium_server.ledger import Caller, Ledger, Transaction
from podium_server.limits import check_labels, check_note
from podium_server.names import check_stage, parse_reference
from podium_server.paging import Page
from podium_server.references import ALIAS, find_version, live_model, version_message, version_state
from podium_server.rows import find, timestamp

SHOWN_NOTES = 50
# Labels are read for so many versions at a time, and records, of up to a MiB each: the page may be full after the first few.
SLICE = 100
FULL_SLICE = 20


class Versions:
    """The RPCs of versions that exist."""

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database = database
        self._ledger = ledger

    def GetVersion(self, request: pb.GetVersionRequest, _caller: Caller) -> pb.GetVersionResponse:
        """See the contract."""
        full = _is_full(request.view, pb.VersionView.VERSION_VIEW_FULL)
        model, version = self._find(request.reference)
        message = version_message(self._database, model, version)
        if not full:
            return pb.GetVersionResponse(version=message)
        content = self._records([version])[version.record_id]
        self._fill(message, version, content)
        return pb.GetVersionResponse(version=message, record_bytes=content)

    def ListVersions(self, request: pb.ListVersionsRequest, _caller: Caller) -> pb.ListVersionsResponse:
        """See the contract."""
        full = _is_full(request.view, pb.VersionView.VERSION_VIEW_BASIC)
        page = Page(request, int)
        check_labels(request.filter.labels, "filter.labels")
        model = live_model(self._database, request.model)
        rows = list(_matching(model, request.filter, page))
        size = FULL_SLICE if full else SLICE
        slices = (rows[start : start + size] for start in range(0, len(rows), size))
        messages = chain.from_iterable(self._messages(model, few, full=full) for few in slices)
        versions, token = page.cut(((row.number,), message) for row, message in messages)
        return pb.ListVersionsResponse(versions=versions, next_page_token=token)

    def ListFiles(self, request: pb.ListFilesRequest, _caller: Caller) -> pb.ListFilesResponse:
        """See the contract."""
        page = Page(request, str)
        after = page.after[0] if page.after else ""
        _, version = self._find(request.reference)
        stored = find(
            self._database, tables.ManifestFile, "manifest_digest = ? AND path > ? ORDER BY path LIMIT ?",
            version.manifest_digest, after, page.size + 1,
        )  # fmt: skip
        external = find(
            self._database, tables.ExternalFile, "record_digest = ? AND path > ? ORDER BY path LIMIT ?",
            version.record_id, after, page.size + 1,
        )  # fmt: skip
        merged: Iterator[Any] = heapq.merge(stored, external, key=attrgetter("path"))
        files, token = page.cut(((row.path,), row.to_proto(pb.File)) for row in merged)
        return pb.ListFilesResponse(files=files, next_page_token=token, number=version.number)

    async def UpdateVersion(self, request: pb.UpdateVersionRequest, caller: Caller) -> bytes:
        """See the contract."""
        reference = parse_reference(request.reference)
        change = parse_change(request, request.version, "version")

        def update(tx: Transaction) -> pb.UpdateVersionResponse:
            model = live_model(tx, reference.model, "reference")
            version = find_version(tx, model, reference)
            if request.version.etag and request.version.etag != version.etag:
                raise Conflict(f"{model.name}:{version.version} has changed since: read it again", current=version.etag)
            current = read_labels(tx, model, version.number)
            labels = change.labels(current)
            description = version.description if change.description is None else change.description
            if (labels, description) == (current, version.description):
                return pb.UpdateVersionResponse(version=version_message(tx, model, version))
            before = version_state(model, version, current)
            version.description, version.update_time, version.etag = description, tx.now, tx.etag
            tx.run(
                "UPDATE version SET description = ?, update_time = ?, etag = ? WHERE id = ?",
                description,
                tx.now,
                tx.etag,
                version.id,
            )
            write_labels(tx, model, labels, version.number)
            tx.event(
                EventKind.EVENT_KIND_VERSION_UPDATED, model.name, model.uid, version.version,
                before=before, after=version_state(model, version, labels), text=change.description,
            )  # fmt: skip
            return pb.UpdateVersionResponse(version=version_message(tx, model, version))

        return await self._ledger.commit(request, caller, update)

    async def AddNote(self, request: pb.AddNoteRequest, caller: Caller) -> bytes:
        """See the contract."""
        reference = parse_reference(request.reference)
        check_note(request.text)

        def add(tx: Transaction) -> pb.AddNoteResponse:
            model = live_model(tx, reference.model, "reference")
            version = find_version(tx, model, reference)
            labels = read_labels(tx, model, version.number)
            before = version_state(model, version, labels)
            version.note_count += 1
            tx.run("UPDATE version SET note_count = ? WHERE id = ?", version.note_count, version.id)
            tx.insert(tables.Note, (version.id, request.text, caller.actor, tx.now))
            tx.event(
                EventKind.EVENT_KIND_NOTE_ADDED, model.name, model.uid, version.version,
                before=before, after=version_state(model, version, labels), text=request.text,
            )  # fmt: skip
            note = pb.Note(text=request.text, actor=caller.actor, create_time=timestamp(tx.now))
            return pb.AddNoteResponse(note=note)

        return await self._ledger.commit(request, caller, add)

    def _find(self, text: str) -> tuple[tables.Model, tables.Version]:
        reference = parse_reference(text)
        model = live_model(self._database, reference.model, "reference")
        return model, find_version(self._database, model, reference)

    def _records(self, versions: Sequence[tables.Version]) -> dict[str, bytes]:
        """The bytes of the versions' records by their digest."""
        marks = ", ".join("?" * len(versions))
        found = find(self._database, tables.Record, f"digest IN ({marks})", *(version.record_id for version in versions))
        return {record.digest: bytes(record.content) for record in found}

    def _fill(self, message: pb.Version, version: tables.Version, record: bytes) -> None:
        """Adds what FULL has more than BASIC."""
        message.record.CopyFrom(VersionRecord.FromString(record))
        if version.note_count:
            notes = find(self._database, tables.Note, "version_id = ? ORDER BY id DESC LIMIT ?", version.id, SHOWN_NOTES)
            message.notes.extend(note.to_proto(pb.Note) for note in notes)

    def _messages(
        self, model: tables.Model, rows: list[tables.Version], *, full: bool
    ) -> Iterator[tuple[tables.Version, pb.Version]]:
        numbers = [row.number for row in rows]
        labels: dict[int, dict[str, str]] = {number: {} for number in numbers}
        for label in tables.Label.select().where((tables.Label.owner == model.id) & (tables.Label.number << numbers)):
            labels[label.number][label.key] = label.value
        aliases: dict[int, list[str]] = {number: [] for number in numbers}
        named = "SELECT number, name FROM reference WHERE model_id = ? AND kind = ? ORDER BY name"
        for number, name in self._database.all(named, model.id, ALIAS):
            aliases.get(number, []).append(name)
        records = self._records(rows) if full else {}
        for row in rows:
            message = row.to_proto(
                pb.Version,
                model=model.name,
                model_uid=model.uid,
                labels=labels[row.number],
                aliases=aliases[row.number],
            )
            if full:
                self._fill(message, row, records[row.record_id])
            yield row, message


def _matching(model: tables.Model, wanted: pb.VersionFilter, page: Page) -> Any:
    version = tables.Version
    query = version.select().where((version.owner == model.id) & version.deleted_at.is_null())
    query = query.order_by(version.number.desc()).limit(page.size + 1)
    if page.after:
        query = query.where(version.number < page.after[0])
    if wanted.HasField("stage"):
        if wanted.stage:
            check_stage(wanted.stage, "filter.stage")
        query = query.where(version.stage == wanted.stage)
    for key, value in wanted.labels.items():
        label = tables.Label
        numbers = label.select(label.number).where((label.owner == model.id) & (label.key == key) & (label.value == value))
        query = query.where(version.number << numbers)
    return query


def _is_full(view: int, default: int) -> bool:
    if view not in pb.VersionView.values():
        raise InvalidArgument(f"there is no view {view}", field="view")
    return (view or default) == pb.VersionView.VERSION_VIEW_FULL
