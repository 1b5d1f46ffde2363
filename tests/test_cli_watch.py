"""podium watch as a user has it: a line a change, in words or in JSON, from any position on, whatever happens to the server."""

import json
import os
import re
import signal
from contextlib import contextmanager

import podium as client
import pytest
from following import HEARTBEAT, copy_data, push, replace_data, start_again
from processes import Process
from test_cli import PODIUM, Terminal

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"

SERVER_OPTIONS = HEARTBEAT


@pytest.fixture
def podium(server, tmp_path):
    return Terminal(server.address, tmp_path)


@pytest.fixture
def registry(server):
    with client.connect(server.address, actor="ann@build") as connected:
        yield connected


@contextmanager
def watching(terminal, *arguments, **options):
    """`podium watch` until the block ends. Nothing but what the test reads may come, and no trace ever."""
    process = Process([PODIUM, "watch", *arguments], env=terminal.environment, cwd=terminal.home, **options)
    with process:
        yield process
        if process.popen.poll() is None:
            assert process.end(signal.SIGINT) == 130
            out, err = process.rest()
            assert out == []
            assert "interrupted" in err[-1]
            assert not any("Traceback" in line for line in err)


def move(address, *numbers, model="m"):
    with client.connect(address) as registry:
        for number in numbers:
            registry.set_alias(model, "champion", number)


def events_of(process, count):
    """The next events of `--json`, and the position that the last line said."""
    documents = [json.loads(process.line()) for _ in range(count)]
    assert all("event" in document for document in documents), documents
    return [int(one["event"]["after"]["target"]["number"]) for one in documents], documents[-1]["position"]


# Lines for people.


def test_what_is_now_and_then_a_line_for_each_change(podium, registry, model):
    registry.transition(f"{model}:2", "production")
    with watching(podium, model) as process:
        assert [process.line() for _ in range(3)] == [
            f"{model}#development = 1.0.2 (3)",
            f"{model}#production = 1.0.1 (2)",
            f"{model}@champion = 1.0.0 (1)",
        ]
        registry.set_alias(model, "champion", 2, reason="it\nis \x1b[31mbetter")
        assert re.fullmatch(
            rf"{TIME}  {model}@champion  → 1\.0\.1 \(2\), was 1\.0\.0 \(1\)  ann@build  it is \\x1b\[31mbetter", process.line()
        )
        registry.delete_alias(model, "champion")
        assert re.fullmatch(rf"{TIME}  {model}@champion  gone, was 1\.0\.1 \(2\)  ann@build", process.line())
        registry.set_alias(model, "champion", 3)
        assert re.fullmatch(rf"{TIME}  {model}@champion  → 1\.0\.2 \(3\)  ann@build", process.line())
        registry.transition(f"{model}:2", "archived")  # two lines, in one step
        assert sorted(process.line().partition(f"  {model}")[2] for _ in range(2)) == [
            "#archived  → 1.0.1 (2)  ann@build",
            "#production  gone, was 1.0.1 (2)  ann@build",
        ]


def test_a_version_that_may_not_serve_is_withheld(podium, registry, model):
    registry.transition(f"{model}:1", "deprecated")
    with watching(podium, f"{model}@champion", "--for-serving") as process:
        assert re.fullmatch(rf"{model}@champion = withheld: .*deprecated.*", process.line())
        registry.set_alias(model, "champion", 2)
        assert re.search(r"  → 1\.0\.1 \(2\)  ann@build$", process.line())
        registry.transition(f"{model}:2", "deprecated", reason="it is wrong")
        assert re.search(r"@champion  withheld: [^@]*deprecated[^@]*  ann@build  it is wrong$", process.line())
        registry.delete_alias(model, "champion")
        assert re.search(r"@champion  gone  ann@build$", process.line())
    with watching(podium, f"{model}#deprecated") as process:
        assert process.line() == f"{model}#deprecated = 1.0.1 (2)"


