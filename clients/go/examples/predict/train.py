"""Trains a LightGBM model that tells fraud by four columns, and pushes it: python train.py NAME small|medium|large.

The data are made up, from a seed: ROWS payments with the columns of COLUMNS. The target is 1 for fraud, else 0; it is more likely
for large payments, at night, far from home and from new accounts. The model is one file, `model.txt`, in LightGBM's text format.
"""

import sys
import tempfile
import time
from pathlib import Path

import lightgbm
import numpy as np
import podium
from podium.v1.records_pb2 import Column, VersionRecord

COLUMNS = ("amount", "hour", "kilometers_from_home", "account_days")
ROWS, TRAINING_ROWS = 4_000, 3_000
SIZES = {
    "small": {"num_iterations": 10, "num_leaves": 4},
    "medium": {"num_iterations": 30, "num_leaves": 8},
    "large": {"num_iterations": 100, "num_leaves": 31},
}


def payments() -> tuple[np.ndarray, np.ndarray]:
    """The payments, one a row, and which of them are fraud: always the same."""
    random = np.random.default_rng(7)
    amount = random.lognormal(4, 1, ROWS).round(2)
    hour = random.integers(0, 24, ROWS)
    kilometers = random.exponential(30, ROWS).round(1)
    days = random.integers(0, 3_000, ROWS)
    logit = 0.01 * amount + 1.5 * (hour < 6) + 0.03 * kilometers - 0.002 * days - 1
    fraud = random.random(ROWS) < 1 / (1 + np.exp(-logit))
    return np.column_stack([amount, hour, kilometers, days]), fraud.astype(int)


def main(name: str, size: str) -> None:
    """Trains, measures on payments that the training did not see, and pushes a folder with the model."""
    rows, fraud = payments()
    seen, unseen = slice(None, TRAINING_ROWS), slice(TRAINING_ROWS, None)
    params = {"objective": "binary", "seed": 7, "num_threads": 1, "verbosity": -1, **SIZES[size]}

    record = VersionRecord(input_schema=[Column(name=column, type="float64") for column in COLUMNS])
    record.output_schema.add(name="probability of fraud", type="float64")
    record.framework.name, record.framework.version = "lightgbm", lightgbm.__version__
    record.training_start_time.GetCurrentTime()
    start = time.monotonic()
    model = lightgbm.train(params, lightgbm.Dataset(rows[seen], fraud[seen]))
    record.training_duration.FromMilliseconds(round(1000 * (time.monotonic() - start)))

    accuracy = ((model.predict(rows[unseen]) > 0.5) == fraud[unseen]).mean()
    with tempfile.TemporaryDirectory() as folder:
        model.save_model(Path(folder, "model.txt"))
        pushed = podium.push(name, folder, metrics={"accuracy": accuracy}, params=params, record=record)
    version = pushed.version
    print(f"Pushed {name}:{version.version}, {version.size_bytes:,} bytes, {version.digest}; accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
