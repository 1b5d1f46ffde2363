"""Stages: what the lifecycles allow, compare-and-set, archiving, and which version a stage means."""

import grpc
import pytest
from podium.v1.events_pb2 import EventFilter, EventKind, ListEventsRequest
from podium.v1.resolve_pb2 import ResolveVersionRequest
from podium.v1.stages_pb2 import TransitionStageRequest
from podium.v1.versions_pb2 import RegisterVersionRequest
from story import create_model, register, resolve

STAGES = ["development", "staging", "production", "archived", "deprecated"]
ALLOWED = {
    ("", "development"), ("development", "staging"), ("staging", "production"),
    ("staging", "development"), ("production", "staging"),
    ("", "archived"), ("development", "archived"), ("staging", "archived"), ("production", "archived"), ("deprecated", "archived"),
    ("archived", "development"), ("archived", "staging"), ("archived", "deprecated"),
}  # fmt: skip
# How a version gets into each stage.
ROUTES = {
    "": [],
    "development": [],
    "staging": ["staging"],
    "production": ["staging", "production"],
    "archived": ["archived"],
    "deprecated": ["archived", "deprecated"],
}


def move(stub, reference, stage, **values):
    return stub.TransitionStage(TransitionStageRequest(reference=reference, stage=stage, **values))


def in_stage(stub, model, stage):
    """A new version in that stage; its reference."""
    version = register(stub, model, **({"stage": ""} if stage == "" else {})).version
    reference = f"{model}:{version.number}"
    for step in ROUTES[stage]:
        move(stub, reference, step)
    return reference


@pytest.fixture(scope="module")
def model(server):
    return create_model(server.stub, "staged").name


@pytest.mark.parametrize(("left", "entered"), [(one, other) for one in ["", *STAGES] for other in STAGES if one != other])
@pytest.mark.parametrize("rollback", [False, True])
def test_the_default_lifecycle_allows_its_transitions_and_no_other(stub, refused, model, left, entered, rollback):
    reference = in_stage(stub, model, left)
    if (left, entered) in ALLOWED or (rollback and (left, entered) == ("archived", "production")):
        assert move(stub, reference, entered, rollback=rollback).version.stage == entered
        assert resolve(stub, reference).stage == entered
        return
    refusal = refused(stub.TransitionStage, TransitionStageRequest(reference=reference, stage=entered, rollback=rollback))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TRANSITION_NOT_ALLOWED")
    possible = sorted(to for origin, to in ALLOWED if origin == left)
    assert refusal.metadata == {
        "current": left,
        "possible": ",".join(possible),
        "with_rollback": "production" if left == "archived" else "",
    }
    assert all(stage in refusal.message for stage in possible)
    assert resolve(stub, reference).stage == left


def test_the_permissive_lifecycle_allows_any_move(stub):
    create_model(stub, "free", lifecycle="permissive")
    version = register(stub, "free", stage="").version
    for stage in [*STAGES, *reversed(STAGES[:-1]), "production", "development", "deprecated", "development"]:
        assert move(stub, f"free:{version.number}", stage).version.stage == stage


def test_a_stage_that_the_lifecycle_lacks_is_refused(stub, refused, model):
    reference = in_stage(stub, model, "development")
    refusal = refused(stub.TransitionStage, TransitionStageRequest(reference=reference, stage="shadow"))
    assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["stage"])
    assert "production" in refusal.message


def test_a_version_starts_in_the_initial_stage_or_one_step_from_it_or_in_none(stub, refused):
    create_model(stub, "starts")
    assert register(stub, "starts").version.stage == "development"
    assert register(stub, "starts", stage="").version.stage == ""
    assert register(stub, "starts", stage="staging").version.stage == "staging"
    refusal = refused(stub.RegisterVersion, RegisterVersionRequest(model="starts", stage="production"))
    assert refusal.reason == "TRANSITION_NOT_ALLOWED"
    assert resolve(stub, "starts@latest").number == 3


