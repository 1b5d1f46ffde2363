"""Many clients at once, at one server and at two over one folder: the log, replayed, explains every reply."""

import hashlib
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from conftest import Refusal, RunningServer
from explaining import Outcome, explain_conflict
from google.protobuf.message import Message
from grpc import StatusCode
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub
from replay import Replay, read_events, revision_of
from wire import request_of

CLIENTS = 64
SECONDS = 60


class Client:
    """One of the many, on a connection of its own."""

    def __init__(self, number: int, server: RunningServer) -> None:
        self.number = number
        self.random = random.Random(number)
        self.channel = grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)])
        self.stub = RegistryServiceStub(self.channel)
        self.witness = server.database.look()
        self.outcomes: list[Outcome] = []

    def call(self, method: str, **fields: object) -> Outcome:
        """Makes a call and writes down how it went."""
        if method != "ResolveVersion":
            fields.setdefault("request_id", uuid.uuid4().hex)
        request, reply, refusal = request_of(method, **fields), None, None
        first = self.head()
        try:
            reply = getattr(self.stub, method)(request, timeout=SECONDS, metadata=[("podium-actor", f"client-{self.number}")])
        except grpc.RpcError as error:
            refusal = Refusal(error)
        self.outcomes.append(Outcome(request, reply, refusal, first, self.head()))
        return self.outcomes[-1]

    def head(self) -> int:
        return self.witness.rows("SELECT revision FROM head")[0][0]

    def close(self) -> None:
        self.channel.close()
        self.witness.close()


class Race:
    """The clients, spread over the servers."""

    def __init__(self, servers: list[RunningServer]) -> None:
        self.servers = servers
        self.stub = servers[0].stub
        self.clients = [Client(number, servers[number % len(servers)]) for number in range(CLIENTS)]

    def model(self, name: str, versions: int = 0, **fields: object) -> None:
        self.stub.CreateModel(request_of("CreateModel", name=name, **fields))
        for number in range(versions):
            self.stub.RegisterVersion(request_of("RegisterVersion", model=name, record={"author": f"{number}"}))

    def run(self, turn: Callable[[Client], object]) -> list[Outcome]:
        """Lets all clients take their turn at once; what each of its calls came to, of this race alone."""
        start = threading.Barrier(CLIENTS)
        for client in self.clients:
            client.outcomes = []

        def race(client: Client) -> None:
            start.wait(SECONDS)
            turn(client)

        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(race, self.clients))
        return [outcome for client in self.clients for outcome in client.outcomes]

    def replay(self) -> Replay:
        """What happened since the beginning; every server says the same."""
        replay = Replay(read_events(self.stub))
        for server in self.servers:
            assert read_events(server.stub) == replay.events
            replay.agree(server.stub)
        return replay


@pytest.fixture(scope="module", params=[1, 2], ids=["one server", "two servers"])
def race(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Race]:
    data = tmp_path_factory.mktemp("race") / "data"
    servers = [RunningServer(data) for _ in range(request.param)]
    race = Race(servers)
    yield race
    for client in race.clients:
        client.close()
    for server in servers:
        server.stop()
        assert server.process.returncode == 0
    assert "Traceback" not in servers[0].output()


def explain_reads(replay: Replay, key: str, reads: list[Outcome]) -> None:
    """What a reader was told was so at the position that it was told."""
    assert reads
    for outcome in reads:
        if outcome.reply:
            assert outcome.reply.target.number == replay.at(key, outcome.revision)
            assert outcome.revision <= outcome.last
        else:
            assert outcome.refusal.reason == "ALIAS_NOT_FOUND"
            assert 0 in replay.between(key, 0, outcome.last)


