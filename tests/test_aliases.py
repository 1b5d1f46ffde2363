"""Aliases: set, moved, deleted, listed, raced for."""

import grpc
import pytest
from podium.v1.aliases_pb2 import DeleteAliasRequest, ListAliasesRequest, SetAliasRequest
from podium.v1.events_pb2 import EventFilter, EventKind, ListEventsRequest
from podium.v1.resolve_pb2 import ResolveVersionRequest
from podium.v1.versions_pb2 import GetVersionRequest
from story import create_model, register, resolve


@pytest.fixture(scope="module")
def model(server):
    """A model with four versions; the fourth is in staging."""
    name = create_model(server.stub, "aliased").name
    for _ in range(3):
        register(server.stub, name)
    register(server.stub, name, stage="staging")
    return name


def point(stub, model, alias, version, **values):
    return stub.SetAlias(setting(model, alias, version, **values))


def setting(model, alias, version, **values):
    sign = "" if version[:1] in ("@", "#") else ":"
    return SetAliasRequest(reference=f"{model}{sign}{version}", alias=alias, **values)


def test_an_alias_is_set_and_moved_and_deleted(stub, refused, model):
    first = point(stub, model, "moving", "1")
    assert (first.alias.number, first.alias.version, first.previous_number) == (1, "1.0.0", 0)
    assert resolve(stub, f"{model}@moving").number == 1
    second = point(stub, model, "moving", "1.0.2")
    assert (second.alias.number, second.previous_number) == (3, 1)
    assert resolve(stub, f"{model}@moving").version == "1.0.2"
    assert stub.DeleteAlias(DeleteAliasRequest(model=model, alias="moving")).previous_number == 3
    refusal = refused(stub.ResolveVersion, ResolveVersionRequest(reference=f"{model}@moving"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "ALIAS_NOT_FOUND")


def test_a_target_may_be_named_in_every_form(stub, model):
    digest = resolve(stub, f"{model}:4").digest
    point(stub, model, "named", "2")
    assert point(stub, model, "forms", "@named").alias.number == 2
    assert point(stub, model, "forms", "@latest").alias.number == 4
    assert point(stub, model, "forms", "1.0.0").alias.number == 1
    assert point(stub, model, "forms", "#staging").alias.number == 4
    assert point(stub, model, "forms", "3").alias.number == 3
    assert point(stub, model, "forms", f"@{digest}").alias.number == 4


def test_a_target_that_is_not_there_is_not_found(stub, refused, model):
    for version, reason in (
        ("99", "VERSION_NOT_FOUND"),
        ("9.9.9", "VERSION_NOT_FOUND"),
        ("@nobody", "ALIAS_NOT_FOUND"),
        ("#production", "STAGE_EMPTY"),
    ):
        refusal = refused(stub.SetAlias, setting(model, "lost", version))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, reason)
    assert refused(stub.SetAlias, setting("nobody", "lost", "1")).reason == "MODEL_NOT_FOUND"


def test_latest_is_kept_by_the_server(stub, refused, model):
    create_model(stub, "newest")
    for number in (1, 2, 3):
        register(stub, "newest")
        assert resolve(stub, "newest@latest").number == number
    for call in (
        lambda: refused(stub.SetAlias, setting(model, "latest", "1")),
        lambda: refused(stub.DeleteAlias, DeleteAliasRequest(model=model, alias="latest")),
    ):
        refusal = call()
        assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["alias"])


def test_a_move_with_another_version_expected_is_lost_and_tells_the_current_one(stub, refused, model):
    refusal = refused(stub.SetAlias, setting(model, "guarded", "1", expected_number=2))
    assert (refusal.code, refusal.reason, refusal.metadata) == (grpc.StatusCode.ABORTED, "CONFLICT", {"current": "0"})
    point(stub, model, "guarded", "1", expected_number=0)
    refusal = refused(stub.SetAlias, setting(model, "guarded", "2", expected_number=0))
    assert refusal.metadata == {"current": "1"}
    assert point(stub, model, "guarded", "2", expected_number=1).previous_number == 1
    refusal = refused(stub.DeleteAlias, DeleteAliasRequest(model=model, alias="guarded", expected_number=1))
    assert (refusal.reason, refusal.metadata) == ("CONFLICT", {"current": "2"})
    stub.DeleteAlias(DeleteAliasRequest(model=model, alias="guarded", expected_number=2))


def test_setting_an_alias_to_where_it_points_commits_nothing(stub, model):
    first = point(stub, model, "still", "1")
    assert point(stub, model, "still", "1").position == first.position


def test_aliases_are_listed_by_name_in_pages_and_on_the_version(stub):
    create_model(stub, "listed")
    register(stub, "listed", aliases=["c", "a", "a"])
    register(stub, "listed", aliases=["b"])
    request = ListAliasesRequest(model="listed", page_size=2)
    first = stub.ListAliases(request)
    request.page_token = first.next_page_token
    second = stub.ListAliases(request)
    listed = [(alias.alias, alias.number) for page in (first, second) for alias in page.aliases]
    assert listed == [("a", 1), ("b", 2), ("c", 1)]
    assert list(stub.GetVersion(GetVersionRequest(reference="listed:1")).version.aliases) == ["a", "c"]


def test_a_model_has_at_most_a_thousand_aliases(stub, refused):
    create_model(stub, "crowded")
    register(stub, "crowded")
    for start in range(0, 1000, 100):
        record = stub.GetVersion(GetVersionRequest(reference="crowded:1")).version.record
        register(stub, "crowded", record=record, aliases=[f"a{number}" for number in range(start, start + 100)])
    refusal = refused(stub.SetAlias, setting("crowded", "one-more", "1"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TOO_MANY")
    point(stub, "crowded", "a0", "1")


def test_every_move_is_an_event_with_before_and_after(stub, model):
    point(stub, model, "logged", "1", reason="first")
    point(stub, model, "logged", "2", reason="second")
    stub.DeleteAlias(DeleteAliasRequest(model=model, alias="logged", reason="third"))
    point(stub, model, "logged", "3", reason="anew")
    wanted = EventFilter(model=model, name="logged", kinds=[EventKind.EVENT_KIND_ALIAS])
    events = stub.ListEvents(ListEventsRequest(filter=wanted)).events
    told = [(event.reason, event.before.target.number, event.after.target.number) for event in events]
    assert told == [("first", 0, 1), ("second", 1, 2), ("third", 2, 0), ("anew", 0, 3)]
    assert [event.HasField("before") for event in events] == [False, True, True, False]
    assert [event.HasField("after") for event in events] == [True, True, False, True]
