"""Trains a classifier of tumours on scikit-learn's breast cancer data, and pushes it: python train.py NAME tree|forest."""

import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path

import joblib
import podium
import sklearn
from podium.v1.records_pb2 import INPUT_KIND_DATASET, Column, Input, VersionRecord
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier

CLASSIFIERS = {
    "tree": (DecisionTreeClassifier, {"max_depth": 2, "random_state": 7}),
    "forest": (RandomForestClassifier, {"n_estimators": 200, "random_state": 7}),
}


def main(name: str, kind: str) -> None:
    """Trains, measures on data that the training did not see, and pushes the folder with the model and its columns."""
    data = load_breast_cancer()
    seen, unseen, seen_classes, unseen_classes = train_test_split(data.data, data.target, random_state=7)
    classifier, params = CLASSIFIERS[kind]

    record = VersionRecord(input_schema=[Column(name=column, type="float64") for column in data.feature_names])
    record.output_schema.add(name="malignant (0) or benign (1)", type="int64")
    record.framework.name, record.framework.version = "scikit-learn", sklearn.__version__
    record.training_start_time.GetCurrentTime()
    start = time.monotonic()
    model = classifier(**params).fit(seen, seen_classes)
    record.training_duration.FromMilliseconds(round(1000 * (time.monotonic() - start)))

    digest = hashlib.sha256(data.data.tobytes() + data.target.tobytes()).hexdigest()
    metrics = {
        "accuracy": accuracy_score(unseen_classes, model.predict(unseen)),
        "auc": roc_auc_score(unseen_classes, model.predict_proba(unseen)[:, 1]),
    }
    with tempfile.TemporaryDirectory() as folder:
        joblib.dump(model, Path(folder, "model.joblib"))
        Path(folder, "columns.json").write_text(json.dumps(list(data.feature_names)))
        pushed = podium.push(
            name,
            folder,
            bump="minor",
            metrics=metrics,
            params={"classifier": kind, **params},
            inputs=[Input(kind=INPUT_KIND_DATASET, name=data.filename, digest=f"sha256:{digest}")],
            record=record,
        )
    version = pushed.version
    print(f"Pushed {name}:{version.version}, {version.file_count} files, {version.size_bytes:,} bytes, {version.digest}")
    print(f"accuracy {metrics['accuracy']:.3f}, auc {metrics['auc']:.3f} on {len(unseen)} tumours that it had not seen")


if __name__ == "__main__":
    main(*sys.argv[1:])