def test_globs_latest_kinds_and_several(podium, registry, model, tmp_path):
    family = model.rpartition("/")[0]
    with (
        watching(podium, f"{family}/*@latest") as latest,
        watching(podium, f"{model}x", f"{model}@champion") as several,
        watching(podium, "**", "--kind", "model-created", "--kind", "note-added", "--json") as kinds,
    ):
        assert f"{model}@latest = 1.0.2 (3)" in iter(latest.line, None)
        assert several.line() == f"{model}@champion = 1.0.0 (1)"
        assert "event" not in json.loads(kinds.line())
        push(registry, f"{model}x", tmp_path)
        registry.note(f"{model}x:1", "good")
        assert re.search(rf"  {model}x@latest  → 1\.0\.0 \(1\)  ann", latest_of(latest, f"{model}x"))
        assert re.search(rf"  {model}x#development  → 1\.0\.0 \(1\)  ann", several.line())
        found = [json.loads(kinds.line())["event"] for _ in range(2)]
        assert [(event["kind"], event["model"]) for event in found] == [
            ("EVENT_KIND_MODEL_CREATED", f"{model}x"),
            ("EVENT_KIND_NOTE_ADDED", f"{model}x"),
        ]


def latest_of(process, model):
    """The next change that is about this model; before it may come the rest of a snapshot."""
    return next(line for line in iter(process.line, None) if f"  {model}@" in line)


# JSON.


def test_json_says_all_and_positions_where_a_step_is_whole(podium, registry, model):
    registry.set_alias(model, "other", 2)
    with watching(podium, model, "--json") as process:
        references = [json.loads(process.line()) for _ in range(3)]
        assert {(one["reference"]["name"], one["reference"]["target"]["number"]) for one in references} == {
            ("champion", "1"),
            ("other", "2"),
            ("development", "3"),
        }
        assert ["position" in one for one in references] == [False, False, True]
        moved = registry.set_alias(model, "champion", 2, reason="why")
        change = json.loads(process.line())
        assert change["position"] == moved.position
        event = change["event"]
        assert (event["model"], event["name"], event["reason"], event["actor"]) == (model, "champion", "why", "ann@build")
        assert (event["before"]["target"]["number"], event["after"]["target"]["number"]) == ("1", "2")
        done = registry.transition(f"{model}:3", "production")  # two references in one step
        steps = [json.loads(process.line()) for _ in range(2)]
        assert ["position" in one for one in steps] == [False, True]
        assert steps[1]["position"] == done.position


def test_json_says_what_is_withheld(podium, registry, model):
    registry.transition(f"{model}:1", "deprecated")
    with watching(podium, f"{model}@champion", "--for-serving", "--json") as process:
        reference = json.loads(process.line())["reference"]
        assert reference["absence"] == "ABSENCE_UNSERVABLE"
        assert "target" not in reference
        assert "deprecated" in reference["warnings"][0]


def test_nothing_there_is_said_in_json_and_not_in_words(podium, registry, model, tmp_path):
    several = (f"{model}@champion", f"{model}x@champion")
    with watching(podium, f"{model}x", "--json") as documents, watching(podium, *several) as words:
        assert json.loads(documents.line()).keys() == {"position"}
        assert words.line() == f"{model}@champion = 1.0.0 (1)"
        push(registry, f"{model}x", tmp_path, aliases=["champion"])
        assert re.search(rf"  {model}x@champion  → 1\.0\.0 \(1\)", words.line())
        assert [json.loads(documents.line()).keys() for _ in range(2)] == [{"event"}, {"event", "position"}]


# Going on.


def test_it_goes_on_over_a_server_that_is_killed(own, tmp_path):
    server, relay = own
    terminal = Terminal(relay.address, tmp_path)
    with watching(terminal, "m@champion", "--json") as process:
        assert json.loads(process.line())["reference"]["target"]["number"] == "1"
        move(server.address, 2)
        assert events_of(process, 1)[0] == [2]
        move(server.address, 3)
        server.kill()
        assert re.fullmatch(r"podium: .*; it goes on when the server is there", process.error())
        start_again(server, relay)
        move(server.address, 1, 2)
        assert events_of(process, 3)[0] == [3, 1, 2]


