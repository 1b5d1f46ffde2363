"""Starts a peer's server: a program that is none of ours, may start others, and says nowhere when it is ready."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE = 120.0  # seconds; MLflow makes its tables at the first start


class PeerProcess:
    """A server that runs until the block ends, with all that it has started."""

    def __init__(self, command: Sequence[str], port: int, log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.address = f"127.0.0.1:{port}"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                env={**os.environ, **(environment or {})},
            )  # fmt: skip
        give_up = time.monotonic() + PATIENCE
        while not _listens(port):
            if self._process.poll() is not None or time.monotonic() > give_up:
                self._end(signal.SIGKILL)
                raise SystemExit(f"{command[0]} did not start, see {log}:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stops all of it for a while, so that what it does when idle disturbs nobody."""
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        with suppress(ProcessLookupError):  # whatever it has left behind
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def free_port() -> int:
    """A port that was free a moment ago, for a server that cannot choose one and say which."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
