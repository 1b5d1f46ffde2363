"""Aliases: SetAlias, DeleteAlias, ListAliases."""

from podium.v1 import aliases_pb2 as pb
from podium.v1.resolve_pb2 import Target

from podium_server import tables
from podium_server.database import Database
from podium_server.errors import AliasNotFound, Conflict, InvalidArgument
from podium_server.ledger import Caller, Ledger, Transaction
from podium_server.limits import check_reason
from podium_server.names import Reference, check_model_name, check_settable_alias, parse_reference
from podium_server.paging import Page
from podium_server.references import ALIAS, References, find_version, live_model
from podium_server.rows import find, timestamp


class Aliases:
    """The RPCs of aliases."""

    def __init__(self, database: Database, ledger: Ledger, references: References) -> None:
        self._database = database
        self._ledger = ledger
        self._references = references

    async def SetAlias(self, request: pb.SetAliasRequest, caller: Caller) -> bytes:
        """See the contract."""
        reference = parse_reference(request.reference)
        check_settable_alias(request.alias, "alias")
        check_reason(request.reason)
        _check_expected(request)
        return await self._ledger.commit(request, caller, lambda tx: self._set(tx, request, reference))

    async def DeleteAlias(self, request: pb.DeleteAliasRequest, caller: Caller) -> bytes:
        """See the contract."""
        check_model_name(request.model, "model")
        check_settable_alias(request.alias, "alias")
        check_reason(request.reason)
        _check_expected(request)
        return await self._ledger.commit(request, caller, lambda tx: self._delete(tx, request))

    def ListAliases(self, request: pb.ListAliasesRequest, _caller: Caller) -> pb.ListAliasesResponse:
        """See the contract."""
        page = Page(request, str)
        model = live_model(self._database, request.model)
        found = find(
            self._database, tables.Reference, "model_id = ? AND kind = ? AND name > ? ORDER BY name LIMIT ?",
            model.id, ALIAS, page.after[0] if page.after else "", page.size + 1,
        )  # fmt: skip
        aliases, token = page.cut(((row.name,), _message(model, row)) for row in found)
        return pb.ListAliasesResponse(aliases=aliases, next_page_token=token)

    def _set(self, tx: Transaction, request: pb.SetAliasRequest, reference: Reference) -> pb.SetAliasResponse:
        model = live_model(tx, reference.model, "reference")
        before = self._references.row(tx, model, ALIAS, request.alias)
        current = before.number if before else 0
        _check_current(request, model, current)
        version = find_version(tx, model, reference)
        self._references.alias(tx, model, request.alias, version, before)
        alias = pb.Alias(
            model=model.name, alias=request.alias, number=version.number, version=version.version, digest=version.manifest_digest,
            update_time=timestamp(before.time if before and before.number == version.number else tx.now),
        )  # fmt: skip
        return pb.SetAliasResponse(alias=alias, previous_number=current)

    def _delete(self, tx: Transaction, request: pb.DeleteAliasRequest) -> pb.DeleteAliasResponse:
        model = live_model(tx, request.model)
        before = self._references.row(tx, model, ALIAS, request.alias)
        if before is None:
            raise AliasNotFound(f"{model.name} has no alias {request.alias}", model=model.name, alias=request.alias)
        _check_current(request, model, before.number)
        self._references.clear(tx, model, before)
        return pb.DeleteAliasResponse(previous_number=before.number)


def _check_expected(request: pb.SetAliasRequest | pb.DeleteAliasRequest) -> None:
    if request.expected_number < 0:
        raise InvalidArgument("expected_number is negative", field="expected_number")


def _check_current(request: pb.SetAliasRequest | pb.DeleteAliasRequest, model: tables.Model, current: int) -> None:
    if request.HasField("expected_number") and request.expected_number != current:
        now = f"points to number {current}" if current else "does not exist"
        raise Conflict(f"{model.name}@{request.alias} {now}, not as expected to {request.expected_number}", current=current)


def _message(model: tables.Model, row: tables.Reference) -> pb.Alias:
    target = Target.FromString(row.target)
    return pb.Alias(
        model=model.name, alias=row.name, number=target.number, version=target.version, digest=target.digest,
        update_time=timestamp(row.time),
    )  # fmt: skip
