"""Events: the log tells everything, in order, for ever."""

import grpc
import pytest
from podium.v1.aliases_pb2 import SetAliasRequest
from podium.v1.events_pb2 import EventFilter, EventKind, ListEventsRequest
from podium.v1.models_pb2 import CreateModelRequest
from podium.v1.stages_pb2 import TransitionStageRequest
from podium.v1.versions_pb2 import AddNoteRequest
from story import create_model, register


def listed(stub, **values):
    """All events of a request, page by page."""
    request = ListEventsRequest(**values)
    while True:
        page = stub.ListEvents(request)
        yield from page.events
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


@pytest.fixture(scope="module")
def history(server):
    """A model with some history."""
    stub = server.stub
    create_model(stub, "storied")
    for _ in range(5):
        register(stub, "storied", aliases=["champion"])
    stub.TransitionStage(TransitionStageRequest(reference="storied:3", stage="staging"))
    stub.AddNote(AddNoteRequest(reference="storied:3", text="looks good"))
    stub.SetAlias(SetAliasRequest(reference="storied:3", alias="champion"))
    return "storied"


def test_revisions_have_no_gap_and_times_never_go_back(stub, history):
    events = list(listed(stub, page_size=3))
    revisions = [event.revision for event in events]
    assert sorted(set(revisions)) == list(range(1, revisions[-1] + 1))
    assert revisions == sorted(revisions)
    assert [event.ordinal for event in events if event.revision == revisions[-1]] == list(range(revisions.count(revisions[-1])))
    times = [event.time.ToNanoseconds() for event in events]
    assert times == sorted(times)
    assert len({event.position for event in events}) == len(set(revisions))


def test_newest_first_is_the_same_log_backwards(stub, history):
    forwards = list(listed(stub, filter=EventFilter(model=history), page_size=4))
    backwards = list(listed(stub, filter=EventFilter(model=history), newest_first=True, page_size=3))
    assert backwards == forwards[::-1]


def test_before_of_an_event_is_after_of_the_one_before(stub, history):
    states = {}
    for event in listed(stub, filter=EventFilter(model=history)):
        if event.kind in (EventKind.EVENT_KIND_ALIAS, EventKind.EVENT_KIND_STAGE, EventKind.EVENT_KIND_LATEST):
            key = (event.kind, event.name)
            assert event.before == states.get(key, type(event.before)())
            states[key] = event.after
    assert states[EventKind.EVENT_KIND_ALIAS, "champion"].target.number == 3
    assert states[EventKind.EVENT_KIND_STAGE, "staging"].target.number == 3
    assert states[EventKind.EVENT_KIND_STAGE, "development"].target.number == 5


def test_filters_hold_together(stub, history):
    wanted = EventFilter(model=history, kinds=[EventKind.EVENT_KIND_NOTE_ADDED, EventKind.EVENT_KIND_VERSION_TRANSITIONED])
    events = list(listed(stub, filter=wanted))
    assert [(event.kind, event.name, event.text) for event in events] == [
        (EventKind.EVENT_KIND_VERSION_TRANSITIONED, "1.0.2", ""),
        (EventKind.EVENT_KIND_NOTE_ADDED, "1.0.2", "looks good"),
    ]
    assert all(event.model == history and event.model_uid for event in events)
    later = list(listed(stub, filter=EventFilter(model=history, after=events[0].position)))
    assert {event.revision for event in later} == {events[0].revision + 1, events[0].revision + 2}


def test_after_the_last_position_there_is_nothing_yet(stub):
    position = stub.CreateModel(CreateModelRequest(name="last")).position
    assert list(listed(stub, filter=EventFilter(after=position))) == []
    following = stub.CreateModel(CreateModelRequest(name="after-last")).position
    assert [event.position for event in listed(stub, filter=EventFilter(after=position))] == [following]


def test_wrong_filters_are_refused(stub, refused):
    refusal = refused(stub.ListEvents, ListEventsRequest(filter=EventFilter(model="nobody")))
    assert refusal.code is grpc.StatusCode.NOT_FOUND
    assert refused(stub.ListEvents, ListEventsRequest(filter=EventFilter(kinds=[99]))).fields == ["filter.kinds"]
    assert refused(stub.ListEvents, ListEventsRequest(filter=EventFilter(after="x"))).fields == ["filter.after"]


def test_an_event_says_who_from_where_and_by_which_request(stub):
    request = CreateModelRequest(name="signed", request_id="request-1")
    stub.CreateModel(request, metadata=(("podium-actor", "ci@build-7"),))
    (event,) = listed(stub, filter=EventFilter(model="signed"))
    assert (event.actor, event.request_id) == ("ci@build-7", "request-1")
    assert "127.0.0.1" in event.peer
