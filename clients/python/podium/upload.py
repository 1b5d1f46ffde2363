"""Brings the files of a push to the server: hash them, ask which are missing, send only those."""

import hashlib
import threading
from collections.abc import Iterator, Sequence

from podium.errors import PushRefused
from podium.folder import SourceFile
from podium.frames import CHUNK_BYTES
from podium.progress import Meter, Report
from podium.sending import Lane, Sending
from podium.transfers import Crew
from podium.transport import Transport
from podium.v1.artifacts_pb2 import BlobSpec
from podium.v1.versions_pb2 import ManifestFile

# Files go in groups: the next one is hashed while the first is sent, and one question is asked for many small files.
GROUP_FILES, GROUP_BYTES = 64, 64 << 20


class Upload:
    """Brings the files of one push to a model."""

    def __init__(self, transport: Transport, model: str, files: Sequence[SourceFile], report: Report) -> None:
        self._files = files
        self._hashing = Meter(report, "hashing", sum(file.size_bytes for file in files))
        self._lane = Lane(transport, Crew(), Meter(report, "uploading", 0), model)
        self._lock = threading.Lock()
        self._claimed: set[str] = set()  # digests that some thread takes care of
        self._manifest: list[ManifestFile] = []

    @property
    def uploaded_bytes(self) -> int:
        """How many bytes were sent."""
        return self._lane.meter.done

    def run(self) -> list[ManifestFile]:
        """The manifest of the files, all of whose bytes the server has now; PushRefused if one changed meanwhile."""
        self._lane.crew.run(self._bring, list(_groups(self._files)))
        for file in self._files:
            file.check_unchanged()
        return sorted(self._manifest, key=lambda file: file.path)

    def _bring(self, files: Sequence[SourceFile]) -> None:
        hashed = {self._hash(file): file for file in files}
        with self._lock:
            mine = {digest: file for digest, file in hashed.items() if digest not in self._claimed}
            self._claimed.update(mine)
        blobs = [BlobSpec(digest=digest, size_bytes=file.size_bytes) for digest, file in mine.items()]
        for blob in self._lane.find_missing(blobs) if blobs else ():
            if blob.digest in mine:
                Sending(self._lane, mine[blob.digest], blob).run()

    def _hash(self, file: SourceFile) -> str:
        """The file's digest, which also goes into the manifest."""
        sha256, left = hashlib.sha256(), file.size_bytes
        piece = memoryview(bytearray(min(CHUNK_BYTES, file.size_bytes + 1)))
        try:
            with file.source.open("rb", buffering=0) as source:
                while left >= 0 and (count := source.readinto(piece)):
                    sha256.update(piece[:count])
                    left -= count
                    self._lane.crew.check()
                    self._hashing.add(count)
        except OSError as error:
            raise PushRefused(f"{file.path} cannot be read: {error.strerror}") from None
        file.check_unchanged()
        if left:
            raise PushRefused(f"{file.path} has more or fewer bytes than its size says: push a copy of it")
        digest = f"sha256:{sha256.hexdigest()}"
        with self._lock:
            self._manifest.append(ManifestFile(path=file.path, digest=digest, size_bytes=file.size_bytes))
        return digest


def _groups(files: Sequence[SourceFile]) -> Iterator[list[SourceFile]]:
    """The largest files first, so that none is left alone at the end."""
    group: list[SourceFile] = []
    group_bytes = 0
    for file in sorted(files, key=lambda file: -file.size_bytes):
        if group and (len(group) == GROUP_FILES or group_bytes + file.size_bytes > GROUP_BYTES):
            yield group
            group, group_bytes = [], 0
        group.append(file)
        group_bytes += file.size_bytes
    yield group
