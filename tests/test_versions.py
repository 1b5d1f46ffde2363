"""Versions that exist: reading, listing, changing what may change, notes."""

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from podium.v1.events_pb2 import EventFilter, EventKind, ListEventsRequest
from podium.v1.records_pb2 import VersionRecord
from podium.v1.stages_pb2 import TransitionStageRequest
from podium.v1.versions_pb2 import (
    AddNoteRequest,
    GetVersionRequest,
    ListVersionsRequest,
    UpdateVersionRequest,
    Version,
    VersionFilter,
    VersionView,
)
from story import create_model, register


def get(stub, reference, **values):
    return stub.GetVersion(GetVersionRequest(reference=reference, **values)).version


def update(stub, reference, *paths, set_labels=None, remove_labels=(), **values):
    return stub.UpdateVersion(
        UpdateVersionRequest(
            reference=reference,
            version=Version(**values),
            update_mask=FieldMask(paths=paths),
            set_labels=set_labels,
            remove_labels=remove_labels,
        )
    )


def test_views_say_less_or_more(stub):
    create_model(stub, "viewed")
    register(stub, "viewed", record=VersionRecord(author="ann"), description="d", labels={"k": "v"})
    stub.AddNote(AddNoteRequest(reference="viewed:1", text="n"))
    basic = get(stub, "viewed:1", view=VersionView.VERSION_VIEW_BASIC)
    assert (basic.description, dict(basic.labels), basic.note_count) == ("d", {"k": "v"}, 1)
    assert not basic.HasField("record")
    assert not basic.notes
    full = get(stub, "viewed:1")
    assert full.record.author == "ann"
    assert [note.text for note in full.notes] == ["n"]


def test_versions_are_listed_highest_first_in_stable_pages(stub):
    create_model(stub, "numbered")
    for _ in range(5):
        register(stub, "numbered")
    request = ListVersionsRequest(model="numbered", page_size=2)
    first = stub.ListVersions(request)
    register(stub, "numbered")
    request.page_token = first.next_page_token
    second = stub.ListVersions(request)
    request.page_token = second.next_page_token
    third = stub.ListVersions(request)
    assert [version.number for page in (first, second, third) for version in page.versions] == [5, 4, 3, 2, 1]
    assert third.next_page_token == ""
    assert stub.ListVersions(ListVersionsRequest(model="numbered")).versions[0].number == 6


def test_versions_are_filtered_by_stage_and_labels(stub):
    create_model(stub, "sorted")
    register(stub, "sorted", labels={"region": "eu", "tier": "1"})
    register(stub, "sorted", labels={"region": "us"}, stage="staging")
    register(stub, "sorted", labels={"region": "eu"}, stage="staging")
    register(stub, "sorted", stage="")

    def numbers(**wanted):
        reply = stub.ListVersions(ListVersionsRequest(model="sorted", filter=VersionFilter(**wanted)))
        return [version.number for version in reply.versions]

    assert numbers(stage="staging") == [3, 2]
    assert numbers(stage="") == [4]
    assert numbers(stage="production") == []
    assert numbers(labels={"region": "eu"}) == [3, 1]
    assert numbers(labels={"region": "eu", "tier": "1"}) == [1]
    assert numbers(labels={"region": "eu"}, stage="staging") == [3]


def test_a_page_with_large_records_still_fits_a_message(stub):
    create_model(stub, "large")
    for number in range(6):
        record = VersionRecord(author=str(number))
        for index in range(100):
            record.params.add(name=f"p{index}").string_value = "x" * 8000
        register(stub, "large", record=record)
    numbers, request = [], ListVersionsRequest(model="large", view=VersionView.VERSION_VIEW_FULL)
    while True:
        page = stub.ListVersions(request)
        assert page.ByteSize() < 4 * 2**20
        numbers += [version.number for version in page.versions]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert numbers == [6, 5, 4, 3, 2, 1]


def test_description_and_labels_change_and_nothing_else(stub, refused):
    create_model(stub, "changed")
    register(stub, "changed", description="old", labels={"a": "1", "b": "2"})
    before = get(stub, "changed:1")
    after = update(stub, "changed@latest", "description", description="new", set_labels={"c": "3"}, remove_labels=["b"]).version
    assert (after.description, dict(after.labels)) == ("new", {"a": "1", "c": "3"})
    assert after.etag != before.etag
    assert (after.digest, after.record_digest, after.version, after.create_time) == (
        before.digest,
        before.record_digest,
        before.version,
        before.create_time,
    )
    for path in (
        "stage",
        "digest",
        "record",
        "version",
        "number",
        "aliases",
        "etag",
        "nothing",
        "",
        "labels.a",
        "description.x",
    ):
        request = UpdateVersionRequest(reference="changed:1", version=Version(stage="x"), update_mask=FieldMask(paths=[path]))
        refusal = refused(stub.UpdateVersion, request)
        assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["update_mask"]), path
    assert refused(stub.UpdateVersion, UpdateVersionRequest(reference="changed:1")).fields == ["update_mask"]


def test_an_update_with_an_old_etag_is_lost(stub, refused):
    create_model(stub, "tagged")
    register(stub, "tagged")
    old = get(stub, "tagged:1").etag
    stub.TransitionStage(TransitionStageRequest(reference="tagged:1", stage="staging"))
    request = UpdateVersionRequest(
        reference="tagged:1", version=Version(etag=old, description="d"), update_mask=FieldMask(paths=["description"])
    )
    refusal = refused(stub.UpdateVersion, request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "CONFLICT")
    assert refusal.metadata == {"current": get(stub, "tagged:1").etag}


def test_notes_are_appended_with_author_and_time_and_the_latest_are_shown(stub):
    create_model(stub, "noted")
    register(stub, "noted")
    for number in range(60):
        stub.AddNote(AddNoteRequest(reference="noted:1", text=f"note {number}"), metadata=(("podium-actor", "ann@desk"),))
    version = get(stub, "noted:1")
    assert version.note_count == 60
    assert [note.text for note in version.notes] == [f"note {number}" for number in range(59, 9, -1)]
    assert {note.actor for note in version.notes} == {"ann@desk"}
    assert all(note.create_time.seconds for note in version.notes)
    events = stub.ListEvents(
        ListEventsRequest(filter=EventFilter(model="noted", kinds=[EventKind.EVENT_KIND_NOTE_ADDED]), page_size=1000)
    ).events
    assert [event.text for event in events] == [f"note {number}" for number in range(60)]


@pytest.mark.parametrize(("text", "accepted"), [("", False), ("x", True), ("x" * 8192, True), ("x" * 8193, False)])
def test_a_note_has_1_to_8192_bytes(stub, refused, text, accepted):
    name = f"note-{len(text)}"
    create_model(stub, name)
    register(stub, name)
    request = AddNoteRequest(reference=f"{name}:1", text=text)
    if accepted:
        assert stub.AddNote(request).note.text == text
    else:
        assert refused(stub.AddNote, request).fields == ["text"]
