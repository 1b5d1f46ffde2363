"""What is shipped: the wheel, the source archive, and the image, its Dockerfile carried out here without an engine."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = (ROOT / "clients/python/podium", ROOT / "server/podium_server")
SOURCES = {".py", ".pyi", ".typed", ".proto"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IGNORE = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
LEFTOVERS = [rule.removeprefix("**/") for rule in IGNORE if rule.startswith("**/")]
SCRIPTS = [*sorted((ROOT / "scripts").iterdir()), ROOT / ".ci/run"]


class Step(NamedTuple):
    name: str
    text: str

    @property
    def words(self) -> list[str]:
        return json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)


def dockerfile() -> list[list[Step]]:
    """The instructions, a list for each stage."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    stages: list[list[Step]] = []
    for line in filter(str.strip, text.splitlines()):
        step = Step(*line.split(maxsplit=1))
        if step.name == "FROM":
            stages.append([])
        stages[-1].append(step)
    return stages


BUILD, RUNTIME = dockerfile()


def only(name: str) -> Step:
    (step,) = (step for step in RUNTIME if step.name == name)
    return step


def copied() -> list[str]:
    return [source for step in BUILD if step.name == "COPY" for source in step.words[:-1]]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that stands for / of the image, made by the COPY and RUN of the build stage."""
    root = tmp_path_factory.mktemp("image")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    folder = root
    for step in BUILD[1:]:
        match step.name:
            case "WORKDIR":
                folder = root / step.text.lstrip("/")
                folder.mkdir(parents=True)
            case "COPY":
                *sources, target = step.words
                for source in sources:
                    copy(ROOT / source, folder / target)
            case "RUN":
                command = re.sub(r"(?<=\s)/", f"{root}/", step.text)
                subprocess.run(["sh", "-euc", command], cwd=folder, env={**os.environ, "PATH": path}, check=True)
            case other:
                pytest.fail(f"{other} is not carried out here")
    return root


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*LEFTOVERS))
    else:
        shutil.copy(source, target)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str]]:
    """The files in the source archive, and those in the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("archives")
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True)
    (source,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    with tarfile.open(source) as packed, zipfile.ZipFile(wheel) as installed:
        return {name.split("/", 1)[1] for name in packed.getnames()}, set(installed.namelist())


def test_the_source_archive_has_what_it_takes_to_read_and_to_build(archives: tuple[set[str], set[str]]) -> None:
    source, _ = archives
    wanted = [path for folder in (*PACKAGES, ROOT / "protos") for path in folder.rglob("*") if path.suffix in SOURCES]
    assert source >= {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"} | {str(path.relative_to(ROOT)) for path in wanted}
    assert not [name for name in source if name.startswith((".venv/", ".build/")) or "__pycache__" in name]


def test_the_wheel_has_both_packages_whole_and_nothing_else(archives: tuple[set[str], set[str]]) -> None:
    source, wheel = archives
    homes = {folder.name: f"{folder.relative_to(ROOT)}/" for folder in PACKAGES}
    whole = {name.replace(home, f"{package}/") for package, home in homes.items() for name in source if name.startswith(home)}
    packaged = {name for name in wheel if ".dist-info/" not in name}
    assert packaged == whole
    assert packaged >= {"podium/py.typed", "podium_server/py.typed", "podium/v1/registry_service_pb2_grpc.pyi"}
    assert any(name.startswith("podium_server/migrations/") for name in packaged)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel)


def test_the_image_serves_is_healthy_and_stops_when_told(image: Path) -> None:
    (image / "data").mkdir()
    environment = {"PATH": f"{image}/opt/podium/bin:{os.environ['PATH']}", "HOME": f"{image}/data"}
    here = {only("VOLUME").text: f"{image}/data", f"0.0.0.0:{only('EXPOSE').text}": "127.0.0.1:0"}
    command = [here.get(word, word) for word in only("CMD").words]
    check = json.loads(only("HEALTHCHECK").text.partition("CMD")[2])
    with subprocess.Popen(command, cwd=image, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            environment["PODIUM_URL"] = server.stdout.readline().split()[3]
            assert subprocess.run(check, cwd=image, env=environment, check=False).returncode == 0
        finally:
            server.send_signal(signal.Signals[only("STOPSIGNAL").text])
    assert server.returncode == 0
    assert subprocess.run(check, cwd=image, env=environment, check=False).returncode != 0


def test_the_image_is_of_a_python_that_the_project_supports() -> None:
    versions = {re.match(r"python:(\d+\.\d+)-", stage[0].text)[1] for stage in (BUILD, RUNTIME)}
    assert len(versions) == 1
    assert f"Programming Language :: Python :: {versions.pop()}" in PROJECT["classifiers"]


def test_the_image_holds_what_was_built_and_what_it_needs() -> None:
    (install,) = (step.text for step in BUILD if "pip install" in step.text)
    (extras,) = re.findall(r"\[([\w,]+)\]", install)
    assert {"server"} < set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    (copy_,) = (step.words for step in RUNTIME if step.name == "COPY")
    assert copy_[0] == f"--from={BUILD[0].text.split()[-1]}"
    assert f"venv {copy_[1]} " in " ".join(step.text for step in BUILD)
    assert f"PATH={copy_[2]}/bin:$PATH" in only("ENV").words


def test_docker_is_sent_exactly_what_the_build_copies() -> None:
    assert IGNORE[0] == "*"
    assert {rule[1:] for rule in IGNORE if rule.startswith("!")} == set(copied())
    assert [source for source in copied() if not (ROOT / source).exists()] == []


def test_the_image_runs_as_nobody_special_and_keeps_its_data_in_a_volume() -> None:
    names = [step.name for step in RUNTIME]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", only("USER").text)  # numbers: Kubernetes checks them for runAsNonRoot
    assert names.index("USER") > max(index for index, name in enumerate(names) if name in {"RUN", "COPY"})
    everywhere = f"0.0.0.0:{only('EXPOSE').text}"
    assert only("CMD").words == ["podium", "serve", "--data", only("VOLUME").text, "--insecure", "--listen", everywhere]


def test_the_readme_publishes_the_image_on_loopback_only() -> None:
    (run,) = re.findall(r"docker run .*", (ROOT / "README.md").read_text())
    port = only("EXPOSE").text
    assert re.findall(r"(?:-p|--publish)[ =](\S+)", run) == [f"127.0.0.1:{port}:{port}"]
    assert f":{only('VOLUME').text}" in run


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_runs_under_any_shell_from_anywhere(script: Path) -> None:
    text = script.read_text()
    assert os.access(script, os.X_OK)
    assert text.startswith("#!/bin/sh\n")
    assert "\nset -eu\n" in text
    assert 'cd "$(dirname "$0")/.."' in text
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0


def test_ci_runs_the_commands_of_the_readme() -> None:
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci/run").read_text()
    for command in ("scripts/demo", "scripts/test"):
        assert command in readme
        assert re.search(rf"^{command}\b", ci, re.MULTILINE)


def test_scripts_ask_for_the_python_that_the_project_asks_for() -> None:
    major, minor = PROJECT["requires-python"].removeprefix(">=").split(".")
    assert f"sys.version_info < ({major}, {minor})" in (ROOT / "scripts/setup").read_text()
    asked = {extra for script in SCRIPTS for extra in re.findall(r"scripts/setup (\w+)\n", script.read_text())}
    assert {"dev"} <= asked <= set(PROJECT["optional-dependencies"])


def test_all_clients_ping_as_seldom_as_the_server_allows():
    """A client that pings more often than the server permits is cut off; one that never does keeps dead connections.

    In gRPC's C core the ping's own timeout counts.
    """
    source = (ROOT / "server/podium_server/__main__.py").read_text()
    permitted = re.search(r'"grpc.http2.min_ping_interval_without_data_ms", ([0-9_]+)', source)
    assert int(permitted[1]) / 1000 < 10
    for path, settings in {
        "clients/python/podium/connection.py": ['("grpc.keepalive_time_ms", 10_000)', '("grpc.http2.ping_timeout_ms", 10_000)'],
        "clients/go/connection.go": ["Time: 10 * time.Second, Timeout: 10 * time.Second"],
        "clients/java/src/main/java/dev/podium/Connection.java": ["keepAliveTime(10, ", "keepAliveTimeout(10, "],
    }.items():
        assert all(setting in (ROOT / path).read_text() for setting in settings), path
