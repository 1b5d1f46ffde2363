"""Which libraries for learning this process has imported, or could import, and their versions."""

import sys
from contextlib import suppress
from importlib import metadata

from podium.v1.records_pb2 import Library

# Module → distribution. Whoever builds on another comes before it: the first that is imported is the framework.
FRAMEWORKS = {
    "sentence_transformers": "sentence-transformers",
    "setfit": "setfit",
    "trl": "trl",
    "peft": "peft",
    "diffusers": "diffusers",
    "transformers": "transformers",
    "ultralytics": "ultralytics",
    "fastai": "fastai",
    "lightning": "lightning",
    "pytorch_lightning": "pytorch-lightning",
    "timm": "timm",
    "spacy": "spacy",
    "flair": "flair",
    "gluonts": "gluonts",
    "stable_baselines3": "stable-baselines3",
    "flax": "flax",
    "keras": "keras",
    "tensorflow": "tensorflow",
    "jax": "jax",
    "torch": "torch",
    "paddle": "paddlepaddle",
    "autogluon": "autogluon",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    "prophet": "prophet",
    "statsmodels": "statsmodels",
    "implicit": "implicit",
    "sklearn": "scikit-learn",
    "onnx": "onnx",
}
# What models are made with besides.
LIBRARIES = {
    "accelerate": "accelerate",
    "datasets": "datasets",
    "joblib": "joblib",
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "pandas": "pandas",
    "polars": "polars",
    "pyarrow": "pyarrow",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "skops": "skops",
    "tokenizers": "tokenizers",
    "torchvision": "torchvision",
}


def imported_libraries() -> tuple[Library | None, list[Library]]:
    """The framework, if one is imported, and the other libraries, sorted by name."""
    frameworks = [_library(module, name) for module, name in FRAMEWORKS.items() if module in sys.modules]
    others = [_library(module, name) for module, name in LIBRARIES.items() if module in sys.modules]
    framework = frameworks[0] if frameworks else None
    return framework, sorted(frameworks[1:] + others, key=lambda library: library.name)


def installed_frameworks() -> list[Library]:
    """The frameworks that could be imported, sorted by name. Only their names are looked up: a scan of all that is installed
    takes long.
    """
    found = []
    for distribution in sorted(FRAMEWORKS.values()):
        with suppress(metadata.PackageNotFoundError):
            found.append(Library(name=distribution, version=str(metadata.version(distribution) or "")))
    return found


def _library(module: str, distribution: str) -> Library:
    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:  # another build of it, `tensorflow-cpu` for example
        version = getattr(sys.modules[module], "__version__", "")
    return Library(name=distribution, version=str(version))
