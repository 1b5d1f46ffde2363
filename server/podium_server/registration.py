"""Registration: RegisterVersion, by which a version comes to be whole or not at all.

What the bytes of the request alone decide is checked and hashed before the writer is asked. The rows of long file lists are
written before as well, in pieces, by the digest of their manifest, so that no mutation is long.
"""

import asyncio
from collections.abc import Sequence
from functools import cache, partial
from itertools import chain
from typing import NamedTuple

from podium.v1 import versions_pb2 as pb
from podium.v1.events_pb2 import EventKind
from podium.v1.models_pb2 import VersionStrategy
from podium.v1.records_pb2 import VersionRecord

from podium_server import records, tables
from podium_server.database import Row
from podium_server.errors import BlobsMissing, InvalidArgument
from podium_server.ledger import Caller, Ledger, Transaction
from podium_server.lifecycles import Lifecycles
from podium_server.limits import MAX_REGISTERED_ALIASES, check_count, check_description, check_labels, check_line, check_reason
from podium_server.manifests import check_files, manifest_digest
from podium_server.names import MAX_VERSION_BYTES, check_model_name, check_settable_alias, check_stage, parse_reference
from podium_server.presence import PRESENT, present
from podium_server.references import ALIAS, References, find_version, live_model, version_message, version_state
from podium_server.rows import add, get, insert_statement
from podium_server.strategies import highest, next_version

PIECE = 500
MAX_ROWS = 32  # of one statement
LARGE_BYTES = 64 * 1024
MAX_SHOWN_DIGESTS = 20

_ADD_FILE = (
    "INSERT INTO manifest_file (manifest_digest, path, digest, size_bytes) SELECT ?, ?, digest, size_bytes FROM blob "
    f"WHERE digest = ? AND size_bytes = ? AND {PRESENT} ON CONFLICT DO NOTHING"  # constant
)
_WHOLE_FILES = (
    "SELECT f.path, f.size_bytes FROM manifest_file f JOIN blob b ON b.digest = f.digest AND b.state = 'complete' "
    "WHERE f.manifest_digest = ?"
)
_OWN_BLOBS = (
    "INSERT INTO model_blob (model_id, digest) SELECT ?, digest FROM manifest_file WHERE manifest_digest = ? ON CONFLICT DO NOTHING"
)


class _Content(NamedTuple):
    """What a version is: the digest of its files' manifest, and its record, also as bytes and their digest."""

    manifest_digest: str
    record: VersionRecord
    record_bytes: bytes
    record_digest: str


