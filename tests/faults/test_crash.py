"""Servers that are killed, restored from older copies, and started over folders that are not theirs."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import grpc
import podium_server
import pytest
from conftest import Refusal, RunningServer
from databases import ON_POSTGRES
from following import copy_data, replace_data
from grpc import StatusCode
from outages import is_away, patiently
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub
from replay import Replay, read_events, revision_of
from streams import chunks_of, committed, header_of, until
from torture import MAX_RESENT_BYTES, Torture, end_leases
from wire import request_of

MIB = 1 << 20
SEED = 20_261_121
SECONDS = 60


def test_killed_at_random_points(tmp_path):
    print(f"seed {SEED}")
    torture = Torture(tmp_path / "data", SEED)
    torture.run(seconds=10)
    assert torture.kills > 0 and torture.answered


def sending(server: RunningServer, content: bytes, offset: int, stop: int) -> int:
    """Uploads from an offset, and kills the server when so much is sent but not all. How far the stream came."""
    sent = offset

    def messages():
        nonlocal sent
        yield header_of("m", content, offset=offset)
        for chunk in chunks_of(content[offset:]):
            if sent >= stop:
                server.process.send_signal(signal.SIGKILL)
            yield chunk
            sent += len(chunk.chunk)

    try:
        assert server.stub.UploadBlob(messages(), timeout=SECONDS).complete
    except grpc.RpcError as error:
        assert error.code() is StatusCode.UNAVAILABLE
        server.kill()
    return sent


def download(server: RunningServer, reference: str, path: str) -> str:
    sha256 = hashlib.sha256()
    for message in server.stub.DownloadArtifact(request_of("DownloadArtifact", reference=reference, path=path), timeout=SECONDS):
        sha256.update(message.chunk)
    return f"sha256:{sha256.hexdigest()}"


def test_an_interrupted_upload_sends_again_only_the_last_of_it(start_server):
    server = start_server()
    server.stub.CreateModel(request_of("CreateModel", name="m"))
    content = random.Random(SEED).randbytes(128 * MIB)
    digest = header_of("m", content).header.digest
    sent = again = 0
    for stop in (60 * MIB, 118 * MIB, len(content)):
        offset = committed(server.stub, "m", content)
        assert sent - offset <= MAX_RESENT_BYTES
        again += sent - offset
        sent = sending(server, content, offset, stop)
        if sent < len(content):
            server.start()
            end_leases(server)
    assert again > 0 and sent == len(content)
    files = [{"path": "a", "digest": digest, "size_bytes": len(content)}]
    server.stub.RegisterVersion(request_of("RegisterVersion", model="m", files=files))
    assert download(server, "m:1", "a") == digest
    assert not list((server.data / "blobs" / "partial").iterdir())


def test_killed_between_a_finished_blob_and_its_row(start_server):
    """The blob has its name already, and the database still has the upload: what a crash leaves within a few milliseconds."""
    server = start_server()
    server.stub.CreateModel(request_of("CreateModel", name="m"))
    content = random.Random(SEED).randbytes(12 * MIB)
    most = 9 * MIB
    parked = server.stub.UploadBlob(iter([header_of("m", content), *chunks_of(content[:most])]))
    assert (parked.committed_bytes, parked.complete) == (most, False)
    server.stop()
    earlier = server.data.parent / "earlier"
    shutil.rmtree(earlier, ignore_errors=True)
    copy_data(server, earlier)
    server.start()
    rest = iter([header_of("m", content, offset=most), *chunks_of(content[most:])])
    assert server.stub.UploadBlob(rest).complete
    server.stop()
    server.database.replace(earlier)
    (partial,) = earlier.glob("blobs/partial/*")
    (blob,) = server.data.glob("blobs/sha256/*/*")
    (server.data / "blobs/partial" / partial.name).hardlink_to(blob)  # its second name until the row is there
    server.start()
    offset = committed(server.stub, "m", content)
    if offset is not None:
        assert offset >= most
        assert server.stub.UploadBlob(iter([header_of("m", content, offset=offset), *chunks_of(content[offset:])])).complete
    digest = header_of("m", content).header.digest
    files = [{"path": "a", "digest": digest, "size_bytes": len(content)}]
    server.stub.RegisterVersion(request_of("RegisterVersion", model="m", files=files))
    assert download(server, "m:1", "a") == digest


@pytest.mark.parametrize("answers", [1, 7, 30])
def test_killed_with_many_calls_in_flight(start_server, answers):
    """At the moment of the n-th answer. Whoever has none asks again, and each call takes effect exactly once."""
    server = start_server()
    server.stub.CreateModel(request_of("CreateModel", name="m"))
    requests = [
        request_of("RegisterVersion", model="m", record={"author": f"{index}"}, aliases=["a"], request_id=uuid.uuid4().hex)
        for index in range(64)
    ]
    lock, answered, enough = threading.Lock(), [], threading.Event()

    def done(call: grpc.Future) -> None:
        with lock:
            if call.code() is StatusCode.OK:
                answered.append(call.result())
            if len(answered) >= answers:
                enough.set()

    calls = [server.stub.RegisterVersion.future(request, timeout=SECONDS) for request in requests]
    for call in calls:
        call.add_done_callback(done)
    assert enough.wait(SECONDS)
    server.process.send_signal(signal.SIGKILL)
    first = [call.result() if call.exception() is None else None for call in calls]
    server.kill()
    server.start()
    before = Replay(read_events(server.stub))
    replies = [server.stub.RegisterVersion(request) for request in requests]
    replay = Replay(read_events(server.stub))
    replay.agree(server.stub)
    assert all(reply == again for reply, again in zip(first, replies, strict=True) if reply)
    assert sorted(reply.version.number for reply in replies) == list(range(1, 65)) and all(reply.created for reply in replies)
    by_revision = {revision: events[0].request_id for revision, events in replay.revisions.items()}
    assert [by_revision[revision_of(reply.position)] for reply in replies] == [request.request_id for request in requests]
    assert len(replay.revisions) == 65 >= len(before.revisions) > answers


def test_one_of_two_servers_is_killed(start_server):
    """Whoever calls the other notices nothing."""
    one, other = start_server(), start_server()
    one.stub.CreateModel(request_of("CreateModel", name="m"))
    halfway = threading.Event()
    numbers, killed = [], []

    def work(server: RunningServer, client: int) -> None:
        for index in range(20):
            request = request_of("RegisterVersion", model="m", record={"author": f"{client} {index}"})
            try:
                numbers.append(server.stub.RegisterVersion(request, timeout=SECONDS).version.number)
            except grpc.RpcError as error:
                assert server is one and error.code() is StatusCode.UNAVAILABLE
                killed.append(client)
                return
            if len(numbers) >= 100:
                halfway.set()

    clients = [threading.Thread(target=work, args=([one, other][client % 2], client)) for client in range(16)]
    for client in clients:
        client.start()
    assert halfway.wait(SECONDS)
    one.process.send_signal(signal.SIGKILL)
    for client in clients:
        client.join(SECONDS)
    one.kill()
    replay = Replay(read_events(other.stub))
    replay.agree(other.stub)
    assert len(killed) == 8 and len(numbers) == len(set(numbers)) >= 100 + 8
    assert set(numbers) <= replay.versions["m"].keys()
    one.start()
    replay.agree(one.stub)


def test_a_clock_that_was_set_back(start_server):
    """The time of what happens is never before that of what happened."""
    server = start_server()
    server.stub.CreateModel(request_of("CreateModel", name="m"))
    server.stop()
    ((time,),) = server.database.run("UPDATE head SET time = time + 3600000000 RETURNING time")
    server.start()
    populate(server.stub, "m", range(2))
    replay = Replay(read_events(server.stub))
    assert [event.time.ToMicroseconds() for event in replay.events[1:]] == [time] * (len(replay.events) - 1)


def in_folder(data: Path) -> tuple[str, str]:
    """The option for SQLite, whatever the other tests use. (What a server at PostgreSQL does then, see test_outages.)"""
    return "--database", f"sqlite://{data}/registry.db"


def test_killed_while_it_makes_its_database(tmp_path):
    data = tmp_path / "data"
    command = [sys.executable, "-m", "podium_server", "--data", str(data), "--listen", "127.0.0.1:0"]
    chance = random.Random(SEED)
    for life in range(4):
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        place = data / ["migrate.lock", "registry.db", "registry.db-wal", "blobs"][life]
        until(lambda place=place, process=process: place.exists() or process.poll() is not None)
        threading.Event().wait(chance.random() * 0.01)
        process.kill()
        process.wait()
    server = RunningServer(data, *in_folder(data))
    assert server.stub.CreateModel(request_of("CreateModel", name="m")).position
    assert len(Replay(read_events(server.stub)).events) == 1
    server.stop()


def populate(stub: RegistryServiceStub, model: str, versions: range) -> str:
    """Some versions and moves; the last position."""
    for number in versions:
        reply = stub.RegisterVersion(request_of("RegisterVersion", model=model, record={"author": f"{number}"}, aliases=["a"]))
    return reply.position


def refuse_position(stub: RegistryServiceStub, position: str, refused) -> None:
    for method, fields in (
        ("ResolveVersion", {"reference": "m@a", "at_least": position}),
        ("GetModel", {"name": "m", "at_least": position}),
        ("ListEvents", {"filter": {"after": position}}),
    ):
        refusal = refused(getattr(stub, method), request_of(method, **fields))
        assert (refusal.code, refusal.reason) == (StatusCode.OUT_OF_RANGE, "POSITION_UNKNOWN")


def test_an_older_copy_of_the_folder(start_server, tmp_path, refused):
    server = start_server()
    server.stub.CreateModel(request_of("CreateModel", name="m"))
    kept = populate(server.stub, "m", range(1, 4))
    server.kill()
    copy_data(server, tmp_path / "copy")
    server.start()
    lost = [populate(server.stub, "m", range(number, number + 1)) for number in range(4, 8)]
    note = request_of("AddNote", reference="m:1", text="lost", request_id="once")
    lost.append(server.stub.AddNote(note).position)
    server.kill()
    replace_data(server, tmp_path / "copy")
    server.start()
    replay = Replay(read_events(server.stub))
    assert replay.events[-1].position == kept and sorted(replay.versions["m"]) == [1, 2, 3]
    server.stub.ResolveVersion(request_of("ResolveVersion", reference="m@a", at_least=kept))
    for position in lost:
        refuse_position(server.stub, position, refused)
    assert server.stub.AddNote(note).position not in lost, "it happens again, for it has not happened"
    for number in range(8, 14):  # beyond the revisions that were lost
        fresh = populate(server.stub, "m", range(number, number + 1))
        reply = server.stub.ResolveVersion(request_of("ResolveVersion", reference="m@a", at_least=fresh))
        assert reply.position == fresh
    for position in lost:
        refuse_position(server.stub, position, refused)
    Replay(read_events(server.stub)).agree(server.stub)


def test_a_history_cut_under_running_servers(start_server, tmp_path, refused):
    """As when a database falls back to an older state of itself: whoever shows what was cut starts again."""
    one, other = start_server(), start_server()
    one.stub.CreateModel(request_of("CreateModel", name="m"))
    kept = populate(one.stub, "m", range(1, 4))
    one.database.back_up(tmp_path / "older")
    for cut in range(5):
        lost = populate(one.stub, "m", range(10, 20))
        for server in (one, other):
            reply = server.stub.ResolveVersion(request_of("ResolveVersion", reference="m:4", at_least=lost))
            cut_digest = reply.target.record_digest
        other.process.send_signal(signal.SIGSTOP)  # so that it is asked before it has looked
        one.database.restore(tmp_path / "older")
        fresh = patiently(lambda cut=cut: populate(one.stub, "m", range(100 + cut, 101 + cut)))
        assert revision_of(fresh) == revision_of(kept) + 1
        asked = [other.stub.ResolveVersion.future(request_of("ResolveVersion", reference="m@a", at_least=fresh)) for _ in range(20)]
        other.process.send_signal(signal.SIGCONT)
        assert {call.result().position for call in asked if not is_away(call)} <= {fresh}
        until(lambda fresh=fresh: position_of(other) == fresh)
        for server in (other, one):
            for reference in ("m@a", "m@latest", "m:4"):
                reply = server.stub.ResolveVersion(request_of("ResolveVersion", reference=reference, at_least=fresh))
                assert reply.position == fresh
                assert reply.target.number == 4 and reply.target.record_digest != cut_digest
            refuse_position(server.stub, lost, refused)
            assert refused(server.stub.ResolveVersion, request_of("ResolveVersion", reference="m:5")).reason == "VERSION_NOT_FOUND"
            Replay(read_events(server.stub)).agree(server.stub)
    one.database.restore(tmp_path / "older")
    for server in (one, other):  # without any change that would tell them
        until(lambda server=server: position_of(server) == kept)
        Replay(read_events(server.stub)).agree(server.stub)
        server.stop()
        assert "Traceback" not in server.output()


def test_who_has_not_noticed_a_cut_mixes_nothing(start_server, tmp_path):
    """What is read from the database is of the history that the reply's position is of, and of the one that was asked for."""
    one, other = start_server(), start_server()
    one.stub.CreateModel(request_of("CreateModel", name="m", lifecycle="permissive"))
    kept = populate(one.stub, "m", range(3))
    one.database.back_up(tmp_path / "older")
    for cut in range(10):
        moved = one.stub.TransitionStage(request_of("TransitionStage", reference="m:1", stage="production")).position
        lost = populate(one.stub, "m", range(cut, cut + 4))
        other.stub.ResolveVersion(request_of("ResolveVersion", reference="m@a", at_least=lost))
        other.process.send_signal(signal.SIGSTOP)  # so that it is asked before it has looked
        one.database.restore(tmp_path / "older")
        plain = [other.stub.ResolveVersion.future(request_of("ResolveVersion", reference=name)) for name in ("m:1", "m:1.0.0")]
        read = [
            other.stub.ResolveVersion.future(request_of("ResolveVersion", reference="m:4", at_least=lost)),
            other.stub.GetVersion.future(request_of("GetVersion", reference="m:1", at_least=moved)),
            other.stub.ListVersions.future(request_of("ListVersions", model="m", at_least=lost)),
        ]
        other.process.send_signal(signal.SIGCONT)
        for call in (*plain, *read):
            if call.exception(SECONDS):
                assert Refusal(call).reason in ("POSITION_UNKNOWN", "NOT_CAUGHT_UP", "STORAGE_UNAVAILABLE"), call.details()
        for reply in (call.result() for call in plain if not call.exception()):
            is_lost = revision_of(reply.position) > revision_of(kept)
            assert reply.target.stage == ("production" if is_lost else "development")
        assert all(call.exception() for call in read), "what was asked for is no longer there"
        for server in (one, other):
            until(lambda server=server: position_of(server) == kept)


