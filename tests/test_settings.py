"""How `podium serve` is told what to do: by a file, the environment and the command line."""

import os
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from test_cli import PODIUM

PASSWORD = "hunter2"
WITH_PASSWORD = f"postgresql://podium:{PASSWORD}@127.0.0.1:1/registry"

Serve = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Runs `podium serve` to its end, in a folder of its own."""

    def run(*options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        variables = {**os.environ, **{f"PODIUM_SERVE_{name.upper()}": value for name, value in environment.items()}}
        command = [PODIUM, "serve", *options]
        return subprocess.run(command, capture_output=True, text=True, env=variables, cwd=tmp_path, timeout=60, check=False)

    return run


def printed(serve: Serve, *options: str, **environment: str) -> dict[str, tuple[object, str]]:
    """What --print-settings says: the value of each setting, and where it is from."""
    ended = serve("--print-settings", *options, **environment)
    assert (ended.returncode, ended.stderr) == (0, "")
    sources = [line.rpartition("  # ")[2] for line in ended.stdout.splitlines()]
    return {name: (value, source) for (name, value), source in zip(tomllib.loads(ended.stdout).items(), sources, strict=True)}


def refusal(serve: Serve, *options: str, **environment: str) -> str:
    """The last line of what it says when it does not start."""
    ended = serve(*options, **environment)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert PASSWORD not in ended.stderr
    return ended.stderr.splitlines()[-1]


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "podium.toml").write_text('log_level = "error"\ngrace = 5\nheartbeat = 7\n')
    settings = printed(serve, "--config", "podium.toml", "--grace", "1", grace="2", heartbeat="3")
    assert settings["grace"] == (1, "command line")
    assert settings["heartbeat"] == (3, "environment")
    assert settings["log_level"] == ("error", "file")
    assert settings["listen"] == ("127.0.0.1:7070", "default")
    assert settings["database"] == (f"sqlite://{tmp_path}/podium-data/registry.db", "default")
    assert settings["blobs"] == (f"file://{tmp_path}/podium-data/blobs", "default")


def test_what_is_printed_is_a_file_that_says_the_same(serve: Serve, tmp_path: Path) -> None:
    first = serve("--print-settings", "--data", 'a "folder"', "--insecure", "--listen", "0.0.0.0:1", "--heartbeat", "0.5")
    (tmp_path / "again.toml").write_text(first.stdout)
    again = printed(serve, config="again.toml")
    assert {name: value for name, (value, _) in again.items()} == tomllib.loads(first.stdout)
    assert {source for _, source in again.values()} == {"file"}
    assert again["data"][0] == 'a "folder"'
    assert again["insecure"][0] is True


def test_what_is_misspelled_is_refused(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "podium.toml").write_text('databse = "sqlite:///elsewhere.db"\n')
    assert "podium.toml: there is no setting databse: there are blobs, data, database, " in refusal(serve, config="podium.toml")
    assert "there is no setting PODIUM_SERVE_LISTENS: " in refusal(serve, listens="127.0.0.1:1")
    assert "--listens" in refusal(serve, "--listens", "127.0.0.1:1")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("grace = soon", "cannot read podium.toml: "),
        ('grace = "soon"', "--grace"),
        ('log_level = "loud"', "--log-level"),
        ("listen = 7070", "'7070' is not HOST:PORT"),
        ('listen = "0.0.0.0:7070"', "add --insecure"),
        ('metrics = "9090"', "'9090' is not HOST:PORT"),
        ('metrics = "0.0.0.0:9090"', "add --insecure"),
        ('log_format = "yaml"', "--log-format"),
    ],
)
def test_a_file_with_a_wrong_value_is_refused_in_a_line(serve: Serve, tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "podium.toml").write_text(content)
    assert said in refusal(serve, "--config", "podium.toml")


def test_a_file_that_is_not_there_is_refused(serve: Serve) -> None:
    assert "cannot read nowhere.toml: No such file" in refusal(serve, config="nowhere.toml")


@pytest.mark.parametrize("url", [WITH_PASSWORD, f"postgresql:///registry?password={PASSWORD}&host=127.0.0.1"])
def test_a_password_is_never_on_the_command_line_and_never_shown(serve: Serve, tmp_path: Path, url: str) -> None:
    assert "PODIUM_SERVE_DATABASE" in refusal(serve, "--database", url)
    (tmp_path / "podium.toml").write_text(f'database = "{url}"\n')
    for environment in ({"config": "podium.toml"}, {"database": url}):
        shown, _ = printed(serve, **environment)["database"]
        assert shown == url.replace(PASSWORD, "***")
        ended = serve("--log-level", "debug", "--listen", "127.0.0.1:0", **environment, heartbeat="0")
        assert PASSWORD not in ended.stdout + ended.stderr
