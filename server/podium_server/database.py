"""Opens the database, brings its schema up to date, and gives the writer its bare connection.

SQLite through apsw, which bundles a build newer than the WAL bug that Debian's has; `synchronous=FULL`, because with NORMAL a
power cut loses commits that were acknowledged.
"""

import fcntl
import logging
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import apsw
from peewee import DatabaseError, InterfaceError, InternalError, OperationalError
from peewee import __exception_wrapper__ as translated  # type: ignore[attr-defined]
from playhouse.apsw_ext import APSWDatabase
from playhouse.migrations import Runner
from playhouse.pool import PooledDatabase

from podium_server import rows
from podium_server.errors import StorageFull, StorageUnavailable

log = logging.getLogger(__name__)

Row = tuple[Any, ...]
T = TypeVar("T")

WRITTEN_AHEAD_BYTES = 16 << 20

_PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": "full",
    "foreign_keys": 1,
    "cache_size": -65536,
    "temp_store": "memory",  # the journal of savepoints
    "mmap_size": 0,
    "wal_autocheckpoint": 16000,
    "busy_timeout": 30_000,
}


class Database(PooledDatabase, APSWDatabase):  # type: ignore[misc]  # Peewee is untyped
    """The pooled SQLite database of one registry."""

    def _add_conn_hooks(self, connection: apsw.Connection) -> None:
        super()._add_conn_hooks(connection)
        # The migration history holds datetimes, which apsw does not take.
        connection.convert_binding = _bindable

    def open_connection(self) -> apsw.Connection:
        """A connection of one's own, which never goes back to the pool."""
        return cast(apsw.Connection, self._connect())

    def one(self, sql: str, *parameters: object) -> Row | None:
        """The first row, on this thread's connection."""
        return cast("Row | None", self.execute_sql(sql, parameters).fetchone())

    def all(self, sql: str, *parameters: object) -> list[Row]:
        """All rows, on this thread's connection."""
        return cast(list[Row], self.execute_sql(sql, parameters).fetchall())

    def read(self, question: Callable[[], T]) -> T:
        """Answers a question within one read transaction on a connection of the pool."""
        with self.connection_context(), self.transaction():
            return question()


def _bindable(_cursor: object, _number: int, value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(" ")
    raise TypeError(f"cannot bind {type(value).__name__}")


def open_database(folder: Path) -> Database:
    """Opens or makes the registry's database in a folder that exists."""
    path = folder / "registry.db"
    database = Database(str(path), pragmas=_PRAGMAS, max_connections=64)
    rows.database.initialize(database)
    with (folder / "migrate.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            _migrate(database)
        except (DatabaseError, InterfaceError) as error:
            raise StorageUnavailable(f"{path} cannot be opened as a registry's database: {error}") from error
        _write_ahead(database, path.with_name(f"{path.name}-wal"))
    log.info("database sqlite %s, %s", apsw.sqlitelibversion(), path)
    return database


def _write_ahead(database: Database, path: Path) -> None:
    """Makes the write-ahead log as long as it will soon be anyway: a commit that makes the file longer takes half as long again.

    SQLite ends a log where the frames do, and writes over what is behind it. Nobody appends while this has the lock of the writer.
    Where it cannot be had, or the disk is full, there is nothing to gain.
    """
    with suppress(OSError, OperationalError), database.connection_context(), database.atomic("immediate"), path.open("r+b") as file:
        file.write(bytes(max(0, WRITTEN_AHEAD_BYTES - file.seek(0, os.SEEK_END))))


def _migrate(database: Database) -> None:
    runner = Runner(database, str(Path(__file__).parent / "migrations"))
    with database.connection_context():
        unknown = [migration.name for migration in runner.status() if migration.path is None]
        if unknown:
            raise StorageUnavailable(f"the database was made by a newer server (it has {unknown[-1]}): update this one")
        for name in runner.up():
            log.info("migrated: %s", name)


class Connection:
    """The writer's own connection: explicit transactions and constant SQL, because building a query costs more than running it."""

    def __init__(self, database: Database) -> None:
        self._raw = database.open_connection()
        self._cursor = self._raw.cursor()

    def one(self, sql: str, *parameters: object) -> Row | None:
        """The first row."""
        with translated:
            return cast("Row | None", self._cursor.execute(sql, parameters).fetchone())

    def all(self, sql: str, *parameters: object) -> list[Row]:
        """All rows."""
        with translated:
            return cast(list[Row], self._cursor.execute(sql, parameters).fetchall())

    def run(self, sql: str, *parameters: object) -> int:
        """Runs a statement; how many rows it changed."""
        with translated:
            self._cursor.execute(sql, parameters)
            return self._raw.changes()

    def many(self, sql: str, rows: Iterable[Row]) -> None:
        """Runs a statement once for each row."""
        with translated:
            self._cursor.executemany(sql, rows)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; SQLite itself rolls back on some errors."""
        return self._raw.in_transaction

    def close(self) -> None:
        """Closes the connection."""
        self._raw.close()


def storage_error(error: Exception) -> StorageFull | StorageUnavailable | None:
    """What an error of the database means for whoever called; None if the database works and the statement was wrong."""
    if type(error) not in {OperationalError, DatabaseError, InterfaceError, InternalError}:
        return None
    if isinstance(getattr(error, "orig", None), apsw.FullError):  # the error of the driver
        return StorageFull("the disk of the database is full: free some space and try again")
    return StorageUnavailable(f"the database does not work: {error}")
