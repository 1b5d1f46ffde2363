"""Where a registry is: what --from and --to name."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from podium_server.errors import shown
from podium_server.moving.errors import CannotMove
from podium_server.settings import has_password, places_in


class Place(NamedTuple):
    """The URLs of a database and of a store of blobs; empty for what is not named."""

    database: str = ""
    blobs: str = ""

    @classmethod
    def parse(cls, texts: Sequence[str], option: str) -> "Place":
        """From URLs, or a data folder, which stands for both. CannotMove."""
        named: dict[str, str] = {}
        for text in texts:
            found = _urls(text, option)
            if named.keys() & found.keys():
                raise CannotMove(f"{option} names two places for the same")
            named |= found
        return cls(**named)


def _urls(text: str, option: str) -> dict[str, str]:
    scheme, is_url, _ = text.partition("://")
    if has_password(text):
        raise CannotMove(f"all users of this machine see a password in {option}: use PGPASSWORD or ~/.pgpass")
    if scheme in {"sqlite", "postgresql"}:
        return {"database": text}
    if scheme in {"file", "gs"}:
        return {"blobs": text}
    if is_url or not text:
        forms = "sqlite:///PATH, postgresql://USER@HOST/NAME, file:///DIR or gs://BUCKET/PREFIX"
        raise CannotMove(f"{option} is not a data folder, {forms}: {shown(text)}")
    return places_in(Path(text))


def check(source: Place, target: Place) -> None:
    """What --to names is moved: --from says where it is now. Which blobs there are, the database tells."""
    if not any(target):
        raise CannotMove("--to names nothing")
    if not source.database:
        raise CannotMove("--from names no database, which tells what there is: add its URL, or name the data folder")
    if target.blobs and not source.blobs:
        raise CannotMove("--to names a store of blobs, and --from none: add the URL of where they are now")
    if target.database == source.database or (target.blobs and target.blobs == source.blobs):
        raise CannotMove("--from and --to name the same place")
