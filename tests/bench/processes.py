"""Starts the servers that are measured, and reads from /proc what they use."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")
KIB = 1024


class Process:
    """A server that runs until the block ends. `started` is how many seconds it took until it said that it is ready."""

    def __init__(self, command: list[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        began = time.perf_counter()
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, *command], stdout=subprocess.PIPE, stderr=errors, text=True,
                env={**os.environ, **(environment or {})},
            )  # fmt: skip
        assert self._process.stdout is not None
        self.ready = self._process.stdout.readline()
        self.started = time.perf_counter() - began
        if not self.ready:
            raise SystemExit(f"{command} did not start, see {log}:\n{log.read_text()[-2000:]}")
        self.pid = self._process.pid

    @property
    def address(self) -> str:
        """Where it listens."""
        found = re.search(r"127\.0\.0\.1:\d+", self.ready)
        return found.group() if found else f"127.0.0.1:{int(self.ready)}"

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.address.rpartition(":")[2])

    def cpu_seconds(self) -> float:
        """What it has used so far, of all cores together."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_bytes(self) -> int:
        """What it holds in memory now."""
        return self._status("VmRSS")

    def peak_bytes(self) -> int:
        """The most that it held in memory since `reset_peak`."""
        return self._status("VmHWM")

    def reset_peak(self) -> None:
        """Makes what it holds now its peak."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stops it for a while, so that what it does when idle disturbs nobody."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def _status(self, name: str) -> int:
        found = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        assert found is not None
        return int(found.group(1)) * KIB

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def podium(data: Path, *options: str, environment: Mapping[str, str] | None = None) -> Process:
    """Starts a registry over a folder, which it makes if it is not there."""
    command = ["-m", "podium_server", "--data", str(data), "--listen", "127.0.0.1:0", *options]
    return Process(command, data.with_name(data.name + ".log"), environment)


def empty(replies: dict[str, int], log: Path) -> Process:
    """Starts an empty server that answers the methods with so many bytes each."""
    return Process([str(HERE / "empty_server.py"), *(f"{method}={size}" for method, size in replies.items())], log)


def socket_copy(folder: Path, log: Path) -> Process:
    """Starts the server's end of a plain socket copy over an existing folder."""
    return Process([str(HERE / "socket_copy.py"), str(folder)], log)


def strict_fake(folder: Path, log: Path) -> Process:
    """Starts the tests' strict fake of Cloud Storage over a folder, without a bucket."""
    return Process([str(HERE.parent / "gcs_fake.py"), str(folder)], log)
