"""Fills a registry with models and versions of a realistic size, through its own API, and makes the requests that are measured."""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import grpc
from podium.v1 import artifacts_pb2, models_pb2, records_pb2, versions_pb2
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub

PATHS = ("model.safetensors", "config.json", "README.md")
STARTED = datetime(2025, 1, 24, 12, tzinfo=UTC)


def record(number: int) -> records_pb2.VersionRecord:
    """A record as a training writes it: about 2 KB, different for each number."""
    return records_pb2.VersionRecord(
        author="ann@example.org",
        team="risk",
        framework=records_pb2.Library(name="scikit-learn", version="1.7.2"),
        dependencies=[records_pb2.Library(name=f"library-{place}", version=f"1.{place}.0") for place in range(25)],
        params=[
            *(records_pb2.Param(name=f"param_{place}", double_value=place / 10) for place in range(8)),
            records_pb2.Param(name="booster", string_value="gbtree"),
            records_pb2.Param(name="seed", int_value=number),
            records_pb2.Param(name="early_stopping", bool_value=True),
        ],
        metrics=[
            *(
                records_pb2.Metric(name=name, value=0.9 + number % 1000 / 1e5, dataset="holdout")
                for name in ("auc", "f1", "recall")
            ),
            *(records_pb2.Metric(name="auc", value=0.9, dataset="holdout", slice=f"country={code}") for code in ("DE", "FR", "IT")),
        ],
        training_start_time=STARTED + timedelta(minutes=number),
        training_duration=timedelta(minutes=42),
        hardware=records_pb2.Hardware(
            cpu="AMD EPYC 9654", cpu_count=32, accelerator="H100", accelerator_count=1, memory_bytes=1 << 37
        ),
        inputs=[
            records_pb2.Input(
                kind=records_pb2.INPUT_KIND_DATASET,
                name="transactions",
                version="2025-01",
                digest="sha256:" + "5e" * 32,
            ),
            records_pb2.Input(kind=records_pb2.INPUT_KIND_FEATURES, name="customer_features", version="12"),
        ],
        source=records_pb2.Source(
            repository="https://git.example.org/risk/fraud", commit=f"{number:040x}", branch="main", dirty=False
        ),
        run=records_pb2.Run(system="airflow", id=f"train-{number}", uri=f"https://airflow.example.org/runs/{number}"),
        input_schema=[records_pb2.Column(name=f"feature_{place}", type="float32", shape=[-1]) for place in range(12)],
        output_schema=[records_pb2.Column(name="score", type="float32", shape=[-1])],
        serving=records_pb2.Serving(image="registry.example.org/serve:3", request_content_types=["application/json"]),
        runtime=records_pb2.Library(name="python", version="3.11.7"),
    )


class Registry:
    """A running registry and the small blobs that its versions are made of."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.stub = RegistryServiceStub(self.channel)
        self._blobs: list[artifacts_pb2.BlobSpec] = []
        self._numbers = itertools.count(1)

    def create(self, names: Sequence[str]) -> None:
        """Creates models, and uploads the blobs to the first."""
        for name in names:
            self.stub.CreateModel(models_pb2.CreateModelRequest(name=name, description="measured"))
        if not self._blobs:
            self._blobs = [self._upload(names[0], f"contents of small file {place}\n".encode() * 20) for place in range(60)]

    def requests(self, model: str, stage: str | None = None) -> Iterator[versions_pb2.RegisterVersionRequest]:
        """Registrations of three small files that are there, of which no two have the same content or record."""
        while True:
            number = next(self._numbers)
            yield versions_pb2.RegisterVersionRequest(
                model=model,
                files=[
                    versions_pb2.ManifestFile(path=path, digest=blob.digest, size_bytes=blob.size_bytes)
                    for path, blob in zip(PATHS, self._three(number), strict=True)
                ],
                record=record(number),
                stage=stage,
                labels={"owner": "risk", "tier": "gold"},
                description="retrained on January",
                reason="nightly training",
                request_id=f"register-{number}",
            )

    def register(self, model: str, count: int) -> None:
        """Registers versions."""
        for request in itertools.islice(self.requests(model), count):
            self.stub.RegisterVersion(request)

    def _three(self, number: int) -> list[artifacts_pb2.BlobSpec]:
        """Three of the blobs, in an order of its own for each of 60 × 59 × 58 numbers: manifests differ without an upload each."""
        left = list(self._blobs)
        chosen = []
        for _ in PATHS:
            number, place = divmod(number, len(left))
            chosen.append(left.pop(place))
        return chosen

    def _upload(self, model: str, contents: bytes) -> artifacts_pb2.BlobSpec:
        blob = artifacts_pb2.BlobSpec(digest=f"sha256:{hashlib.sha256(contents).hexdigest()}", size_bytes=len(contents))
        header = artifacts_pb2.UploadBlobHeader(model=model, digest=blob.digest, size_bytes=blob.size_bytes)
        messages = [artifacts_pb2.UploadBlobRequest(header=header), artifacts_pb2.UploadBlobRequest(chunk=contents)]
        if not self.stub.UploadBlob(iter(messages)).complete:
            raise SystemExit("an upload was not complete")
        return blob

    def close(self) -> None:
        """Closes the connection."""
        self.channel.close()
