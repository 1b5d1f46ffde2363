"""What is copied, and into what: a registry that stands still, and a database that is empty or a part of the same copy."""

from typing import Any, NamedTuple, cast

from podium_server.database import Connection, Database, bring_up_to_date, database_at, missing_migrations, opening
from podium_server.database.sqlite import SqliteDatabase
from podium_server.database.unfinished import Copied, read_mark, set_mark
from podium_server.moving.errors import CannotMove
from podium_server.positions import Position
from podium_server.rows import Reader


class Copy(NamedTuple):
    """Where the rows go; finished if an earlier run has brought them all there."""

    connection: Connection
    is_finished: bool


def open_source(url: str) -> Database:
    """The database of a registry with this version's schema; CannotMove, StorageUnavailable."""
    database = database_at(url)
    if isinstance(database, SqliteDatabase) and not database.path.is_file():
        raise CannotMove(f"there is no database {database.place}")
    with opening(database), database.connection_context():
        is_registry, missing, mark = database.table_exists("head"), missing_migrations(database), read_mark(database)
    if not is_registry:
        raise CannotMove(f"there is no registry in {database.place}")
    if missing:
        raise CannotMove(f"{database.place} is from an older version: start a server of this version on it once")
    if mark:
        raise CannotMove(f"{database.place} is an unfinished copy itself")
    database.close_all()
    return cast(Database, database)


def read_head(reader: Reader) -> Copied:
    """Which registry it is, and where it stands."""
    row = reader.one("SELECT registry_uid, revision, nonce FROM head")
    assert row is not None
    return Copied(row[0], str(Position(*row[1:])))


def open_copy(url: str, copied: Copied) -> Copy:
    """The database that becomes the copy, marked as such until it is whole; CannotMove if it is anything else."""
    database = database_at(url)
    if isinstance(database, SqliteDatabase):
        database.path.parent.mkdir(parents=True, exist_ok=True)
    with opening(database), database.migrating(), database.connection_context():
        mark = read_mark(database)
        there = mark or (read_head(database) if database.table_exists("head") else None)
        if there is None:
            set_mark(database, copied)
        elif there != copied:
            raise CannotMove(f"{database.place} is {_what(mark, there, copied)}: name an empty database")
        bring_up_to_date(database)
    database.close_all()
    return Copy(database.connect_writer(), is_finished=there is not None and mark is None)


def _what(mark: Any, there: Copied, copied: Copied) -> str:
    registry = "this registry at another position" if there.registry_uid == copied.registry_uid else "another registry"
    return f"an unfinished copy of {registry}" if mark else registry
