"""The rows of unfinished uploads: who writes, how far it is durable, and what becomes of it. Each function is one transaction."""

import secrets
from typing import NamedTuple

from podium.v1.artifacts_pb2 import UploadBlobHeader

from podium_server.blobs.base import Durable
from podium_server.checksums import Checksums
from podium_server.errors import ContentMismatch, OffsetMismatch, UploadBusy
from podium_server.ledger import Transaction
from podium_server.presence import present
from podium_server.references import live_model

IDLE_MICROSECONDS = 5_000_000

_UPLOAD = "model_id = ? AND digest = ?"
_MINE = f"{_UPLOAD} AND lease = ?"


class Lease(NamedTuple):
    """The right to write one blob for one model, until somebody else takes it. `holder` is made up anew for each."""

    model_id: int
    digest: str
    size: int
    holder: str

    @property
    def _key(self) -> tuple[int, str, str]:
        return self.model_id, self.digest, self.holder

    def keep(self, tx: Transaction, durable: Durable, *, renew: bool) -> bool:
        """Writes progress down. True if the blob has become whole by another upload; UploadBusy if the lease is lost."""
        if _already_there(tx, self.model_id, self.digest, self.size):
            return True
        row = tx.one(f"SELECT committed_bytes, resume, lease_time FROM upload WHERE {_MINE}", *self._key)
        if row is None:
            raise UploadBusy(f"another upload of {self.digest} has taken over: this one made no progress for 5 seconds")
        progress = (*durable, tx.clock if renew else row[2])
        if progress != row:
            tx.run(f"UPDATE upload SET committed_bytes = ?, resume = ?, lease_time = ? WHERE {_MINE}", *progress, *self._key)
        return False

    def release(self, tx: Transaction, durable: Durable) -> None:
        """Lets the next writer go on at once; does nothing if one already has."""
        tx.run(f"UPDATE upload SET committed_bytes = ?, resume = ?, lease = '' WHERE {_MINE}", *durable, *self._key)

    def discard(self, tx: Transaction) -> None:
        """Forgets the upload; does nothing if somebody else goes on with it."""
        tx.run(f"DELETE FROM upload WHERE {_MINE}", *self._key)

    def complete(self, tx: Transaction, checksums: Checksums, stored_size: int) -> None:
        """The blob is durable and has its digest: from now on it is there, whoever holds the lease by now."""
        tx.run(
            "INSERT INTO blob (digest, size_bytes, stored_size, encoding, state, generation, crc32c, create_time) "
            "VALUES (?, ?, ?, 'identity', 'complete', 1, ?, ?) ON CONFLICT (digest) DO UPDATE SET "
            "stored_size = excluded.stored_size, encoding = excluded.encoding, state = excluded.state, "
            "generation = blob.generation + 1, crc32c = excluded.crc32c WHERE blob.state = 'quarantined'",
            self.digest, self.size, stored_size, checksums.crc32c, tx.now,
        )  # fmt: skip
        _own(tx, self.model_id, self.digest)
        tx.run(f"DELETE FROM upload WHERE {_UPLOAD}", self.model_id, self.digest)


class Taken(NamedTuple):
    """A lease, and what an earlier writer left."""

    lease: Lease
    left: Durable


def take(tx: Transaction, header: UploadBlobHeader) -> Taken | None:
    """Takes the lease for an upload; None if the blob is already there."""
    model_id = live_model(tx, header.model, "header.model").id
    if _already_there(tx, model_id, header.digest, header.size_bytes):
        return None
    row = tx.one(
        f"SELECT size_bytes, committed_bytes, resume, lease, lease_time FROM upload WHERE {_UPLOAD}",
        model_id, header.digest,
    )  # fmt: skip
    size, committed, resume, holder, lease_time = row or (header.size_bytes, 0, "", "", 0)
    idle = tx.clock - lease_time
    if holder and 0 <= idle < IDLE_MICROSECONDS:  # negative: the clock was set back
        raise UploadBusy(
            f"{header.digest} is being uploaded: try again later",
            retry_after_seconds=-((idle - IDLE_MICROSECONDS) // 1_000_000),
        )
    check_offset(header.offset, committed if size == header.size_bytes else 0)
    lease = Lease(model_id, header.digest, header.size_bytes, secrets.token_hex(8))
    tx.run(
        "INSERT INTO upload (model_id, digest, size_bytes, committed_bytes, resume, lease, lease_time) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (model_id, digest) DO UPDATE SET "
        "size_bytes = excluded.size_bytes, lease = excluded.lease, lease_time = excluded.lease_time",
        model_id, header.digest, header.size_bytes, committed, resume, lease.holder, tx.clock,
    )  # fmt: skip
    return Taken(lease, Durable(committed, resume))


def check_offset(offset: int, expected: int) -> None:
    """An upload starts over at 0, or goes on exactly where the last one ended."""
    if offset not in {0, expected}:
        raise OffsetMismatch(f"{expected} bytes are durable, so the upload starts at {expected} or 0", expected_offset=expected)


def _already_there(tx: Transaction, model_id: int, digest: str, size: int) -> bool:
    """Whether the blob need not be sent; then the model has it too."""
    known = present(tx, [digest]).get(digest)
    if known is None:
        return False
    if known != size:
        raise ContentMismatch(f"{digest} has {known} bytes, not {size}", field="header.size_bytes", expected=size, actual=known)
    _own(tx, model_id, digest)
    return True


def _own(tx: Transaction, model_id: int, digest: str) -> None:
    tx.run("INSERT INTO model_blob (model_id, digest) VALUES (?, ?) ON CONFLICT DO NOTHING", model_id, digest)
