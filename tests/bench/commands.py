"""The load generator's commands, for any server that speaks gRPC or HTTP: how fast it answers, how soon streams tell a change."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generator import Generator

MARK = "promotion %06d"  # what a change carries, and the streams look for
CHANGES = 100  # a run makes so many, of which the first 5 warm up; an even number, so that what moves to and fro is back after it
PAUSE = "10ms"  # between two changes, so that each comes to a server that is at rest, as a promotion does


@dataclass(frozen=True)
class Speed:
    """Calls a second, milliseconds, and the length of a reply."""

    rate: float
    p50: float
    reply_bytes: int


@dataclass(frozen=True)
class Delays:
    """How many milliseconds after its call began a change came to the first stream and to the last."""

    first_p50: float
    last_p50: float
    last_p99: float
    generator_cores: float


@dataclass
class Crowd:
    """Streams that are open, and how many messages came on them in the end, without those that they begin with."""

    messages: int = 0


@dataclass(frozen=True)
class Opening:
    """What opens a stream: a method, a file with one request, and whether the client's side must stay open."""

    method: str
    body: Path
    stays_open: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        """As the generator takes it."""
        return ("-stream-method", self.method, "-stream-body", str(self.body), *(["-open"] if self.stays_open else []))


def speed(generator: Generator, address: str, bodies: Path, callers: int, *, method: str | None = None) -> Speed:
    """Calls a gRPC method, or gets paths over HTTP where none is named, for some seconds."""
    what = ["call", "-method", method] if method else ["get"]
    times = ["-seconds", str(generator.seconds), "-warmup", str(generator.seconds / 4)]
    out = _run(generator, address, *what, "-bodies", str(bodies), "-callers", str(callers), "-repeat", *times)
    return Speed(out["calls"] / out["seconds"], out["p50_us"] / 1e3, out["reply_bytes"])


def delays(
    generator: Generator,
    address: str,
    opening: Opening,
    streams: int,
    method: str,
    changes: Path,
    *,
    stream_address: str = "",
    connections: int = 0,
) -> Delays:
    """Makes changes one by one, while so many streams wait for them, there or elsewhere, each on a connection of its own if no
    number of connections is said.
    """
    out = _run(
        generator, address, "watch", *opening.arguments, "-streams", str(streams), "-connections", str(connections or streams),
        "-method", method, "-bodies", str(changes), "-mark", MARK, "-pause", PAUSE, "-stream-address", stream_address,
    )  # fmt: skip
    last = out["last"]
    return Delays(out["first"]["p50_us"] / 1e3, last["p50_us"] / 1e3, last["p99_us"] / 1e3, out["generator_cores"])


def catch_up(generator: Generator, address: str, opening: Opening, mark: str) -> tuple[float, int]:
    """Opens a stream; returns how many seconds it takes until something with the mark comes, and how many bytes."""
    out = _run(generator, address, "until", *opening.arguments, "-mark", mark)
    return out["seconds"], out["bytes"]


@contextmanager
def held(generator: Generator, address: str, opening: Opening, streams: int, connections: int) -> Iterator[Crowd]:
    """Keeps so many streams open and reads them. A stream that ends ends the benchmark."""
    sizes = ("-streams", str(streams), "-connections", str(connections))
    command = [str(generator.binary), "hold", "-address", address, *opening.arguments, *sizes]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        crowd = Crowd()
        if holder.stdout.readline():
            yield crowd
        out, errors = holder.communicate()
    if holder.returncode:
        raise SystemExit(f"{streams} streams were not held: {errors}")
    crowd.messages = json.loads(out)["messages"]


def _run(generator: Generator, address: str, command: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [str(generator.binary), command, "-address", address, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"no figure of {command} {' '.join(arguments)}: {done.stderr}")
    out: dict[str, Any] = json.loads(done.stdout)
    return out
