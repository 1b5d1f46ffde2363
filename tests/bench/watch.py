"""Watch: how soon a promotion is known, what a stream costs, and how fast one that was away catches up."""

import statistics
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import promotions
import resolve
from commands import MARK, Crowd, Opening, catch_up, held, speed
from generator import SERVICE, Generator, write_bodies
from podium.v1 import resolve_pb2
from processes import KIB, Process, podium
from registry import Registry
from table import Row, alone, paired

STREAMS = 5_000
CONNECTIONS = 50
HEARTBEAT = 10.0  # seconds, the server's default: a shorter load would meet all heartbeats or none
ROUNDS = 3  # at the most, of loads that long
LATE = 10_000


def measure(generator: Generator, folder: Path) -> Iterator[Row]:
    """Delays first, then what many streams cost, each in a registry that was just started."""
    with podium(folder / "delays") as server:
        yield from _delays(generator, folder, server, resolve.fill(server.address)[0])
    with podium(folder / "crowd") as server:
        models = resolve.fill(server.address)
        yield from _memory(generator, folder, server, models[0])
        yield _beside_streams(generator, folder, server, models)
    yield from _late(generator, folder)


def _delays(generator: Generator, folder: Path, server: Process, model: str) -> Iterator[Row]:
    for streams in promotions.CROWDS:
        told = [promotions.told(generator, folder, server.address, model, streams) for _ in range(generator.rounds + 1)][1:]
        beside = f"a connection each; generator at {max(one.generator_cores for one in told):.1f} cores"
        for what, field, _ in promotions.figures(streams):
            yield alone(what, "ms", statistics.median(getattr(one, field) for one in told), beside=beside)


def _memory(generator: Generator, folder: Path, server: Process, model: str) -> Iterator[Row]:
    idle = server.resident_bytes()
    for streams in (STREAMS // 5, STREAMS):
        with held(generator, server.address, promotions.opening(folder, model), streams, CONNECTIONS):
            each = (server.resident_bytes() - idle) / streams / KIB
        what = f"{streams:,} watchers: memory above idle, each"
        yield alone(what, "KiB", each, at_most=40, beside=f"on {CONNECTIONS} connections; idle {idle / KIB / KIB:.0f} MiB")


def _beside_streams(generator: Generator, folder: Path, server: Process, models: list[str]) -> Row:
    """By turns with the streams and without them, in changing order; the first round warms up."""
    long = replace(generator, seconds=max(generator.seconds, HEARTBEAT), rounds=min(generator.rounds, ROUNDS))
    bodies = write_bodies(folder / "bodies", resolve.requests(f"{name}@{promotions.ALIAS}" for name in models))
    opening = promotions.opening(folder, models[0])
    pairs, heartbeats = [], []
    for number in range(long.rounds + 1):
        rates = {}
        for crowded in (True, False) if number % 2 else (False, True):
            with held(long, server.address, opening, STREAMS, CONNECTIONS) if crowded else nullcontext(Crowd()) as crowd:
                found = speed(long, server.address, bodies, resolve.MANY, method=SERVICE + resolve.METHOD)
            rates[crowded] = found.rate
            if crowded:
                heartbeats.append(crowd.messages)
        pairs.append((rates[True], rates[False]))
    what = f"resolve an alias, {resolve.MANY} in flight, {STREAMS:,} watchers"
    beside = f"the same without watchers; {min(heartbeats):,} heartbeats in each load"
    return paired(what, "/s", pairs[1:], beside, at_least=0.9)


def _late(generator: Generator, folder: Path) -> Iterator[Row]:
    """From a server that saw the changes, and from one that was started after them and has them on the disk alone."""
    data = folder / "late"
    with podium(data) as server:
        model = resolve.fill(server.address)[0]
        position = _position(server.address, model)
        changes = write_bodies(folder / "moves", promotions.moves(model, LATE))
        generator.run(server.address, "SetAlias", changes, 1, every=True)
        opening = promotions.opening(folder, model, position)
        yield _caught_up(generator, server, opening, "")
    with podium(data) as server:
        yield _caught_up(generator, server, opening, ", server started since")


def _caught_up(generator: Generator, server: Process, opening: Opening, when: str) -> Row:
    """The first time it is asked for, when nothing is ready."""
    seconds, size = catch_up(generator, server.address, opening, MARK % (LATE - 1))
    what = f"watcher {LATE:,} changes late is up to date{when}"
    return alone(what, "s", seconds, at_most=1, beside=f"{size / KIB / KIB:.1f} MiB of events")


def _position(address: str, model: str) -> str:
    registry = Registry(address)
    request = resolve_pb2.ResolveVersionRequest(reference=f"{model}@{promotions.ALIAS}")
    position: str = registry.stub.ResolveVersion(request).position
    registry.close()
    return position
