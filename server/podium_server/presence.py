"""Which blobs count as there. The one place that a permission check will narrow."""

from collections.abc import Sequence

from podium_server.tables import Reader

# Whole, and some model that the caller may read has it: everyone may read every model for now. A quarantined blob is not there,
# so that it is sent again, which heals it.
PRESENT = "state = 'complete' AND EXISTS (SELECT 1 FROM model_blob WHERE model_blob.digest = blob.digest)"

_PIECE = 500  # parameters of one statement


def present(reader: Reader, digests: Sequence[str]) -> dict[str, int]:
    """The blobs among these that need not be sent again, with their sizes in bytes."""
    sizes: dict[str, int] = {}
    for start in range(0, len(digests), _PIECE):
        piece = digests[start : start + _PIECE]
        marks = ", ".join("?" * len(piece))
        sizes.update(reader.all(f"SELECT digest, size_bytes FROM blob WHERE {PRESENT} AND digest IN ({marks})", *piece))
    return sizes
