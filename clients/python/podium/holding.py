"""Versions in the cache that a follower keeps from pruning for as long as it, or somebody with it, uses them."""

from dataclasses import dataclass, replace
from pathlib import Path

from podium.cache import Cache
from podium.checkout import checkout
from podium.last_known import LastKnown, is_whole
from podium.listing import list_files
from podium.locks import Hold
from podium.progress import reporting
from podium.transfers import Crew
from podium.transport import Transport
from podium.v1.resolve_pb2 import Target
from podium.v1.versions_pb2 import File


@dataclass(frozen=True)
class Held:
    """A version whose whole, verified files are at `path`, until it is released."""

    cache: Cache
    path: Path
    digest: str
    files: tuple[File, ...]
    hold: Hold

    def again(self) -> "Held":
        """For somebody else, who releases it too."""
        return replace(self, hold=self.hold.again())

    def release(self) -> None:
        """Lets it be pruned, once it was not used for as long as any other; again does nothing."""
        self.cache.touch(self.digest)
        self.hold.release()


def pull_and_hold(transport: Transport, cache: Cache, target: Target, crew: Crew, *, direct: bool) -> Held:
    """The version with its files from the server, as far as the cache does not have them."""
    listing = list_files(transport, target, crew)
    hold = cache.hold(target.digest, crew.pause)
    try:
        with reporting(progress=False) as report:
            path = checkout(transport, cache, listing, report, crew, direct=direct)
    except BaseException:
        hold.release()
        raise
    return Held(cache, path, target.digest, listing.stored, hold)


def verify_and_hold(cache: Cache, known: LastKnown) -> Held | None:
    """The version without a server, after all its bytes were read again; None if they are not what they must be."""
    hold = cache.hold(known.target.digest)
    path = cache.version_path(known.target.digest)
    if is_whole(known, path):
        return Held(cache, path, known.target.digest, known.files, hold)
    hold.release()
    return None
