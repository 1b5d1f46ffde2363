"""Two replicas on PostgreSQL: what a resolve costs beside one process on SQLite, and how soon the other one tells a change."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import promotions
import resolve
from commands import held
from databases import PostgresBase
from generator import Generator, write_bodies
from podium.v1 import resolve_pb2
from processes import KIB, Process, podium
from registry import Registry
from table import Row, alone, paired
from turns import Turns
from watch import CONNECTIONS, STREAMS

RESOLVES = 8_000  # a second of a load: more than are answered in it


@dataclass(frozen=True)
class Replicas:
    """Two servers over one database and one folder of blobs."""

    database: PostgresBase
    one: Process
    other: Process

    @property
    def addresses(self) -> str:
        """Both, as the generator takes them."""
        return f"{self.one.address},{self.other.address}"

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stops both for a while."""
        with self.one.paused(), self.other.paused():
            yield

    def cpu_seconds(self) -> float:
        """What both have used so far."""
        return self.one.cpu_seconds() + self.other.cpu_seconds()

    def resident_bytes(self) -> int:
        """What both hold in memory now."""
        return self.one.resident_bytes() + self.other.resident_bytes()


@contextmanager
def replicas(folder: Path) -> Iterator[Replicas]:
    """Starts two over a new database."""
    folder.mkdir()
    database = PostgresBase(folder)
    options = (*database.options, "--blobs", (folder / "blobs").absolute().as_uri())
    with podium(folder / "one", *options) as one, podium(folder / "other", *options) as other:
        yield Replicas(database, one, other)


def fill(both: Replicas) -> list[str]:
    """As `resolve.fill`; then the other replica has it too."""
    names = resolve.fill(both.one.address)
    one, other = Registry(both.one.address), Registry(both.other.address)
    asked = resolve_pb2.ResolveVersionRequest(reference=f"{names[-1]}@{promotions.ALIAS}")
    asked.at_least = one.stub.ResolveVersion(asked).position
    other.stub.ResolveVersion(asked)
    one.close()
    other.close()
    return names


def measure(generator: Generator, folder: Path) -> Iterator[Row]:
    """Resolve by turns with SQLite, then delays, then many streams over two that were just started."""
    with replicas(folder / "replicas") as both, podium(folder / "sqlite") as single:
        names = resolve.fill(single.address)
        fill(both)
        yield from _resolving(generator, folder, both, single, names)
        yield from _delays(generator, folder, both, names[0])
    with replicas(folder / "crowd") as both:
        yield from _crowd(generator, folder, both, fill(both)[0])


def _resolving(generator: Generator, folder: Path, both: Replicas, single: Process, names: list[str]) -> Iterator[Row]:
    """Every call of a load is counted, since the CPU of all of them is."""
    asked = resolve.requests(f"{names[turn % len(names)]}@{promotions.ALIAS}" for turn in range(int(RESOLVES * generator.seconds)))
    bodies = write_bodies(folder / "resolves", asked)

    def cost(servers: Replicas | Process, addresses: str) -> tuple[float, float]:
        before = servers.cpu_seconds()
        load = generator.run(addresses, resolve.METHOD, bodies, resolve.MANY, every=True)
        return (servers.cpu_seconds() - before) / load.calls * 1e6, load.rate

    pairs = Turns(generator.rounds, both, single).take(lambda _: cost(both, both.addresses), lambda _: cost(single, single.address))
    what = f"resolve an alias, {resolve.MANY} in flight over two replicas"
    cpu, rates = ([(ours[place], theirs[place]) for ours, theirs in pairs] for place in (0, 1))
    yield paired(f"{what}, CPU a call", "µs", cpu, "one process on SQLite", at_most=1.2)
    yield paired(what, "/s", rates, "one process on SQLite")


def _delays(generator: Generator, folder: Path, both: Replicas, model: str) -> Iterator[Row]:
    """Changes by one replica, to watchers at the other and at itself by turns; the first round warms up."""
    for streams in promotions.CROWDS:
        pairs = []
        for number in range(generator.rounds + 1):
            found = {}
            for there in (both.other, both.one)[:: 1 if number % 2 else -1]:
                found[there.pid] = promotions.told(
                    generator, folder, both.one.address, model, streams, stream_address=there.address
                )
            pairs.append((found[both.other.pid], found[both.one.pid]))
        beside = "watchers of the replica that is called"
        for what, field, _ in promotions.figures(streams):
            rounds = [(getattr(other, field), getattr(own, field)) for other, own in pairs[1:]]
            yield paired(f"{what}, at the other replica", "ms", rounds, beside, at_most=2 if field == "last_p50" else None)


def _crowd(generator: Generator, folder: Path, both: Replicas, model: str) -> Iterator[Row]:
    """One that misses a change, or is cut, ends the benchmark."""
    idle = both.resident_bytes()
    with held(generator, both.addresses, promotions.opening(folder, model), STREAMS, CONNECTIONS):
        each = (both.resident_bytes() - idle) / STREAMS / KIB
    crowd = f"{STREAMS:,} watchers over two replicas"
    yield alone(f"{crowd}: memory above idle, each", "KiB", each, at_most=40, beside=f"on {CONNECTIONS} connections")
    told = promotions.told(
        generator, folder, both.one.address, model, STREAMS, stream_address=both.addresses, connections=CONNECTIONS
    )
    beside = f"all get all; generator at {told.generator_cores:.1f} cores"
    yield alone(f"SetAlias to the last of {crowd}, p50", "ms", told.last_p50, beside=beside)
    yield alone(f"SetAlias to the last of {crowd}, p99", "ms", told.last_p99, beside=beside)
