"""The checksums do not depend on how the bytes come."""

import hashlib
import random

import google_crc32c
import pytest
from podium_server.checksums import BLOCK_BYTES, Checksums, block_matches

SIZES = [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES, 3 * BLOCK_BYTES + 5]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("piece", [BLOCK_BYTES, 2 * BLOCK_BYTES, 700_001, BLOCK_BYTES + 1])
def test_checksums_of_pieces_are_those_of_the_whole(size: int, piece: int) -> None:
    data = random.Random(size).randbytes(size)
    checksums = Checksums()
    for start in range(0, size, piece):
        checksums.update(data[start : start + piece])
    assert checksums.size == size
    assert checksums.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    blocks = [data[start : start + BLOCK_BYTES] for start in range(0, size, BLOCK_BYTES)]
    assert checksums.crc32c == b"".join(google_crc32c.value(block).to_bytes(4, "big") for block in blocks)
    for index, block in enumerate(blocks):
        assert block_matches(block, index, checksums.crc32c)
        assert not block_matches(block[:-1] + bytes([block[-1] ^ 1]), index, checksums.crc32c)
        assert not block_matches(block, index + 1, checksums.crc32c)


def test_the_crc_is_crc32c() -> None:
    checksums = Checksums()
    checksums.update(b"123456789")
    assert checksums.crc32c.hex() == "e3069283"
