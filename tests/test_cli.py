"""The podium command as a user has it: its own process, a real server, real folders."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click import Context, Group
from click.testing import CliRunner
from conftest import RunningServer
from podium.cli.app import app

PODIUM = Path(sys.executable).with_name("podium")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Terminal:
    """Runs podium with a home and a cache of its own, and holds that no run ever shows a trace or more than a line of error."""

    def __init__(self, address: str, home: Path) -> None:
        self.home = home
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PODIUM", "_PODIUM", "PYTHONUNBUFFERED"))},
            "PODIUM_URL": address,
            "PODIUM_CACHE": str(home / "cache"),
            "HOME": str(home),
            "TZ": "UTC",
        }

    def run(self, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [str(PODIUM), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment, cwd=self.home, check=False)
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        if code not in (0, 7):
            assert done.stdout == ""
            assert done.stderr.count("\n") == 1
            assert done.stderr.endswith("\n")
        return done

    def text(self, *arguments: object) -> str:
        done = self.run(*arguments)
        assert done.stderr == ""
        return done.stdout

    def json(self, *arguments: object) -> dict[str, Any]:
        (row,) = self.rows(*arguments)
        return row

    def rows(self, *arguments: object) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text(*arguments, "--json").splitlines()]

    def error(self, code: int, *arguments: object) -> str:
        return self.run(*arguments, code=code).stderr

    def folder(self, name: str, **files: str) -> Path:
        path = self.home / name
        path.mkdir()
        for file, content in (files or {"model": name, "words": "a\nb\n"}).items():
            (path / file).write_text(content)
        return path


@pytest.fixture
def podium(server: RunningServer, tmp_path: Path) -> Terminal:
    return Terminal(server.address, tmp_path)


# Pushing


def test_a_push_ends_in_one_line(podium: Terminal) -> None:
    folder = podium.folder("first", model="x" * 5000, words="y" * 100)
    line = podium.text("push", "push/line", folder)
    assert re.fullmatch(r"push/line:1\.0\.0 \(1\)  2 files, 5\.1 kB, 5\.1 kB new  sha256:[0-9a-f]{12}…\n", line)
    (folder / "more").write_text("z")
    assert "push/line:1.0.1 (2)  3 files, 5.1 kB, 1 B new  sha256:" in podium.text("push", "push/line", folder)
    assert "push/line:1.0.1 (2)  3 files, 5.1 kB, already there  sha256:" in podium.text("push", "push/line", folder)


def test_a_push_in_json_says_all(podium: Terminal) -> None:
    pushed = podium.json("push", "push/json", podium.folder("first", model="x"))
    assert (pushed["created"], pushed["uploaded_bytes"], pushed["left_out"]) == (True, "1", [])
    assert pushed["position"]
    assert DIGEST.fullmatch(pushed["version"]["digest"])
    assert pushed["version"]["number"] == "1"


def test_a_push_takes_everything_that_can_be_said(podium: Terminal) -> None:
    (podium.home / "record.yaml").write_text("team: risk\nauthor: bob\nparams:\n- {name: from_file, bool_value: true}\n")
    podium.text("push", "push/parent", podium.folder("parent"))
    podium.text(
        *(
            "push",
            "push/all",
            podium.folder("all"),
            "--bump",
            "major",
            "--stage",
            "staging",
            "--alias",
            "a",
            "--alias",
            "b",
        ),
        *(
            "--metric",
            "auc=0.93",
            "--param",
            "depth=4",
            "--param",
            "rate=0.5",
            "--param",
            "name='4'",
            "--param",
            "on=true",
        ),
        *("--label", "team=risk", "--dataset", f"sales:3@sha256:{'a' * 64}", "--parent", "push/parent:1.0.0"),
        *(
            "--parent",
            "hf://bert",
            "--run",
            "mlflow:8f2c",
            "--description",
            "first\nof all",
            "--metadata",
            "record.yaml",
        ),
        *("--reason", "because", "--actor", "ann@build"),
    )
    version = podium.json("show", "push/all@b")
    record = version["record"]
    assert (version["stage"], version["aliases"], version["labels"]) == ("staging", ["a", "b"], {"team": "risk"})
    assert (version["description"], version["actor"], record["team"], record["author"]) == (
        "first\nof all", "ann@build", "risk", "bob",
    )  # fmt: skip
    params = {param.pop("name"): param for param in record["params"]}
    assert params == {
        "depth": {"int_value": "4"},
        "rate": {"double_value": 0.5},
        "name": {"string_value": "4"},
        "on": {"bool_value": True},
        "from_file": {"bool_value": True},
    }
    assert [(metric["name"], metric["value"]) for metric in record["metrics"]] == [("auc", 0.93)]
    assert [(data["kind"], data["name"], data["version"]) for data in record["inputs"]] == [("INPUT_KIND_DATASET", "sales", "3")]
    assert [parent.get("reference") or parent.get("uri") for parent in record["parents"]] == [
        "push/parent:1.0.0",
        "hf://bert",
    ]
    assert (record["run"]["system"], record["run"]["id"]) == ("mlflow", "8f2c")
    shown = podium.text("show", "push/all:1")
    for words in ("push/all:1.0.0 (1)", "staging", "a, b", "team=risk", "auc  0.93", "depth  4", 'name  "4"', "of all"):
        assert words in shown


def test_a_new_model_gets_the_strategy_and_lifecycle_asked_for(podium: Terminal) -> None:
    podium.text("push", "push/integer", podium.folder("one"), "--strategy", "integer", "--lifecycle", "permissive")
    model = podium.json("show", "push/integer")
    assert (model["strategy"], model["lifecycle"]) == ("VERSION_STRATEGY_INTEGER", "permissive")
    assert podium.text("resolve", "push/integer@latest").startswith("push/integer:1  development  ")


def test_empty_folders_are_told_and_an_empty_push_is_refused(podium: Terminal) -> None:
    folder = podium.folder("some")
    (folder / "nothing").mkdir()
    assert podium.run("push", "push/some", folder).stderr == "left out, for a version holds files only: nothing/\n"
    assert podium.json("push", "push/some", folder)["left_out"] == ["nothing/"]
    (podium.home / "empty").mkdir()
    podium.error(4, "push", "push/empty", podium.home / "empty")
    podium.error(3, "show", "push/empty")


# Versions and models


def test_a_model_is_created_edited_listed_and_shown(podium: Terminal) -> None:
    made = podium.text("model", "create", "model/new", "--description", "old", "--label", "a=1", "--strategy", "git")
    assert made == "model/new  git, lifecycle default\n"
    podium.text("model", "edit", "model/new", "--description", "new", "--label", "b=2", "--remove-label", "a")
    model = podium.json("show", "model/new")
    assert (model["description"], model["labels"]) == ("new", {"b": "2"})
    assert podium.rows("models", "--prefix", "model/") == [model]
    heading, row = podium.text("models", "--label", "b=2").splitlines()
    assert heading.split() == ["NAME", "VERSIONS", "STRATEGY", "LIFECYCLE", "CHANGED", "DESCRIPTION"]
    assert row.split()[:4] == ["model/new", "0", "git", "default"]
    podium.error(5, "model", "create", "model/new")
    podium.error(5, "model", "edit", "model/new", "--description", "late", "--etag", "stale")
    assert "nothing to change" in podium.error(2, "model", "edit", "model/new")


def test_versions_are_listed_edited_noted_and_shown(podium: Terminal) -> None:
    folder = podium.folder("first")
    podium.text("push", "version/many", folder)
    (folder / "words").write_text("other")
    podium.text("push", "version/many", folder, "--stage", "staging")
    heading, newest, oldest = podium.text("versions", "version/many").splitlines()
    assert heading.split() == ["VERSION", "NUMBER", "STAGE", "ALIASES", "FILES", "SIZE", "REGISTERED", "BY", "DIGEST"]
    assert newest.split()[:3] == ["1.0.1", "2", "staging"]
    assert oldest.split()[:3] == ["1.0.0", "1", "development"]
    assert [row["number"] for row in podium.rows("versions", "version/many", "--stage", "staging")] == ["2"]
    podium.text("version", "edit", "version/many:1", "--description", "the first", "--label", "k=v")
    podium.text("note", "version/many:1", "looks good\nto me")
    shown = podium.text("show", "version/many:1")
    assert re.search(r"^  notes +\S+ \S+  \S+: looks good\n +to me$", shown, re.MULTILINE)
    assert re.search(r"^  labels +k=v$", shown, re.MULTILINE)
    assert podium.json("show", "version/many:1")["notes"][0]["text"] == "looks good\nto me"
    assert podium.text("versions", "version/many", "--stage", "archived").count("\n") == 1


def test_resolve_says_what_a_reference_means(podium: Terminal) -> None:
    podium.text("push", "resolve/one", podium.folder("one", model="x" * 2000))
    line = podium.text("resolve", "resolve/one@latest")
    assert re.fullmatch(r"resolve/one:1\.0\.0 \(1\)  development  1 file, 2\.0 kB  sha256:[0-9a-f]{12}…\n", line)
    target = podium.json("resolve", "resolve/one:1")
    assert (target["version"], target["stage"], DIGEST.fullmatch(target["digest"]) is None) == (
        "1.0.0",
        "development",
        False,
    )
    assert podium.json("resolve", f"resolve/one@{target['digest']}") == target
    assert "`podium versions resolve/one`" in podium.error(3, "resolve", "resolve/one:2")
    assert "`podium alias ls resolve/one`" in podium.error(3, "resolve", "resolve/one@champion")
    assert "`podium versions resolve/one`" in podium.error(3, "resolve", "resolve/one#production")
    assert "NAME:VERSION" in podium.error(4, "resolve", "resolve/one")


# Bytes


def test_manifest_pull_and_verify_agree_with_sha256sum(podium: Terminal) -> None:
    folder = podium.folder("first", model="x", über="ü")
    podium.text("push", "bytes/one", folder)
    target = podium.home / "pulled"
    assert podium.text("pull", "bytes/one:1", target) == f"{target}\n"
    manifest = podium.text("manifest", "bytes/one:1")
    check = ["sha256sum", "--check", "--strict", "-"]
    assert subprocess.run(check, input=manifest, text=True, cwd=target, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert [row["path"] for row in podium.rows("manifest", "bytes/one:1")] == ["model", "über"]
    assert podium.text("verify", "bytes/one:1", target) == "bytes/one:1.0.0 (1)  equal, 2 files\n"
    assert podium.json("verify", "bytes/one:1", target)["equal"] is True
    (target / "model").write_text("y")
    (target / "extra").write_text("z")
    (target / "über").unlink()
    differences = podium.run("verify", "bytes/one:1", target, code=7)
    assert sorted(differences.stdout.splitlines()) == ["changed  model", "extra    extra", "missing  über"]
    found = json.loads(podium.run("verify", "bytes/one:1", target, "--json", code=7).stdout)
    assert {"path": "model", "problem": "changed"} in found["differences"]
    podium.error(4, "pull", "bytes/one:1", target)


def test_without_a_destination_the_path_in_the_cache_is_printed(podium: Terminal) -> None:
    podium.text("push", "bytes/cached", podium.folder("first"))
    path = Path(podium.text("pull", "bytes/cached@latest").rstrip("\n"))
    assert path.is_relative_to(podium.home / "cache")
    assert podium.json("pull", "bytes/cached:1") == {"reference": "bytes/cached:1", "path": str(path)}
    assert podium.text("cache", "ls")
    podium.text("cache", "prune")


# Stages, aliases, events


def test_transitions_follow_the_lifecycle(podium: Terminal) -> None:
    folder = podium.folder("first")
    podium.text("push", "stage/one", folder)
    (folder / "words").write_text("other")
    podium.text("push", "stage/one", folder)
    assert "--reason" in podium.error(2, "transition", "stage/one:1", "staging")
    assert podium.text("transition", "stage/one:1", "staging", "--reason", "ok") == "stage/one:1.0.0 (1)  staging\n"
    podium.text("transition", "stage/one:1", "production", "--reason", "ok", "--expect", "staging")
    refusal = podium.error(4, "transition", "stage/one:2", "production", "--reason", "hasty")
    assert "staging" in refusal
    podium.error(5, "transition", "stage/one:2", "staging", "--reason", "ok", "--expect", "archived")
    podium.text("transition", "stage/one:2", "staging", "--reason", "ok")
    replaced = podium.text("transition", "stage/one:2", "production", "--reason", "better", "--archive-existing")
    assert replaced == "stage/one:1.0.1 (2)  production, archived stage/one:1\n"
    podium.error(4, "transition", "stage/one:1", "production", "--reason", "back")
    back = podium.json("transition", "stage/one:1", "production", "--reason", "back", "--rollback")
    assert (back["version"]["stage"], back["archived_numbers"]) == ("production", [])


def test_aliases_are_set_moved_listed_and_removed(podium: Terminal) -> None:
    folder = podium.folder("first")
    podium.text("push", "alias/one", folder)
    (folder / "words").write_text("other")
    podium.text("push", "alias/one", folder)
    assert podium.text("alias", "set", "alias/one", "champion", "1.0.0", "--expect", "0") == "alias/one@champion → 1.0.0 (1)\n"
    lost = podium.error(5, "alias", "set", "alias/one", "champion", "2", "--expect", "0")
    assert "1" in lost
    moved = podium.text("alias", "set", "alias/one", "champion", "@latest", "--expect", "1.0.0", "--reason", "better")
    assert moved == "alias/one@champion → 1.0.1 (2), was 1\n"
    heading, row = podium.text("alias", "ls", "alias/one").splitlines()
    assert heading.split() == ["ALIAS", "VERSION", "CHANGED", "DIGEST"]
    assert row.split()[:3] == ["champion", "1.0.1", "(2)"]
    assert [alias["number"] for alias in podium.rows("alias", "ls", "alias/one")] == ["2"]
    podium.error(5, "alias", "rm", "alias/one", "champion", "--expect", "1")
    assert podium.text("alias", "rm", "alias/one", "champion") == "alias/one@champion removed, was 2\n"
    podium.error(3, "alias", "rm", "alias/one", "champion")
    podium.error(4, "alias", "set", "alias/one", "latest", "1")


def test_events_say_who_did_what_and_why(podium: Terminal) -> None:
    podium.text("push", "event/one", podium.folder("first"))
    podium.text("transition", "event/one:1", "staging", "--reason", "it\nis time", "--actor", "ann")
    podium.text("--actor", "bob", "alias", "set", "event/one", "champion", "1")
    heading, newest, *_ = podium.text("events", "event/one").splitlines()
    assert heading.split() == ["REVISION", "TIME", "WHO", "WHAT", "CHANGE", "WHY"]
    assert newest.split(maxsplit=3)[3] == "bob       event/one@champion     → 1.0.0 (1)" or "bob" in newest
    (moved,) = podium.text("events", "event/one", "--kind", "version-transitioned").splitlines()[1:]
    assert re.search(r"ann  event/one:1\.0\.0  development → staging  it is time$", moved)
    rows = podium.rows("events", "event/one", "--oldest-first")
    assert rows[0]["kind"] == "EVENT_KIND_MODEL_CREATED"
    assert [row["revision"] for row in rows] == sorted((row["revision"] for row in rows), key=int)
    assert podium.rows("events", "event/one", "--oldest-first", "--limit", "2") == rows[:2]
    later = podium.rows("events", "event/one", "--oldest-first", "--after", rows[0]["position"])
    assert later == [row for row in rows if row["revision"] != rows[0]["revision"]]


def test_status_says_what_the_server_is(podium: Terminal) -> None:
    assert re.match(r"podium \d+\.\d+\.\d+\n  registry +\S+\n", podium.text("status"))
    assert podium.json("status")["limits"]["max_files"] == "10000"


# The rules of the command line


def test_json_may_stand_before_or_after_the_command(podium: Terminal) -> None:
    assert json.loads(podium.text("--json", "status"))["registry_uid"] == podium.json("status")["registry_uid"]


def test_an_error_in_json_is_an_object(podium: Terminal) -> None:
    error = json.loads(podium.error(3, "show", "nowhere", "--json"))["error"]
    assert (error["exit_code"], error["status"], error["reason"]) == (3, "NOT_FOUND", "MODEL_NOT_FOUND")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sho"], "No such command 'sho'"),
        (["resolve"], "Missing argument 'REF'. See podium resolve --help"),
        (["alias"], "Missing command. See podium alias --help"),
        (["resolve", "a:1", "--bogus"], "No such option"),
        (["push", "n", "nowhere"], "'nowhere' does not exist"),
        (["push", "n", ".", "--version", "1.0.0", "--bump", "major"], "exclude each other"),
        (["push", "n", ".", "--metric", "auc=high"], "'high' is not a number"),
        (["push", "n", ".", "--metric", "auc"], "'auc' is not NAME=VALUE"),
        (["push", "n", ".", "--run", "8f2c"], "'8f2c' is not SYSTEM:ID"),
        (["push", "n", ".", "--dataset", "a@sha256:1"], "is not a digest"),
        (["push", "n", ".", "--metadata", "nowhere.yaml"], "nowhere.yaml: No such file"),
        (["push", "n", ".", "--bump", "huge"], "'huge' is not one of"),
        (["resolve", "\udcff:1"], "'\\udcff:1' is not UTF-8"),
        (["completion", "csh"], "'csh' is not one of"),
    ],
)
def test_a_wrong_command_line_is_one_line(podium: Terminal, arguments: list[str], message: str) -> None:
    assert message in podium.error(2, *arguments)


def test_help_and_version_need_no_server(podium: Terminal) -> None:
    podium.environment["PODIUM_URL"] = "127.0.0.1:1"
    assert podium.text() == podium.text("--help")
    assert "  Exit codes:\n    0    done\n" in podium.text("--help")
    assert re.fullmatch(r"podium \d+\.\d+\.\d+\n", podium.text("--version"))


def every_command() -> Iterator[list[str]]:
    for name in app.list_commands(Context(app)):
        command = app.get_command(Context(app), name)
        yield from ([name, sub] for sub in command.commands) if isinstance(command, Group) else [[name]]


@pytest.mark.parametrize("command", list(every_command()), ids=" ".join)
def test_every_command_has_help_and_takes_the_shared_options(command: list[str]) -> None:
    shown = CliRunner().invoke(app, [*command, "--help"], prog_name="podium")
    assert shown.exit_code == 0
    assert shown.output.startswith(f"Usage: podium {' '.join(command)} [OPTIONS]")
    if command[0] not in ("serve", "completion"):
        assert all(option in shown.output for option in ("--url", "--actor", "--json"))


def test_a_server_that_is_not_there_is_one_line(podium: Terminal) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        message = podium.error(6, "--url", address, "status")
    assert address in message
    assert "podium serve" in message


def test_interrupting_is_one_line(podium: Terminal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        command = [PODIUM, "--url", f"127.0.0.1:{silent.getsockname()[1]}", "status"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=podium.environment)
        connection, _ = silent.accept()
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=60)
        connection.close()
    assert (process.returncode, message) == (130, "podium: interrupted\n")


def test_a_reader_that_leaves_is_no_error(podium: Terminal) -> None:
    for number in range(3):
        podium.text("model", "create", f"pipe/{number}")
    process = subprocess.Popen([PODIUM, "events", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=podium.environment)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 141


def test_text_from_the_server_cannot_steer_a_terminal(podium: Terminal) -> None:
    hostile = "\x1b[31mred\x1b[0m [bold]bold[/bold] \x9b2J"
    podium.text("model", "create", "hostile", "--description", hostile, "--label", "k=\x1b]0;owned\x07")
    podium.text("push", "hostile", podium.folder("first"), "--description", hostile, "--param", f"p={hostile}")
    podium.text("note", "hostile:1", hostile)
    commands = (["models"], ["show", "hostile"], ["show", "hostile:1"], ["versions", "hostile"], ["events", "hostile"])
    for command in commands:
        shown = podium.text(*command)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)
        if command[0] == "show":
            assert "\\x1b[31mred\\x1b[0m [bold]bold[/bold]" in shown
    assert "\x1b" not in podium.error(3, "resolve", "hostile:9.9.9")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes(podium: Terminal, shell: str) -> None:
    assert f"_PODIUM_COMPLETE={shell}_complete" in podium.text("completion", shell)
    podium.environment.update(COMP_WORDS="podium al", COMP_CWORD="1", _PODIUM_COMPLETE="bash_complete")
    assert podium.run().stdout == "plain,alias\n"


def test_resolve_imports_nothing_that_it_does_not_need(podium: Terminal) -> None:
    podium.text("push", "quick", podium.folder("first"))
    script = "import sys; from podium.cli import run; run(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", script, "resolve", "quick:1"]
    modules = subprocess.run(command, capture_output=True, text=True, env=podium.environment, check=True).stderr.split()
    assert not {"rich", "yaml", "google.protobuf.json_format", "podium_server"} & set(modules)


def test_a_full_or_closed_stdout_is_one_line_or_none(podium: Terminal) -> None:
    run = f"{PODIUM} status"
    full = subprocess.run(f"{run} > /dev/full", shell=True, env=podium.environment, stderr=subprocess.PIPE, check=False)
    assert (full.returncode, full.stderr) == (1, b"podium: No space left on device\n")
    closed = subprocess.run(f"{run} >&-", shell=True, env=podium.environment, stderr=subprocess.PIPE, check=False)
    assert (closed.returncode, closed.stderr) == (0, b"")


# Serving


def test_serve_says_when_it_is_ready_and_stops_when_told(podium: Terminal) -> None:
    command = [PODIUM, "serve", "--data", "here", "--listen", "127.0.0.1:0", "--log-level", "error"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=podium.environment, cwd=podium.home
    )
    assert process.stdout is not None
    ready = process.stdout.readline()
    assert re.fullmatch(r"podium \S+ serving 127\.0\.0\.1:\d+  data here\n", ready)
    assert podium.text("status", "--url", ready.split()[3])
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


def test_serve_refuses_what_others_could_reach(podium: Terminal) -> None:
    refused = subprocess.run([PODIUM, "serve", "--listen", "0.0.0.0:0"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "--insecure" in refused.stderr.splitlines()[-1]


def test_serve_without_the_server_extra_is_one_line(podium: Terminal) -> None:
    (podium.home / "apsw.py").write_text("raise ModuleNotFoundError(\"No module named 'apsw'\", name='apsw')")
    podium.environment["PYTHONPATH"] = str(podium.home)
    assert "pip install 'podium[server]'" in podium.error(1, "serve")
