"""Measures a registry and, by turns in the same run, what it could be at best; prints a table. See scripts/bench."""

# ruff: noqa: E402  the folder of the tests is put on the path first

import argparse
import itertools
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))  # they start PostgreSQL too

import bucket
import follow
import large
import machine
import million
import mutations
import peers
import postgres
import replica_mutations
import replicas
import resolve
import scale
import transfers
import unread
import watch
from generator import Generator
from table import Row, lines

import clients

FOLDER = HERE.parents[1] / ".build" / "bench"


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", metavar="PART", choices=PARTS, help=f"one of: {', '.join(PARTS)}; may be repeated"
    )
    parser.add_argument("--large", action="store_true", help="also the part `large`: 17 GiB of disk, and minutes")
    parser.add_argument("--peers", action="store_true", help="also the part `peers`: beside MLflow and etcd, which it installs")
    parser.add_argument("--replicas", action="store_true", help=f"only {', '.join(REPLICAS)}: over PostgreSQL and a bucket")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to work (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each pair is measured (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long one load lasts (default: %(default)s)")
    return parser.parse_args()


PARTS: dict[str, Callable[[Generator, Path], Iterator[Row]]] = {
    "resolve": resolve.measure,
    "mutations": mutations.measure,
    "transfers": lambda generator, folder: transfers.measure(folder, generator.rounds),
    "watch": watch.measure,
    "follow": lambda _generator, folder: follow.measure(folder),
    "clients": clients.measure,
    "scale": scale.measure,
    "large": lambda generator, folder: itertools.chain(large.measure(folder), unread.measure(generator, folder)),
    "peers": peers.measure,
    "bucket": lambda generator, folder: bucket.measure(folder, generator.rounds),
    "replicas": replicas.measure,
    "replica-mutations": replica_mutations.measure,
    "million": million.measure,
}
REPLICAS = ("replicas", "replica-mutations", "bucket", "million")


def parts(asked: argparse.Namespace) -> Sequence[str]:
    """What is to be measured, in this order."""
    if asked.only or asked.replicas:
        return asked.only or REPLICAS
    return [name for name in PARTS if name not in REPLICAS and getattr(asked, name, True)]


def show(progress: str) -> None:
    """Says on a terminal what was measured last."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{progress}")
        sys.stderr.flush()


def main() -> None:
    """Measures what was asked for."""
    asked = arguments()
    work = asked.folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    about = machine.describe(asked.folder)
    for name, value in about.items():
        sys.stdout.write(f"{name + ':':21}{value}\n")
    generator = Generator.build(asked.folder, asked.seconds, asked.rounds)
    rows: dict[str, list[Row]] = {}
    try:
        for name in parts(asked):
            folder = work / name
            folder.mkdir()
            rows[name] = []
            for row in PARTS[name](generator, folder):
                show(f"{name}: {row.what}")
                rows[name].append(row)
            show("")
            shutil.rmtree(folder)
    finally:
        if postgres.shared_server.cache_info().currsize:
            postgres.shared_server().close()
        shutil.rmtree(work, ignore_errors=True)
        everything = [row for part in rows.values() for row in part]
        sys.stdout.write("\n" + "\n".join(lines(everything)) + "\n")
    if asked.json:
        found = {name: [row.as_json() for row in part] for name, part in rows.items()}
        asked.json.write_text(json.dumps({"machine": about, "figures": found}, indent=2, ensure_ascii=False) + "\n")
    sys.exit(any(row.ok is False for row in everything))


if __name__ == "__main__":
    main()
