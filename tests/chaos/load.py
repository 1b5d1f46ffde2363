"""What clients of a registry do, all at once: register, upload, promote, move aliases by compare-and-set, resolve and download."""

import hashlib
import random
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import grpc
from conftest import Refusal
from google.protobuf.message import Message
from replay import revision_of
from streams import digest_of, make
from watched import ALIASES, MODELS, STAGES
from wire import request_of

from chaos.calls import ATTEMPT_SECONDS, MAY_PASS, PATIENCE_SECONDS, Call, Caller, Unanswered
from chaos.cluster import Channels, Cluster

CLIENTS = 6
FOLLOWED = "followed"
PERSISTENCE = 0.9
CHUNK_BYTES = 1 << 19
SIZES = [0, 10, 100_000, 1_000_000, 3 << 20, 10 << 20]
SAME_BLOBS = 5  # that all clients push again and again
UPLOAD_AGAIN = {"UPLOAD_BUSY", "OFFSET_MISMATCH"}


class Blob(NamedTuple):
    """Bytes that were acknowledged as whole, verified and durable, by a stream that began then."""

    model: str
    digest: str
    size: int
    since: float


class Client(threading.Thread):
    """One of them. It sees what it wrote: what it was told last it asks for at least."""

    def __init__(self, number: int, load: "Load", seed: int) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self.random = random.Random(seed)
        self.channels = Channels([replica.relay.address for replica in load.cluster.replicas])
        self.caller = Caller(self.name, self.channels.stubs, self.random)
        self.load = load
        self.position = ""
        self.known: dict[str, int] = {}  # what an alias meant when this client was told last

    def run(self) -> None:
        turns = {
            self.resolve: 9,
            self.get: 3, self.set_alias: 6, self.delete_alias: 1, self.promote: 4, self.register: 1, self.push: 2, self.lead: 1
        }  # fmt: skip
        try:
            while not self.load.closing.is_set():
                (turn,) = self.random.choices(list(turns), list(turns.values()))
                turn(self.random.choice(MODELS))
        except Exception as error:
            self.load.failures.append(error)
        finally:
            self.channels.close()

    # What it does.

    def resolve(self, model: str) -> None:
        reference = model + self.random.choice(
            [f"@{self.random.choice(ALIASES)}", f"#{self.random.choice(STAGES)}", "@latest", ":1"]
        )
        at_least = self.position if self.random.random() < 0.7 else ""
        call = self.call("ResolveVersion", reference=reference, at_least=at_least)
        if call.reply and "@" in reference:
            self.known[reference] = call.reply.target.number

    def get(self, model: str) -> None:
        """Reads from the database what it has seen or written."""
        self.call("GetVersion", reference=f"{model}:{self.random.randint(1, 3)}", at_least=self.position)

    def set_alias(self, model: str) -> None:
        alias = self.random.choice(ALIASES)
        key, fields = f"{model}@{alias}", {}
        if self.random.random() < 0.6:
            fields["expected_number"] = self.known.get(key, 0)
        reference = model + self.random.choice([":1", ":2", ":3", "@latest", "#production"])
        call = self.call("SetAlias", reference=reference, alias=alias, **fields)
        self.learn(key, call, call.reply and call.reply.alias.number)

    def delete_alias(self, model: str) -> None:
        alias = self.random.choice(ALIASES)
        key, fields = f"{model}@{alias}", {}
        if self.random.random() < 0.5:
            fields["expected_number"] = self.known.get(key, 0)
        self.learn(key, self.call("DeleteAlias", model=model, alias=alias, **fields), 0)

    def promote(self, model: str) -> None:
        stage, fields = self.random.choice(STAGES), {}
        if self.random.random() < 0.4:
            fields["expected_stage"] = self.random.choice(STAGES)
        elif stage != "archived":
            fields["archive_existing"] = self.random.random() < 0.5
        self.call("TransitionStage", reference=f"{model}:{self.random.randint(1, 3)}", stage=stage, **fields)

    def lead(self, _: str) -> None:
        """Moves what followers follow."""
        self.call("SetAlias", reference=f"{FOLLOWED}:{self.random.randint(1, 3)}", alias="champion")

    def register(self, model: str, **fields: object) -> Call:
        """Registers a version, of content that there may be already."""
        fields = {"record": {"author": f"{self.random.randrange(200)}"}, "stage": self.random.choice(["", "", "staging"]), **fields}
        if self.random.random() < 0.5:
            fields["aliases"] = [self.random.choice(ALIASES)]
        return self.call("RegisterVersion", model=model, **fields)

    def push(self, model: str) -> None:
        """Uploads what is missing, registers it, and reads one of the files back."""
        since = time.monotonic()
        seeds = [self.random.choice([self.random.getrandbits(40), self.random.randrange(SAME_BLOBS)]) for _ in range(2)]
        contents = {f"{seed}.bin": make(seed, SIZES[seed % len(SIZES)]) for seed in seeds}
        for content in contents.values():
            self.upload(model, content)
        files = [{"path": path, "digest": digest_of(data), "size_bytes": len(data)} for path, data in contents.items()]
        call = self.register(model, files=files)
        call.since = since
        if call.reply:
            manifest = "".join(f"{digest_of(contents[path])[7:]}  {path}\n" for path in sorted(contents))
            assert call.reply.version.digest == digest_of(manifest.encode())
            path = f"{seeds[0]}.bin"
            self.download(f"{model}:{call.reply.version.number}", path, digest_of(contents[path]), call)

    # How it does that.

    def call(self, method: str, **fields: object) -> Call:
        call = self.caller.call(method, persistence=PERSISTENCE, **fields)
        if call.refusal and call.refusal.reason == "POSITION_UNKNOWN":
            self.position = ""
        if position := getattr(call.reply, "position", ""):
            self.position = max(self.position, position, key=lambda position: revision_of(position) if position else -1)
        self.load.beat()
        return call

    def learn(self, key: str, call: Call, number: int) -> None:
        """Remembers what an alias means now: what it was set to, or what the refusal says."""
        if call.reply:
            self.known[key] = number
        elif call.refusal:
            self.known[key] = int(call.refusal.metadata.get("current", 0))

    def upload(self, model: str, content: bytes) -> None:
        """Sends what is missing, in as many streams as it takes."""
        digest, size = digest_of(content), len(content)
        wanted = {"model": model, "blobs": [{"digest": digest, "size_bytes": size}]}
        end, exact = time.monotonic() + PATIENCE_SECONDS, None
        while time.monotonic() < end:
            missing = self.caller.call("FindMissingBlobs", **wanted).reply.missing
            if not missing:
                return
            offset = missing[0].committed_bytes if exact is None else exact
            header = {"model": model, "digest": digest, "size_bytes": size, "offset": offset}
            since, exact = time.monotonic(), None
            try:
                reply = self.caller.stub.UploadBlob(self.messages(header, content), timeout=3 * ATTEMPT_SECONDS)
            except grpc.RpcError as error:
                refusal = Refusal(error)
                if error.code() not in MAY_PASS and refusal.reason not in UPLOAD_AGAIN:
                    raise
                if refusal.reason == "OFFSET_MISMATCH":
                    exact = int(refusal.metadata["expected_offset"])
                self.load.count_upload(refusal.reason or error.code().name)
                time.sleep(0.2 * self.random.random())
                continue
            assert reply.complete and reply.committed_bytes == size
            self.load.blobs.append(Blob(model, digest, size, since))
            self.load.count_upload("OK")
            return
        raise Unanswered(f"the upload of {digest} does not come to its end")

    def messages(self, header: dict[str, object], content: bytes) -> Iterator[Message]:
        yield request_of("UploadBlob", header=header)
        pause = random.choice([0, 0, 0.05])  # this is gRPC's thread
        for start in range(header["offset"], len(content), CHUNK_BYTES):
            yield request_of("UploadBlob", chunk=content[start : start + CHUNK_BYTES])
            time.sleep(pause)

    def download(self, reference: str, path: str, digest: str, registered: Call) -> None:
        """Reads a file whole, and sees that it is the one that was uploaded; a stream that is cut is no fault."""
        sha256, request = hashlib.sha256(), {"reference": reference, "path": path, "at_least": registered.reply.position}
        try:
            for message in self.caller.stub.DownloadArtifact(request_of("DownloadArtifact", **request), timeout=ATTEMPT_SECONDS):
                sha256.update(message.chunk)
        except grpc.RpcError as error:
            if error.code() not in MAY_PASS and not self.load.was_cut(registered):
                raise
        else:
            assert f"sha256:{sha256.hexdigest()}" == digest, f"{reference} {path} has other bytes"