def position_of(server: RunningServer) -> str:
    """What a server shows."""
    return patiently(lambda: server.stub.GetServerInfo(request_of("GetServerInfo")).position)


def test_a_newer_schema_is_refused_in_one_line(start_server, tmp_path):
    newer = tmp_path / "newer"
    shutil.copytree(Path(podium_server.__file__).parent, newer / "podium_server", ignore=shutil.ignore_patterns("__pycache__"))
    later = newer / "podium_server" / "migrations" / "9999_later.py"
    later.write_text("def up(migrator, db):\n    db.execute_sql('CREATE TABLE later (x INTEGER)')\n")
    path = os.pathsep.join([str(newer), *filter(None, [os.environ.get("PYTHONPATH")])])
    server = start_server(*in_folder(tmp_path / "data"), environment={"PYTHONPATH": path})
    position = server.stub.CreateModel(request_of("CreateModel", name="m")).position
    server.stop()
    lines = failed_start(server.data, *server.options)
    assert len(lines) == 1 and "newer" in lines[0] and "9999_later" in lines[0], lines
    server.start()  # the newer one goes on where it was
    assert server.stub.GetServerInfo(request_of("GetServerInfo")).position == position


def failed_start(data: Path, *options: str) -> list[str]:
    """What a server that cannot start says, but for the log."""
    command = [
        sys.executable,
        "-m",
        "podium_server",
        "--data",
        str(data),
        "--listen",
        "127.0.0.1:0",
        "--log-level",
        "error",
        *options,
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert ended.returncode == 1 and not ended.stdout
    return ended.stderr.splitlines()


@pytest.mark.skipif(ON_POSTGRES, reason="it is about SQLite's file")
def test_the_log_is_written_ahead_and_a_crash_loses_nothing(start_server):
    """A long log of zeros behind the frames changes nothing of what is read after a crash."""
    server = start_server()
    server.stub.CreateModel(request_of("CreateModel", name="ahead"))
    server.kill()
    assert (server.data / "registry.db-wal").stat().st_size >= 16 << 20
    server.start()
    assert server.stub.GetModel(request_of("GetModel", name="ahead")).model.name == "ahead"
