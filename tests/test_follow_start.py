"""Following from the last known version: while the registry is away, after damage or a restore, with a record that is spoiled."""

import json
import os
import shutil
import socket

import podium
import pytest
from following import SECONDS, copy_data, reaches, replace_data, says, start_again
from podium import State
from podium.sealed import FILE_TIME
from streams import until
from test_cache import finished, puller, writable

FOLLOW = "import podium, sys; podium.follow(sys.argv[1])"


@pytest.fixture(autouse=True)
def _briefly(monkeypatch):
    """A registry that is away is away after half a second."""
    monkeypatch.setattr("podium.follower.AWAY_SECONDS", 0.5)


@pytest.fixture
def registry(own, tmp_path):
    with podium.connect(own[1].address, cache=tmp_path / "cache", timeout=1000) as connected:  # more than a test may take
        yield connected


@pytest.fixture
def record(registry, tmp_path):
    """Where the record of `m@champion` is: another process followed it once."""
    finished(puller(registry._transport.address, tmp_path / "cache", "m@champion", code=FOLLOW))
    (path,) = (tmp_path / "cache/v1/followed").iterdir()
    return path


def test_the_last_known_version_where_the_registry_is_away(own, registry, record):
    server, relay = own
    server.kill()
    with registry.follow("m@champion") as follower:
        assert (follower.current.number, follower.state, follower.problem) == (1, State.STALE, None)
        assert says(follower.current) == "1"
        assert registry.cache.prune(0).entries == ()
        start_again(server, relay)
        reaches(follower, lambda one: one.state is State.CONNECTED)
        registry.set_alias("m", "champion", 2)
        reaches(follower, 2)


def test_it_switches_as_soon_as_the_registry_is_back(own, registry, record):
    server, relay = own
    with podium.connect(server.address) as direct:
        direct.set_alias("m", "champion", 3)
    server.kill()
    told = []

    def tell(current):
        told.append((current.number, json.loads(record.read_text())["target"]["number"]))

    with registry.follow("m@champion", on_change=tell) as follower:
        assert follower.current.number == 1
        changes = follower.changes()
        assert next(changes).number == 1
        start_again(server, relay)
        assert next(changes).number == 3
        until(lambda: told)
    assert told == [(3, 3)]  # who is told may take long, and the next start must not go back


def test_a_registry_that_answers_is_asked_first(own, registry, record):
    registry.set_alias("m", "champion", 2)
    with registry.follow("m@champion") as follower:
        assert (follower.current.number, follower.state) == (2, State.CONNECTED)


