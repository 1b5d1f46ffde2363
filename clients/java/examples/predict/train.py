"""Trains a scikit-learn model that tells who leaves, and pushes it as ONNX: python train.py NAME logistic|network|forest.

The data are made up, from a seed: ROWS customers with the columns of COLUMNS. The target is 1 for those who left, else 0; that is
more likely soon after the start, for high bills and many calls to support, and for few logins. The model is one file, `model.onnx`,
which takes a float32 matrix with those columns and gives `probabilities`, a column for each class.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import podium
import skl2onnx
import sklearn
from podium.v1.records_pb2 import Column, VersionRecord
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

COLUMNS = ("months", "bill", "support_calls", "logins")
ROWS, TRAINING_ROWS = 4_000, 3_000


def customers() -> tuple[np.ndarray, np.ndarray]:
    """The customers, one a row, and who of them left: always the same."""
    random = np.random.default_rng(11)
    months = random.integers(1, 72, ROWS)
    bill = random.normal(60, 20, ROWS).round(2)
    calls = random.poisson(1.5, ROWS)
    logins = random.poisson(8, ROWS)
    logit = -0.05 * months + 0.03 * bill + 0.6 * calls - 0.2 * logins + 0.2
    left = random.random(ROWS) < 1 / (1 + np.exp(-logit))
    return np.column_stack([months, bill, calls, logins]).astype(np.float32), left.astype(int)


def fit(kind: str) -> ClassifierMixin:
    """The model of a kind: always the same."""
    model = {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
        "network": make_pipeline(StandardScaler(), MLPClassifier((16, 16), early_stopping=True, random_state=7)),
        "forest": RandomForestClassifier(n_estimators=30, max_depth=6, random_state=7),
    }[kind]
    rows, left = customers()
    return model.fit(rows[:TRAINING_ROWS], left[:TRAINING_ROWS])


def main(name: str, kind: str) -> None:
    """Trains, measures on customers that the training did not see, and pushes a folder with the model."""
    record = VersionRecord(input_schema=[Column(name=column, type="float32") for column in COLUMNS])
    record.output_schema.add(name="probability of leaving", type="float32")
    record.framework.name, record.framework.version = "scikit-learn", sklearn.__version__
    record.training_start_time.GetCurrentTime()
    start = time.monotonic()
    model = fit(kind)
    record.training_duration.FromMilliseconds(round(1000 * (time.monotonic() - start)))

    rows, left = customers()
    accuracy = model.score(rows[TRAINING_ROWS:], left[TRAINING_ROWS:])
    converted = skl2onnx.to_onnx(
        model,
        initial_types=[("rows", FloatTensorType([None, len(COLUMNS)]))],
        options={"zipmap": False},  # probabilities as a matrix, not as a list of dictionaries
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "model.onnx").write_bytes(converted.SerializeToString())
        pushed = podium.push(name, folder, metrics={"accuracy": accuracy}, params={"classifier": kind}, record=record)
    version = pushed.version
    print(f"Pushed {name}:{version.version}, {version.size_bytes:,} bytes, {version.digest}; accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
