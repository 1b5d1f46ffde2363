"""Runs the load generator (load/, in Go) against a server, and against an empty one under the same load."""

import base64
import json
import struct
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import grpc
from processes import Process

SERVICE = "/podium.v1.RegistryService/"
SOURCES = Path(__file__).parent / "load"


@dataclass(frozen=True)
class Load:
    """What one run of the generator measured. Times are milliseconds. Every one of the calls was OK."""

    calls: int
    seconds: float
    p50: float
    p95: float
    p99: float
    generator_cores: float
    reply: bytes

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds


@dataclass(frozen=True)
class Generator:
    """The built generator, how long one run of it measures, and how many rounds there are."""

    binary: Path
    seconds: float
    rounds: int

    @classmethod
    def build(cls, folder: Path, seconds: float, rounds: int) -> "Generator":
        """Builds it into a folder."""
        binary = folder / "load"
        subprocess.run(["go", "build", "-o", str(binary), "."], cwd=SOURCES, check=True)
        return cls(binary, seconds, rounds)

    def run(self, address: str, method: str, bodies: Path, callers: int, *, repeat: bool = False, every: bool = False) -> Load:
        """Calls a method with requests of a file, for some seconds or with every one. A call that is not OK ends the benchmark."""
        command = [
            str(self.binary), "-address", address, "-method", SERVICE + method, "-bodies", str(bodies),
            "-callers", str(callers), "-seconds", str(0 if every else self.seconds),
            *(["-repeat", "-warmup", str(self.seconds / 4)] if repeat else []),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"no figure for {method}, {callers} callers: {done.stderr}")
        out = json.loads(done.stdout)
        return Load(
            out["calls"], out["seconds"], out["p50_us"] / 1e3, out["p95_us"] / 1e3, out["p99_us"] / 1e3,
            out["generator_cpu_seconds"] / out["seconds"], base64.b64decode(out["reply"] or ""),
        )  # fmt: skip

    def beside(
        self,
        ours: Process,
        floor: Process,
        method: str,
        bodies: Callable[[int], Path],
        callers: int,
        *,
        repeat: bool = False,
        floor_bodies: Path | None = None,
    ) -> list[tuple[Load, Load]]:
        """Runs the same load on both by turns, in changing order; the first round warms up and does not count."""
        pairs = []
        for number in range(self.rounds + 1):
            file = bodies(number)
            loads = {}
            for server, other in ((ours, floor), (floor, ours))[:: 1 if number % 2 else -1]:
                sent = floor_bodies if floor_bodies and server is floor else file
                with other.paused():
                    loads[server.pid] = self.run(server.address, method, sent, callers, repeat=repeat)
            pairs.append((loads[ours.pid], loads[floor.pid]))
        return pairs[1:]


def against(pairs: list[tuple[Load, Load]], what: str = "empty server") -> str:
    """What stands beside figures, and that the generator was not what limited them."""
    return f"{what}; generator at {max(load.generator_cores for pair in pairs for load in pair):.1f} cores"


def column(pairs: list[tuple[Load, Load]], figure: str) -> list[tuple[float, float]]:
    """One figure of each pair."""
    return [(getattr(ours, figure), getattr(floor, figure)) for ours, floor in pairs]


def write_bodies(path: Path, bodies: Iterable[bytes]) -> Path:
    """Writes requests as the generator reads them."""
    with path.open("wb") as file:
        for body in bodies:
            file.write(struct.pack(">I", len(body)) + body)
    return path


def call(channel: grpc.Channel, method: str, body: bytes) -> bytes:
    """Makes one call with bytes."""
    reply: bytes = channel.unary_unary(SERVICE + method)(body, timeout=30)
    return reply
