"""Podium beside MLflow: how fast each says what an alias means, and what each does for a user of its own Python client."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from urllib.parse import urlencode

import mlflow_server
import mlflow_transfers
import podium
import processes
import resolve
from commands import Speed, speed
from generator import SERVICE, Generator, write_bodies
from mlflow_server import PEER, Client
from peer_process import PeerProcess
from processes import Process
from registry import Registry
from table import Row, paired
from transfers import places
from turns import Turns

CALLS = 20  # of a mutation in one round
SECONDS = 4.0  # that a load lasts at the least: the first of 64 calls at once take MLflow half a second
ALIAS = "champion"


def measure(generator: Generator, folder: Path) -> Iterator[Row]:
    """Resolve, SetAlias, RegisterVersion, upload and download, of registries that hold the same models."""
    python = mlflow_server.install(folder.parents[2])
    with _peers(generator, folder, python) as (turns, ours, theirs, client):
        models = resolve.fill(ours.address)
        client.do("fill", names=[_allowed(name) for name in models], versions=resolve.VERSIONS, alias=ALIAS, number=2)
        yield from _resolving(generator, folder, turns, ours, theirs, models)
        yield _alias_moves(turns, ours, client, models[0])
        yield _registrations(turns, ours, client)
    for where, place in places(folder):
        with _peers(generator, place, python) as (turns, ours, _theirs, client):
            yield from mlflow_transfers.measure(where, place, turns, ours, client)


@contextmanager
def _peers(generator: Generator, folder: Path, python: Path) -> Iterator[tuple[Turns, Process, PeerProcess, Client]]:
    """A server of each, with their data below a folder, and MLflow's client."""
    folder.mkdir(exist_ok=True)
    with (
        processes.podium(folder / "registry") as ours,
        mlflow_server.start(python, folder / "mlflow") as theirs,
        mlflow_server.client(python, theirs, folder / "mlflow_client.log") as client,
    ):
        yield Turns(generator.rounds, ours, theirs), ours, theirs, client


def _resolving(
    generator: Generator, folder: Path, turns: Turns, ours: Process, theirs: PeerProcess, models: Sequence[str]
) -> Iterator[Row]:
    asked = (urlencode({"name": _allowed(name), "alias": ALIAS}) for name in models)
    paths = write_bodies(folder / "paths", (f"/api/2.0/mlflow/registered-models/alias?{query}".encode() for query in asked))
    bodies = write_bodies(folder / "bodies", resolve.requests(f"{name}@{ALIAS}" for name in models))

    patient = replace(generator, seconds=max(generator.seconds, SECONDS))

    def speeds(callers: int) -> list[tuple[Speed, Speed]]:
        return turns.take(
            lambda _: speed(patient, ours.address, bodies, callers, method=SERVICE + resolve.METHOD),
            lambda _: speed(patient, theirs.address, paths, callers),
        )

    beside = f"{PEER}, GET on connections that are kept"
    rates = [(ours.rate, theirs.rate) for ours, theirs in speeds(resolve.MANY)]
    yield paired(f"resolve an alias, {resolve.MANY} in flight", "/s", rates, beside, at_least=20)
    times = [(ours.p50, theirs.p50) for ours, theirs in speeds(1)]
    yield paired("resolve an alias, 1 in flight, p50", "ms", times, beside, at_most=0.1)


def _alias_moves(turns: Turns, ours: Process, client: Client, model: str) -> Row:
    numbers = [1 + turn % 2 for turn in range(CALLS)]
    with podium.connect(ours.address) as registry:

        def move(number: int) -> float:
            return _timed(lambda: registry.set_alias(model, ALIAS, number))

        pairs = turns.take(
            lambda _: [move(number) for number in numbers],
            lambda _: client.do("move", name=_allowed(model), alias=ALIAS, numbers=numbers),
        )
    return paired("move an alias, p50", "ms", _medians(pairs), f"{PEER}, by the Python client of each")


def _registrations(turns: Turns, ours: Process, client: Client) -> Row:
    model = "risk/registered"
    registry = Registry(ours.address)
    registry.create([model])
    # Its numbers are request ids, of which `fill` has used the first.
    asked = islice(registry.requests(model), resolve.MODELS * resolve.VERSIONS, None)
    client.do("fill", names=[_allowed(model)], versions=1, alias=ALIAS, number=1)
    pairs = turns.take(
        lambda _: [_timed(lambda: registry.stub.RegisterVersion(next(asked))) for _ in range(CALLS)],
        lambda _: client.do("register", name=_allowed(model), count=CALLS),
    )
    registry.close()
    return paired("register a version, p50", "ms", _medians(pairs), f"{PEER}, by its client, without params and metrics")


def _allowed(name: str) -> str:
    """The name as MLflow allows it."""
    return name.replace("/", "-")


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _medians(pairs: Sequence[tuple[list[float], list[float]]]) -> list[tuple[float, float]]:
    """What the calls of each round took at the median, in milliseconds."""
    return [(statistics.median(ours) * 1e3, statistics.median(theirs) * 1e3) for ours, theirs in pairs]