def test_a_registry_that_hangs_is_away(registry, record):
    """It takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        shutil.copy(record, moved(record, address))
        with podium.connect(address, cache=registry.cache.root) as hanging, hanging.follow("m@champion", timeout=0.2) as follower:
            assert (follower.current.number, follower.state) == (1, State.STALE)
        hanging = podium.connect(address, cache=registry.cache.root, timeout=0.2)
        with hanging, pytest.raises(podium.Unavailable, match=r"within 0\.2 s|for 0\.2 s"):
            hanging.follow("m@other")


def moved(record, address):
    """Another record, as if its server had been at this address."""
    from podium.last_known import Record

    content = {**json.loads(record.read_text()), "address": address}
    path = Record(record.parent, address, content["reference"], content["for_serving"]).path
    path.write_text(json.dumps(content))
    record.write_text(json.dumps(content))
    return path.with_suffix(".copy")


def test_without_a_record_a_registry_that_is_away_is_an_error(own, registry):
    server, _ = own
    server.kill()
    with pytest.raises(podium.Unavailable, match="no Podium server"):
        registry.follow("m@champion", timeout=0.5)
    assert not list(registry.cache.followed_path.glob("*"))


def test_the_last_known_version_of_what_is_gone(own, registry, record):
    registry.delete_alias("m", "champion")
    with registry.follow("m@champion") as follower:
        assert (follower.current.number, follower.state) == (1, State.GONE)
        registry.set_alias("m", "champion", 2)
        reaches(follower, 2)
        assert follower.state is State.CONNECTED


def test_the_last_known_version_of_what_may_not_serve(own, registry, record):
    registry.transition("m:1", "deprecated")
    with registry.follow("m@champion") as follower:
        assert (follower.current.number, follower.state) == (1, State.UNSERVABLE)
        assert follower.warnings


def test_who_serves_does_not_begin_with_what_another_had(own, registry, tmp_path):
    """Its last known version may be one that may not serve."""
    registry.transition("m:1", "deprecated")
    finished(puller(own[1].address, tmp_path / "cache", "m@champion", code=FOLLOW.replace(")", ", for_serving=False)")))
    own[0].kill()
    with pytest.raises(podium.Unavailable):
        registry.follow("m@champion", timeout=0.5)


def damage(registry, record, how):
    folder = registry.cache.version_path(json.loads(record.read_text())["target"]["digest"])
    if how == "quietly":  # the quick check does not see it
        with writable(folder / "n").open("r+b") as file:
            file.write(b"x")
        (folder / "n").chmod(0o444)
        os.utime(folder / "n", (FILE_TIME, FILE_TIME))
    elif how == "missing":
        writable(folder / "n").unlink()
    elif how == "extra":
        folder.chmod(0o755)
        (folder / "extra").write_text("x")
    elif how == "pruned":
        assert registry.cache.prune(0).entries
    return folder


@pytest.mark.parametrize("how", ["quietly", "missing", "extra", "pruned"])
def test_a_damaged_last_known_version_is_no_start_and_is_healed(own, registry, record, caplog, how):
    server, relay = own
    folder = damage(registry, record, how)
    server.kill()
    with pytest.raises(podium.Unavailable):
        registry.follow("m@champion", timeout=0.5)
    assert (how == "pruned") or "damaged" in caplog.text
    start_again(server, relay)
    with registry.follow("m@champion", timeout=SECONDS) as follower:
        assert follower.current.path == folder
        assert registry.verify("m@champion", folder) == []
        assert says(follower.current) == "1"


def test_a_registry_that_comes_back_in_time_heals_it(own, registry, record):
    server, relay = own
    folder = damage(registry, record, "quietly")
    server.kill()
    start_again(server, relay)
    os.utime(folder / "n", (FILE_TIME + 1, FILE_TIME + 1))
    with registry.follow("m@champion", timeout=SECONDS) as follower:
        assert says(follower.current) == "1"


SPOILED = {
    "empty": "",
    "cut": '{"address": ',
    "no object": "[]",
    "nothing in it": "{}",
    "not UTF-8": b"\xff",
    "another reference": ("reference", "m@other"),
    "another address": ("address", "127.0.0.1:1"),
    "a target without a digest": ("target", {}),
    "a target that is none": ("target", "x"),
    "another digest": ("digest", "sha256:" + "0" * 64),
    "no digest": ("digest", "../../x"),
    "files that are none": ("files", 7),
    "no files": ("files", []),
    "a path that leads out": ("path", "../../n"),
    "a size that is none": ("size_bytes", "x"),
    "a position that is none": ("position", 7),
}


def spoil(record, what):
    if not isinstance(what, tuple):
        record.write_bytes(what if isinstance(what, bytes) else what.encode())
        return
    name, value = what
    content = json.loads(record.read_text())
    if name in content:
        content[name] = value
    else:
        (content["target"] if name == "digest" else content["files"][0])[name] = value
    record.write_text(json.dumps(content))


@pytest.mark.parametrize("how", list(SPOILED))
def test_a_spoiled_record_is_none(own, registry, record, caplog, how):
    spoil(record, SPOILED[how])
    with registry.follow("m@champion") as follower:
        assert (follower.current.number, follower.state) == (1, State.CONNECTED)
    assert "cannot be read" in caplog.text
    assert json.loads(record.read_text())["target"]["number"] == 1  # it is written anew
    spoil(record, SPOILED[how])
    own[0].kill()
    with pytest.raises(podium.Unavailable):
        registry.follow("m@champion", timeout=0.2)


def test_fields_of_a_later_client_are_left_alone(own, registry, record):
    content = json.loads(record.read_text())
    content["new"] = content["target"]["new"] = content["files"][0]["new"] = 1
    record.write_text(json.dumps(content))
    own[0].kill()
    with registry.follow("m@champion") as follower:
        assert says(follower.current) == "1"


def test_a_position_that_no_server_understands_is_forgotten(registry, record):
    spoil(record, ("position", "nonsense"))
    with registry.follow("m@champion", timeout=SECONDS) as follower:
        assert follower.current.number == 1
        reaches(follower, lambda one: one.state is State.CONNECTED)


def test_history_that_was_cut_between_two_starts(own, registry, tmp_path):
    """The position of the record is not one of the restored registry's, and what it means is older: so it is, and is told."""
    server, relay = own
    server.stop()
    copy_data(server, tmp_path / "copy")
    start_again(server, relay)
    with podium.connect(server.address) as direct:
        direct.set_alias("m", "champion", 3)
    registry.follow("m@champion").close()
    server.stop()
    replace_data(server, tmp_path / "copy")
    start_again(server, relay)
    with registry.follow("m@champion", timeout=SECONDS) as follower:
        assert (follower.current.number, follower.state) == (1, State.RESTORED)


