"""What data cannot say well: several languages in one cache, what reconnecting leaves behind, and the drivers themselves."""

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import podium
import pytest
from conftest import RunningServer
from following import HEARTBEAT, SECONDS, FaultyRelay, push
from streams import MIB, until

from conformance.content import manifest_digest, tree
from conformance.languages import LANGUAGES

PAIRS = [(one, other) for one in LANGUAGES for other in LANGUAGES if one != other]
RECONNECTS, FIRST_RECONNECTS = 1000, 20
SLACK = 50  # what pools of threads may grow by; what each reconnection leaves would be a thousand


@pytest.fixture
def own(start_server, tmp_path):
    """A server of this test alone behind a relay, with a model `m` of three versions whose first is champion."""
    server = start_server(*HEARTBEAT)
    relay = FaultyRelay(server.address)
    with podium.connect(server.address, cache=tmp_path / "admin") as registry:
        push(registry, "m", tmp_path, 3)
        registry.set_alias("m", "champion", 1)
        yield server, registry, relay
    relay.close()


@pytest.fixture
def connected(languages, own, tmp_path):
    """`connected("go")`: a new driver of a language with a client that has the relay's address and this test's cache."""
    drivers = []

    def start(language, address=own[2].address):
        driver = languages.start(language)
        drivers.append(driver)
        ask(driver, "connect", url=address, cache=str(tmp_path / "cache"), actor=f"{language}@here")
        return driver

    yield start
    for driver in drivers:
        if driver.process.poll() is None:
            driver.end()
        driver.kill()


def ask(driver, verb, **arguments):
    answer = driver.ask(do=verb, **arguments)
    assert "ok" in answer, (driver.language, verb, answer)
    return answer["ok"]


def reaches(driver, **wanted):
    answer = ask(driver, "wait", handle="f", seconds=SECONDS, **wanted)
    assert "timeout" not in answer, (driver.language, wanted, answer)


def prune(tmp_path):
    return [entry.digest for entry in podium.Cache(tmp_path / "cache").prune(0).entries if entry.kind == "version"]


# One cache.


def test_processes_of_all_languages_that_pull_one_version_at_once_fetch_it_once(own, connected, tmp_path):
    """Two of each: the bytes pass once, and all get the same folder."""
    _, registry, relay = own
    push(registry, "m", tmp_path, content=os.urandom(24 * MIB))
    drivers = [connected(language) for language in LANGUAGES * 2]
    before = relay.down
    for driver in drivers:
        driver.send(do="pull", reference="m:4")
    answers = [driver.answer() for driver in drivers]
    (path,) = {answer["ok"]["path"] for answer in answers if "ok" in answer}
    assert all("ok" in answer for answer in answers), answers
    assert 24 * MIB < relay.down - before < 25 * MIB
    assert manifest_digest(path) == registry.resolve("m:4").digest
    assert {row["mode"] for row in tree(path)["files"].values()} == {"0444"}
    assert all(row["sealed"] for row in tree(path)["files"].values())
    assert not list((tmp_path / "cache/v1/partial").iterdir())
    assert len(list((tmp_path / "cache/v1/trees").iterdir())) == 1


def test_files_that_versions_share_are_fetched_once_by_all_languages(own, connected, tmp_path):
    _, registry, relay = own
    content = os.urandom(12 * MIB)
    push(registry, "m", tmp_path, 3, content=content)
    drivers = [connected(language) for language in LANGUAGES]
    before = relay.down
    for number, driver in enumerate(drivers):
        driver.send(do="pull", reference=f"m:{4 + number}")
    for number, driver in enumerate(drivers):
        path = driver.answer()["ok"]["path"]
        assert manifest_digest(path) == registry.resolve(f"m:{4 + number}").digest
        assert (Path(path) / "content").read_bytes() == content
    assert 12 * MIB < relay.down - before < 13 * MIB


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_what_one_language_left_half_another_completes(own, connected, tmp_path, one, other):
    """The first process is killed amid its download, and leaves neither a lock nor anything that looks whole."""
    server, registry, relay = own
    push(registry, "m", tmp_path, content=os.urandom(32 * MIB))
    killed, stopped = connected(one), threading.Event()

    def stop():
        server.process.send_signal(signal.SIGSTOP)
        stopped.set()

    relay.when_cut = stop
    relay.cut_after(down=24 * MIB)
    killed.send(do="pull", reference="m:4")
    assert stopped.wait(SECONDS)
    until(lambda: [file for file in (tmp_path / "cache/v1/partial").glob("*") if file.stat().st_size >= 4 * MIB])
    killed.process.kill()
    killed.process.wait()
    server.process.send_signal(signal.SIGCONT)
    before = relay.down
    path = ask(connected(other), "pull", reference="m:4")["path"]
    assert manifest_digest(path) == registry.resolve("m:4").digest
    assert relay.down - before < 29 * MIB


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_damage_in_what_one_language_pulled_is_healed_by_another(own, connected, one, other):
    _, registry, _ = own
    path = Path(ask(connected(one), "pull", reference="m:1")["path"])
    as_it_was = tree(path)
    (path / "n").chmod(0o644)
    (path / "n").write_text("damage")
    assert ask(connected(other), "pull", reference="m:1")["path"] == str(path)
    assert tree(path) == as_it_was
    assert registry.verify("m:1", path) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_held_version_is_not_pruned_by_another_process(own, connected, tmp_path, language):
    _, registry, _ = own
    digests = [registry.resolve(f"m:{number}").digest for number in (1, 2, 3)]
    driver = connected(language)
    followed = ask(driver, "follow", handle="f", reference="m@champion")
    pulled = ask(driver, "pull", reference="m:3")
    assert prune(tmp_path) == []
    registry.set_alias("m", "champion", 2)
    reaches(driver, number=2)
    until(lambda: not Path(followed["path"]).exists() or prune(tmp_path) == [digests[0]])
    assert prune(tmp_path) == []
    assert (Path(pulled["path"]) / "n").read_text() == "m 3"
    driver.end()
    assert sorted(prune(tmp_path)) == sorted(digests[1:])


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_follower_begins_with_what_that_of_another_language_wrote(own, connected, tmp_path, one, other):
    _, registry, relay = own
    writer = connected(one)
    ask(writer, "follow", handle="f", reference="m@champion")
    registry.set_alias("m", "champion", 2)
    reaches(writer, number=2)
    writer.end()
    (record,) = (tmp_path / "cache/v1/followed").iterdir()
    written = json.loads(record.read_text())
    relay.lead_to("127.0.0.1:1")
    reader = connected(other)
    current = ask(reader, "follow", handle="f", reference="m@champion", seconds=0.5)
    assert (current["number"], current["version"], current["digest"]) == (2, "1.0.1", registry.resolve("m:2").digest)
    assert ask(reader, "state", handle="f")["state"] == "stale"
    relay.lead_to(registry._transport.address)
    reaches(reader, state="connected")
    reader.end()
    assert {**json.loads(record.read_text()), "position": ""} == {**written, "position": ""}


