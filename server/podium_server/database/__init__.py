"""The database of a registry: where it is, its schema, and what its errors mean. `base` has the contract."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from peewee import DatabaseError, InterfaceError, InternalError, OperationalError
from playhouse.migrations import Runner

from podium_server import rows
from podium_server.database.base import Connection, Database, Head, Row, Tail
from podium_server.database.sqlite import SqliteDatabase
from podium_server.database.unfinished import read_mark
from podium_server.errors import InvalidArgument, StorageFull, StorageUnavailable, one_line

__all__ = [
    "Connection", "Database", "Head", "Row", "Tail",
    "bring_up_to_date", "check_registry", "database_at", "missing_migrations", "open_database", "opening", "storage_error",
]  # fmt: skip

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).parents[1] / "migrations"
_FULL = {"FullError", "DiskFull"}  # what apsw and psycopg say


def open_database(url: str) -> Database:
    """Opens the registry's database at a URL, makes it where there is none, and brings its schema up to date.

    `sqlite:///an/absolute/path`, whose folder exists, or `postgresql://…` as libpq reads it (PostgreSQL, "Connection URIs").
    InvalidArgument if it is none; StorageUnavailable if it cannot be had, is a newer server's, or a copy that is not finished.
    """
    database: Database = database_at(url)
    with opening(database), database.migrating():
        if read_mark(database) is not None:
            raise StorageUnavailable(
                f"{database.place} is a copy that podium migrate has not finished: run that again, and it goes on where it stopped"
            )
        bring_up_to_date(database)
    return database


def database_at(url: str) -> Any:  # Peewee is untyped, and it is also a Database
    """The database at a URL, as it is: nothing is read or made yet. InvalidArgument if it is none."""
    scheme, _, place = url.partition("://")
    if scheme == "postgresql":
        from podium_server.database.postgres import PostgresDatabase  # noqa: PLC0415  who has no such server needs no driver

        return PostgresDatabase(url)
    if scheme == "sqlite" and place.startswith("/"):
        return SqliteDatabase(Path(unquote(place)))
    raise InvalidArgument("--database is not sqlite:///PATH with an absolute path, or postgresql://USER@HOST/NAME")


@contextmanager
def opening(database: Database) -> Iterator[None]:
    """Says in one line that a database cannot be opened."""
    try:
        yield
    except (DatabaseError, InterfaceError) as error:
        raise StorageUnavailable(f"{database.place} cannot be opened as a registry's database: {one_line(error)}") from error


def bring_up_to_date(database: Any) -> None:  # Peewee is untyped
    """Makes the tables that are missing. Nobody else may meanwhile."""
    rows.database.initialize(database)
    runner = Runner(database, str(MIGRATIONS))
    with database.connection_context():
        missing_migrations(database)
        for name in runner.up():
            log.info("migrated: %s", name)


def missing_migrations(database: Any) -> list[str]:
    """How an earlier server's schema differs from this one's: all of them, where there is no registry. StorageUnavailable."""
    with database.connection_context():
        status = Runner(database, str(MIGRATIONS)).status()
    if unknown := [migration.name for migration in status if migration.path is None]:
        raise StorageUnavailable(f"the database was made by a newer server (it has {unknown[-1]}): update this one")
    return [migration.name for migration in status if migration.applied is None]


def check_registry(found: str, own: str) -> None:
    """StorageUnavailable if a database turns out to be another registry's: nothing of that is to be mixed with this one."""
    if found != own:
        raise StorageUnavailable(f"the database is now that of another registry, {found}, and not of {own}")


def storage_error(error: Exception) -> StorageFull | StorageUnavailable | None:
    """What an error of the database means for whoever called; None if the database works and the statement was wrong."""
    if isinstance(error, StorageUnavailable):
        return error
    if type(error) not in {OperationalError, DatabaseError, InterfaceError, InternalError}:
        return None
    if type(getattr(error, "orig", None)).__name__ in _FULL:  # the error of the driver
        return StorageFull("the disk of the database is full: free some space and try again")
    return StorageUnavailable("the database does not work now (the server's log tells why): try again later")