class Registration:
    """The RPC that makes versions."""

    def __init__(self, ledger: Ledger, lifecycles: Lifecycles, references: References) -> None:
        self._ledger = ledger
        self._lifecycles = lifecycles
        self._references = references

    async def RegisterVersion(self, request: pb.RegisterVersionRequest, caller: Caller) -> bytes:
        """See the contract."""
        # Checking and hashing a large request takes long enough to be noticed by whoever resolves meanwhile.
        digest, content = await asyncio.to_thread(_check, request) if request.ByteSize() > LARGE_BYTES else _check(request)
        for start in range(0, len(request.files) - PIECE, PIECE):
            files = request.files[start : start + PIECE]
            await self._ledger.write(partial(_add_files, digest=digest, files=files))
        external = records.external_rows(content.record, content.record_digest) if content else []
        for start in range(0, len(external) - PIECE, PIECE):
            await self._ledger.write(partial(_add_external, rows=external[start : start + PIECE]))
        return await self._ledger.commit(request, caller, lambda tx: self._register(tx, request, digest, content))

    def _register(
        self, tx: Transaction, request: pb.RegisterVersionRequest, digest: str, content: _Content | None
    ) -> pb.RegisterVersionResponse:
        model = live_model(tx, request.model)
        check_line(request.version, "version", MAX_VERSION_BYTES)
        if content is None:
            content = _with_parents(tx, request, digest)
        # The record's digest pins the manifest's, which is in it. The plus keeps the planner from walking the model's versions.
        existing = get(
            tx, tables.Version,
            "record_digest = ? AND +model_id = ? AND (? = '' OR version = ?) AND deleted_at IS NULL ORDER BY number DESC LIMIT 1",
            content.record_digest, model.id, request.version, request.version,
        )  # fmt: skip
        if existing is not None:
            return self._again(tx, request, model, existing)
        size = _store_files(tx, model, content.manifest_digest, request.files)
        version = self._insert(tx, request, model, content, size)
        labels = dict(request.labels)
        tx.event(
            EventKind.EVENT_KIND_VERSION_REGISTERED, model.name, model.uid, version.version,
            after=version_state(model, version, labels), text=request.description or None,
        )  # fmt: skip
        self._references.register(tx, model, version)
        self._set_aliases(tx, request, model, version)
        message = version.to_proto(
            pb.Version, model=model.name, model_uid=model.uid, labels=labels, aliases=sorted(set(request.aliases))
        )
        return pb.RegisterVersionResponse(version=message, created=True)

    def _again(
        self, tx: Transaction, request: pb.RegisterVersionRequest, model: tables.Model, version: tables.Version
    ) -> pb.RegisterVersionResponse:
        """The version is there already: what was asked for beside it is done to it."""
        if request.stage and request.stage != version.stage:
            self._lifecycles.check_move(model.lifecycle_name, version.stage, request.stage, rollback=False)
            self._references.transition(tx, model, version, request.stage)
        self._set_aliases(tx, request, model, version)
        return pb.RegisterVersionResponse(version=version_message(tx, model, version))

    def _insert(
        self, tx: Transaction, request: pb.RegisterVersionRequest, model: tables.Model, content: _Content, size_bytes: int
    ) -> tables.Version:
        stage = request.stage if request.HasField("stage") else self._lifecycles.get(model.lifecycle_name).initial_stage
        if stage:
            self._lifecycles.check_start(model.lifecycle_name, stage)
        number = model.last_number + 1
        name = _name(tx, request, model, content.record, number)
        top = model.highest_version
        if model.strategy == VersionStrategy.VERSION_STRATEGY_SEMANTIC:
            top = highest(top, name)
        tx.run("UPDATE model SET last_number = ?, highest_version = ? WHERE id = ?", number, top, model.id)
        tx.run(
            "INSERT INTO record (digest, content) VALUES (?, ?) ON CONFLICT DO NOTHING",
            content.record_digest, content.record_bytes,
        )  # fmt: skip
        external = records.external_rows(content.record, content.record_digest)
        has_parents = len(content.record.parents) > 0  # then none were written before
        _add_external(tx, external if has_parents else external[-PIECE:])
        version = add(
            tx, tables.Version,
            model.id, number, name, content.manifest_digest, content.record_digest, len(request.files), size_bytes,
            len(content.record.external_files), stage, tx.revision if stage else 0, request.description, tx.caller.actor, 0,
            tx.now, tx.now, tx.etag, None,
        )  # fmt: skip
        tx.insert(tables.Label, *((model.id, number, key, value) for key, value in request.labels.items()))
        tx.insert(tables.Metric, *records.metric_rows(content.record, version.id))
        tx.insert(tables.Param, *records.param_rows(content.record, version.id))
        tx.insert(tables.Input, *records.input_rows(content.record, version.id))
        tx.insert(tables.Parent, *records.parent_rows(content.record, version.id))
        return version

    def _set_aliases(
        self, tx: Transaction, request: pb.RegisterVersionRequest, model: tables.Model, version: tables.Version
    ) -> None:
        for alias in sorted(set(request.aliases)):
            before = self._references.row(tx, model, ALIAS, alias)
            self._references.alias(tx, model, alias, version, before)


def _check(request: pb.RegisterVersionRequest) -> tuple[str, _Content | None]:
    """Checks all that the request alone decides. Returns the digest of its manifest, and the version's content.

    Without a content where that takes the head lock: the record of a version with parents says which versions they are.
    """
    check_model_name(request.model, "model")
    check_files(request.files, request.record.external_files)
    records.check_record(request.record)
    check_description(request.description)
    check_labels(request.labels)
    check_reason(request.reason)
    check_count(request.aliases, "aliases", MAX_REGISTERED_ALIASES)
    for alias in request.aliases:
        check_settable_alias(alias, "aliases")
    if request.stage:
        check_stage(request.stage, "stage")
    if request.bump not in pb.VersionBump.values():
        raise InvalidArgument(f"{request.bump} is no bump that this server knows", field="bump")
    digest = manifest_digest(request.files)
    if request.record.manifest_digest not in ("", digest):
        raise InvalidArgument(f"the files have the manifest {digest}, not this one", field="record.manifest_digest")
    has_parents = any(parent.reference for parent in request.record.parents)
    return digest, None if has_parents else _complete(_copy(request.record), digest)


