"""What a user of MLflow does, timed where it is done: in MLflow's environment, by its own client.

Run as `mlflow_client.py URL`; reads one JSON object a line, calls the method of its name `do` with what else is in it, and
prints what that returns as JSON. Times are seconds. What has to be prepared is not timed.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mlflow  # type: ignore[import-not-found]
from mlflow import MlflowClient


class Session:
    """One client, with one experiment and one run in it, under which all versions and files are kept."""

    def __init__(self, url: str) -> None:
        mlflow.set_tracking_uri(url)
        self._client = MlflowClient(url)
        self._run = self._client.create_run(self._client.create_experiment("measured")).info

    def fill(self, names: list[str], versions: int, alias: str, number: int) -> None:
        """Creates models with versions, and sets an alias in each."""
        for name in names:
            self._client.create_registered_model(name)
            self.register(name, versions)
            self._client.set_registered_model_alias(name, alias, str(number))

    def register(self, name: str, count: int) -> list[float]:
        """Registers versions of a folder of the run: no params, no metrics, no check that there is such a folder."""
        source = f"{self._run.artifact_uri}/model"
        return [_timed(lambda: self._client.create_model_version(name, source, self._run.run_id)) for _ in range(count)]

    def move(self, name: str, alias: str, numbers: list[int]) -> list[float]:
        """Moves an alias to one version after the other."""
        return [
            _timed(lambda number=number: self._client.set_registered_model_alias(name, alias, str(number)))  # type: ignore[misc]
            for number in numbers
        ]

    def upload(self, file: str) -> float:
        """Stores a file."""
        return _timed(lambda: self._client.log_artifact(self._run.run_id, file))

    def download(self, name: str, folder: str) -> float:
        """Fetches a file that was stored, into a new folder, and removes it from there."""
        Path(folder).mkdir()
        took = _timed(lambda: self._client.download_artifacts(self._run.run_id, name, folder))
        shutil.rmtree(folder)
        return took


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def main() -> None:
    """Does what is asked for until there is nothing more."""
    session = Session(sys.argv[1])
    for line in sys.stdin:
        asked = json.loads(line)
        answer = getattr(session, asked.pop("do"))(**asked)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