# What is left behind.


def open_things(driver):
    """What a driver has open: its tasks as it says, file handles and threads as the kernel does."""
    process = Path(f"/proc/{driver.pid}")
    tasks = ask(driver, "usage")["tasks"]
    return tasks, len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))


def is_left(driver, before):
    """Whether a driver has little more open than before."""
    return max(now - then for now, then in zip(open_things(driver), before, strict=True)) < SLACK


class Reconnecting:
    """A follower whose connection is cut again and again: what it had open before, and what is in its cache."""

    def __init__(self, driver, address, cache):
        self._driver, self._cache, self._relay = driver, cache, FaultyRelay(address)
        try:
            self._run()
        finally:
            self._relay.close()

    def _run(self):
        ask(self._driver, "connect", url=self._relay.address, cache=str(self._cache))
        ask(self._driver, "follow", handle="f", reference="m@champion")
        self._again(FIRST_RECONNECTS)  # what a runtime keeps for good is there then
        before, files = open_things(self._driver), sorted(self._cache.rglob("*"))
        self._again(RECONNECTS)
        until(lambda: is_left(self._driver, before))
        assert sorted(self._cache.rglob("*")) == files
        assert ask(self._driver, "current", handle="f")["number"] == 1
        self._driver.end()

    def _again(self, times):
        for _ in range(times):
            made = self._relay.connections
            self._relay.cut()
            self._relay.wait_for_connections(made + 1)
            reaches(self._driver, state="connected")


@pytest.fixture(scope="module")
def reconnecting(request, languages, tmp_path_factory):
    """A future of each language that is chosen: they reconnect all at once, since they mostly wait."""
    folder = tmp_path_factory.mktemp("reconnecting")
    server = RunningServer(folder / "data", *HEARTBEAT)
    with podium.connect(server.address, cache=folder / "admin") as registry:
        push(registry, "m", folder)
        registry.set_alias("m", "champion", 1)

    def run(language):
        with languages.start(language) as driver:
            Reconnecting(driver, server.address, folder / language)

    chosen = {item.callspec.params.get("language") for item in request.session.items if hasattr(item, "callspec")}
    with ThreadPoolExecutor() as pool:
        yield {language: pool.submit(run, language) for language in LANGUAGES if language in chosen}
    server.kill()


@pytest.mark.parametrize("language", LANGUAGES)
def test_1000_reconnects_leave_nothing_behind(reconnecting, language):
    """No threads, no file handles, no temporary files."""
    reconnecting[language].result()


# What JSON cannot say.


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_name_that_is_no_text_cannot_be_pushed(own, connected, tmp_path, language):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a").write_text("1")
    Path(os.fsdecode(os.fsencode(folder) + b"/b\xff")).write_text("2")
    error = connected(language).ask(do="push", model="m", path=str(folder))["error"]
    assert (error["kind"], error["code"]) == ("PushRefused", "")


# The drivers.


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_driver_ends_with_its_input_whatever_is_open(own, connected, language):
    driver = connected(language)
    ask(driver, "watch", handle="w", references=["m@champion"])
    ask(driver, "next", handle="w", seconds=SECONDS)
    ask(driver, "follow", handle="f", reference="m@champion")
    ask(driver, "change", handle="f", seconds=SECONDS)
    assert ask(driver, "change", handle="f", seconds=0.1) == {"timeout": True}
    assert ask(driver, "next", handle="w", seconds=0.1) == {"timeout": True}
    driver.end()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_driver_refuses_what_it_does_not_know(languages, language):
    driver = languages.start(language)
    driver.send(do="nonsense")
    assert driver.process.wait(SECONDS) == 2
    driver.kill()
