"""Models: creating, reading, listing, changing."""

from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from podium.v1.events_pb2 import EventFilter, EventKind, ListEventsRequest
from podium.v1.models_pb2 import (
    CreateModelRequest,
    GetModelRequest,
    ListModelsRequest,
    Model,
    ModelFilter,
    UpdateModelRequest,
    VersionStrategy,
)


def update(stub, name, *paths, set_labels=None, remove_labels=(), **values):
    return stub.UpdateModel(
        UpdateModelRequest(
            model=Model(name=name, **values),
            update_mask=FieldMask(paths=paths),
            set_labels=set_labels,
            remove_labels=remove_labels,
        )
    )


def test_a_model_is_what_was_asked_for(stub):
    reply = stub.CreateModel(CreateModelRequest(name="risk/fraud", description="Finds fraud.", labels={"team": "risk"}))
    model = stub.GetModel(GetModelRequest(name="risk/fraud", at_least=reply.position)).model
    assert model == reply.model
    assert (model.name, model.description, dict(model.labels)) == ("risk/fraud", "Finds fraud.", {"team": "risk"})
    assert (model.strategy, model.lifecycle, model.last_number) == (
        VersionStrategy.VERSION_STRATEGY_SEMANTIC,
        "default",
        0,
    )
    assert model.uid
    assert model.etag
    assert model.create_time == model.update_time
    assert model.create_time.seconds > 0


def test_a_name_is_taken_once_however_many_ask(stub, refused):
    def create(number):
        try:
            stub.CreateModel(CreateModelRequest(name="once", labels={"by": str(number)}))
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(create, range(16)))
    assert codes.count(grpc.StatusCode.OK) == 1
    assert codes.count(grpc.StatusCode.ALREADY_EXISTS) == 15
    refusal = refused(stub.CreateModel, CreateModelRequest(name="once"))
    assert (refusal.reason, refusal.metadata) == ("MODEL_EXISTS", {"model": "once"})


def test_names_differ_by_case(stub):
    uids = {stub.CreateModel(CreateModelRequest(name=name)).model.uid for name in ("Case", "case", "CASE")}
    assert len(uids) == 3


def test_an_unknown_model_is_not_found(stub, refused):
    refusal = refused(stub.GetModel, GetModelRequest(name="nobody"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")


def test_an_unknown_lifecycle_or_strategy_is_refused_with_the_choices(stub, refused):
    refusal = refused(stub.CreateModel, CreateModelRequest(name="odd", lifecycle="mine"))
    assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["lifecycle"])
    assert "default, permissive" in refusal.message
    assert refused(stub.CreateModel, CreateModelRequest(name="odd", strategy=99)).fields == ["strategy"]
    assert refused(stub.GetModel, GetModelRequest(name="odd")).code is grpc.StatusCode.NOT_FOUND


def test_a_list_is_paged_by_name_and_stable_while_models_come(stub):
    for letter in "bdfhj":
        stub.CreateModel(CreateModelRequest(name=f"paged/{letter}", labels={"odd": str(letter in "dh")}))
    request = ListModelsRequest(filter=ModelFilter(name_prefix="paged/"), page_size=2)
    first = stub.ListModels(request)
    stub.CreateModel(CreateModelRequest(name="paged/a"))
    stub.CreateModel(CreateModelRequest(name="paged/e"))
    request.page_token = first.next_page_token
    second = stub.ListModels(request)
    request.page_token = second.next_page_token
    third = stub.ListModels(request)
    names = [model.name for page in (first, second, third) for model in page.models]
    assert names == ["paged/b", "paged/d", "paged/e", "paged/f", "paged/h", "paged/j"]
    assert third.next_page_token == ""
    odd = stub.ListModels(ListModelsRequest(filter=ModelFilter(name_prefix="paged/", labels={"odd": "True"})))
    assert [model.name for model in odd.models] == ["paged/d", "paged/h"]


def test_a_page_token_fits_only_its_request(stub, refused):
    for letter in "abc":
        stub.CreateModel(CreateModelRequest(name=f"token/{letter}"))
    token = stub.ListModels(ListModelsRequest(filter=ModelFilter(name_prefix="token/"), page_size=1)).next_page_token
    refusal = refused(stub.ListModels, ListModelsRequest(filter=ModelFilter(name_prefix="tok"), page_token=token))
    assert refusal.fields == ["page_token"]
    smaller = stub.ListModels(ListModelsRequest(filter=ModelFilter(name_prefix="token/"), page_size=9, page_token=token))
    assert [model.name for model in smaller.models] == ["token/b", "token/c"]


def test_an_update_takes_only_what_the_mask_names(stub):
    stub.CreateModel(CreateModelRequest(name="masked", description="old", labels={"a": "1", "b": "2", "x.y": "3"}))
    ignored = {"description": "ignored", "labels": {"c": "ignored"}}
    model = update(stub, "masked", set_labels={"x.y": "4"}, remove_labels=["b", "never"], **ignored).model
    assert (model.description, dict(model.labels)) == ("old", {"a": "1", "x.y": "4"})
    model = update(stub, "masked", "description", description="new").model
    assert (model.description, dict(model.labels)) == ("new", {"a": "1", "x.y": "4"})
    model = update(stub, "masked", "labels", labels={"z": "0"}).model
    assert dict(model.labels) == {"z": "0"}


def test_an_update_that_changes_nothing_commits_nothing(stub):
    created = stub.CreateModel(CreateModelRequest(name="same", description="d"))
    same = update(stub, "same", "description", description="d")
    assert same.model == created.model
    assert same.position == created.position


def test_an_update_with_an_old_etag_is_lost(stub, refused):
    created = stub.CreateModel(CreateModelRequest(name="etag")).model
    changed = update(stub, "etag", "description", description="first", etag=created.etag).model
    request = UpdateModelRequest(model=Model(name="etag", etag=created.etag), update_mask=FieldMask(paths=["labels"]))
    refusal = refused(stub.UpdateModel, request)
    assert (refusal.code, refusal.reason, refusal.metadata) == (
        grpc.StatusCode.ABORTED,
        "CONFLICT",
        {"current": changed.etag},
    )


def test_what_happened_to_a_model_is_kept_without_free_text_in_the_states(stub):
    stub.CreateModel(CreateModelRequest(name="told", description="secret one"), metadata=(("podium-actor", "ann@desk"),))
    update(stub, "told", "description", description="secret two", set_labels={"k": "v"})
    created, updated = stub.ListEvents(ListEventsRequest(filter=EventFilter(model="told"))).events
    assert (created.kind, created.actor, created.text) == (EventKind.EVENT_KIND_MODEL_CREATED, "ann@desk", "secret one")
    assert (updated.kind, updated.actor, updated.text) == (EventKind.EVENT_KIND_MODEL_UPDATED, "", "secret two")
    assert not created.HasField("before")
    assert updated.before == created.after
    assert dict(updated.after.model.labels) == {"k": "v"}
    assert b"secret" not in updated.before.SerializeToString() + updated.after.SerializeToString()
