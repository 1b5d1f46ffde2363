"""Serves a classifier that train.py made: python predict.py breast-cancer@champion."""

import sys

import joblib
import podium
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split


def main(reference: str) -> None:
    """Resolves the reference, pulls exactly that version, and classifies the tumours that the training did not see."""
    with podium.connect() as registry:
        target = registry.resolve(reference, for_serving=True)
        folder = registry.pull(f"{target.model}@{target.digest}")
    model = joblib.load(folder / "model.joblib")
    data = load_breast_cancer()
    _, unseen, _, classes = train_test_split(data.data, data.target, random_state=7)
    right = int((model.predict(unseen) == classes).sum())
    print(f"{reference} is {target.model}:{target.version}. It classifies {right} of {len(unseen)} tumours rightly.")


if __name__ == "__main__":
    main(*sys.argv[1:])
