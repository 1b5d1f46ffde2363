"""The floor of a mutation: the rows that the server wrote for it, written again by one connection, one durable transaction each.

The rows are taken from real calls: before and after each, the registry's database is compared, and the differences become
constant SQL. They are replayed into a copy of the database as it was before, through apsw, with the server's own settings:
WAL, synchronous=FULL, BEGIN IMMEDIATE. Nothing is parsed, checked, built or looked up.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw

WARMUP = 20
# As the server's own connections have them (podium_server.database).
PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": "full",
    "foreign_keys": 1,
    "cache_size": -65536,
    "wal_autocheckpoint": 4000,
}

Statement = tuple[str, tuple[object, ...]]


class Replay:
    """The transactions of a series of calls, and the database that they start from."""

    def __init__(self, database: Path, folder: Path, name: str) -> None:
        """Takes the database as it is now; the server may be running but must be idle."""
        self._source = apsw.Connection(str(database))
        self._before = folder / f"{name}.before.db"
        self._copy = folder / f"{name}.replayed.db"
        self._transactions: list[list[Statement]] = []
        with apsw.Connection(str(self._before)) as copy:
            _copy(self._source, copy, "main")
        copy.close()

    def record(self, call: Callable[[], object]) -> None:
        """Makes a call and keeps what it changed."""
        databases = apsw.Connection(":memory:")
        databases.execute("ATTACH ':memory:' AS earlier")
        _copy(self._source, databases, "earlier")
        call()
        _copy(self._source, databases, "main")
        self._transactions.append(list(_changes(databases)))
        databases.close()

    @property
    def rows(self) -> float:
        """How many rows one call changes."""
        return statistics.median(map(len, self._transactions))

    def run(self) -> list[float]:
        """Replays the transactions into a fresh copy and returns how many milliseconds each took; the first few warm up."""
        for leftover in self._copy.parent.glob(self._copy.name + "*"):
            leftover.unlink()
        self._copy.write_bytes(self._before.read_bytes())
        connection = apsw.Connection(str(self._copy))
        for name, value in PRAGMAS.items():
            connection.execute(f"PRAGMA {name} = {value}")
        took = []
        for transaction in self._transactions:
            began = time.perf_counter()
            connection.execute("BEGIN IMMEDIATE")
            for sql, values in transaction:
                connection.execute(sql, values)
            connection.execute("COMMIT")
            took.append((time.perf_counter() - began) * 1e3)
        connection.close()
        return took[WARMUP:]


def _changes(databases: apsw.Connection) -> Iterator[Statement]:
    """What turns the earlier database into the main one, in an order that foreign keys allow."""
    for (table,) in databases.execute("SELECT name FROM main.sqlite_master WHERE type = 'table' ORDER BY rowid").fetchall():
        session = apsw.Session(databases, "main")
        session.attach(table)
        session.diff("earlier", table)
        columns = [row[1] for row in databases.execute(f'PRAGMA main.table_info("{table}")')]
        yield from (_statement(change, columns) for change in apsw.Changeset.iter(session.changeset()))
        session.close()


def _copy(source: apsw.Connection, target: apsw.Connection, schema: str) -> None:
    with target.backup(schema, source, "main") as backup:
        backup.step(-1)


def _statement(change: apsw.TableChange, columns: list[str]) -> Statement:
    old, new = change.old or (), change.new or ()
    keys = [place for place in range(len(columns)) if place in change.pk_columns]
    condition = " AND ".join(f'"{columns[place]}" = ?' for place in keys)
    if change.op == "INSERT":
        return f'INSERT INTO "{change.name}" VALUES ({", ".join("?" * len(columns))})', tuple(new)
    if change.op == "DELETE":
        return f'DELETE FROM "{change.name}" WHERE {condition}', tuple(old[place] for place in keys)
    changed = [place for place, value in enumerate(new) if value is not apsw.no_change]
    assignments = ", ".join(f'"{columns[place]}" = ?' for place in changed)
    values = (*(new[place] for place in changed), *(old[place] for place in keys))
    return f'UPDATE "{change.name}" SET {assignments} WHERE {condition}', values
