"""RegisterVersion, SetAlias and TransitionStage, beside an empty server under the same load and bare transactions."""

import itertools
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import bare_postgres
from bare_sqlite import Replay
from generator import Generator, against, call, column, write_bodies
from podium.v1 import aliases_pb2, stages_pb2
from processes import Process, empty, podium
from registry import Registry
from table import Row, paired

MANY = 64
RECORDED = 120
SINGLE_RATE = 2_500  # more calls a second than one caller can make, and than 64 can
MANY_RATE = 8_000


@dataclass(frozen=True)
class Kind:
    """A mutation: its requests for a round and a number of callers, in turns one of each caller, and what the project promises."""

    what: str
    method: str
    requests: Callable[[Registry, int, int], Iterator[bytes]]
    transactions: int | None = None
    share: float | None = None
    rate: int = MANY_RATE


def registrations(registry: Registry, _round: int, callers: int) -> Iterator[bytes]:
    """Each caller registers in a model of its own."""
    models = [registry.requests(model_name(caller)) for caller in range(callers)]
    while True:
        for requests in models:
            yield next(requests).SerializeToString()


def alias_moves(_registry: Registry, number: int, callers: int) -> Iterator[bytes]:
    """Each caller moves an alias of its own to and fro between two versions; a new alias in each round."""
    for turn in itertools.count():
        for caller in range(callers):
            yield aliases_pb2.SetAliasRequest(
                reference=f"{model_name(caller)}:{1 + turn % 2}",
                alias=f"champion-{callers}-{number}",
                reason="better on the holdout",
                request_id=f"alias-{callers}-{number}-{turn}-{caller}",
            ).SerializeToString()


def transitions(_registry: Registry, number: int, callers: int) -> Iterator[bytes]:
    """Each caller moves a version of its own to and fro between two stages; another version in each round."""
    for turn in itertools.count():
        for caller in range(callers):
            yield stages_pb2.TransitionStageRequest(
                reference=f"{model_name(caller)}:{_version(number, callers)}",
                stage=("staging", "development")[turn % 2],
                reason="passed the checks",
                request_id=f"stage-{callers}-{number}-{turn}-{caller}",
            ).SerializeToString()


# Transitions come first: they also touch the aliases of a version, of which it has none yet.
KINDS = (
    Kind("transition", "TransitionStage", transitions),
    Kind("set alias", "SetAlias", alias_moves, transactions=4, share=0.4),
    Kind("register version", "RegisterVersion", registrations, transactions=5, share=0.15, rate=MANY_RATE // 2),
)


@dataclass(frozen=True)
class Bed:
    """Where the mutations are made."""

    generator: Generator
    registry: Registry
    server: Process
    folder: Path

    def bodies(self, kind: Kind, number: int, callers: int, rate: int) -> Path:
        """The requests of a round, more than are made in its time."""
        count = int(rate * self.generator.seconds)
        return write_bodies(self.folder / "bodies", itertools.islice(kind.requests(self.registry, number, callers), count))


def measure(generator: Generator, folder: Path) -> Iterator[Row]:
    """p50 and p99 of each mutation with one caller, and what 64 do together."""
    with podium(folder / "mutations") as server:
        bed = Bed(generator, Registry(server.address), server, folder)
        bed.registry.create([model_name(caller) for caller in range(MANY)])
        bed.registry.register(model_name(0), 2)
        data = folder / "mutations" / "registry.db"
        recorded = [(replay := Replay(data, folder, kind.method), record(bed, kind, replay)) for kind in KINDS]
        for caller in range(MANY):
            bed.registry.register(model_name(caller), _version(generator.rounds, MANY))
        for kind, (replay, size) in zip(KINDS, recorded, strict=True):
            with empty({kind.method: size}, folder / "empty.log") as floor:
                yield from one_caller(bed, kind, floor, replay)
                yield from _many_callers(bed, kind, floor)
        bed.registry.close()


def model_name(caller: int) -> str:
    return f"risk/model-{caller}"


def _version(number: int, callers: int) -> int:
    """Which version a round moves: other ones with one caller, and with many, than those that were recorded (round -1)."""
    return 1 + 2 * (number + 1) + (callers == MANY)


def record(bed: Bed, kind: Kind, replay: Replay | bare_postgres.Replay) -> int:
    """Makes some calls one by one, of which what they wrote is kept; returns how long a reply is."""
    replies: list[bytes] = []
    for body in itertools.islice(kind.requests(bed.registry, -1, 1), RECORDED):
        replay.record(lambda body=body: replies.append(call(bed.registry.channel, kind.method, body)))  # type: ignore[misc]
    return len(replies[-1])


def one_caller(bed: Bed, kind: Kind, floor: Process, replay: Replay | bare_postgres.Replay) -> Iterator[Row]:
    """p50 and p99 beside an empty call and as many bare transactions as the project promises."""
    bare: list[list[float]] = []

    def bodies(number: int) -> Path:
        bare.append(replay.run())
        return bed.bodies(kind, number, 1, SINGLE_RATE)

    pairs = bed.generator.beside(bed.server, floor, kind.method, bodies, 1)
    times = kind.transactions or 1
    p50 = [statistics.median(took) for took in bare[1:]]
    p99 = [statistics.quantiles(took, n=100)[-1] for took in bare[1:]]
    beside = f"empty call + {times} × transaction of {replay.rows:.0f} rows"
    for name, took, target in (("p50", p50, kind.transactions and 1), ("p99", p99, None)):
        calls = column(pairs, name)
        budget = [(ours, call + times * transaction) for (ours, call), transaction in zip(calls, took, strict=True)]
        yield paired(f"{kind.what}, 1 caller, {name}", "ms", budget, f"{beside} ({statistics.median(took):.2f} ms)", at_most=target)


def _many_callers(bed: Bed, kind: Kind, floor: Process) -> Iterator[Row]:
    def bodies(number: int) -> Path:
        return bed.bodies(kind, number, MANY, kind.rate)

    pairs = bed.generator.beside(bed.server, floor, kind.method, bodies, MANY)
    what = f"{kind.what}, {MANY} callers"
    yield paired(what, "/s", column(pairs, "rate"), against(pairs), at_least=kind.share)
    yield paired(f"{what}, p50", "ms", column(pairs, "p50"), "empty server")
    yield paired(f"{what}, p99", "ms", column(pairs, "p99"), "empty server")
