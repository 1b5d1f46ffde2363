"""A registry of 100,000 versions in 1,000 models: resolve beside a small one, pages of versions, and the time to start.

The versions are registered through the API, each with three files and a full record; that takes minutes, so the folder is
kept and used again until the schema or the records change. Delete .build/bench/seeded-* to make it anew.
"""

import hashlib
import random
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import podium_server
import resolve
from generator import Generator, call, column, write_bodies
from podium.v1 import aliases_pb2, versions_pb2
from processes import Process, podium
from registry import Registry
from resolve import METHOD, requests
from table import Row, alone, paired

MODELS = 1_000
VERSIONS = 100
CALLERS = 64
STARTS = 3


def measure(generator: Generator, folder: Path) -> Iterator[Row]:
    """Measures the large registry, and resolve by turns with a small one."""
    data = _seeded(generator, folder)
    yield start("start with 100,000 versions", lambda: podium(data), at_most=3)
    with podium(data) as server, podium(folder / "small") as small:
        names = [model_name(number) for number in range(MODELS)]
        yield from resolving(generator, folder, server, small, names, "100,000 versions")
        yield from pages(generator, server.address, folder, names, basic=20, full=None)


def start(what: str, begin: Callable[[], Process], *, at_most: float) -> Row:
    """The median of a few starts."""
    starts = []
    for _ in range(STARTS):
        with begin() as server:
            starts.append(server.started)
    return alone(what, "s", statistics.median(starts), at_most=at_most)


def resolving(
    generator: Generator, folder: Path, server: Process, small: Process, names: Sequence[str], among: str
) -> Iterator[Row]:
    """Resolve of each model's champion, beside a registry that was just made."""
    few = write_bodies(folder / "few", requests(f"{name}@champion" for name in resolve.fill(small.address)))
    many = write_bodies(folder / "many", requests(f"{name}@champion" for name in random.sample(names, len(names))))
    # Unchanged means: as near as two runs of one thing come on a noisy machine.
    for callers, figure, unit, bounds in (
        (CALLERS, "rate", "/s", {"at_least": 0.9}),
        (1, "p50", "ms", {"at_most": 1.1}),
    ):
        pairs = generator.beside(server, small, METHOD, lambda _: many, callers, repeat=True, floor_bodies=few)
        what = f"resolve among {among}, {callers} in flight, {figure}"
        yield paired(what, unit, column(pairs, figure), "registry of 60 versions", **bounds)


def pages(
    generator: Generator, address: str, folder: Path, names: Sequence[str], *, basic: float, full: float | None
) -> Iterator[Row]:
    """The newest versions of one model after the other, with the most milliseconds that a page may take."""
    for view, label, limit in ((versions_pb2.VERSION_VIEW_BASIC, "BASIC", basic), (versions_pb2.VERSION_VIEW_FULL, "FULL", full)):
        asked = [versions_pb2.ListVersionsRequest(model=name, page_size=100, view=view).SerializeToString() for name in names]
        registry = Registry(address)
        page = versions_pb2.ListVersionsResponse.FromString(call(registry.channel, "ListVersions", asked[0]))
        registry.close()
        if len(page.versions) != VERSIONS:
            raise SystemExit(f"a page has {len(page.versions)} versions")
        load = generator.run(address, "ListVersions", write_bodies(folder / "pages", asked), 1, repeat=True)
        beside = f"p50 {load.p50:.1f} ms, {len(load.reply) // 1024} KiB"
        yield alone(f"ListVersions, page of 100, {label}, p95", "ms", load.p95, at_most=limit, beside=beside)


def model_name(number: int) -> str:
    return f"team-{number % 20}/model-{number}"


def _seeded(generator: Generator, folder: Path) -> Path:
    """The folder of the large registry, made if it is not there."""
    digest = hashlib.sha256(f"{MODELS} {VERSIONS}".encode())
    server = Path(podium_server.__file__).parent
    for source in (Path(__file__).with_name("registry.py"), server / "tables.py", *sorted(server.glob("migrations/*.py"))):
        digest.update(source.read_bytes())
    data = folder.parents[1] / f"seeded-{digest.hexdigest()[:12]}"
    if not data.exists():
        for outdated in data.parent.glob("seeded-*/"):
            shutil.rmtree(outdated)
        partial = folder / "seeding"
        with podium(partial) as running:
            _seed(generator, running.address, folder)
        partial.rename(data)
    return data


def _seed(generator: Generator, address: str, folder: Path) -> None:
    registry = Registry(address)
    registry.create([model_name(number) for number in range(MODELS)])
    per_model = [registry.requests(model_name(number)) for number in range(MODELS)]
    for done in range(0, VERSIONS, 10):
        sys.stderr.write(f"registering 100,000 versions, this once: {done} %\n")
        bodies = (next(asked).SerializeToString() for _ in range(10) for asked in per_model)
        generator.run(address, "RegisterVersion", write_bodies(folder / "bodies", bodies), CALLERS, every=True)
    champions = (
        aliases_pb2.SetAliasRequest(reference=f"{model_name(number)}:{1 + number % VERSIONS}", alias="champion").SerializeToString()
        for number in range(MODELS)
    )
    generator.run(address, "SetAlias", write_bodies(folder / "bodies", champions), CALLERS, every=True)
    registry.close()
