"""GetServerInfo: what this server is."""

from importlib.metadata import version

from podium.v1 import server_pb2 as pb

from podium_server.blobs.base import BlobStore
from podium_server.database import Database
from podium_server.ledger import Caller
from podium_server.lifecycles import Lifecycles
from podium_server.limits import limits
from podium_server.rows import timestamp
from podium_server.view import View


class Info:
    """The RPC about the server itself."""

    def __init__(self, database: Database, view: View, lifecycles: Lifecycles, store: BlobStore, scheme: str) -> None:
        self._database = database
        self._view = view
        self._lifecycles = lifecycles
        self._store = store
        self._scheme = scheme

    def GetServerInfo(self, _request: pb.GetServerInfoRequest, _caller: Caller) -> pb.GetServerInfoResponse:
        """See the contract."""
        row = self._database.one(
            "SELECT registry_uid, (SELECT count(*) FROM model WHERE deleted_at IS NULL), "
            "(SELECT count(*) FROM version WHERE deleted_at IS NULL), "
            "(SELECT CAST(coalesce(sum(stored_size), 0) AS BIGINT) FROM blob) FROM head"
        )
        assert row is not None
        return pb.GetServerInfoResponse(
            version=version("podium"),
            registry_uid=row[0],
            position=str(self._view.position),
            time=timestamp(self._database.now()),
            database=self._database.description,
            blobs=self._scheme,
            model_count=row[1],
            version_count=row[2],
            stored_bytes=row[3],
            free_bytes=self._store.usage().free_bytes,
            limits=limits(),
            lifecycles=self._lifecycles.messages,
            signs_downloads=self._store.signs,
        )
