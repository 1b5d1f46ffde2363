"""PostgreSQL, for more than one machine: psycopg 3, READ COMMITTED under the lock of the head row.

A server that has gone, was restarted or was replaced is connected to again by whoever needs it next; what was under way fails, and
whether a commit was done that nobody answered is found by asking again with the same request id.
"""

import os
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cache
from typing import TypeVar, cast
from weakref import WeakSet

import psycopg
from peewee import InterfaceError, OperationalError, PostgresqlDatabase
from peewee import __exception_wrapper__ as translated  # type: ignore[attr-defined]
from playhouse.pool import PooledPostgresqlDatabase
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from podium_server.database.base import Head, Row
from podium_server.errors import InvalidArgument, StorageUnavailable

T = TypeVar("T")

CONNECTIONS = 32
FETCHED_ROWS = 100
CHANNEL = "podium"
FLOOR_SECONDS = 0.1  # how soon a commit is seen of which no word came
SOON_SECONDS = 0.001
MIGRATION_LOCK = 0x706F6469756D  # "podium"

_OPTIONS = {
    "client_encoding": "utf8",
    "connect_timeout": 3,
    # Otherwise a server that is gone without a word is noticed when the kernel has had enough: after a quarter of an hour.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "podium",
}
_TIMEOUTS = "-c lock_timeout=20s -c statement_timeout=60s -c idle_in_transaction_session_timeout=30s"
_NO_TIMEOUTS = "SET lock_timeout = 0; SET statement_timeout = 0"
# A writer that stands still in the middle of a transaction holds all others up: a healthy one is idle for milliseconds.
_BRISK = "SET LOCAL idle_in_transaction_session_timeout = '5s'"
_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
# For who reads a whole table, and waits for another database meanwhile.
_TAKE_TIME = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"
# Each server shares this lock while it runs, and who copies the registry has it alone. There may be a registry in each schema.
_USE = f"(hashtext(current_schema()), {MIGRATION_LOCK >> 16})"
_SHARE = f"SELECT 1 WHERE pg_try_advisory_lock_shared{_USE}"
_HELD = "the database is being copied by podium migrate: wait until that has ended"
_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# The clock is read after the lock was waited for: what is outside of the WITH comes later.
_CLOCK = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_TAKE_HEAD = (
    "WITH head AS MATERIALIZED (SELECT registry_uid, revision, nonce, time FROM head FOR UPDATE) "
    f"SELECT registry_uid, revision, nonce, time, {_CLOCK} FROM head"
)


class PostgresDatabase(PooledPostgresqlDatabase):  # type: ignore[misc]  # Peewee is untyped
    """See Database."""

    # By bytes, as SQLite compares: names sort alike everywhere, whatever the database's locale.
    field_types = {**PostgresqlDatabase.field_types, "TEXT": 'TEXT COLLATE "C"'}  # noqa: RUF012  as Peewee declares it

    def __init__(self, url: str) -> None:
        try:
            told = conninfo_to_dict(url)
        except psycopg.Error:  # whose text may have the password
            raise InvalidArgument("the URL of the database is none that libpq reads: postgresql://USER@HOST:PORT/NAME") from None
        self.place = f"postgresql://{told.get('host', '')}:{told.get('port', 5432)}/{told.get('dbname', '')}"
        ours = {name: value for name, value in _OPTIONS.items() if name not in told}
        options = f"{_TIMEOUTS} {told.get('options') or ''}"
        self._sender = secrets.token_hex(8)  # by which this process knows its own commits
        self._dialed: WeakSet[psycopg.Connection] = WeakSet()
        super().__init__(url, max_connections=CONNECTIONS, prefer_psycopg3=True, options=options, **ours)
        self.description = "postgresql"

    def _set_server_version(self, connection: psycopg.Connection) -> None:
        super()._set_server_version(connection)
        self.description = f"postgresql {connection.info.server_version // 10000}.{connection.info.server_version % 10000}"

    def one(self, sql: str, *parameters: object) -> Row | None:
        """See Database.one."""
        return cast("Row | None", self.execute_sql(_translate(sql), parameters).fetchone())

    def all(self, sql: str, *parameters: object) -> list[Row]:
        """See Database.all."""
        return cast(list[Row], self.execute_sql(_translate(sql), parameters).fetchall())

    def read(self, question: Callable[[], T]) -> T:
        """See Database.read. Asks again on another connection if the first turns out to be gone."""
        for is_last in (False, True):
            with self.connection_context():
                raw = self.connection()
                try:
                    with self.transaction("REPEATABLE READ"):
                        return question()
                except (OperationalError, InterfaceError):
                    if is_last or not raw.closed:
                        raise
            self.close_idle()  # they were made with it, and are gone too
        raise AssertionError

    def now(self) -> int:
        """See Database.now."""
        row = self.one(f"SELECT {_CLOCK}")
        assert row is not None
        return cast(int, row[0])

    def connect_writer(self, *, ahead: bool = False) -> "PostgresConnection":
        """See Database.connect_writer."""
        return (PipelinedConnection if ahead else PostgresConnection)(self._dial, self._sender)

    def _dial(self) -> psycopg.Connection:
        """Connects beside the pool, which counts those that it gives out."""
        return self._known(PostgresqlDatabase._connect(self))  # type: ignore[attr-defined]  # noqa: SLF001

    def abandon(self) -> None:
        """See Database.abandon. A server that was stopped does not answer to anything, so the sockets are shut down."""
        for raw in list(self._dialed):
            with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(raw.fileno())) as connected:
                connected.shutdown(socket.SHUT_RDWR)

    def _connect(self) -> psycopg.Connection:
        return self._known(super()._connect())

    def _known(self, raw: psycopg.Connection) -> psycopg.Connection:
        self._dialed.add(raw)
        return raw

    def _is_closed(self, raw: psycopg.Connection) -> bool:
        return raw.closed  # without asking the server: `read` finds out

    def _can_reuse(self, raw: psycopg.Connection) -> bool:
        return raw.info.transaction_status == TransactionStatus.IDLE

    def hold(self) -> "PostgresConnection":
        """See Database.hold. Reads go on meanwhile, but no server can start."""
        connection = self.connect_writer()
        connection.live()
        if connection.one(f"SELECT 1 WHERE pg_try_advisory_lock{_USE}") is None:
            connection.close()
            raise StorageUnavailable(f"{self.place} is in use: stop its servers first")
        connection.take_head()
        connection.run(_TAKE_TIME)
        return connection

    def tail(self) -> "PostgresTail":
        """See Database.tail."""
        return PostgresTail(self.connect_writer(), self._sender)

    @contextmanager
    def migrating(self) -> Iterator[None]:
        """Nobody else migrates it meanwhile. The timeouts are for requests."""
        lock = self.connect_writer()
        try:
            lock.live()
            lock.run(_NO_TIMEOUTS)
            lock.one("SELECT pg_advisory_lock(?)", MIGRATION_LOCK)
            if lock.one(_SHARE) is None:
                raise StorageUnavailable(_HELD)
            with self.connection_context():
                self.execute_sql(_NO_TIMEOUTS)
                yield
        finally:
            lock.close()
            self.close_idle()  # the connection without timeouts


