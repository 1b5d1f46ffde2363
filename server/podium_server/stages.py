"""Stages: TransitionStage."""

from podium.v1 import stages_pb2 as pb

from podium_server import tables
from podium_server.errors import Conflict, InvalidArgument, TooMany
from podium_server.ledger import Caller, Ledger, Transaction
from podium_server.lifecycles import Lifecycles
from podium_server.limits import MAX_ARCHIVED, check_reason
from podium_server.names import Reference, check_stage, parse_reference
from podium_server.references import References, find_version, live_model, version_message
from podium_server.rows import find


class Stages:
    """The RPC of stages."""

    def __init__(self, ledger: Ledger, lifecycles: Lifecycles, references: References) -> None:
        self._ledger = ledger
        self._lifecycles = lifecycles
        self._references = references

    async def TransitionStage(self, request: pb.TransitionStageRequest, caller: Caller) -> bytes:
        """See the contract."""
        reference = parse_reference(request.reference)
        check_stage(request.stage, "stage")
        check_reason(request.reason)
        if request.expected_stage:
            check_stage(request.expected_stage, "expected_stage")
        return await self._ledger.commit(request, caller, lambda tx: self._transition(tx, request, reference))

    def _transition(self, tx: Transaction, request: pb.TransitionStageRequest, reference: Reference) -> pb.TransitionStageResponse:
        model = live_model(tx, reference.model, "reference")
        version = find_version(tx, model, reference)
        if request.HasField("expected_stage") and request.expected_stage != version.stage:
            raise Conflict(
                f"{model.name}:{version.version} is in {version.stage or 'no stage'}, not in {request.expected_stage or 'none'}",
                current=version.stage,
            )
        self._lifecycles.check_stage(model.lifecycle_name, request.stage)
        if version.stage != request.stage:
            self._lifecycles.check_move(model.lifecycle_name, version.stage, request.stage, rollback=request.rollback)
            self._references.transition(tx, model, version, request.stage)
        archived = self._archive_others(tx, request, model, version) if request.archive_existing else []
        return pb.TransitionStageResponse(version=version_message(tx, model, version), archived_numbers=archived)

    def _archive_others(
        self, tx: Transaction, request: pb.TransitionStageRequest, model: tables.Model, version: tables.Version
    ) -> list[int]:
        archive = self._lifecycles.get(model.lifecycle_name).archive_stage
        if request.stage == archive:
            raise InvalidArgument(f"archive_existing would move versions from {archive} to itself", field="archive_existing")
        others = find(
            tx, tables.Version, "model_id = ? AND stage = ? AND number != ? AND deleted_at IS NULL ORDER BY number LIMIT ?",
            model.id, request.stage, version.number, MAX_ARCHIVED + 1,
        )  # fmt: skip
        if len(others) > MAX_ARCHIVED:
            raise TooMany(
                f"more than {MAX_ARCHIVED} versions are in {request.stage}: archive some of them first",
                limit=MAX_ARCHIVED,
            )
        for other in others:
            self._lifecycles.check_move(model.lifecycle_name, request.stage, archive, rollback=False)
            self._references.transition(tx, model, other, archive)
        return [other.number for other in others]