def test_a_stage_means_its_latest_entrant_that_is_still_there(stub, refused):
    create_model(stub, "entrants")
    for _ in range(3):
        register(stub, "entrants", stage="staging")
    for number in (2, 3, 1):
        move(stub, f"entrants:{number}", "production")
    assert resolve(stub, "entrants#production").number == 1
    move(stub, "entrants:1", "archived")
    assert resolve(stub, "entrants#production").number == 3
    move(stub, "entrants:2", "staging")
    assert resolve(stub, "entrants#production").number == 3
    assert resolve(stub, "entrants#staging").number == 2
    move(stub, "entrants:3", "archived")
    refusal = refused(stub.ResolveVersion, ResolveVersionRequest(reference="entrants#production"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "STAGE_EMPTY")


def test_archive_existing_archives_the_others_in_the_same_transaction(stub):
    create_model(stub, "replaced")
    for _ in range(3):
        register(stub, "replaced", stage="staging")
    move(stub, "replaced:1", "production")
    move(stub, "replaced:2", "production")
    reply = move(stub, "replaced:3", "production", archive_existing=True, reason="better")
    assert list(reply.archived_numbers) == [1, 2]
    assert [resolve(stub, f"replaced:{number}").stage for number in (1, 2, 3)] == ["archived", "archived", "production"]
    events = stub.ListEvents(ListEventsRequest(filter=EventFilter(model="replaced"), newest_first=True)).events
    last = [event for event in events if event.revision == events[0].revision]
    moves = {
        event.after.version.number: (event.before.version.stage, event.after.version.stage)
        for event in last
        if event.kind == EventKind.EVENT_KIND_VERSION_TRANSITIONED
    }
    assert moves == {1: ("production", "archived"), 2: ("production", "archived"), 3: ("staging", "production")}
    assert {event.reason for event in last} == {"better"}


def test_archive_existing_works_also_for_a_version_that_is_there_already(stub):
    create_model(stub, "stays")
    for _ in range(2):
        register(stub, "stays", stage="staging")
    assert list(move(stub, "stays:1", "staging", archive_existing=True).archived_numbers) == [2]
    assert resolve(stub, "stays#staging").number == 1


def test_archive_existing_is_refused_for_the_archive_itself(stub, refused, model):
    reference = in_stage(stub, model, "development")
    refusal = refused(stub.TransitionStage, TransitionStageRequest(reference=reference, stage="archived", archive_existing=True))
    assert refusal.fields == ["archive_existing"]
    assert resolve(stub, reference).stage == "development"


def test_a_move_with_another_stage_expected_is_lost_and_tells_the_current_one(stub, refused, model):
    reference = in_stage(stub, model, "staging")
    request = TransitionStageRequest(reference=reference, stage="production", expected_stage="development")
    refusal = refused(stub.TransitionStage, request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "CONFLICT")
    assert refusal.metadata == {"current": "staging"}
    assert move(stub, reference, "production", expected_stage="staging").version.stage == "production"
    without = in_stage(stub, model, "")
    assert move(stub, without, "development", expected_stage="").version.stage == "development"


def test_a_move_to_where_it_is_changes_nothing(stub, model):
    reference = in_stage(stub, model, "staging")
    first = move(stub, reference, "staging")
    second = move(stub, reference, "staging")
    assert first.position == second.position


def test_the_event_keeps_reason_rollback_and_who(stub):
    create_model(stub, "rolled")
    register(stub, "rolled")
    move(stub, "rolled:1", "archived")
    stub.TransitionStage(
        TransitionStageRequest(reference="rolled:1", stage="production", rollback=True, reason="the new one is bad"),
        metadata=(("podium-actor", "ann@desk"),),
    )
    events = stub.ListEvents(ListEventsRequest(filter=EventFilter(model="rolled"), newest_first=True)).events
    event = next(event for event in events if event.kind == EventKind.EVENT_KIND_VERSION_TRANSITIONED)
    assert (event.rollback, event.reason, event.actor) == (True, "the new one is bad", "ann@desk")
    assert event.peer


def test_aliases_and_latest_say_the_stage_of_their_target(stub):
    create_model(stub, "seen")
    register(stub, "seen", aliases=["champion"])
    move(stub, "seen:1", "archived")
    for reference in ("seen@champion", "seen@latest", "seen#archived", "seen:1", "seen:1.0.0"):
        target = resolve(stub, reference)
        assert (target.stage, target.servable, list(target.warnings)) == (
            "archived",
            True,
            ["archived: it was taken out of use"],
        )


def test_a_version_that_may_not_serve_is_refused_only_to_those_who_serve(stub, refused):
    create_model(stub, "retired")
    register(stub, "retired", aliases=["champion"])
    move(stub, "retired:1", "archived")
    assert resolve(stub, "retired@champion", for_serving=True).number == 1
    move(stub, "retired:1", "deprecated")
    assert resolve(stub, "retired@champion").servable is False
    for reference in ("retired@champion", "retired:1"):
        refusal = refused(stub.ResolveVersion, ResolveVersionRequest(reference=reference, for_serving=True))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_SERVABLE")
        assert "deprecated" in refusal.metadata["warnings"]
