"""What the rest of the server needs of a database: constant SQL with `?`, transactions, and word of what others commit.

Peewee makes the tables and builds the queries of lists; what every mutation runs is constant SQL, since building a query costs
more than running it. There is a module for each database.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeVar

Row = tuple[Any, ...]
T = TypeVar("T")


class Head(NamedTuple):
    """Whose history it is and where it stands: the last revision, its nonce and time, and what the clock says now.

    Times are microseconds since the epoch.
    """

    registry: str
    revision: int
    nonce: bytes
    time: int
    clock: int


class Connection(Protocol):
    """A connection of one thread, outside the pool. Errors are Peewee's."""

    def one(self, sql: str, *parameters: object) -> Row | None:
        """The first row."""

    def all(self, sql: str, *parameters: object) -> list[Row]:
        """All rows."""

    def rows(self, sql: str, *parameters: object) -> Iterator[Row]:
        """All rows, of which only a few are in memory at a time; within a transaction, one such question at a time."""

    def run(self, sql: str, *parameters: object) -> None:
        """Runs a statement."""

    def many(self, sql: str, rows: Iterable[Row]) -> None:
        """Runs a statement once for each row."""

    def add(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Adds rows of an earlier database, as fast as it can, with their ids: those that are generated go on after them."""

    def take_head(self) -> Head:
        """Begins a transaction of the only writer among all processes, and reads the head."""

    def read(self, question: Callable[[], T]) -> T:
        """Answers a question within a transaction that sees one moment."""

    def commit(self, *, news: bool) -> None:
        """Ends the transaction; with news, it moved the head, and others are told."""

    def rollback(self) -> None:
        """Undoes the transaction, if one is open. A connection that broke is made anew where it is needed next."""

    def close(self) -> None:
        """Closes the connection."""


class Tail(Protocol):
    """How a process hears of what others commit."""

    connection: Connection

    def wait(self) -> bool:
        """Waits a moment for a commit; whether there may have been one since `caught_up`."""

    def caught_up(self) -> None:
        """All is known that was committed before the last `wait` returned."""


class Database(Protocol):
    """The database of one registry. Errors are Peewee's."""

    description: str
    """Its kind and version, for who operates it."""

    place: str
    """Where it is, without a password."""

    def one(self, sql: str, *parameters: object) -> Row | None:
        """The first row, within `read`."""

    def all(self, sql: str, *parameters: object) -> list[Row]:
        """All rows, within `read`."""

    def read(self, question: Callable[[], T]) -> T:
        """Answers a question within one transaction, which sees one moment, on a connection of the pool."""

    def now(self) -> int:
        """The clock by which events and leases go, within `read`: microseconds since the epoch."""

    def connect_writer(self, *, ahead: bool = False) -> Connection:
        """A connection of one's own. One that is ahead need not wait for what gives no rows: what goes wrong with that is raised
        by whatever comes after it, by `commit` at the latest.
        """

    def hold(self) -> Connection:
        """A connection that has taken the head for as long as it takes; StorageUnavailable if a server uses the database."""

    def tail(self) -> Tail:
        """What tells one thread of others' commits."""

    def migrating(self) -> AbstractContextManager[None]:
        """Nobody else changes its schema meanwhile."""

    def close_all(self) -> None:
        """Closes the connections of the pool."""

    def abandon(self) -> None:
        """Makes whatever waits for the database fail at once, on all connections: for a process that ends."""
