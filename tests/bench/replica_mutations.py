"""RegisterVersion and SetAlias over two replicas: one caller beside bare transactions of the same PostgreSQL, and 64 beside one."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bare_postgres import Replay
from generator import Generator
from mutations import KINDS, MANY, Bed, Kind, model_name, one_caller, record
from processes import empty
from registry import Registry
from replicas import Replicas, replicas
from table import Row, paired

SECONDS = 3.0
MANY_RATE, ONE_RATE = 3_000, 1_000  # more calls a second than there can be
# The stricter way to read the promise, which is 4 for one of the two and 5 for the other.
PROMISED = [replace(kind, transactions=4) for kind in KINDS if kind.transactions]


def measure(generator: Generator, folder: Path) -> Iterator[Row]:
    """What one caller waits for, then what 64 do together."""
    with replicas(folder / "replicas") as both:
        bed = Bed(generator, Registry(both.one.address), both.one, folder)
        bed.registry.create([model_name(caller) for caller in range(MANY)])
        for caller in range(MANY):
            bed.registry.register(model_name(caller), 2)
        for kind in PROMISED:
            replay = Replay(both.database, folder, kind.method)
            size = record(bed, kind, replay)
            with empty({kind.method: size}, folder / "empty.log") as floor:
                yield from one_caller(bed, kind, floor, replay)
            yield _spread(bed, kind, both)
        bed.registry.close()


def _spread(bed: Bed, kind: Kind, both: Replicas) -> Row:
    """By turns; the first round warms up. The replicas commit in turns too, a group of many changes each, so it takes longer."""
    bed = replace(bed, generator=replace(bed.generator, seconds=max(bed.generator.seconds, SECONDS)))
    pairs = []
    for number in range(bed.generator.rounds + 1):
        rates = {}
        for callers, rate, where in ((MANY, MANY_RATE, both.addresses), (1, ONE_RATE, both.one.address))[
            :: 1 if number % 2 else -1
        ]:
            bodies = bed.bodies(kind, bed.generator.rounds + 1 + number, callers, rate)
            rates[callers] = bed.generator.run(where, kind.method, bodies, callers).rate
        pairs.append((rates[MANY], rates[1]))
    return paired(f"{kind.what}, {MANY} callers over two replicas", "/s", pairs[1:], "one caller of one of them", at_least=2)
