"""Which blobs count as there. The one place that a permission check will narrow."""

from collections.abc import Sequence

from podium_server.rows import Reader

# Whole, and some model that the caller may read has it: everyone may read every model for now. A quarantined blob is not there,
# so that it is sent again, which heals it.
PRESENT = "state = 'complete' AND EXISTS (SELECT 1 FROM model_blob WHERE model_blob.digest = blob.digest)"

_PIECE = 500  # parameters of one statement


def present(reader: Reader, digests: Sequence[str]) -> dict[str, int]:
    """The blobs among these that need not be sent again, with their sizes in bytes."""
    return _among(reader, f"SELECT digest, size_bytes FROM blob WHERE {PRESENT}", digests)


def left(reader: Reader, model_id: int, digests: Sequence[str]) -> dict[str, int]:
    """How many bytes the model's unfinished uploads of these blobs left."""
    return _among(reader, f"SELECT digest, committed_bytes FROM upload WHERE model_id = {model_id:d}", digests)


def _among(reader: Reader, query: str, digests: Sequence[str]) -> dict[str, int]:
    """The rows of a query whose digest is one of these."""
    found: dict[str, int] = {}
    for start in range(0, len(digests), _PIECE):
        piece = digests[start : start + _PIECE]
        found.update(reader.all(f"{query} AND digest IN ({', '.join('?' * len(piece))})", *piece))
    return found