def test_one_alias(race):
    race.model("alias/one", versions=8)
    key = "alias/one@champion"

    def turn(client: Client) -> None:
        expected = 0
        if client.number >= CLIENTS - 8:
            for _ in range(20):
                client.call("ResolveVersion", reference=key)
            return
        for step in range(6):
            target = client.random.randint(1, 8)
            move = {"reference": f"alias/one:{target}", "alias": "champion"}
            if step % 3 == 0:
                outcome = client.call("SetAlias", **move)
            elif step % 3 == 1 or client.number % 4:
                outcome = client.call("SetAlias", **move, expected_number=expected)
            else:
                outcome = client.call("DeleteAlias", model="alias/one", alias="champion", expected_number=expected)
            expected = target if outcome.reply else int(outcome.refusal.metadata.get("current", 0))

    everything = race.run(turn)
    replay = race.replay()
    explain_reads(replay, key, [outcome for outcome in everything if "Resolve" in type(outcome.request).__name__])
    outcomes = [outcome for outcome in everything if "Resolve" not in type(outcome.request).__name__]
    won = [outcome for outcome in outcomes if outcome.reply]
    assert len(won) < len(outcomes) == (CLIENTS - 8) * 6, "some won, and some lost"
    moves = set()
    for outcome in outcomes:
        request, reply = outcome.request, outcome.reply
        target = 0 if "Delete" in type(request).__name__ else int(request.reference.rpartition(":")[2])
        if reply is None:
            if outcome.refusal.reason == "ALIAS_NOT_FOUND":
                assert target == 0 and 0 in replay.between(key, outcome.first, outcome.last)
            else:
                explain_conflict(replay, outcome, key, current=int, expected=request.expected_number)
            continue
        assert outcome.first <= outcome.revision <= outcome.last
        assert replay.at(key, outcome.revision) == target
        assert outcome.changed(replay) is (reply.previous_number != target)
        if outcome.changed(replay):
            assert replay.at(key, outcome.revision - 1) == reply.previous_number
            moves.add(outcome.revision)
        if request.HasField("expected_number"):
            assert reply.previous_number == request.expected_number
    changed = {revision for revision, _ in replay.changes[key]}
    assert changed == moves, "every change of the alias is one reply's"


def test_one_stage_with_one_holder(race):
    race.model("stage/one", versions=CLIENTS, lifecycle="permissive")

    def turn(client: Client) -> None:
        for step in range(4):
            number = (client.number + step * 7) % CLIENTS + 1
            client.call("TransitionStage", reference=f"stage/one:{number}", stage="production", archive_existing=True)

    outcomes = race.run(turn)
    replay = race.replay()
    holders: set[int] = set()
    archived_at: dict[int, set[int]] = {}
    for revision, events in replay.revisions.items():
        changed = {event.after.version.number: event.after.version.stage for event in events if event.after.HasField("version")}
        if events[0].model == "stage/one":
            left = {number for number, stage in changed.items() if stage != "production"} & holders
            archived_at[revision] = left
            holders = holders - left | {number for number, stage in changed.items() if stage == "production"}
            assert len(holders) <= 1
    for outcome in outcomes:
        assert outcome.reply, outcome.refusal.message
        assert outcome.reply.version.stage == "production"
        assert outcome.first <= outcome.revision <= outcome.last
        assert replay.at("stage/one#production", outcome.revision) == outcome.reply.version.number
        changed = archived_at[outcome.revision] if outcome.changed(replay) else set()
        assert set(outcome.reply.archived_numbers) == changed


def test_one_stage_with_an_expected_one(race):
    race.model("stage/expected", versions=1, lifecycle="permissive")
    stages = ["development", "staging", "production", "archived", "deprecated"]
    key = "stage/expected:1"

    def turn(client: Client) -> None:
        expected = "development"
        for _ in range(5):
            target = client.random.choice([stage for stage in stages if stage != expected])
            reference = "stage/expected:1"
            outcome = client.call("TransitionStage", reference=reference, stage=target, expected_stage=expected)
            expected = target if outcome.reply else outcome.refusal.metadata["current"]

    outcomes = race.run(turn)
    replay = race.replay()
    won = [outcome for outcome in outcomes if outcome.reply]
    assert 0 < len(won) < len(outcomes)
    for outcome in won:
        assert outcome.first < outcome.revision <= outcome.last
        assert replay.at(key, outcome.revision - 1) == outcome.request.expected_stage
        assert replay.at(key, outcome.revision) == outcome.request.stage == outcome.reply.version.stage
    assert sorted(outcome.revision for outcome in won) == [revision for revision, _ in replay.changes[key]][1:]
    for outcome in outcomes:
        if outcome.refusal:
            explain_conflict(replay, outcome, key, current=str, expected=outcome.request.expected_stage)


