"""Podium beside the registries and stores that people would otherwise use: MLflow, and etcd for what it has in common with it."""

from collections.abc import Iterator
from pathlib import Path

import etcd_rows
import mlflow_rows
from generator import Generator
from table import Row


def measure(generator: Generator, folder: Path) -> Iterator[Row]:
    """Beside each by turns, on one disk."""
    for name, peer in (("mlflow", mlflow_rows.measure), ("etcd", etcd_rows.measure)):
        place = folder / name
        place.mkdir()
        yield from peer(generator, place)
