"""The examples: how each is started, what trains its models, and what its answers must be."""

import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import lightgbm
import numpy as np
import onnxruntime
import pytest
from processes import Process

ROOT = Path(__file__).parents[2]


class Go:
    """A LightGBM model, which pure Go adds up in the same order as LightGBM."""

    folder = ROOT / "clients/go/examples/predict"
    commands = ("go",)
    built = ROOT / ".build/examples/predict-go"
    model = "fraud"
    kinds = ("small", "medium", "large")
    file = "model.txt"
    tolerance = 1e-12
    end = 0  # exit code after SIGTERM

    def rows(self):
        return self.train.payments()[0]

    def predict(self, path, _):
        """What Python says with a version's files, which were trained as this kind."""
        return lightgbm.Booster(model_file=path / self.file).predict(self.rows())

    def broken(self, content):
        """Files that must not be served from, made of one that may."""
        rows, fraud = self.train.payments()
        linear = lightgbm.train({"linear_tree": True, "verbosity": -1}, lightgbm.Dataset(rows, fraud), 2)
        return [content[: len(content) // 2], b"", linear.model_to_string().encode()]

    def command(self, reference, _):
        return [self.built, "-listen", "127.0.0.1:0", reference]


class Java:
    """A scikit-learn model as ONNX, in float32."""

    folder = ROOT / "clients/java/examples/predict"
    commands = ("java", "mvn")
    built = folder / "target/predict.jar"
    model = "churn"
    kinds = ("logistic", "network", "forest")
    file = "model.onnx"
    tolerance = 2e-6  # 30 trees are added up in any order
    end = 143

    def rows(self):
        return self.train.customers()[0]

    def predict(self, path, kind):
        session = onnxruntime.InferenceSession(path / self.file, providers=["CPUExecutionProvider"])
        said = session.run(["probabilities"], {"rows": self.rows()})[0]
        np.testing.assert_allclose(said, self.train.fit(kind).predict_proba(self.rows()), rtol=0, atol=self.tolerance)
        return said[:, 1]

    def broken(self, content):
        return [content[: len(content) // 2], b""]

    def command(self, reference, folder):
        return ["java", f"-Djava.io.tmpdir={folder}", "-jar", self.built, reference, "0"]


EXAMPLES = {"go": Go, "java": Java}


def example(language):
    """The example of a language. Where everything must be tested, what is missing is a failure."""
    made = EXAMPLES[language]()
    if missing := [command for command in made.commands if shutil.which(command) is None]:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            f"the {language.title()} example is not tested: this machine has no {' and no '.join(missing)}"
        )
    assert made.built.exists(), "scripts/examples builds it"
    spec = importlib.util.spec_from_file_location(f"train_{language}", made.folder / "train.py")
    made.train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made.train)
    return made


def train(made, kind, address):
    """Runs the example's own script, which pushes the next version."""
    subprocess.run([sys.executable, made.folder / "train.py", made.model, kind], check=True, env=environment(PODIUM_URL=address))


@contextmanager
def serving(made, registry_address, folder):
    """The example as a process: its address, and the process. Told to end, it ends in order."""
    folder.mkdir(exist_ok=True)
    settings = environment(PODIUM_URL=registry_address, PODIUM_CACHE=str(folder / "cache"))
    reference = f"{made.model}@champion"
    with Process(made.command(reference, folder), env=settings) as process:
        said, _, address = process.line().rpartition(" at ")
        assert said == f"serving {reference}"
        yield address, process
        assert process.end() == made.end, process.rest()


def environment(**values):
    return {name: value for name, value in os.environ.items() if not name.startswith("PODIUM_")} | values


def expected(made, registry):
    """What each version says to all rows: {number: (version, predictions)}."""
    answers = {}
    for number, kind in enumerate(made.kinds, 1):
        reference = f"{made.model}:{number}"
        answers[number] = (registry.resolve(reference).version, made.predict(registry.pull(reference), kind))
    for (_, one), (_, other) in itertools.combinations(answers.values(), 2):
        assert np.mean(abs(one - other) > 1000 * made.tolerance) > 0.9, "an answer must tell which version made it"
    return answers