def test_one_version_string(race):
    race.model("version/one")
    outcomes = race.run(
        lambda client: client.call("RegisterVersion", model="version/one", version="1.0.0", record={"author": f"{client.number}"})
    )
    replay = race.replay()
    (won,) = [outcome for outcome in outcomes if outcome.reply]
    assert won.reply.created and (won.reply.version.number, won.reply.version.version) == (1, "1.0.0")
    for outcome in outcomes:
        if outcome.refusal:
            assert (outcome.refusal.code, outcome.refusal.reason) == (StatusCode.ALREADY_EXISTS, "VERSION_EXISTS")
            assert won.revision <= outcome.last
    assert list(replay.versions["version/one"]) == [1]
    assert replay.versions["version/one"][1].record_digest == won.reply.version.record_digest


def test_one_content(race):
    race.model("content/one")
    content = {"model": "content/one", "record": {"author": "all"}, "aliases": ["same"]}
    outcomes = race.run(lambda client: client.call("RegisterVersion", **content))
    race.replay()
    assert [outcome.reply.created for outcome in outcomes].count(True) == 1
    assert {outcome.reply.version.number for outcome in outcomes} == {1}
    assert len({outcome.revision for outcome in outcomes if outcome.reply.created}) == 1


def test_the_next_version(race):
    race.model("version/next")

    def turn(client: Client) -> None:
        fields = {"record": {"author": f"{client.number}"}, "aliases": ["mine", f"of-{client.number}"]}
        client.call("RegisterVersion", model="version/next", **fields)

    outcomes = race.run(turn)
    replay = race.replay()
    in_order = sorted(outcomes, key=lambda outcome: outcome.revision)
    assert [outcome.reply.version.number for outcome in in_order] == list(range(1, CLIENTS + 1))
    assert [outcome.reply.version.version for outcome in in_order] == [f"1.0.{patch}" for patch in range(CLIENTS)]
    for outcome in outcomes:
        number = outcome.reply.version.number
        assert replay.at("version/next@latest", outcome.revision) == replay.at("version/next@mine", outcome.revision) == number


def test_one_name_of_a_model(race):
    outcomes = race.run(lambda client: client.call("CreateModel", name="model/one", description=f"{client.number}"))
    race.replay()
    (won,) = [outcome for outcome in outcomes if outcome.reply]
    assert {outcome.refusal.reason for outcome in outcomes if outcome.refusal} == {"MODEL_EXISTS"}
    assert race.stub.GetModel(request_of("GetModel", name="model/one", at_least=won.reply.position)).model == won.reply.model


def test_one_request_id(race):
    race.model("request/one", versions=1)

    def note(client: Client, text: str, request_id: str) -> Outcome:
        client.number = 0  # one caller, who calls from everywhere at once
        return client.call("AddNote", reference="request/one:1", text=text, request_id=request_id)

    numbers = {client: client.number for client in race.clients}
    same = race.run(lambda client: note(client, "same", "of one content"))
    other = race.run(lambda client: note(client, f"{numbers[client]}", "of many contents"))
    for client, number in numbers.items():
        client.number = number
    replay = race.replay()
    assert len({outcome.reply.SerializeToString() for outcome in same}) == 1
    (won,) = [outcome for outcome in other if outcome.reply]
    assert {outcome.refusal.reason for outcome in other if outcome.refusal} == {"REQUEST_ID_REUSED"}
    notes = [event.text for event in replay.events if event.model == "request/one" and event.text]
    assert notes == ["same", won.request.text]


