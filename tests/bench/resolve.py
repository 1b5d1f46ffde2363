"""ResolveVersion, beside an empty server under the same load."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from generator import SERVICE, Generator, against, call, column, write_bodies
from podium.v1 import aliases_pb2, resolve_pb2
from processes import Process, empty, podium
from registry import Registry
from table import Row, paired

METHOD = "ResolveVersion"
MODELS = 20
VERSIONS = 3
MANY = 64


def measure(generator: Generator, folder: Path) -> Iterator[Row]:
    """Calls and latencies with 64 in flight and with one, in a registry of a few models."""
    with podium(folder / "resolve") as server:
        names = fill(server.address)
        aliases = write_bodies(folder / "aliases", requests(f"{name}@champion" for name in names))
        numbers = write_bodies(folder / "numbers", requests(f"{name}:{number}" for name in names for number in (1, 2, 3)))
        with empty({METHOD: reply_size(server.address, f"{names[0]}@champion")}, folder / "empty.log") as floor:
            yield from _rows(generator, server, floor, aliases)
            pairs = generator.beside(server, floor, METHOD, lambda _: numbers, MANY, repeat=True)
            yield paired("resolve a number, 64 in flight", "/s", column(pairs, "rate"), against(pairs))


def fill(address: str) -> list[str]:
    """Makes models with a few versions and an alias each."""
    registry = Registry(address)
    names = [f"risk/model-{number}" for number in range(MODELS)]
    registry.create(names)
    for name in names:
        registry.register(name, VERSIONS)
        registry.stub.SetAlias(aliases_pb2.SetAliasRequest(reference=f"{name}:2", alias="champion"))
    registry.close()
    return names


def requests(references: Iterable[str]) -> Iterator[bytes]:
    """The requests that ask for references."""
    return (resolve_pb2.ResolveVersionRequest(reference=reference).SerializeToString() for reference in references)


def reply_size(address: str, reference: str) -> int:
    """How long the reply is, after looking into it."""
    registry = Registry(address)
    reply = call(registry.channel, METHOD, resolve_pb2.ResolveVersionRequest(reference=reference).SerializeToString())
    registry.close()
    target = resolve_pb2.ResolveVersionResponse.FromString(reply).target
    if not (reference.startswith(target.model) and target.number and target.digest):
        raise SystemExit(f"{SERVICE}{METHOD} of {reference} gave {target}")
    return len(reply)


def _rows(generator: Generator, server: Process, floor: Process, bodies: Path) -> Iterator[Row]:
    for callers, at_least, at_most in ((MANY, 0.7, None), (1, None, 1.5)):
        what = f"resolve an alias, {callers} in flight"
        pairs = generator.beside(server, floor, METHOD, lambda _: bodies, callers, repeat=True)
        yield paired(what, "/s", column(pairs, "rate"), against(pairs), at_least=at_least)
        yield paired(f"{what}, p50", "ms", column(pairs, "p50"), "empty server", at_most=at_most)
        yield paired(f"{what}, p99", "ms", column(pairs, "p99"), "empty server")
