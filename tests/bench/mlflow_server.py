"""MLflow as its users install it, in an environment of its own, with one worker, SQLite, and files that it serves itself."""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peer_process import PeerProcess, free_port

VERSION = "3.17.2"
PEER = f"MLflow {VERSION}"
# Neither asks the internet nor keeps, beside what is measured, workers busy that it does not need for it.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


def install(folder: Path) -> Path:
    """Returns the Python of an environment that has it; made in a folder once, and kept."""
    environment = folder / f"mlflow-{VERSION}"
    python = environment / "bin" / "python"
    done = environment / "installed"
    if not done.exists():
        sys.stderr.write(f"installing MLflow {VERSION}, this once\n")
        venv.create(environment, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"mlflow=={VERSION}"], check=True)
        done.touch()
    return python


def start(python: Path, folder: Path) -> PeerProcess:
    """Starts a server over a new folder, which serves its artifacts itself."""
    folder.mkdir()
    port = free_port()
    command = [
        str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination", str(folder / "artifacts"), "--serve-artifacts", "--uvicorn-opts", "--no-access-log",
    ]  # fmt: skip
    return PeerProcess(command, port, folder.with_name(folder.name + ".log"), ENVIRONMENT)


class Client:
    """MLflow's own client, in a process of its environment: see mlflow_client.py for what it can be asked to do."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process = process
        self._log = log

    def do(self, what: str, **arguments: object) -> Any:
        """Has something done, and returns what it gives."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"MLflow's client could not {what}:\n{self._log.read_text()[-2000:]}")
        return json.loads(answer)


@contextmanager
def client(python: Path, server: PeerProcess, log: Path) -> Iterator[Client]:
    """Starts the client."""
    command = [str(python), str(Path(__file__).with_name("mlflow_client.py")), f"http://{server.address}"]
    environment = {**os.environ, **ENVIRONMENT}
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        ) as process,
    ):
        yield Client(process, log)