def test_one_etag(race):
    race.model("etag/one", versions=1)
    etag = race.stub.GetVersion(request_of("GetVersion", reference="etag/one:1")).version.etag

    def turn(client: Client) -> None:
        seen = etag
        for step in range(3):
            change = {"version": {"etag": seen}, "set_labels": {"who": f"{client.number}-{step}"}}
            outcome = client.call("UpdateVersion", reference="etag/one:1", **change)
            seen = outcome.reply.version.etag if outcome.reply else outcome.refusal.metadata["current"]

    outcomes = race.run(turn)
    replay = race.replay()
    states = [(event.revision, event.before.version, event.after.version) for event in replay.events if event.model == "etag/one"]
    etags = [(revision, after.etag) for revision, _, after in states if after.etag]
    for outcome in outcomes:
        if outcome.reply:
            (before,) = [before.etag for revision, before, _ in states if revision == outcome.revision]
            assert before == outcome.request.version.etag
        else:
            assert (outcome.refusal.code, outcome.refusal.reason) == (StatusCode.ABORTED, "CONFLICT")
            told = outcome.refusal.metadata["current"]
            (since,) = [revision for revision, value in etags if value == told]
            until = next((revision for revision, _ in etags if revision > since), outcome.last + 1)
            assert since <= outcome.last and until > outcome.first and told != outcome.request.version.etag


def test_one_upload(race):
    race.model("upload/one")
    content = random.Random(0).randbytes(9 << 20)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    header = {"model": "upload/one", "digest": digest, "size_bytes": len(content)}

    def messages() -> Iterator[Message]:
        yield request_of("UploadBlob", header=header)
        for start in range(0, len(content), 1 << 20):
            yield request_of("UploadBlob", chunk=content[start : start + (1 << 20)])

    def upload(client: Client) -> tuple[bool, str]:
        try:
            reply = client.stub.UploadBlob(messages(), timeout=SECONDS)
            assert reply.committed_bytes == len(content)
            return reply.complete, ""
        except grpc.RpcError as error:
            return False, Refusal(error).reason

    answers: list[tuple[bool, str]] = []
    race.run(lambda client: answers.append(upload(client)))
    assert set(answers) <= {(True, ""), (False, "UPLOAD_BUSY")}
    assert (True, "") in answers
    missing = request_of("FindMissingBlobs", model="upload/one", blobs=[{"digest": digest, "size_bytes": len(content)}])
    files = [{"path": "model.bin", "digest": digest, "size_bytes": len(content)}]
    registered = race.stub.RegisterVersion(request_of("RegisterVersion", model="upload/one", files=files))
    for server in race.servers:
        assert not server.stub.FindMissingBlobs(missing).missing
        download = request_of("DownloadArtifact", reference="upload/one:1", path="model.bin", at_least=registered.position)
        assert b"".join(message.chunk for message in server.stub.DownloadArtifact(download)) == content
    blobs = race.servers[0].data / "blobs"
    assert {path.name for path in blobs.rglob("*") if path.is_file()} == {"registry", digest.removeprefix("sha256:")}
    race.replay()


def test_what_was_written_at_one_server_is_read_at_every_other(race):
    race.model("read/own", versions=2)
    servers = [race.servers[0], race.servers[-1]]
    for turn in range(100):
        writer, reader = servers[turn % 2].stub, servers[(turn + 1) % 2].stub
        set_alias = request_of("SetAlias", reference=f"read/own:{turn % 2 + 1}", alias="here")
        position = writer.SetAlias(set_alias).position
        resolved = reader.ResolveVersion(request_of("ResolveVersion", reference="read/own@here", at_least=position))
        assert resolved.target.number == turn % 2 + 1
        assert revision_of(resolved.position) >= revision_of(position)
        stage = ["staging", "development"][turn // 2 % 2]
        moved = writer.TransitionStage(request_of("TransitionStage", reference=f"read/own:{turn % 2 + 1}", stage=stage)).position
        by_number = reader.ResolveVersion(request_of("ResolveVersion", reference=f"read/own:{turn % 2 + 1}", at_least=moved))
        assert by_number.target.stage == stage
        assert reader.GetVersion(request_of("GetVersion", reference="read/own@here", at_least=moved)).version.stage == stage
    race.replay()
