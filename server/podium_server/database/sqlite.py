"""SQLite, for one machine: through apsw, which bundles a build newer than the WAL bug that Debian's has.

`synchronous=FULL`, because with NORMAL a power cut loses commits that were acknowledged.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TypeVar, cast

import apsw
from peewee import OperationalError
from peewee import __exception_wrapper__ as translated  # type: ignore[attr-defined]
from playhouse.apsw_ext import APSWDatabase
from playhouse.pool import PooledDatabase

from podium_server.database.base import Head, Row
from podium_server.errors import StorageUnavailable

T = TypeVar("T")

WRITTEN_AHEAD_BYTES = 16 << 20
POLL_SECONDS = 0.005
BUSY_SECONDS = 0.001
BUSY_TIMES = 30_000

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


class SqliteDatabase(PooledDatabase, APSWDatabase):  # type: ignore[misc]  # Peewee is untyped
    """See Database. The folder of the file is there; only this machine's processes may use it."""

    description = f"sqlite {apsw.sqlitelibversion()}"

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), pragmas=_PRAGMAS, max_connections=64)
        self.path = path
        self.place = str(path)

    def _add_conn_hooks(self, connection: apsw.Connection) -> None:
        super()._add_conn_hooks(connection)
        # The migration history holds datetimes, which apsw does not take.
        connection.convert_binding = _bindable

    def one(self, sql: str, *parameters: object) -> Row | None:
        """See Database.one."""
        return cast("Row | None", self.execute_sql(sql, parameters).fetchone())

    def all(self, sql: str, *parameters: object) -> list[Row]:
        """See Database.all."""
        return cast(list[Row], self.execute_sql(sql, parameters).fetchall())

    def read(self, question: Callable[[], T]) -> T:
        """See Database.read."""
        with self.connection_context(), self.transaction():
            return question()

    def now(self) -> int:
        """See Database.now."""
        return time.time_ns() // 1000

    def abandon(self) -> None:
        """See Database.abandon. Nothing waits for longer than the busy timeout."""

    def connect_writer(self, *, ahead: bool = False) -> "SqliteConnection":  # noqa: ARG002  nothing is far away
        """See Database.connect_writer."""
        raw = cast(apsw.Connection, self._connect())
        raw.set_busy_handler(_ask_again)
        return SqliteConnection(raw)

    def hold(self) -> "SqliteConnection":
        """See Database.hold. Nobody else can even read meanwhile."""
        with translated:
            connection = SqliteConnection(apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READWRITE))
        connection.run("PRAGMA locking_mode = exclusive")
        try:
            connection.take_head()
        except OperationalError as error:
            connection.close()
            raise StorageUnavailable(f"{self.place} is in use: stop its servers first") from error
        return connection

    def tail(self) -> "SqliteTail":
        """See Database.tail."""
        return SqliteTail(self.connect_writer())

    @contextmanager
    def migrating(self) -> Iterator[None]:
        """Nobody else migrates it meanwhile."""
        with (self.path.parent / "migrate.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
            self._write_ahead(self.path.with_name(f"{self.path.name}-wal"))

    def _write_ahead(self, path: Path) -> None:
        """Makes the write-ahead log as long as it will soon be anyway: a commit that makes it longer takes half as long again.

        SQLite ends a log where the frames do, and writes over what is behind it. Nobody appends while this has the lock of the
        writer. Where it cannot be had, or the disk is full, there is nothing to gain.
        """
        with suppress(OSError, OperationalError), self.connection_context(), self.atomic("immediate"), path.open("r+b") as file:
            file.write(bytes(max(0, WRITTEN_AHEAD_BYTES - file.seek(0, os.SEEK_END))))


def _bindable(_cursor: object, _number: int, value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(" ")
    raise TypeError(f"cannot bind {type(value).__name__}")


def _ask_again(times: int) -> bool:
    """Waits a moment for the lock of another process, for about half a minute in all. Of two busy writers, the one that SQLite's
    own timeout lets wait for up to 100 ms each time misses nearly every gap that the other leaves, for seconds.
    """
    time.sleep(BUSY_SECONDS)
    return times < BUSY_TIMES


class SqliteConnection:
    """See Connection."""

    def __init__(self, raw: apsw.Connection) -> None:
        self._raw = raw
        self._cursor = raw.cursor()

    def one(self, sql: str, *parameters: object) -> Row | None:
        """See Connection.one."""
        with translated:
            return cast("Row | None", self._cursor.execute(sql, parameters).fetchone())

    def all(self, sql: str, *parameters: object) -> list[Row]:
        """See Connection.all."""
        with translated:
            return cast(list[Row], self._cursor.execute(sql, parameters).fetchall())

    def rows(self, sql: str, *parameters: object) -> Iterator[Row]:
        """See Connection.rows."""
        with translated:
            yield from self._raw.cursor().execute(sql, parameters)

    def run(self, sql: str, *parameters: object) -> None:
        """See Connection.run."""
        with translated:
            self._cursor.execute(sql, parameters)

    def many(self, sql: str, rows: Iterable[Row]) -> None:
        """See Connection.many."""
        with translated:
            self._cursor.executemany(sql, rows)

    def add(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """See Connection.add."""
        self.many(f'INSERT INTO "{table}" ({", ".join(columns)}) VALUES ({", ".join("?" * len(columns))})', rows)

    def take_head(self) -> Head:
        """See Connection.take_head."""
        self.run("BEGIN IMMEDIATE")
        head = self.one("SELECT registry_uid, revision, nonce, time FROM head")
        assert head is not None
        registry, revision, nonce, before = head
        return Head(registry, revision, nonce, before, time.time_ns() // 1000)

    def read(self, question: Callable[[], T]) -> T:
        """See Connection.read."""
        self.run("BEGIN")
        try:
            return question()
        finally:
            self.rollback()

    def commit(self, *, news: bool) -> None:  # noqa: ARG002  data_version tells of it
        """See Connection.commit."""
        self.run("COMMIT")

    def rollback(self) -> None:
        """See Connection.rollback. SQLite itself rolls back on some errors."""
        if self._raw.in_transaction:
            self.run("ROLLBACK")

    def close(self) -> None:
        """See Connection.close."""
        self._raw.close()


class SqliteTail:
    """See Tail. `data_version` changes whenever another connection has committed: asking for it 200 times a second costs about
    3 % of a core, and shows a commit within about 6 ms.
    """

    def __init__(self, connection: SqliteConnection) -> None:
        self.connection = connection
        self._version: Row | None = None
        self._seen: Row | None = None

    def wait(self) -> bool:
        """See Tail.wait."""
        time.sleep(POLL_SECONDS)
        self._version = self.connection.one("PRAGMA data_version")
        return self._version != self._seen

    def caught_up(self) -> None:
        """See Tail.caught_up."""
        self._seen = self._version
