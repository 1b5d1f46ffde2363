"""A registry that has some of everything, and all that a server on it can be asked."""

import math

from podium.v1.versions_pb2 import VERSION_VIEW_FULL
from story import download, upload, upload_files
from streams import MIB, OpenUpload, chunks_of, committed, header_of, until
from watching import Watching
from wire import request_of

MODELS = ["churn", "risk/fraud"]
FILES = 9_000
UNFINISHED = b"unfinished" * MIB
RECORD = {
    "author": "Zoë €😀",
    "params": [
        {"name": "trees", "int_value": 2**53 + 1},
        {"name": "rate", "double_value": -0.0},
        {"name": "schön", "bool_value": True},
        {"name": "text", "string_value": "two\nlines\t\x1b"},
    ],
    "metrics": [
        {"name": "auc", "value": 0.1 + 0.2, "dataset": "tést", "slice": "x=1"},
        {"name": "zero", "value": -0.0, "step": -(2**63)},
        {"name": "loss", "value": math.inf},
        {"name": "tiny", "value": 5e-324},
    ],
    "inputs": [{"kind": 1, "name": "loans", "version": "3", "uri": "s3://data/loans"}],
    "parents": [{"uri": "hf://org/model", "relation": "fine-tuned"}],
    "external_files": [{"path": "big/wëights", "uri": "s3://bucket/weights"}],
}


class AllNouns:
    """Fills a registry. `retries` are all calls, which have request ids, and their replies."""

    def __init__(self, stub):
        self.stub = stub
        self.retries = []
        self.fill()

    def call(self, method, **fields):
        request = request_of(method, request_id=f"call {len(self.retries)}", **fields)
        self.retries.append((method, request, getattr(self.stub, method)(request)))

    def fill(self):
        for name in MODELS:
            self.call("CreateModel", name=name, description=f"größe of {name} €😀", labels={"täg": "a\nb"}, lifecycle="permissive")
        contents = {"empty": b"", "deep/wëights": bytes(range(256)) * 4096 * 3 + b"rest", "small": b"small"}
        files = upload_files(self.stub, "churn", contents)
        self.call("RegisterVersion", model="churn", files=files, record=RECORD, stage="staging", aliases=["a", "Z"])
        digest = upload(self.stub, "risk/fraud", b"one of many")
        for number in range(1, 4):
            files = [{"path": f"{number}/{place}", "digest": digest, "size_bytes": 11} for place in range(FILES)]
            self.call("RegisterVersion", model="risk/fraud", files=files, record={"author": f"{number}"})
            self.call("SetAlias", reference=f"risk/fraud:{number}", alias="champion", reason="bécause")
        self.call("TransitionStage", reference="risk/fraud:3", stage="production")
        self.call("TransitionStage", reference="risk/fraud:2", stage="production", reason="worse\nthan before")
        self.call("DeleteAlias", model="churn", alias="Z")
        self.call("AddNote", reference="churn:1", text="looks\ngööd")
        described = {"description": "ß", "labels": {"k": "v"}}
        paths = ["description", "labels"]
        self.call("UpdateVersion", reference="churn:1", version=described, update_mask={"paths": paths})
        self.call("UpdateModel", model={"name": "churn", **described}, update_mask={"paths": paths})
        self.leave_unfinished()

    def leave_unfinished(self):
        with OpenUpload(self.stub, [header_of("churn", UNFINISHED), *chunks_of(UNFINISHED[: 6 * MIB])]):
            until(lambda: committed(self.stub, "churn", UNFINISHED))


def answers(stub):
    """What a server says to every question, each answer as bytes; pages are small, and their tokens are a part of it."""
    found = {}

    def ask(method, **fields):
        request = request_of(method, **fields)
        while True:
            reply = getattr(stub, method)(request)
            found[method, request.SerializeToString(deterministic=True)] = reply.SerializeToString(deterministic=True)
            if not getattr(reply, "next_page_token", ""):
                return reply
            request.page_token = reply.next_page_token

    ask("ListModels", page_size=1)
    for model in MODELS:
        ask("GetModel", name=model)
        ask("ListVersions", model=model, page_size=2)
        ask("ListAliases", model=model, page_size=1)
        for version in ask("ListVersions", model=model, view=VERSION_VIEW_FULL).versions:
            reference = f"{model}:{version.number}"
            ask("GetVersion", reference=reference)
            ask("ListFiles", reference=reference, page_size=1000)
            ask("ResolveVersion", reference=f"{model}@{version.digest}")
    for reference in ("churn@a", "churn#staging", "risk/fraud@champion", "risk/fraud#production", "risk/fraud@latest"):
        ask("ResolveVersion", reference=reference)
    ask("ListEvents", page_size=3)
    found["files"] = [download(stub, "churn:1", path) for path in ("empty", "deep/wëights", "small")]
    with Watching(stub, {"kinds": [1, 2, 3]}) as watch:
        found["snapshot"] = sorted(reference.SerializeToString() for reference in watch.step().references)
        found["position"] = watch.position
    return found
