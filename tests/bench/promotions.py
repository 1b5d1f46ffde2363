"""Promotions of one model, and how soon the streams that watch it learn of them."""

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from commands import CHANGES, MARK, Delays, Opening, delays
from generator import SERVICE, Generator, write_bodies
from podium.v1 import aliases_pb2, watch_pb2
from table import Row, paired

ALIAS = "champion"
CROWDS = (1, 100, 1_000)


def opening(folder: Path, model: str, position: str = "") -> Opening:
    """The watch of whoever serves what one alias means."""
    request = watch_pb2.WatchRequest(filters=[watch_pb2.WatchFilter(model=model, name=ALIAS)], position=position)
    return Opening(f"{SERVICE}Watch", write_bodies(folder / "watch", [request.SerializeToString()]))


def moves(model: str, count: int) -> Iterator[bytes]:
    """Requests that move the alias from version 2 to 1, and back, and so on; no two of all that are ever made have one id."""
    run = uuid.uuid4().hex
    for turn in range(count):
        yield aliases_pb2.SetAliasRequest(
            reference=f"{model}:{1 + turn % 2}", alias=ALIAS, reason=MARK % turn, request_id=f"{run}-{turn}"
        ).SerializeToString()


def told(
    generator: Generator,
    folder: Path,
    address: str,
    model: str,
    streams: int,
    *,
    stream_address: str = "",
    connections: int = 0,
) -> Delays:
    """Makes promotions while so many streams wait for them, see `delays`."""
    bodies = write_bodies(folder / "moves", moves(model, CHANGES))
    return delays(
        generator, address, opening(folder, model), streams, f"{SERVICE}SetAlias", bodies,
        stream_address=stream_address, connections=connections,
    )  # fmt: skip


def figures(streams: int) -> tuple[tuple[str, str, bool], ...]:
    """The rows about so many streams: what each is called, its field of Delays, and whether it is what the project promises."""
    if streams == 1:
        return (("SetAlias to its only watcher, p50", "last_p50", True),)
    crowd = f"{streams:,} watchers"
    return (
        (f"SetAlias to the first of {crowd}, p50", "first_p50", False),
        (f"SetAlias to the last of {crowd}, p50", "last_p50", streams == CROWDS[-1]),
        (f"SetAlias to the last of {crowd}, p99", "last_p99", False),
    )


def rows(pairs: Sequence[tuple[Delays, Delays]], streams: int, beside: str) -> Iterator[Row]:
    """The rows about so many streams here and elsewhere."""
    for what, field, promised in figures(streams):
        found = [(getattr(ours, field), getattr(theirs, field)) for ours, theirs in pairs]
        yield paired(what, "ms", found, beside, at_most=2 if promised else None)
