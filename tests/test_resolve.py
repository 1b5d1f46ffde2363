"""Resolution: every form of a reference, also while things change, also across servers on one folder."""

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from podium.v1.aliases_pb2 import SetAliasRequest
from podium.v1.models_pb2 import CreateModelRequest, GetModelRequest
from podium.v1.resolve_pb2 import ResolveVersionRequest
from podium.v1.server_pb2 import GetServerInfoRequest
from podium.v1.stages_pb2 import TransitionStageRequest
from podium.v1.versions_pb2 import GetVersionRequest
from story import create_model, register, resolve


def test_every_form_of_a_reference_resolves(stub):
    model = create_model(stub, "forms/all")
    register(stub, "forms/all", aliases=["champion"], stage="staging")
    version = stub.GetVersion(GetVersionRequest(reference="forms/all:1")).version
    for selector in (":1.0.0", ":1", ":001", "@champion", "#staging", "@latest", f"@{version.digest}"):
        target = resolve(stub, f"forms/all{selector}")
        assert (target.model, target.model_uid, target.number, target.version) == ("forms/all", model.uid, 1, "1.0.0")
        assert (target.digest, target.record_digest, target.stage) == (version.digest, version.record_digest, "staging")
        assert target.servable


def test_a_bare_name_is_refused_with_the_forms_it_could_take(stub, refused):
    create_model(stub, "bare")
    for method, request in (
        (stub.ResolveVersion, ResolveVersionRequest(reference="bare")),
        (stub.GetVersion, GetVersionRequest(reference="bare")),
    ):
        refusal = refused(method, request)
        assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["reference"])
        assert all(form in refusal.message for form in ("NAME:VERSION", "NAME@ALIAS", "NAME#STAGE", "NAME@sha256:"))


def test_what_is_not_there_is_named(stub, refused):
    create_model(stub, "empty")
    for reference, reason in (
        ("nobody@champion", "MODEL_NOT_FOUND"),
        ("nobody:1", "MODEL_NOT_FOUND"),
        ("empty@champion", "ALIAS_NOT_FOUND"),
        ("empty#production", "STAGE_EMPTY"),
        ("empty@latest", "VERSION_NOT_FOUND"),
        ("empty:1", "VERSION_NOT_FOUND"),
        ("empty:1.0.0", "VERSION_NOT_FOUND"),
        ("empty@sha256:" + "0" * 64, "VERSION_NOT_FOUND"),
    ):
        refusal = refused(stub.ResolveVersion, ResolveVersionRequest(reference=reference))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, reason), reference


def test_a_digest_that_several_versions_have_means_the_highest_number(stub):
    create_model(stub, "twins")
    register(stub, "twins")
    reference = f"twins@{resolve(stub, 'twins:1').digest}"
    assert resolve(stub, reference).number == 1
    register(stub, "twins")
    assert resolve(stub, reference).number == 2


def test_a_kept_target_says_the_new_stage(stub):
    create_model(stub, "kept")
    register(stub, "kept")
    assert resolve(stub, "kept:1").stage == "development"
    stub.TransitionStage(TransitionStageRequest(reference="kept:1", stage="staging"))
    assert resolve(stub, "kept:1").stage == "staging"
    assert resolve(stub, "kept:1.0.0").stage == "staging"


def test_a_reply_is_never_older_than_the_position_that_it_shows(stub):
    create_model(stub, "growing")
    first = register(stub, "growing")
    numbers, seen, done = {first.position: 1}, [], threading.Event()
    request = ResolveVersionRequest(reference=f"growing@{first.version.digest}")

    def read():
        while not done.is_set():
            seen.append(stub.ResolveVersion(request))

    with ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(read) for _ in range(8)]
        for number in range(2, 200):
            numbers[register(stub, "growing").position] = number
        done.set()
    for reader in readers:
        reader.result()
    assert all(reply.target.number >= numbers[reply.position] for reply in seen)


def test_a_reply_shows_a_position_at_or_after_every_acknowledged_change(stub):
    create_model(stub, "fresh")
    for number in range(1, 30):
        position = register(stub, "fresh", aliases=["head"]).position
        reply = stub.ResolveVersion(ResolveVersionRequest(reference="fresh@head", at_least=position))
        assert reply.target.number == number
        assert reply.position == position


def test_positions_of_nowhere_are_told_apart(stub, refused, start_server):
    create_model(stub, "placed")
    position = register(stub, "placed").position
    for malformed in ("x", position[:-1], position + "A", "é" * 22):
        refusal = refused(stub.ResolveVersion, ResolveVersionRequest(reference="placed:1", at_least=malformed))
        assert (refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", ["at_least"])
    other = start_server().stub
    before = other.GetServerInfo(GetServerInfoRequest()).position
    after = other.CreateModel(CreateModelRequest(name="elsewhere")).position
    for unknown in (before, after):
        for method, request in (
            (stub.ResolveVersion, ResolveVersionRequest(reference="placed:1", at_least=unknown)),
            (stub.GetModel, GetModelRequest(name="placed", at_least=unknown)),
        ):
            refusal = refused(method, request)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "POSITION_UNKNOWN")


def test_a_second_server_on_the_folder_shows_what_the_first_acknowledged(start_server, tmp_path):
    one = start_server().stub
    two = start_server(data=tmp_path / "data").stub
    create_model(one, "shared")
    register(one, "shared")
    for number in range(1, 20):
        here, there = (one, two) if number % 2 else (two, one)
        register(here, "shared")
        position = here.SetAlias(SetAliasRequest(reference=f"shared:{number}", alias="champion")).position
        reply = there.ResolveVersion(ResolveVersionRequest(reference="shared@champion", at_least=position))
        assert reply.target.number == number
        assert there.GetModel(GetModelRequest(name="shared", at_least=position)).model.last_number == number + 1


def test_a_server_that_starts_again_resolves_as_before(start_server):
    server = start_server()
    create_model(server.stub, "lasting")
    position = register(server.stub, "lasting", aliases=["champion"], stage="staging").position
    expected = {ref: resolve(server.stub, ref) for ref in ("lasting@champion", "lasting#staging", "lasting@latest", "lasting:1")}
    server.stop()
    server.start()
    for reference, target in expected.items():
        reply = server.stub.ResolveVersion(ResolveVersionRequest(reference=reference, at_least=position))
        assert (reply.target, reply.position) == (target, position)


@pytest.mark.parametrize("alias", ["sha256", "0", "a" * 128, "Latest"])
def test_unusual_aliases_are_aliases(stub, alias):
    name = f"unusual-{alias[:8]}"
    create_model(stub, name)
    register(stub, name, aliases=[alias])
    assert resolve(stub, f"{name}@{alias}").number == 1
