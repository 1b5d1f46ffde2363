"""What is computed of a blob's bytes: the SHA-256 that names it, and the CRC32C of each MiB that guards its later reads."""

import hashlib

import google_crc32c

BLOCK_BYTES = 1 << 20


class Checksums:
    """The checksums of bytes that come one after the other. Blocks: call it in a thread."""

    def __init__(self) -> None:
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._blocks = bytearray()
        self._crc32c = 0

    def update(self, data: bytes) -> None:
        """Takes the next bytes."""
        self._sha256.update(data)
        start = 0
        while start < len(data):
            piece = data[start : start + BLOCK_BYTES - self.size % BLOCK_BYTES]  # which is no copy where it is all of them
            self._crc32c = google_crc32c.extend(self._crc32c, piece)
            self.size += len(piece)
            start += len(piece)
            if self.size % BLOCK_BYTES == 0:
                self._blocks += self._crc32c.to_bytes(4, "big")
                self._crc32c = 0

    @property
    def digest(self) -> str:
        """The digest of all bytes so far."""
        return f"sha256:{self._sha256.hexdigest()}"

    @property
    def crc32c(self) -> bytes:
        """Four bytes, big-endian, for each MiB so far and for the rest."""
        rest = self._crc32c.to_bytes(4, "big") if self.size % BLOCK_BYTES else b""
        return bytes(self._blocks) + rest


def block_matches(block: bytes, index: int, crc32c: bytes) -> bool:
    """Whether these are the bytes of the MiB with that index, by the blob's CRCs."""
    actual: int = google_crc32c.value(block)
    return actual.to_bytes(4, "big") == crc32c[4 * index : 4 * index + 4]
