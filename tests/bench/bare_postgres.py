"""The floor of a mutation on PostgreSQL: the rows that the server wrote for it, written again by a bare psycopg client.

The rows are taken from real calls: those of which PostgreSQL says, by `xmin`, that a call wrote them. They are replayed into a copy
of the database as it was before, on the same server, one durable transaction each: BEGIN, one INSERT a table, one UPDATE a row,
COMMIT, each of them a prepared statement and a round trip. Nothing is parsed, checked, built or looked up.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
from bare_sqlite import WARMUP
from databases import PostgresBase
from psycopg import sql

Row = tuple[Any, ...]
Statement = tuple[sql.Composed, list[object]]

# In the order in which they were made, so that foreign keys hold; with the places of the columns of the primary key.
_TABLES = """
    SELECT t.relname, array(SELECT attname::text FROM pg_attribute WHERE attrelid = t.oid AND attnum > 0 ORDER BY attnum),
        array(SELECT unnest(i.indkey)::int - 1)
    FROM pg_class t JOIN pg_index i ON i.indrelid = t.oid AND i.indisprimary
    WHERE t.relnamespace = 'public'::regnamespace ORDER BY t.oid
"""


class Table:
    """A table, and which rows of it there were, by their keys."""

    def __init__(self, name: str, columns: list[str], key: list[int]) -> None:
        self._name = sql.Identifier(name)
        self._columns = [sql.Identifier(column) for column in columns]
        self._key = key
        self._known: set[Row] = set()
        self.news = f'SELECT * FROM "{name}" WHERE xmin::text::bigint > ?'

    def changes(self, rows: list[Row]) -> Iterator[Statement]:
        """The statements that write rows, of which some are there already."""
        new = [row for row in rows if self._key_of(row) not in self._known]
        yield from (self._update(row) for row in rows if self._key_of(row) in self._known)
        if new:
            yield self._insert(new)
        self._known.update(map(self._key_of, new))

    def _key_of(self, row: Row) -> Row:
        return tuple(row[place] for place in self._key)

    def _insert(self, rows: list[Row]) -> Statement:
        marks = sql.SQL("({})").format(sql.SQL(", ").join([sql.Placeholder()] * len(self._columns)))
        statement = sql.SQL("INSERT INTO {} VALUES {}").format(self._name, sql.SQL(", ").join([marks] * len(rows)))
        return statement, [value for row in rows for value in row]

    def _update(self, row: Row) -> Statement:
        def equals(places: list[int]) -> list[sql.Composed]:
            return [sql.SQL("{} = %s").format(self._columns[place]) for place in places]

        rest = [place for place in range(len(self._columns)) if place not in self._key]
        statement = sql.SQL("UPDATE {} SET {} WHERE {}").format(
            self._name, sql.SQL(", ").join(equals(rest)), sql.SQL(" AND ").join(equals(self._key))
        )
        return statement, [row[place] for place in (*rest, *self._key)]


class Replay:
    """The transactions of a series of calls, and the database that they start from."""

    def __init__(self, database: PostgresBase, folder: Path, name: str) -> None:
        """Takes the database as it is now; servers may be running but must be idle."""
        self._database = database
        self._before = folder / f"{name}.before"
        self._copy = PostgresBase(folder / f"{name}.replayed")
        self._tables = [Table(*row) for row in database.run(_TABLES)]
        self._seen = 0
        self._rows: list[int] = []
        self._transactions: list[list[Statement]] = []
        database.back_up(self._before)
        list(self._changes())

    def record(self, call: Callable[[], object]) -> None:
        """Makes a call and keeps what it wrote."""
        call()
        self._transactions.append(list(self._changes()))

    @property
    def rows(self) -> float:
        """How many rows one call writes."""
        return statistics.median(self._rows[1:])

    def run(self) -> list[float]:
        """Replays the transactions into a fresh copy and returns how many milliseconds each took; the first few warm up."""
        self._copy.restore(self._before)
        took = []
        with psycopg.connect(self._copy.url, autocommit=True) as connection:
            for transaction in self._transactions:
                began = time.perf_counter()
                connection.execute("BEGIN")
                for statement, values in transaction:
                    connection.execute(statement, values, prepare=True)
                connection.execute("COMMIT")
                took.append((time.perf_counter() - began) * 1e3)
        return took[WARMUP:]

    def _changes(self) -> Iterator[Statement]:
        """What was written since this was asked last."""
        (now,) = self._database.run("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1")[0]
        found = [(table, self._database.run(table.news, self._seen)) for table in self._tables]
        self._seen = now
        self._rows.append(sum(len(rows) for _, rows in found))
        for table, rows in found:
            yield from table.changes(rows)
