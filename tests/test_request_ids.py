"""Request ids: which there are, replies that are replayed, also after a crash, and for a day."""

from collections.abc import Iterator

import pytest
from conftest import RunningServer
from wire import SERVICE, Wire, request_of

DAY_MICROSECONDS = 24 * 3600 * 1_000_000

MUTATIONS = {  # each with one content, and with another
    "CreateModel": ({"name": "made"}, {"name": "made", "description": "other"}),
    "UpdateModel": (
        {"model": {"name": "base", "description": "a"}, "update_mask": {"paths": ["description"]}},
        {"model": {"name": "base", "description": "b"}, "update_mask": {"paths": ["description"]}},
    ),
    "RegisterVersion": ({"model": "base", "record": {"author": "a"}}, {"model": "base", "record": {"author": "b"}}),
    "UpdateVersion": (
        {"reference": "base:1", "version": {"labels": {"a": "1"}}, "update_mask": {"paths": ["labels"]}},
        {"reference": "base:1", "version": {"labels": {"a": "2"}}, "update_mask": {"paths": ["labels"]}},
    ),
    "AddNote": ({"reference": "base:1", "text": "one"}, {"reference": "base:1", "text": "two"}),
    "TransitionStage": ({"reference": "base:1", "stage": "staging"}, {"reference": "base:1", "stage": "archived"}),
    "SetAlias": ({"reference": "base:1", "alias": "b"}, {"reference": "base:2", "alias": "b"}),
    "DeleteAlias": ({"model": "base", "alias": "b"}, {"model": "base", "alias": "a"}),
}


def prepare(wire: Wire) -> None:
    wire.call("CreateModel", name="base")
    wire.call("RegisterVersion", model="base", aliases=["a"])


@pytest.fixture(scope="module")
def wire(server: RunningServer) -> Iterator[Wire]:
    """The file's server, with a model `base` of one version."""
    wire = Wire(server)
    prepare(wire)
    yield wire
    wire.close()


def test_every_mutation_is_tried():
    named = {method.name for method in SERVICE.methods if "request_id" in method.input_type.fields_by_name}
    assert named == set(MUTATIONS)


@pytest.mark.parametrize("method", MUTATIONS)
def test_request_ids_that_are_none(wire, method):
    for request_id in ("x" * 129, "é", "a\n", "\t", "\0", "\x7f", "a\u200b", "ａ", "x" * 1_000_000):
        wire.refuse_field("request_id", method, **MUTATIONS[method][0], request_id=request_id)


@pytest.mark.parametrize("request_id", [" ~!one id", "x" * 128])
def test_replies_are_replayed_and_ids_not_reused_also_after_a_crash(start_server, request_id):
    server = start_server()
    wire = Wire(server)
    prepare(wire)
    # The same id for all: it is unique among the calls of a method.
    first = {method: wire.call(method, **one, request_id=request_id) for method, (one, _) in MUTATIONS.items()}

    def replay(wire: Wire) -> None:
        before = wire.database()
        for method, (one, other) in MUTATIONS.items():
            assert wire.call(method, **one, request_id=request_id) == first[method]
            refusal = wire.refuse("REQUEST_ID_REUSED", method, **other, request_id=request_id)
            assert refusal.fields == ["request_id"]
        assert wire.database() == before

    replay(wire)
    wire.close()
    server.kill()
    server.start()
    wire = Wire(server)
    replay(wire)
    note = wire.call("AddNote", **MUTATIONS["AddNote"][1], request_id=request_id, _metadata=[("podium-actor", "ann")]).note
    assert (note.text, note.actor) == ("two", "ann"), "an id is its caller's own"
    wire.close()


def test_a_refused_call_leaves_its_id_free(wire):
    wire.refuse_field("text", "AddNote", reference="base:1", text="", request_id="free")
    wire.refuse("VERSION_NOT_FOUND", "AddNote", reference="base:99", text="a", request_id="free")
    assert wire.call("AddNote", reference="base:1", text="b", request_id="free").note.text == "b"


def test_replies_are_kept_for_a_day(start_server):
    server = start_server()
    server.stub.CreateModel(request_of("CreateModel", name="base"))
    server.stub.RegisterVersion(request_of("RegisterVersion", model="base"))
    note = request_of("AddNote", reference="base:1", text="a", request_id="one")
    for age, replayed in ((DAY_MICROSECONDS - 60_000_000, True), (DAY_MICROSECONDS + 1, False)):
        first = server.stub.AddNote(note)
        server.stop()
        server.database.run("UPDATE request SET time = (SELECT time FROM head) - ?", age)
        server.start()
        assert (server.stub.AddNote(note) == first) is replayed


def test_old_request_ids_do_not_pile_up(start_server):
    server = start_server()
    server.stub.CreateModel(request_of("CreateModel", name="base"))
    server.stub.RegisterVersion(request_of("RegisterVersion", model="base"))
    for number in range(100):
        server.stub.AddNote(request_of("AddNote", reference="base:1", text="a", request_id=f"old {number}"))
    server.stop()
    server.database.run("UPDATE request SET time = time - ?", DAY_MICROSECONDS)
    server.start()
    for number in range(100):
        server.stub.AddNote(request_of("AddNote", reference="base:1", text="a", request_id=f"new {number}"))
    server.stop()
    kept = {request_id for (request_id,) in server.database.run("SELECT request_id FROM request")}
    assert kept == {f"new {number}" for number in range(100)}