@cache
def _translate(sql: str) -> str:
    """Constant SQL as psycopg wants it."""
    return sql.replace("%", "%%").replace("?", "%s")


class PostgresConnection:
    """See Connection."""

    def __init__(self, connect: Callable[[], psycopg.Connection], sender: str) -> None:
        self._connect = connect
        self._news = f"NOTIFY {CHANNEL}, '{sender}'"
        self._raw: psycopg.Connection | None = None

    def live(self) -> psycopg.Connection:
        """The driver's connection, another one if that is gone. Not within a transaction: that is lost with it."""
        if self._raw is None or self._raw.closed:
            with translated:
                self._raw = self._connect()
        return self._raw

    def one(self, sql: str, *parameters: object) -> Row | None:
        """See Connection.one."""
        with translated:
            return self._ask(sql, parameters).fetchone()

    def all(self, sql: str, *parameters: object) -> list[Row]:
        """See Connection.all."""
        with translated:
            return self._ask(sql, parameters).fetchall()

    def rows(self, sql: str, *parameters: object) -> Iterator[Row]:
        """See Connection.rows."""
        self.run(_TAKE_TIME)
        with translated, self._opened.cursor("rows") as cursor:
            cursor.itersize = FETCHED_ROWS
            yield from cursor.execute(_translate(sql), parameters)

    def run(self, sql: str, *parameters: object) -> None:
        """See Connection.run."""
        with translated:
            self._opened.execute(_translate(sql), parameters)

    def many(self, sql: str, rows: Iterable[Row]) -> None:
        """See Connection.many."""
        with translated:
            self._opened.cursor().executemany(_translate(sql), rows)

    def add(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """See Connection.add."""
        with translated, self._opened.cursor().copy(f'COPY "{table}" ({", ".join(columns)}) FROM STDIN') as copy:
            for row in rows:
                copy.write_row(row)
        if '"id"' in columns:
            self.one(f"""SELECT setval(pg_get_serial_sequence('"{table}"', 'id'), max(id)) FROM "{table}" """)

    def take_head(self) -> Head:
        """See Connection.take_head."""

        def take() -> Row | None:
            self.run(_WRITE)
            self.run(_BRISK)
            return self.one(_TAKE_HEAD)

        row = self._begin(take)
        assert row is not None
        return Head(*row)

    def read(self, question: Callable[[], T]) -> T:
        """See Connection.read."""
        self._begin(lambda: self.run(_SNAPSHOT))
        try:
            answer = question()
            self.run("COMMIT")  # a rollback would make the driver forget its prepared statements
        except BaseException:
            self.rollback()
            raise
        return answer

    def commit(self, *, news: bool) -> None:
        """See Connection.commit."""
        if news:
            self.run(self._news)
        self.run("COMMIT")

    def rollback(self) -> None:
        """See Connection.rollback."""
        if self._raw is not None and self._raw.info.transaction_status != TransactionStatus.IDLE:
            try:
                self._raw.execute("ROLLBACK")
            except psycopg.Error:
                self._raw.close()  # and the server does it by itself

    def close(self) -> None:
        """See Connection.close."""
        if self._raw is not None:
            self._raw.close()

    def _ask(self, sql: str, parameters: tuple[object, ...]) -> psycopg.Cursor:
        return self._opened.execute(_translate(sql), parameters)

    def _begin(self, first: Callable[[], T]) -> T:
        """Does what begins a transaction, on another connection if this one turns out to be gone."""
        self.live()
        try:
            return first()
        except OperationalError:
            if not self._is_gone():
                raise
            self.live()
            return first()

    def _is_gone(self) -> bool:
        return self._opened.closed

    @property
    def _opened(self) -> psycopg.Connection:
        if self._raw is None:
            raise InterfaceError("there is no connection")
        return self._raw


class _Pipeline(psycopg.Pipeline):
    """The driver's, but each statement goes out together with a Sync, which nobody waits for."""

    def _communicate_gen(self) -> PQGen[None]:
        commands = list(self.command_queue)
        if commands and commands[-1] != self.pgconn.pipeline_sync:
            self._enqueue_sync()
            commands.append(self.pgconn.pipeline_sync)
            self.command_queue.clear()

            def all_at_once() -> None:  # nothing is sent in between
                for command in commands:
                    command()

            self.command_queue.append(all_at_once)
        return super()._communicate_gen()


class PipelinedConnection(PostgresConnection):
    """One that does not wait for what gives no rows: it is in the driver's pipeline mode, which saves most of the round trips.

    Each statement is followed by a Sync: PostgreSQL counts a transaction as idle only then, so without it nothing would end that of
    a writer that stands still. But after a Sync it does not leave out what follows an error, so errors are asked for before COMMIT.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection], sender: str) -> None:
        super().__init__(connect, sender)
        self._mode = ExitStack()
        self._pipeline: psycopg.Pipeline | None = None

    def live(self) -> psycopg.Connection:
        """See PostgresConnection.live."""
        before, raw = self._raw, super().live()
        if raw is not before:
            self._leave()
            raw._pipeline = _Pipeline(raw)  # noqa: SLF001 - it would make one itself
            self._pipeline = self._mode.enter_context(raw.pipeline())
        return raw

    def many(self, sql: str, rows: Iterable[Row]) -> None:
        """See Connection.many. Not by `executemany`, which in this mode loses prepared statements when there was a rollback."""
        for row in rows:
            self.run(sql, *row)

    def commit(self, *, news: bool) -> None:
        """See Connection.commit."""
        if news:
            self.run(self._news)
        with translated:
            self._synced.sync()
            self._ask("COMMIT", ())

    def rollback(self) -> None:
        """See Connection.rollback. By closing: of what comes after an error the server does nothing, and the driver does not know
        which of its prepared statements that was.
        """
        self.close()

    def close(self) -> None:
        """See Connection.close."""
        super().close()
        self._leave()

    def _ask(self, sql: str, parameters: tuple[object, ...]) -> psycopg.Cursor:
        cursor = super()._ask(sql, parameters)
        self._synced.sync()  # otherwise `fetchone` sends a Flush, after which the transaction does not count as idle
        return cursor

    @property
    def _synced(self) -> psycopg.Pipeline:
        assert self._pipeline is not None
        return self._pipeline

    def _is_gone(self) -> bool:
        with suppress(psycopg.Error):
            self._synced.sync()
        return super()._is_gone()

    def _leave(self) -> None:
        with suppress(psycopg.Error):  # of a connection that is gone
            self._mode.close()


class PostgresTail:
    """See Tail. A NOTIFY is a hint, and looking now and then is the floor: one that is lost costs a moment.

    Those of this process tell it nothing: its ledger hands over what it commits.
    """

    def __init__(self, connection: PostgresConnection, sender: str) -> None:
        self.connection = connection
        self._sender = sender
        self._listening: psycopg.Connection | None = None
        self._is_behind = True

    def wait(self) -> bool:
        """See Tail.wait."""
        raw = self.connection.live()
        if raw is not self._listening:
            self.connection.run(f"LISTEN {CHANNEL}")
            if self.connection.one(_SHARE) is None:
                raise StorageUnavailable(_HELD)
            self._listening = raw
        else:
            with translated, closing(raw.notifies(timeout=SOON_SECONDS if self._is_behind else FLOOR_SECONDS)) as notes:
                any(note.payload != self._sender for note in notes)
        self._is_behind = True
        return True

    def caught_up(self) -> None:
        """See Tail.caught_up."""
        self._is_behind = False