def _copy(record: VersionRecord) -> VersionRecord:
    copy = VersionRecord()
    copy.CopyFrom(record)
    return copy


def _complete(record: VersionRecord, digest: str) -> _Content:
    """Serializes the record, once for all times."""
    record.manifest_digest = digest
    content = records.serialize(record)
    return _Content(digest, record, content, records.record_digest(content))


def _with_parents(tx: Transaction, request: pb.RegisterVersionRequest, digest: str) -> _Content:
    """The content whose record says which versions the references to its parents mean now."""
    record = _copy(request.record)
    for index, parent in enumerate(record.parents):
        if parent.reference:
            field = f"record.parents[{index}].reference"
            reference = parse_reference(parent.reference, field)
            model = live_model(tx, reference.model, field)
            number = find_version(tx, model, reference).number
            if parent.model_uid not in ("", model.uid) or parent.number not in (0, number):
                raise InvalidArgument(f"{parent.reference} is number {number}: leave model_uid and number out", field=field)
            parent.model_uid, parent.number = model.uid, number
    return _complete(record, digest)


def _name(tx: Transaction, request: pb.RegisterVersionRequest, model: tables.Model, record: VersionRecord, number: int) -> str:
    def taken(name: str) -> bool:
        return tx.one("SELECT 1 FROM version WHERE model_id = ? AND version = ?", model.id, name) is not None

    return next_version(
        model.strategy, model_name=model.name, number=number, highest=model.highest_version, explicit=request.version,
        bump=request.bump, commit=record.source.commit, now_us=tx.now, taken=taken,
    )  # fmt: skip


def _add_files(tx: Transaction, digest: str, files: Sequence[pb.ManifestFile]) -> None:
    for start in range(0, len(files), MAX_ROWS):
        few = files[start : start + MAX_ROWS]
        values = chain.from_iterable((file.path, file.digest, file.size_bytes) for file in few)
        tx.run(_add_statement(len(few)), *values, digest)


@cache
def _add_statement(count: int) -> str:
    """Adds that many files to a manifest, as far as their blobs are there and have their sizes."""
    return (
        f"WITH given (path, digest, size_bytes) AS (VALUES {', '.join(['(?, ?, ?)'] * count)}) "
        "INSERT INTO manifest_file (manifest_digest, path, digest, size_bytes) "
        "SELECT ?, given.path, blob.digest, blob.size_bytes FROM given JOIN blob USING (digest, size_bytes) "
        f"WHERE {PRESENT} ON CONFLICT DO NOTHING"
    )


def _add_external(tx: Transaction, rows: Sequence[Row]) -> None:
    tx.many(f"{insert_statement(tables.ExternalFile)} ON CONFLICT DO NOTHING", rows)


def _store_files(tx: Transaction, model: tables.Model, digest: str, files: Sequence[pb.ManifestFile]) -> int:
    """Makes the manifest's rows complete, and its blobs the model's. Returns the size of all files."""
    if tx.one("INSERT INTO manifest (digest) VALUES (?) ON CONFLICT DO NOTHING RETURNING digest", digest):
        _add_files(tx, digest, files[(len(files) - 1) // PIECE * PIECE :] if files else [])
    sizes = {file.path: file.size_bytes for file in files}
    if dict(tx.all(_WHOLE_FILES, digest)) != sizes:
        _refuse_missing(tx, files)
    tx.run(_OWN_BLOBS, model.id, digest)
    return sum(sizes.values())


def _refuse_missing(tx: Transaction, files: Sequence[pb.ManifestFile]) -> None:
    sizes = present(tx, sorted({file.digest for file in files}))
    for index, file in enumerate(files):
        if sizes.get(file.digest, file.size_bytes) != file.size_bytes:
            raise InvalidArgument(f"{file.digest} has {sizes[file.digest]} bytes", field=f"files[{index}].size_bytes")
    missing = sorted({file.digest for file in files} - set(sizes))
    raise BlobsMissing(
        f"{len(missing)} of the files are not uploaded yet: upload them first",
        digests=",".join(missing[:MAX_SHOWN_DIGESTS]), total=len(missing),
    )  # fmt: skip
