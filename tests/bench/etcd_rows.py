"""Podium beside etcd: reads of one small value, and how soon watchers learn of a change."""

import statistics
from collections.abc import Iterator
from pathlib import Path

import etcd_server
import processes
import promotions
import resolve
from client_tools import go_tool
from commands import CHANGES, MARK, Delays, Opening, Speed, delays, speed
from generator import SERVICE, Generator, write_bodies
from peer_process import PeerProcess
from processes import Process
from table import Row, paired
from turns import Turns

FEW_CHANGES = 20  # where each takes a thousand followers of one machine to their disk
VALUE = 400  # bytes: about what Podium says of a reference


def measure(generator: Generator, folder: Path) -> Iterator[Row]:
    """Reads and watches of registries that both commit to the same disk before they answer."""
    version = etcd_server.version()
    with processes.podium(folder / "registry") as ours, etcd_server.start(folder / "etcd") as theirs:
        turns = Turns(generator.rounds, ours, theirs)
        models = resolve.fill(ours.address)
        keys = [f"{name}@champion" for name in models]
        puts = write_bodies(folder / "puts", (etcd_server.put(key, bytes(VALUE)) for key in keys))
        speed(generator, theirs.address, puts, 1, method=etcd_server.PUT)
        yield from _reads(generator, folder, turns, ours, theirs, keys, version)
        yield from _watches(generator, folder, turns, ours, theirs, keys[0], version)
        yield from _followers(generator, folder, turns, ours, theirs, keys[0], version)


def _reads(
    generator: Generator, folder: Path, turns: Turns, ours: Process, theirs: PeerProcess, keys: list[str], version: str
) -> Iterator[Row]:
    bodies = write_bodies(folder / "bodies", resolve.requests(keys))
    gets = write_bodies(folder / "gets", map(etcd_server.get, keys))

    def speeds(callers: int) -> list[tuple[Speed, Speed]]:
        return turns.take(
            lambda _: speed(generator, ours.address, bodies, callers, method=SERVICE + resolve.METHOD),
            lambda _: speed(generator, theirs.address, gets, callers, method=etcd_server.GET),
        )

    beside = f"etcd {version}, linearizable Get"
    many, one = speeds(resolve.MANY), speeds(1)
    if any(theirs.reply_bytes < VALUE for _, theirs in (*many, *one)):
        raise SystemExit("etcd has no value for a key that is read")
    rates = [(ours.rate, theirs.rate) for ours, theirs in many]
    yield paired(f"resolve an alias, {resolve.MANY} in flight", "/s", rates, beside)
    times = [(ours.p50, theirs.p50) for ours, theirs in one]
    yield paired("resolve an alias, 1 in flight, p50", "ms", times, beside)


def _watches(
    generator: Generator, folder: Path, turns: Turns, ours: Process, theirs: PeerProcess, key: str, version: str
) -> Iterator[Row]:
    model = key.partition("@")[0]
    puts = write_bodies(folder / "puts", (etcd_server.put(key, (MARK % turn).encode().ljust(VALUE)) for turn in range(CHANGES)))
    watch = Opening(etcd_server.WATCH, write_bodies(folder / "watch-etcd", [etcd_server.watch(key)]), stays_open=True)

    def crowd(streams: int) -> list[tuple[Delays, Delays]]:
        return turns.take(
            lambda _: promotions.told(generator, folder, ours.address, model, streams),
            lambda _: delays(generator, theirs.address, watch, streams, etcd_server.PUT, puts),
        )

    for streams in promotions.CROWDS:
        yield from promotions.rows(crowd(streams), streams, f"etcd {version}, put")


def _followers(
    generator: Generator, folder: Path, turns: Turns, ours: Process, theirs: PeerProcess, key: str, version: str
) -> Iterator[Row]:
    """Followers have the files too; a client of etcd has the value."""
    tool = go_tool(folder)
    model, _, alias = key.partition("@")
    puts = write_bodies(folder / "puts", (etcd_server.put(key, (MARK % turn).encode().ljust(VALUE)) for turn in range(CHANGES)))
    watch = Opening(etcd_server.WATCH, write_bodies(folder / "watch-etcd", [etcd_server.watch(key)]), stays_open=True)
    for count in (promotions.CROWDS[0], promotions.CROWDS[-1]):
        changes = CHANGES if count == 1 else FEW_CHANGES
        moves = ",".join(str(1 + turn % 2) for turn in range(changes))

        def swapped(_round: int, count: int = count, moves: str = moves) -> float:
            return statistics.median(
                tool.measure("promotions", ours.address, folder / "cache", model, alias, moves, count)["times"]
            )

        def seen(_round: int, count: int = count) -> float:
            return delays(generator, theirs.address, watch, count, etcd_server.PUT, puts).last_p50

        who = "its only Go follower" if count == 1 else f"the last of {count:,} Go followers"
        yield paired(f"SetAlias to {who}, p50", "ms", turns.take(swapped, seen), f"etcd {version}, put to watchers", at_most=2)