def test_the_record_says_what_the_contract_says(own, registry, record):
    assert record.name == moved_name(own[1].address)
    content = json.loads(record.read_text())
    assert list(content) == ["address", "reference", "for_serving", "position", "target", "files"]
    target = registry.resolve("m@champion")
    assert content["target"] == {
        name: getattr(target, name)
        for name in ("model", "model_uid", "number", "version", "digest", "record_digest", "stage", "servable")
    } | {"warnings": []}
    (file,) = registry.files("m@champion")
    assert content["files"] == [{"path": "n", "digest": file.digest, "size_bytes": 3}]
    assert (content["reference"], content["for_serving"]) == ("m@champion", True)


def moved_name(address):
    from hashlib import sha256

    return sha256(f"{address}\nm@champion\nserving".encode()).hexdigest() + ".json"


def test_the_record_is_written_when_something_else_changes(registry, record):
    with registry.follow("m@champion") as follower:
        before = json.loads(record.read_text())
        registry.transition("m:1", "archived")
        reaches(follower, lambda one: one.current.stage == "archived")
        position = registry.set_alias("m", "other", 1).position
        with registry.watch("m@other", at_least=position) as watch:
            next(watch)
    after = json.loads(record.read_text())
    assert (before["target"]["stage"], after["target"]["stage"]) == ("development", "archived")
    assert before["position"] != after["position"]


def test_a_record_that_cannot_be_written_changes_nothing(registry, record, monkeypatch, caplog):
    def full(_record, _known):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("podium.last_known.Record.write", full)
    with registry.follow("m@champion") as follower:
        registry.set_alias("m", "champion", 2)
        reaches(follower, 2)
        until(lambda: "cannot be written down" in caplog.text)
    assert json.loads(record.read_text())["target"]["number"] == 1


def test_records_are_pruned_with_their_versions(own, registry, record):
    leftover = record.with_name(f"{record.stem}.abc.new")
    leftover.write_text("{")
    registry.cache.prune()
    assert record.exists()
    assert leftover.exists()
    assert registry.cache.prune(0).entries
    assert list(record.parent.iterdir()) == []
    registry.follow("m@champion").close()
    other = registry.follow("m@champion")
    registry.cache.prune(0)
    assert record.exists()
    other.close()
