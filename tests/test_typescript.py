"""The TypeScript example, built in a fresh folder as its README says, and servers that go away, come back older, and lie."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import podium
import pytest
from following import copy_data, replace_data, start_again
from processes import Process
from test_hostile import liar  # noqa: F401  a fixture

ROOT = Path(__file__).parents[1]
EXAMPLE = "clients/typescript"
MADE = shutil.ignore_patterns("build", "generated", "models", "node_modules")
MIB = 1 << 20
WRONG = f"sha256:{'0' * 64}"
REFERENCE = "team/fraud@champion"


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The example's folder, built."""
    if missing := [name for name in ("node", "npm") if shutil.which(name) is None]:
        skip = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        skip(f"the TypeScript example is not tested: this machine has no {' and no '.join(missing)}")
    clone = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / EXAMPLE, clone / EXAMPLE, ignore=MADE)
    shutil.copytree(ROOT / "protos", clone / "protos")
    for name in ("buf.yaml", "buf.gen.typescript.yaml"):
        shutil.copy(ROOT / name, clone)
    for command in (["npm", "ci", "--prefer-offline"], ["npm", "run", "build"]):
        run = subprocess.run(command, cwd=clone / EXAMPLE, text=True, capture_output=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
    return clone / EXAMPLE


@pytest.fixture
def run(example, tmp_path):
    """`run(address)`: the example as a process, which keeps its files in `tmp_path / "models"`."""
    started = []

    def start(address, reference=REFERENCE):
        start_script = json.loads((example / "package.json").read_text())["scripts"]["start"].split()
        environment = {**os.environ, "PODIUM_URL": address}
        started.append(Process([*start_script, reference, tmp_path / "models"], cwd=example, env=environment))
        return started[-1]

    yield start
    for process in started:
        with process:
            pass


@pytest.fixture
def server(start_server):
    return start_server("--heartbeat", "0.5")


@pytest.fixture
def promote(server, tmp_path):
    """`promote(mebibytes)`: pushes new content to the server itself, and moves the alias to it."""

    def push(mebibytes=0):
        content = {"model.bin": os.urandom(mebibytes * MIB + 1), "empty": b"", "vocab/naïve.txt": b"words"}
        for path, data in content.items():
            (tmp_path / "model" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "model" / path).write_bytes(data)
        with podium.connect(server.address, actor="ann") as registry:
            pushed = registry.push("team/fraud", tmp_path / "model", aliases=["champion"], reason="better")
        return pushed.version, content

    return push


def says(process, promoted, why):
    """Checks the next line, and the files that it names."""
    version, content = promoted
    said = re.fullmatch(r"team/fraud@champion: (\S+) in (\S+) \((.*)\)", line := process.line())
    assert said, line
    folder = Path(said[2])
    assert (said[1], folder.name, said[3]) == (version.version, version.digest.removeprefix("sha256:"), why)
    assert {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == content


def test_it_goes_on_over_a_restart(run, server, relay, promote):
    first = promote(3)
    follow = run(relay.address)
    says(follow, first, "resolved")
    says(follow, first, "snapshot")
    server.kill()
    assert "trying again" in follow.error()
    start_again(server, relay)
    says(follow, promote(5), "ann: better")
    with podium.connect(server.address, actor="ann") as registry:
        registry.set_alias("team/fraud", "champion", 1, reason="worse")
        says(follow, first, "ann: worse")
        registry.delete_alias("team/fraud", "champion")
        assert follow.line() == "team/fraud@champion: no version to serve (ann: )"


def test_a_download_goes_on_where_it_was_cut(run, relay, promote):
    first = promote()
    follow = run(relay.address)
    says(follow, first, "resolved")
    says(follow, first, "snapshot")
    before = relay.down
    relay.cut_after(down=5 * MIB)
    says(follow, promote(8), "ann: better")
    assert relay.cuts == 1
    assert 8 * MIB < relay.down - before < 11 * MIB


def test_a_connection_that_stalls_is_given_up(run, relay, promote):
    first = promote()
    follow = run(relay.address)
    says(follow, first, "resolved")
    says(follow, first, "snapshot")
    relay.stall()
    says(follow, promote(), "ann: better")


def test_a_restored_backup_is_told(run, server, relay, promote, tmp_path):
    first = promote()
    server.stop()
    copy_data(server, tmp_path / "copy")
    start_again(server, relay)
    follow = run(relay.address)
    says(follow, first, "resolved")
    says(follow, first, "snapshot")
    says(follow, promote(), "ann: better")
    server.stop()
    replace_data(server, tmp_path / "copy")
    start_again(server, relay)
    says(follow, first, "history was cut")
    says(follow, promote(), "ann: better")


LIES = {
    "a path leads out of the folder": lambda one: one.tell({"../escape": b"1"}),
    f"the files that the server lists are not those of m@{WRONG}": lambda one: setattr(one, "digest", WRONG),
    "conf/a is damaged": lambda one: setattr(one, "files", dict.fromkeys(one.files, b"other")),
}


@pytest.mark.parametrize("error", LIES)
def test_nothing_appears_that_is_not_what_the_digest_says(run, liar, tmp_path, error):  # noqa: F811
    LIES[error](liar)
    liar.listed.sort(key=lambda file: file.path)
    follow = run(liar.address, "m@champion")
    assert follow.wait() == 1
    assert follow.rest() == ([], [error])
    assert [path for path in (tmp_path / "models").glob("*") if path.suffix != ".partial"] == []
    assert not (tmp_path / "escape").exists()


def test_a_reference_that_there_is_not_ends_it(run, server, promote):
    promote()
    follow = run(server.address, "team/fraud@nobody")
    assert follow.wait() == 1
    assert follow.rest() == ([], ["5 NOT_FOUND: team/fraud has no alias nobody"])
