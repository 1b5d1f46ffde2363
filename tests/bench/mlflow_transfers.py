"""1 GiB up and down: Podium's client, which checks SHA-256 at both ends and writes durably, and MLflow's, which does neither."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import podium
from mlflow_server import PEER, Client
from processes import Process
from table import Row, paired
from transfers import GIB, MIB, remove
from turns import Turns

MODEL = "risk/big"


def measure(where: str, folder: Path, turns: Turns, ours: Process, client: Client) -> Iterator[Row]:
    """Moves one file, which is in the page cache, on the disk (or memory: `where`) that both keep their data on."""
    source = folder / "source"
    source.mkdir()
    file = source / "weights.bin"
    with file.open("wb") as contents:
        block = os.urandom(MIB)
        for _ in range(GIB // MIB):
            contents.write(block)

    def through_podium(_round: int) -> tuple[float, float]:
        cache = folder / "cache"
        with podium.connect(ours.address, cache=cache) as registry:
            _renew(file)
            up = time.perf_counter()
            registry.push(MODEL, source)
            up = time.perf_counter() - up
            os.sync()
            down = time.perf_counter()
            registry.pull(f"{MODEL}@latest")
            down = time.perf_counter() - down
        remove(cache)
        _remove_big(folder / "registry" / "blobs")
        return up, down

    def through_mlflow(_round: int) -> tuple[float, float]:
        _renew(file)
        up = client.do("upload", file=str(file))
        os.sync()
        down = client.do("download", name=file.name, folder=str(folder / "downloaded"))
        _remove_big(folder / "mlflow" / "artifacts")
        return up, down

    pairs = turns.take(through_podium, through_mlflow)
    for place, what in enumerate(("upload 1 GiB", "download 1 GiB")):
        rates = [(GIB / MIB / ours[place], GIB / MIB / theirs[place]) for ours, theirs in pairs]
        yield paired(f"{what}, {where}, Python client", "MiB/s", rates, f"{PEER}, unchecked", at_least=1.5)


def _renew(file: Path) -> None:
    """Makes other contents of the file, and lets nobody pay for what was written before."""
    with file.open("r+b") as contents:
        contents.write(os.urandom(16))
    os.sync()


def _remove_big(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size >= GIB:
            path.unlink()