class Load:
    """All clients, and what they wait for together."""

    def __init__(self, cluster: Cluster, choice: random.Random) -> None:
        self.cluster = cluster
        self.closing = threading.Event()
        self.failures: list[Exception] = []
        self.blobs: list[Blob] = []
        self.uploads: dict[str, int] = {}
        self._beats = 0
        self._beating = threading.Condition()
        self.clients = [Client(number, self, choice.getrandbits(32)) for number in range(CLIENTS)]

    @property
    def calls(self) -> list[Call]:
        return [call for client in self.clients for call in client.caller.calls]

    def start(self) -> None:
        for client in self.clients:
            client.start()

    def close(self) -> None:
        """Lets every client finish what it does."""
        self.closing.set()
        for client in self.clients:
            if client.ident:
                client.join(2 * PATIENCE_SECONDS)
                assert not client.is_alive(), f"{client.name} does not end"

    def beat(self) -> None:
        with self._beating:
            self._beats += 1
            self._beating.notify_all()

    def count_upload(self, end: str) -> None:
        with self._beating:
            self.uploads[end] = self.uploads.get(end, 0) + 1

    def await_answers(self, count: int) -> None:
        """Returns when so many more calls have come to an end."""
        with self._beating:
            wanted = self._beats + count
            there = self._beating.wait_for(lambda: self.failures or self._beats >= wanted, PATIENCE_SECONDS)
        if self.failures:
            raise self.failures[0]
        assert there, "the clients stand still"

    def was_cut(self, call: Call) -> bool:
        """Whether history was cut since a call began."""
        return any(end >= call.sent for end in self.cluster.ended)
