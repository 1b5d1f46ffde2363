"""podium migrate: whole registries between SQLite and PostgreSQL, a folder and a bucket, and what comes in between."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from itertools import count
from pathlib import Path

import apsw
import grpc
import podium
import postgres
import psycopg
import pytest
from all_nouns import UNFINISHED, AllNouns, answers
from conftest import RunningServer
from gcs_servers import BUCKET
from podium_server.database.postgres import PostgresDatabase
from podium_server.moving import Place, move
from processes import Process
from relay import Relay
from replay import read_events
from story import create_model, download, register, upload
from streams import committed, digest_of, until
from streams import upload as upload_from
from watching import Watching
from wire import request_of

PODIUM = Path(sys.executable).with_name("podium")
SECONDS = 120
SEED = 20_261_203
KILLS = 6
numbers = count()

try:
    postgres.program("postgres")
except FileNotFoundError as missing:  # scripts/install-postgresql says it aloud
    pytest.skip(str(missing), allow_module_level=True)


def sqlite(data):
    """The URL of the database in a data folder."""
    return f"sqlite://{data}/registry.db"


def blobs(data):
    return f"file://{data}/blobs"


def new_database():
    """The URL of an empty database."""
    name = f"migrate{os.getpid()}x{next(numbers)}"
    postgres.shared_server().run(f"CREATE DATABASE {name}")
    return postgres.shared_server().url(name)


def name_of(database):
    return database.rpartition("/")[2]


def by_way_of(relay, url):
    """The URL of the same database through a relay."""
    return re.sub(r"127\.0\.0\.1:\d+", relay.address, url)


def command(source, target, *options):
    named = [*(("--from", place) for place in source), *(("--to", place) for place in target)]
    return [str(PODIUM), "migrate", *(str(part) for pair in named for part in pair), *options]


def migrate(source, target, *options, code=0, environment=None):
    """Runs podium migrate; what it printed on stdout, or on stderr if it is to be refused, which is one line."""
    done = subprocess.run(
        command(source, target, *options),
        capture_output=True, text=True, timeout=SECONDS, env={**os.environ, **(environment or {})}, check=False,
    )  # fmt: skip
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    if code in (0, 7):
        return done.stdout
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    return done.stderr


def moved(*arguments, **options):
    """What podium migrate says in JSON."""
    return json.loads(migrate(*arguments, "--json", **options))


def rows_of(said):
    return {table["table"]: int(table["rows"]) for table in said["tables"]}


class Registry:
    """A data folder that a server has filled with all nouns and left: what it answered, and the calls that it replied to."""

    def __init__(self, data):
        self.data = data
        server = RunningServer(data, "--database", sqlite(data))
        self.nouns = AllNouns(server.stub)
        self.answers = answers(server.stub)
        self.events = read_events(server.stub)
        server.stop()


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """Nobody writes to it."""
    return Registry(tmp_path_factory.mktemp("registry") / "data")


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    data = tmp_path_factory.mktemp("filled") / "data"
    server = RunningServer(data, "--database", sqlite(data))
    fill(server.stub)
    server.stop()
    return data


@pytest.fixture
def small(filled, tmp_path):
    """A data folder with two versions of two files each, whose server has stopped."""
    return shutil.copytree(filled, tmp_path / "small")


def fill(stub):
    create_model(stub, "m")
    for number in (1, 2):
        contents = {"same": b"same", "own": b"%d" % number * 1000}
        files = [
            {"path": path, "digest": upload(stub, "m", content), "size_bytes": len(content)} for path, content in contents.items()
        ]
        register(stub, "m", files=files, aliases=["champion"] if number == 1 else [])


def start_refused(data):
    """What a server says that does not start on SQLite."""
    tried = [sys.executable, "-m", "podium_server", "--data", str(data), "--listen", "127.0.0.1:0"]
    done = subprocess.run(tried, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def is_the_same_registry(server, registry):
    """A server on a copy: every answer, a watch that goes on, calls that are made again, an upload, and what comes next."""
    stub = server.stub
    assert answers(stub) == registry.answers
    middle = registry.events[len(registry.events) // 2].position
    later = [event for event in registry.events if event.revision > registry.events[len(registry.events) // 2].revision]
    with Watching(stub, {"kinds": range(1, 10)}, position=middle) as watch:
        assert watch.events(len(later)) == later
    for method, request, reply in registry.nouns.retries:
        assert getattr(stub, method)(request) == reply
    assert answers(stub) == registry.answers, "a retry changes nothing"


def goes_on(server, registry):
    """New ids, numbers and revisions follow those of before."""
    stub = server.stub
    create_model(stub, "new")
    reply = register(stub, "risk/fraud")
    stub.AddNote(request_of("AddNote", reference="risk/fraud:4", text="new"))
    assert reply.version.number == 4
    events = read_events(stub)
    assert events[: len(registry.events)] == registry.events
    assert sorted({event.revision for event in events}) == list(range(1, registry.events[-1].revision + 4))


def test_to_postgresql_and_a_bucket_and_back(registry, start_server, gcs, tmp_path):
    database, bucket = new_database(), f"gs://{BUCKET}/moved"
    said = moved([registry.data], [database, bucket], environment=gcs.environment)
    assert said["verified"] and rows_of(said)["manifest_file"] > 27_000 and rows_of(said)["upload"] == 1
    server = start_server("--database", database, "--blobs", bucket, environment=gcs.environment)
    is_the_same_registry(server, registry)
    goes_on(server, registry)
    later = answers(server.stub)
    server.stop()

    back = tmp_path / "back"
    assert moved([database, bucket], [back], "--read-back", environment=gcs.environment)["verified"]
    server = start_server("--database", sqlite(back), data=back)
    assert answers(server.stub) == later
    create_model(server.stub, "newer")
    # What was left of an upload stayed where it was: the client is told, and sends all of it.
    (tmp_path / "weights").write_bytes(UNFINISHED)
    with podium.connect(server.address) as client:
        client.push("churn", tmp_path / "weights")


def test_a_database_and_blobs_move_by_themselves(registry, start_server, tmp_path):
    """Blobs under a running server; and where they stay, also what is left of an upload does."""
    data, folder, database = tmp_path / "data", tmp_path / "elsewhere", new_database()
    shutil.copytree(registry.data, data)
    server = start_server("--database", sqlite(data), data=data)
    said = moved([data], [f"file://{folder}"])
    assert (said["position"], said["tables"], said["files"]["count"]) == (registry.answers["position"], [], "4")
    assert answers(server.stub) == registry.answers
    server.stop()
    said = moved([sqlite(data)], [database])
    assert (said["position"], said["files"]) == (registry.answers["position"], None)
    server = start_server("--database", database, "--blobs", blobs(data), data=tmp_path / "other")
    is_the_same_registry(server, registry)
    offset = committed(server.stub, "churn", UNFINISHED)
    assert offset > 0
    assert upload_from(server.stub, "churn", UNFINISHED, offset).complete
    server.stop()
    server = start_server("--database", database, "--blobs", f"file://{folder}", data=tmp_path / "other")
    assert answers(server.stub)["files"] == registry.answers["files"]


class Killer:
    """Runs podium migrate again and again, and kills it when so many bytes have passed through a relay."""

    def __init__(self, source, target, **environment):
        self.command = command(source, target)
        self.environment = {**os.environ, **environment}
        self.random = random.Random(SEED)
        print(f"seed {SEED}")

    def run(self, relay, way, least, most):
        with Process(self.command, env=self.environment) as running:
            relay.when_cut = running.popen.kill
            relay.cut_after(**{way: self.random.randrange(least, most)})
            assert running.wait() == -signal.SIGKILL, running.rest()


def test_killed_again_and_again_on_the_way_there(registry, start_server, gcs, tmp_path):
    relay, bucket = Relay(f"127.0.0.1:{postgres.shared_server().port}"), Relay(gcs.address.removeprefix("http://"))
    through = {"STORAGE_EMULATOR_HOST": f"http://{bucket.address}"}
    database, blobs = new_database(), f"gs://{BUCKET}/moved"
    killer = Killer([registry.data], [by_way_of(relay, database), blobs], **through)
    for _ in range(KILLS // 2):  # while its tables are made
        killer.run(relay, "up", 100, 30_000)
    there = []
    for _ in range(KILLS):
        killer.run(relay, "up", 500_000, 1_500_000)
        there.append(postgres.shared_server().run("SELECT count(*) FROM manifest_file", database=name_of(database)))
    assert there == sorted(there), "what is there stays"
    assert there[0] < there[-1]
    server = start_server("--database", database, "--blobs", blobs, environment=gcs.environment, wait=False)
    until(lambda: "is a copy that podium migrate has not finished" in server.output())
    for _ in range(KILLS // 2):
        killer.run(bucket, "up", 1_000, 2_000_000)
    assert moved([registry.data], [database, blobs], environment=gcs.environment)["verified"]
    server.await_ready()
    is_the_same_registry(server, registry)
    relay.close()
    bucket.close()


def test_killed_again_and_again_on_the_way_back(registry, start_server, tmp_path):
    relay, database = Relay(f"127.0.0.1:{postgres.shared_server().port}"), new_database()
    migrate([registry.data], [database])
    source, back = [by_way_of(relay, database), blobs(registry.data)], tmp_path / "back"
    killer = Killer(source, [back])
    for _ in range(KILLS):
        killer.run(relay, "down", 300_000, 4_000_000)
    assert "podium migrate has not finished" in start_refused(back)
    assert moved(source, [back])["verified"]
    is_the_same_registry(start_server("--database", sqlite(back), data=back), registry)
    relay.close()


def test_only_an_empty_database_or_the_same_copy_is_written_to(small, registry, start_server, tmp_path):
    other, database = tmp_path / "other", new_database()
    shutil.copytree(small, other)
    migrate([sqlite(small)], [database])
    before = postgres.shared_server().run("SELECT * FROM event", database=name_of(database))
    assert "is another registry: name an empty database" in migrate([sqlite(registry.data)], [database], code=4)
    assert moved([small], [database])["verified"], "again, there is nothing to do"
    server = start_server("--database", sqlite(other), data=other)
    register(server.stub, "m")
    server.stop()
    assert "is this registry at another position: name an empty database" in migrate([sqlite(other)], [database], code=4)
    assert before == postgres.shared_server().run("SELECT * FROM event", database=name_of(database))

    said = migrate([sqlite(other), blobs(other)], [blobs(registry.data)], code=4)
    assert "--to names a store with the blobs of another registry" in said

    unfinished = f"sqlite://{tmp_path}/unfinished.db"
    break_blob(other)
    migrate([other], [unfinished, f"file://{tmp_path}/new"], code=7)
    assert "is an unfinished copy of this registry at another position" in migrate([small], [unfinished], code=4)
    assert "is an unfinished copy of another registry" in migrate([registry.data], [unfinished], code=4)
    assert "is an unfinished copy itself" in migrate([unfinished], [f"sqlite://{tmp_path}/third.db"], code=4)


@pytest.mark.parametrize("where", ["sqlite", "postgresql"])
def test_a_database_in_use_is_not_copied(small, start_server, tmp_path, where):
    database = sqlite(small)
    if where == "postgresql":
        database = new_database()
        migrate([sqlite(small)], [database])
    server = start_server("--database", database, data=small)
    target = f"sqlite://{tmp_path}/copy.db"
    assert "is in use: stop its servers first" in migrate([database], [target], code=6)
    register(server.stub, "m")
    server.kill()
    assert moved([database], [target])["verified"]


def test_nobody_writes_and_no_server_starts_while_its_database_is_copied(small, start_server, tmp_path):
    database = new_database()
    migrate([sqlite(small)], [database])
    with closing(PostgresDatabase(database).hold()):
        with pytest.raises(psycopg.errors.LockNotAvailable):
            postgres.shared_server().run("SET lock_timeout = 100; UPDATE head SET revision = 9", database=name_of(database))
        server = start_server("--database", database, wait=False)
        until(lambda: "is being copied by podium migrate" in server.output())
        assert "is in use" in migrate([database], [f"sqlite://{tmp_path}/copy.db"], code=6)
    server.await_ready()


def break_blob(data, change=lambda content: b"X" + content[1:]):
    """Changes the bytes of a blob in a folder; its digest."""
    path = min((data / "blobs" / "sha256").glob("??/*"))
    path.write_bytes(change(path.read_bytes()))
    return f"sha256:{path.name}"


@pytest.mark.parametrize("change", [lambda content: b"X" + content[1:], lambda content: content[:-1]], ids=["changed", "cut"])
def test_a_blob_that_is_damaged_where_it_is(small, start_server, tmp_path, change):
    good = {path: path.read_bytes() for path in small.glob("blobs/sha256/??/*")}
    digest, back = break_blob(small, change), tmp_path / "back"
    said = moved([small], [back], code=7)
    assert said["damaged"] == [{"digest": digest, "problem": "where it is now: its bytes are damaged"}]
    assert not said["verified"]
    assert {path.name for path in back.glob("blobs/sha256/??/*")} == {path.name for path in good} - {digest[7:]}
    assert not list(back.glob("blobs/partial/*"))
    assert "podium migrate has not finished" in start_refused(back)
    for path, content in good.items():
        path.write_bytes(content)
    assert moved([small], [back])["verified"]


def test_a_blob_that_is_lost_or_quarantined(small, start_server, tmp_path):
    lost = break_blob(small)
    server = start_server("--database", sqlite(small), data=small)
    with pytest.raises(grpc.RpcError) as damaged:
        download(server.stub, "m:1", "same"), download(server.stub, "m:1", "own"), download(server.stub, "m:2", "own")
    assert damaged.value.code() is grpc.StatusCode.DATA_LOSS
    server.stop()
    said = moved([small], [tmp_path / "one"])
    assert (said["verified"], said["files"]["count"]) == (True, "2"), "a quarantined blob counts as missing"
    for path in small.glob("blobs/sha256/??/*"):
        if path.name != lost[7:]:
            path.unlink()
    said = moved([small], [tmp_path / "two"], code=7)
    assert [blob["problem"] for blob in said["damaged"]] == [
        f"where it is now: there is no blob {blob['digest']}" for blob in said["damaged"]
    ]
    assert len(said["damaged"]) == 2


def test_a_copy_is_verified(small, tmp_path):
    copy = tmp_path / "copy"
    migrate([small], [copy])
    digest = break_blob(copy)
    assert moved([small], [copy])["verified"], "the size is the same"
    assert moved([small], [copy], "--read-back", code=7)["damaged"] == [{"digest": digest, "problem": "its bytes are damaged"}]
    (copy / "blobs" / "sha256" / digest[7:9] / digest[7:]).unlink()
    assert moved([small], [copy], "--read-back")["verified"], "it is copied again"
    for change, where in [
        ("UPDATE event SET reason = 'other' WHERE revision = 2", ("event", "2, 0")),
        ("DELETE FROM event WHERE revision = 3 AND ordinal = 1", ("event", "2, 0")),
        ("UPDATE blob SET crc32c = zeroblob(4) WHERE size_bytes = 4", ("blob", digest_of(b"same"))),
        ("INSERT INTO label VALUES (1, 0, 'k', 'v')", ("label", "1, 0, k")),
    ]:
        with closing(apsw.Connection(f"{copy}/registry.db")) as database:
            database.execute(change)
        said = moved([small], [copy], code=7)
        assert where in [(table["table"], table["differs_at"]) for table in said["tables"]]
        assert not said["verified"]


def test_text_that_postgresql_cannot_keep(small):
    with closing(apsw.Connection(f"{small}/registry.db")) as database:
        database.execute("UPDATE model SET description = ?", ("a\0b",))
    assert "the table model cannot be copied: PostgreSQL text fields cannot contain NUL" in migrate(
        [sqlite(small)], [new_database()], code=1
    )


@pytest.mark.parametrize(
    ("source", "target", "code", "says"),
    [
        (["small"], ["postgresql://u:secret@h/n"], 4, "all users of this machine see a password in --to"),
        (["host=db password=secret"], ["there"], 4, "all users of this machine see a password in --from"),
        (["small"], ["s3://models"], 4, "--to is not a data folder, sqlite:///PATH"),
        (["postgresql://u@127.0.0.1:1/n"], ["there"], 4, "--to names a store of blobs, and --from none"),
        (["postgresql://u@127.0.0.1:1/n"], ["sqlite:///x.db"], 6, "postgresql://127.0.0.1:1/n cannot be opened"),
        (["small"], ["postgresql://u@127.0.0.1:1/n"], 6, "postgresql://127.0.0.1:1/n cannot be opened"),
        (["small"], ["postgresql://u@[::1/n"], 4, "the URL of the database is none that libpq reads"),
        (["small"], ["one", "other"], 4, "--to names two places for the same"),
        (["file:///x"], ["gs://models/x"], 4, "--from names no database"),
        (["nothing"], ["there"], 4, "there is no database"),
        (["small"], ["small"], 4, "--from and --to name the same place"),
        (["small"], ["gs://models$"], 4, "is not the URL of a blob store"),
    ],
)
def test_what_cannot_be_moved_is_said_in_one_line(small, tmp_path, source, target, code, says):
    placed = [[str(tmp_path / place) if place.isalpha() else place for place in named] for named in (source, target)]
    said = migrate(*placed, code=code)
    assert says in said
    assert "secret" not in said


def test_a_database_without_a_registry_is_none_to_move(tmp_path):
    empty = new_database()
    assert "there is no registry in postgresql://" in migrate([empty], [f"sqlite://{tmp_path}/copy.db"], code=4)
    assert not (tmp_path / "copy.db").exists()


def test_in_pieces_of_any_size(small, tmp_path, monkeypatch):
    monkeypatch.setattr("podium_server.moving.rows.BATCH_BYTES", 1)
    monkeypatch.setattr("podium_server.moving.files.PAGE_BLOBS", 1)
    done = {}

    def progress(stage, total):
        done[stage] = [total, 0]

        def tell(count):
            done[stage][1] += count

        return tell

    assert move(
        Place.parse([str(small)], "--from"), Place.parse([str(tmp_path / "copy")], "--to"), progress, read_back=True
    ).is_whole
    assert list(done) == ["copying rows", "copying files", "checking files", "checking rows"]
    assert all(total == told > 0 for total, told in done.values())


def test_whoever_looks_sees_how_far_it_is(small, tmp_path):
    main, terminal = os.openpty()
    asked = command([small], [tmp_path / "copy"])
    subprocess.run(asked, stdout=subprocess.DEVNULL, stderr=terminal, timeout=SECONDS, check=True)
    shown = os.read(main, 1 << 16)
    os.close(terminal)
    os.close(main)
    assert b"copying rows, " in shown
    assert b"checking files, " in shown