def test_since_goes_on_where_another_watch_ended(own, tmp_path):
    """Whatever ends it: its reader kept the last position that it read, and gets each later change once."""
    server, relay = own
    terminal = Terminal(relay.address, tmp_path)
    with watching(terminal, "m@champion", "--json") as process:
        position = json.loads(process.line())["position"]
        move(server.address, 2)
        seen, position = events_of(process, 1)
        move(server.address, 3)  # it may have said that, and nobody has read it
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
    move(server.address, 1)
    server.kill()
    with Process([PODIUM, "watch", "m@champion", "--json", "--since", position], env=terminal.environment) as process:
        assert re.fullmatch(r"podium: .*; it goes on when the server is there", process.error())
        start_again(server, relay)
        seen += events_of(process, 2)[0]
        move(server.address, 2)
        more, position = events_of(process, 1)
        assert seen + more == [2, 3, 1, 2]
        assert process.end(signal.SIGTERM) == -signal.SIGTERM
    with watching(terminal, "m@champion", "--since", position) as process:
        move(server.address, 3)
        assert re.search(r"  → 1\.0\.2 \(3\), was 1\.0\.1 \(2\)  ", process.line())


def test_a_restored_registry_is_told(own, tmp_path):
    server, relay = own
    terminal = Terminal(relay.address, tmp_path)
    server.stop()
    copy_data(server, tmp_path / "backup")
    start_again(server, relay)
    with watching(terminal, "m@champion") as words, watching(terminal, "m@champion", "--json") as documents:
        assert words.line() == "m@champion = 1.0.0 (1)"
        json.loads(documents.line())
        move(server.address, 2, 3)
        position = events_of(documents, 2)[1]
        assert "→ 1.0.2 (3), was 1.0.1 (2)" in [words.line() for _ in range(2)][1]
        server.kill()
        replace_data(server, tmp_path / "backup")
        start_again(server, relay)
        assert "it goes on" in words.error()
        assert "was restored to an older state, or is another one" in words.error()
        assert words.line() == "m@champion = 1.0.0 (1)"
        again = json.loads(documents.line())
        assert (again["restored"], again["reference"]["target"]["number"]) == (True, "1")
        assert again["position"] != position
        move(server.address, 2)
        assert events_of(documents, 1)[0] == [2]
        assert re.search(r"  → 1\.0\.1 \(2\), was 1\.0\.0 \(1\)  ", words.line())
    with watching(terminal, "m@champion", "--since", position, "--json") as process:
        again = json.loads(process.line())
        assert (again["restored"], again["reference"]["target"]["number"]) == (True, "2")


# Its end.


@pytest.mark.parametrize(
    ("code", "arguments", "message"),
    [
        (4, ["m:1"], "means the same version for good: pull it instead"),
        (4, ["m", "m@cham*"], "does not end with an alias"),
        (4, ["m@champion", "--kind", "note-added"], "kinds are for models"),
        (4, ["m", "--since", "nonsense"], "position"),
        (2, ["m", "--kind", "weather"], "'weather' is not one of"),
        (2, ["m", "--since"], "requires an argument"),
    ],
)
def test_what_cannot_be_watched_is_one_line(podium, code, arguments, message):
    assert message in podium.error(code, "watch", *arguments)


def test_an_error_in_json_is_an_object(podium):
    error = json.loads(podium.error(4, "watch", "m", "--since", "nonsense", "--json"))["error"]
    assert (error["exit_code"], error["status"]) == (4, "INVALID_ARGUMENT")


def test_ctrl_c_is_one_line(podium, model):
    with Process([PODIUM, "watch", f"{model}@champion"], env=podium.environment) as process:
        process.line()
        assert process.end(signal.SIGINT) == 130
        assert process.rest() == ([], ["podium: interrupted"])


def test_a_reader_that_leaves_ends_it_without_a_word(podium, registry, model):
    ours, theirs = os.pipe()
    with Process([PODIUM, "watch", f"{model}@champion"], env=podium.environment, stdout=theirs) as process:
        os.close(theirs)
        assert os.read(ours, 1000).endswith(b"1.0.0 (1)\n")
        os.close(ours)
        registry.set_alias(model, "champion", 2)
        assert process.wait() == 141
        assert process.rest() == ([], [])
