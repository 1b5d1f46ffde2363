"""Kills a server again and again while clients upload, register and promote, and checks after each start what it still knows.

`python tests/torture.py [SECONDS] [SEED]`; the tests run the short form.
"""

import hashlib
import random
import sys
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import grpc
from conftest import Refusal, RunningServer
from explaining import explain
from google.protobuf.message import Message
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub
from replay import Replay, read_events
from streams import make
from wire import request_of

CLIENTS = 12
MODELS = ["risk/fraud", "churn", "search/rank"]
ALIASES = ["champion", "challenger"]
STAGES = ["development", "staging", "production", "archived"]
CHUNK = 1 << 20
# What a crash may cost of an upload: what the server keeps unsynced at most (8 MiB), and what is on its way to it.
MAX_RESENT_BYTES = 16 << 20
SECONDS = 60
EMPTY = f"sha256:{hashlib.sha256().hexdigest()}"


class Killed(Exception):
    """The server died before it answered."""


class Busy(Exception):
    """Somebody else is uploading the same bytes."""


class Pulse:
    """Counts what the clients do, and lets the killer wait for the moment that it has chosen."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.beats = 0

    def beat(self) -> None:
        with self.condition:
            self.beats += 1
            self.condition.notify_all()

    def wait_for(self, beats: int) -> None:
        with self.condition:
            assert self.condition.wait_for(lambda: self.beats >= beats, SECONDS), "the clients stand still"


class Mutation:
    """A call that is made again with its request id until it is answered."""

    def __init__(self, method: str, **fields: object) -> None:
        self.method = method
        self.request = request_of(method, request_id=uuid.uuid4().hex, **fields)
        self.reply: Message | None = None

    def run(self, stub: RegistryServiceStub, pulse: Pulse) -> None:
        """Makes the call; Killed if there is no answer. A refusal is an answer, of which nothing may stay."""
        pulse.beat()
        try:
            self.reply = getattr(stub, self.method)(self.request, timeout=SECONDS)
        except grpc.RpcError as error:
            refusal = refusal_of(error)
            assert refusal.reason in {"ALIAS_NOT_FOUND", "STAGE_EMPTY"}, refusal.message
        pulse.beat()

    def check(self, replay: Replay, revisions: dict[str, list[int]]) -> None:
        """An acknowledged call is in the log once or has changed nothing; a refused one is not there."""
        found = revisions.get(self.request.request_id, [])
        if self.reply is None:
            assert not found
            return
        explain(replay, found, self.method, self.request, self.reply)
        if self.method == "RegisterVersion":  # of content that there was not before
            assert self.reply.created is bool(found)


class Push:
    """Some files, uploaded as far as they are missing, and then registered. It goes on where it was interrupted."""

    def __init__(self, model: str, seed: int, sizes: list[int], **fields: object) -> None:
        self.model = model
        self.contents = {f"files/{index}.bin": (seed + index, size) for index, size in enumerate(sizes)}
        self.digests = {path: f"sha256:{hashlib.sha256(make(*content)).hexdigest()}" for path, content in self.contents.items()}
        self.sent: dict[str, int] = {}
        files = [{"path": path, "digest": self.digests[path], "size_bytes": size} for path, (_, size) in self.contents.items()]
        self.mutation = Mutation("RegisterVersion", model=model, files=files, record={"author": f"seed {seed}"}, **fields)

    def run(self, stub: RegistryServiceStub, pulse: Pulse) -> None:
        """Uploads and registers; Killed if it was cut off, Busy if another client is at it."""
        try:
            for path in self.contents:
                self.upload(stub, pulse, path)
        except grpc.RpcError as error:
            refusal = refusal_of(error)
            assert refusal.reason == "UPLOAD_BUSY", refusal.message
            raise Busy from error
        self.mutation.run(stub, pulse)
        assert self.mutation.reply

    def upload(self, stub: RegistryServiceStub, pulse: Pulse, path: str) -> None:
        digest, (seed, size) = self.digests[path], self.contents[path]
        wanted = request_of("FindMissingBlobs", model=self.model, blobs=[{"digest": digest, "size_bytes": size}])
        missing = stub.FindMissingBlobs(wanted, timeout=SECONDS).missing
        if not missing:
            return
        offset = missing[0].committed_bytes
        assert self.sent.get(path, 0) - offset <= MAX_RESENT_BYTES, f"{path}: {self.sent[path]} bytes were sent, {offset} are there"
        content = make(seed, size)

        def messages() -> Iterator[Message]:
            yield request_of("UploadBlob", header={"model": self.model, "digest": digest, "size_bytes": size, "offset": offset})
            for start in range(offset, size, CHUNK):
                yield request_of("UploadBlob", chunk=content[start : start + CHUNK])
                self.sent[path] = max(self.sent.get(path, 0), min(start + CHUNK, size))
                pulse.beat()

        reply = stub.UploadBlob(messages(), timeout=SECONDS)
        assert reply.complete and reply.committed_bytes == size

    def refuse_early(self, stub: RegistryServiceStub) -> None:
        """As long as something is missing it cannot be registered."""
        blobs = [{"digest": self.digests[path], "size_bytes": size} for path, (_, size) in self.contents.items()]
        missing = stub.FindMissingBlobs(request_of("FindMissingBlobs", model=self.model, blobs=blobs)).missing
        if not missing:
            return
        request = type(self.mutation.request)()
        request.CopyFrom(self.mutation.request)
        request.ClearField("request_id")
        try:
            reply = stub.RegisterVersion(request, timeout=SECONDS)
        except grpc.RpcError as error:
            refusal = Refusal(error)
            assert refusal.reason == "BLOBS_MISSING", refusal.message
            assert refusal.metadata["digests"] == ",".join(sorted(blob.digest for blob in missing))
            return
        raise AssertionError(reply)

    def check(self, replay: Replay, revisions: dict[str, list[int]]) -> None:
        self.mutation.check(replay, revisions)

    def download(self, stub: RegistryServiceStub) -> None:
        """Every file is there, whole."""
        for path, digest in self.digests.items():
            reference = f"{self.model}:{self.mutation.reply.version.number}"
            sha256 = hashlib.sha256()
            for message in stub.DownloadArtifact(request_of("DownloadArtifact", reference=reference, path=path), timeout=SECONDS):
                sha256.update(message.chunk)
            assert f"sha256:{sha256.hexdigest()}" == digest


def end_leases(server: RunningServer) -> None:
    """A writer that died holds its lease for five seconds. They are over now."""
    server.database.run("UPDATE upload SET lease_time = lease_time - 5000000")


def refusal_of(error: grpc.RpcError) -> Refusal:
    """How the server refused; Killed if it did not live to."""
    if error.code() is grpc.StatusCode.UNAVAILABLE and not Refusal(error).reason:
        raise Killed from error
    return Refusal(error)


class Torture:
    """The server's lives, and everything that was asked of it."""

    def __init__(self, data: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.seeds = iter(range(seed * 1_000_000, sys.maxsize, 10))
        self.server = RunningServer(data)
        self.answered: list[Mutation | Push] = []
        self.interrupted: deque[Mutation | Push] = deque()
        self.failures: list[Exception] = []
        self.kills = 0
        self.whole: set[str] = set()
        for name in MODELS:
            self.answered.append(Mutation("CreateModel", name=name, lifecycle="permissive"))
            self.answered.append(Mutation("RegisterVersion", model=name))
            self.answered.append(Push(name, next(self.seeds), [0]))
            for mutation in self.answered[-3:]:
                mutation.run(self.server.stub, Pulse())

    def run(self, seconds: float) -> None:
        """Lets the server live and die for a while, then lets everything that was interrupted come to its end."""
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                self.live_and_die()
                self.server.start()
                self.check()
            self.finish()
        finally:
            if self.server.process.returncode is None:
                self.server.stop()
        assert "Traceback" not in self.server.output()

    def live_and_die(self) -> None:
        pulse = Pulse()
        dead = threading.Event()
        seeds = [self.random.random() for _ in range(CLIENTS)]
        clients = [threading.Thread(target=self.work, args=(pulse, dead, random.Random(seed))) for seed in seeds]
        for client in clients:
            client.start()
        pulse.wait_for(self.random.randint(1, 200))
        # Somewhere within what is going on at that moment.
        threading.Event().wait(self.random.random() * 0.005)
        self.server.kill()
        self.kills += 1
        dead.set()
        for client in clients:
            client.join(SECONDS)
        if self.failures:
            raise self.failures[0]

    def work(self, pulse: Pulse, dead: threading.Event, choice: random.Random) -> None:
        """One client, until the server dies."""
        channel = grpc.insecure_channel(self.server.address, options=[("grpc.use_local_subchannel_pool", 1)])
        stub = RegistryServiceStub(channel)
        while not dead.is_set():
            task = self.next_task(choice)
            try:
                task.run(stub, pulse)
                self.answered.append(task)
            except Busy:
                self.interrupted.append(task)
            except Killed:
                self.interrupted.append(task)
                break
            except Exception as error:
                self.failures.append(error)
                break
        channel.close()

    def next_task(self, choice: random.Random) -> "Mutation | Push":
        try:
            return self.interrupted.popleft() if choice.random() < 0.5 else self.new_task(choice)
        except IndexError:
            return self.new_task(choice)

    def new_task(self, choice: random.Random) -> "Mutation | Push":
        model, alias, stage = choice.choice(MODELS), choice.choice(ALIASES), choice.choice(STAGES)
        kind = choice.randrange(11)
        if kind < 3:
            sizes = [choice.choice([0, 10, 100_000, 3_000_000]) for _ in range(choice.randint(0, 3))]
            if choice.random() < 0.05:
                sizes.append(80 << 20)
            return Push(model, next(self.seeds), sizes, aliases=[alias], stage=choice.choice(["development", "production"]))
        if kind < 5:
            return Mutation("SetAlias", reference=f"{model}@latest", alias=alias)
        if kind == 5:
            return Mutation("DeleteAlias", model=model, alias=alias)
        if kind == 10:  # so many files that their rows are written before, in pieces
            files = [{"path": f"{uuid.uuid4()}", "digest": EMPTY, "size_bytes": 0} for _ in range(1_500)]
            return Mutation("RegisterVersion", model=model, files=files)
        if kind < 9:
            archive = stage != "archived" and choice.random() < 0.5
            return Mutation("TransitionStage", reference=f"{model}@latest", stage=stage, archive_existing=archive)
        return Mutation("AddNote", reference=f"{model}:1", text=uuid.uuid4().hex)

    def check(self) -> None:
        """What a server that has just started knows."""
        stub = self.server.stub
        replay = Replay(read_events(stub))
        replay.agree(stub)
        revisions: dict[str, list[int]] = {}
        for revision, events in replay.revisions.items():
            revisions.setdefault(events[0].request_id, []).append(revision)
        assert max(map(len, revisions.values())) == 1, "no call took effect twice"
        for task in self.answered:
            task.check(replay, revisions)
        pushes = [task for task in self.answered if isinstance(task, Push)]
        for push in {*pushes[-5:], *self.random.sample(pushes, min(5, len(pushes)))}:
            push.download(stub)
        for task in self.interrupted:
            if isinstance(task, Push):
                task.refuse_early(stub)
        self.check_blobs()
        end_leases(self.server)

    def check_blobs(self) -> None:
        """Every blob that has its name is whole, and every row of a blob has its bytes."""
        files = {path.name: path for path in (self.server.data / "blobs" / "sha256").rglob("*") if path.is_file()}
        for name in files.keys() - self.whole:
            assert hashlib.sha256(files[name].read_bytes()).hexdigest() == name
            self.whole.add(name)
        rows = self.server.database.run("SELECT digest, size_bytes FROM blob WHERE state = 'complete'")
        for digest, size in rows:
            assert files[digest.removeprefix("sha256:")].stat().st_size == size

    def finish(self) -> None:
        """Repeats what was interrupted: each takes effect once, and every version that there ever was is whole."""
        while self.interrupted:
            task = self.interrupted.popleft()
            task.run(self.server.stub, Pulse())
            self.answered.append(task)
        self.check()
        for task in self.answered:
            if isinstance(task, Push):
                task.download(self.server.stub)
            elif task.method == "RegisterVersion":
                self.list_files(task)

    def list_files(self, registration: Mutation) -> None:
        """Every file is listed."""
        version = registration.reply.version
        request = request_of("ListFiles", reference=f"{version.model}:{version.number}", page_size=1_000)
        listed: list[str] = []
        while True:
            page = self.server.stub.ListFiles(request)
            listed.extend(file.path for file in page.files)
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        assert listed == sorted(file.path for file in registration.request.files)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1_000_000)
    print(f"killing the server at random points for {seconds:g} s, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="podium-torture-") as folder:
        torture = Torture(Path(folder) / "data", seed)
        torture.run(seconds)
    pushes = [task for task in torture.answered if isinstance(task, Push)]
    print(f"{torture.kills} kills; {len(torture.answered)} operations, {len(pushes)} of them pushes, were acknowledged")
    print("all of them are there, none took effect twice, and every byte is right")


if __name__ == "__main__":
    main()
