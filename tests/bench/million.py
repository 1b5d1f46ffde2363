"""A registry of 1,000,000 versions in 10,000 models on PostgreSQL: what `scale` measures, and the memory of the view.

One version is registered; the others are made of its rows within PostgreSQL, each with a record and a manifest of its own, labels
and an event. What no resolve, list and start reads is left out: files, metrics, params, replies.
"""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import scale
from databases import PostgresBase
from generator import Generator, write_bodies
from podium.v1 import events_pb2, models_pb2, resolve_pb2
from processes import Process, podium
from registry import Registry
from scale import model_name
from table import Row, alone

MODELS = 10_000
VERSIONS = 100
PAGE = 100
# What each model has: kind and name, and the number that it means.
REFERENCES = (
    (events_pb2.EVENT_KIND_LATEST, "latest", VERSIONS),
    (events_pb2.EVENT_KIND_STAGE, "development", VERSIONS),
    (events_pb2.EVENT_KIND_ALIAS, "champion", VERSIONS // 2),
)

# Model m has the id 1 + m: the first one is what the others are made of, and so is its version.
_ALL = f"generate_series(1, {MODELS}) m, generate_series(1, {VERSIONS}) n"
_DIGEST = "'sha256:' || encode(sha256(('{} ' || m || ' ' || n)::bytea), 'hex')"
_MANIFEST, _RECORD = _DIGEST.format("manifest"), _DIGEST.format("record")
_FILL = f"""
    INSERT INTO model SELECT 1 + m, 'team-' || (m - 1) % 20 || '/model-' || m - 1, md5(m::text), description, strategy, lifecycle,
        {VERSIONS}, '1.0.{VERSIONS - 1}', create_time, update_time, etag, deleted_at FROM model, generate_series(1, {MODELS}) m;
    INSERT INTO manifest SELECT {_MANIFEST} FROM {_ALL};
    INSERT INTO record SELECT {_RECORD}, content FROM record, {_ALL};
    INSERT INTO label SELECT 1 + m, n, key, value FROM label, {_ALL};
    INSERT INTO version SELECT 1 + (m - 1) * {VERSIONS} + n, 1 + m, n, '1.0.' || n - 1, {_MANIFEST}, {_RECORD}, file_count,
        size_bytes, external_file_count, stage, n, description, actor, note_count, create_time, update_time, etag, deleted_at
        FROM version, {_ALL};
    INSERT INTO event SELECT 2 + (m - 1) * {VERSIONS} + n, 0, e.time, kind, o.name, o.uid, '1.0.' || n - 1, actor, peer, '', reason,
        text, rollback, before, after, nonce FROM event e, model o, {_ALL} WHERE o.id = 1 + m AND (e.revision, e.ordinal) = (2, 0);
    UPDATE head SET revision = revision + {MODELS * VERSIONS};
"""
_TARGETS = (
    "SELECT m.id, m.name, m.uid, v.number, v.version, v.digest, v.record_digest FROM model m JOIN version v ON v.model_id = m.id "
    "WHERE v.number = %s AND m.id > 1"
)


def measure(generator: Generator, folder: Path) -> Iterator[Row]:
    """As `scale` does, beside a small registry on the same server."""
    large, little = PostgresBase(folder / "large"), PostgresBase(folder / "small")
    _fill(large, folder / "seed")
    yield scale.start("start with 1,000,000 versions", lambda: podium(folder / "one", *large.options), at_most=10)
    with podium(folder / "one", *large.options) as server, podium(folder / "other", *little.options) as small:
        yield _memory(server, small)
        names = [model_name(number) for number in range(MODELS)]
        yield from scale.resolving(generator, folder, server, small, names, "1,000,000 versions")
        yield from scale.pages(generator, server.address, folder, names, basic=50, full=50)
        yield _models(generator, server.address, folder)


def _memory(server: Process, small: Process) -> Row:
    """Both have just started."""
    count = MODELS * len(REFERENCES)
    above = server.resident_bytes() - small.resident_bytes()
    beside = f"{count:,} references of {MODELS:,} models: {above / 1e6:.0f} MB more than an empty registry"
    return alone("memory of the view, a reference", "bytes", above / count, beside=beside)


def _models(generator: Generator, address: str, folder: Path) -> Row:
    registry = Registry(address)
    asked = [models_pb2.ListModelsRequest(page_size=PAGE)]
    while token := registry.stub.ListModels(asked[-1]).next_page_token:
        asked.append(models_pb2.ListModelsRequest(page_size=PAGE, page_token=token))
    registry.close()
    bodies = write_bodies(folder / "models", (request.SerializeToString() for request in asked))
    load = generator.run(address, "ListModels", bodies, 1, repeat=True)
    beside = f"p50 {load.p50:.1f} ms, {len(load.reply) // 1024} KiB; all {len(asked)} pages"
    return alone(f"ListModels, page of {PAGE}, p95", "ms", load.p95, at_most=50, beside=beside)


def _fill(database: PostgresBase, seed: Path) -> None:
    with podium(seed, *database.options) as server:
        registry = Registry(server.address)
        registry.create(["what/the-others-are-made-of"])
        registry.register("what/the-others-are-made-of", 1)
        registry.close()
    database.run("ALTER SYSTEM SET max_wal_size = '16GB'")  # otherwise it writes pages again and again
    database.run("SELECT pg_reload_conf()")
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # no foreign key is checked: they hold
        connection.execute(_FILL)
        for kind, name, number in REFERENCES:
            found = connection.execute(_TARGETS, [number]).fetchall()
            with connection.cursor() as cursor, cursor.copy("COPY reference FROM STDIN") as copy:
                for owner, *fields in found:
                    copy.write_row((owner, kind, name, number, _target(*fields).SerializeToString(), 0, 0))
        connection.execute("ANALYZE")


def _target(model: str, model_uid: str, number: int, version: str, digest: str, record_digest: str) -> resolve_pb2.Target:
    return resolve_pb2.Target(
        model=model, model_uid=model_uid, number=number, version=version, digest=digest, record_digest=record_digest,
        file_count=3, size_bytes=1500, stage="development", servable=True,
    )  # fmt: skip
