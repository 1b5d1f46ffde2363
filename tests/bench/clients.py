"""The Go and the Java client: reads of what is current, resolve, promotions to a follower, and downloads of 1 GiB."""

import os
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import podium
import processes
import resolve
from client_tools import Tool, go_tool, java_tool
from follow import ALIAS, CACHED, FETCHED, MODEL, REFERENCE, THREADS, push_versions
from generator import Generator
from processes import Process
from table import Row, alone, paired
from transfers import GIB, MIB, Ends, new_files, places, remove
from turns import Turns

READS = 50_000_000  # a thread
RESOLVE_SECONDS = 3
FOLLOWERS = 200  # over which the memory of one is taken


def measure(generator: Generator, folder: Path) -> Iterator[Row]:
    """One language after the other; only Go's followers are timed, since Java's do the same."""
    tools = [go_tool(folder), java_tool()]
    with processes.podium(folder / "data") as server, podium.connect(server.address, cache=folder / "cache") as registry:
        push_versions(registry, folder / "files")
        for tool in tools:
            took = tool.measure("reads", server.address, folder / tool.language, REFERENCE, THREADS, READS)["nanoseconds"]
            yield alone(
                f"a read of what is current, {tool.language}", "ns", took, at_most=50, beside=f"the slowest of {THREADS} threads"
            )
        size = resolve.reply_size(server.address, REFERENCE)
        with processes.empty({resolve.METHOD: size}, folder / "empty.log") as floor:
            turns = Turns(generator.rounds, server, floor)
            for tool in tools:
                yield from _resolving(tool, turns, server, floor, folder)
        yield from _promotions(tools[0], server, folder)
    for where, place in places(folder):
        for count in (1, 4):
            yield from _downloads(tools, generator.rounds, where, place, count)


def _resolving(tool: Tool, turns: Turns, server: Process, floor: Process, folder: Path) -> Iterator[Row]:
    for callers in (1, resolve.MANY):

        def asked(of: Process, callers: int = callers) -> dict[str, float]:
            return tool.measure("resolve", of.address, folder / tool.language, REFERENCE, callers, RESOLVE_SECONDS)

        pairs = turns.take(lambda _, asked=asked: asked(server), lambda _, asked=asked: asked(floor))  # type: ignore[misc]
        what = f"resolve by the {tool.language} client, {callers} in flight"
        for figure in ("p50", "p99"):
            yield paired(f"{what}, {figure}", "ms", [(ours[figure], best[figure]) for ours, best in pairs], "empty server")


def _promotions(tool: Tool, server: Process, folder: Path) -> Iterator[Row]:
    def promoted(numbers: Sequence[int], followers: int = 1) -> dict[str, list[float]]:
        moves = ",".join(map(str, numbers))
        return tool.measure("promotions", server.address, folder / tool.language, MODEL, ALIAS, moves, followers)

    for name, numbers in (
        ("files in its cache", [1 + turn % 2 for turn in range(1, CACHED)]),
        ("10 MiB of new files", range(3, 3 + FETCHED)),
    ):
        times = promoted(numbers)["times"]
        what = f"promotion to Go follower, {name}"
        yield alone(
            f"{what}, p50", "ms", statistics.median(times), beside=f"{len(times)} promotions, from before the call until the swap"
        )
        yield alone(f"{what}, p99", "ms", statistics.quantiles(times, n=100)[98])
    each = promoted([1], FOLLOWERS)["heap_and_stacks"]
    yield alone(
        "a Go follower with its connection: heap and stacks",
        "KiB",
        each / 1024,
        at_most=64,
        beside=f"of {FOLLOWERS} in one process",
    )  # type: ignore[operator]


def _downloads(tools: Sequence[Tool], rounds: int, where: str, work: Path, count: int) -> Iterator[Row]:
    files = new_files(work / "source", count, GIB // count)
    (work / "copy").mkdir()
    with (
        processes.podium(work / "registry") as server,
        processes.socket_copy(work / "copy", work / "copy.log") as copy,
    ):
        ends = Ends(work, server, copy, files)
        pairs: dict[str, list[tuple[float, float]]] = {tool.language: [] for tool in tools}
        for number in range(rounds + 1):
            ends.push()
            ends.push_bare()
            os.sync()
            bare = ends.pull_bare().seconds
            for tool in tools:
                os.sync()
                took = tool.measure("pull", server.address, work / "cache", "risk/big@latest")["seconds"]
                remove(work / "cache")
                if number:  # the first warms up
                    pairs[tool.language].append((GIB / MIB / took, GIB / MIB / bare))
            ends.forget()
    for language, rates in pairs.items():
        what = f"download 1 GiB by the {language} client, {where}, {'one stream' if count == 1 else f'{count} streams'}"
        yield paired(what, "MiB/s", rates, "socket copy", at_least=0.7)
    for part in work.iterdir():
        remove(part)
