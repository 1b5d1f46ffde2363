"""What a follower had last, on disk, so that it can begin while the registry is away. CACHE.md is its contract."""

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from podium.comparison import break_seals, compare
from podium.current import TARGET_FIELDS
from podium.errors import HostileServer, InvalidArgument
from podium.listing import Listing, check_files, manifest_text, pinned
from podium.v1.resolve_pb2 import Target
from podium.v1.versions_pb2 import File

log = logging.getLogger("podium")


@dataclass(frozen=True)
class LastKnown:
    """A version that was current, its stored files, and the position at which it was what the reference means."""

    target: Target
    files: tuple[File, ...]
    position: str


@dataclass(frozen=True)
class Record:
    """The file in `folder` that says what `reference` of the registry at `address` meant last."""

    folder: Path
    address: str
    reference: str
    for_serving: bool

    @property
    def path(self) -> Path:
        key = f"{self.address}\n{self.reference}\n{'serving' if self.for_serving else 'any'}"
        return self.folder / f"{sha256(key.encode()).hexdigest()}.json"

    def read(self) -> LastKnown | None:
        """What it says; None if it is not there, or makes no sense."""
        try:
            return _parse(json.loads(self.path.read_bytes()), self._key)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, HostileServer) as error:
            log.warning("%s: what %s meant last cannot be read: %s", self.path, self.reference, error)
            return None

    def write(self, known: LastKnown) -> None:
        """Replaces what it says, durably; OSError if that cannot be."""
        files = [{"path": file.path, "digest": file.digest, "size_bytes": file.size_bytes} for file in known.files]
        target = {name: getattr(known.target, name) for name in TARGET_FIELDS} | {"warnings": list(known.target.warnings)}
        content = json.dumps({**self._key, "position": known.position, "target": target, "files": files}, indent=1)
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", suffix=".new", prefix=f"{self.path.stem}.", dir=self.folder, delete=False) as file:
            try:
                file.write(content + "\n")
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(self.path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise

    @property
    def _key(self) -> dict[str, str | bool]:
        return {"address": self.address, "reference": self.reference, "for_serving": self.for_serving}


def is_whole(known: LastKnown, folder: Path) -> bool:
    """Reads all bytes of the version's folder in the cache, and says whether they are its bytes.

    Where they are not, the seals are broken, so that the next pull replaces them.
    """
    try:
        differences = compare(Listing(known.target, known.files, ()), folder)
    except (InvalidArgument, OSError) as error:
        log.warning("%s in the cache cannot be read: %s", pinned(known.target), error)
        return False
    break_seals(differences, folder)
    for difference in differences:
        log.warning("%s in the cache is damaged: %s is %s", pinned(known.target), difference.path, difference.problem)
    return not differences


def _parse(found: Mapping[str, Any], key: Mapping[str, str | bool]) -> LastKnown:
    """Takes nothing for granted: a file is not there or whole, but somebody may have changed it."""
    if any(found[name] != value for name, value in key.items()):
        raise ValueError("it is another reference's")
    target = Target(**{name: found["target"][name] for name in TARGET_FIELDS})
    files = tuple(File(path=one["path"], digest=one["digest"], size_bytes=one["size_bytes"]) for one in found["files"])
    check_files(files, pinned(target))
    if f"sha256:{sha256(manifest_text(files).encode()).hexdigest()}" != target.digest:
        raise ValueError("its files are not those of its digest")
    if not isinstance(found["position"], str):
        raise TypeError("its position is none")
    return LastKnown(target, files, found["position"])
