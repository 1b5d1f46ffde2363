"""Copies the rows of every table in the order of their keys, and compares them.

The greatest key in the copy tells where to go on, so nothing else is written down; a batch that was cut off is not there.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from typing import NamedTuple

from peewee import PeeweeException

from podium_server.database import Connection, Row, storage_error
from podium_server.errors import one_line
from podium_server.moving.errors import CopyFailed
from podium_server.rows import Table, insert_statement, quoted_columns, quoted_key
from podium_server.tables import TABLES, Head

BATCH_ROWS = 5_000
BATCH_BYTES = 8 << 20

Tell = Callable[[int], None]
"""Called with how many more are done."""


class Compared(NamedTuple):
    """How many rows of a table are the same, and the key of the first that is not; empty if all are."""

    table: str
    rows: int
    difference: str


def count_rows(connection: Connection) -> Row:
    """How many rows each table has."""
    counts = connection.one("SELECT " + ", ".join(f'(SELECT count(*) FROM "{table._meta.table_name}")' for table in TABLES))
    assert counts is not None
    return counts


def adopt_head(source: Connection, copy: Connection) -> None:
    """Gives the copy the head of its source, in place of all that a new registry begins with. Does nothing the next time."""
    (head,) = _in_order(source, Head)
    with _naming(Head), _writing(copy):
        if list(_in_order(copy, Head)) != [head]:
            for table in reversed(TABLES):
                copy.run(f'DELETE FROM "{table._meta.table_name}"')
            copy.run(insert_statement(Head), *head)


def copy_rows(source: Connection, copy: Connection, counts: Row, tell: Tell) -> None:
    """Copies what is not there yet, of as many rows as `count_rows` said."""
    for table, count in zip(TABLES, counts, strict=True):
        with _naming(table):
            new = 0
            for batch in _batches(_in_order(source, table, _last_key(copy, table))):
                with _writing(copy):
                    copy.add(table._meta.table_name, quoted_columns(table), batch)
                tell(len(batch))
                new += len(batch)
            tell(count - new)


def compare_rows(source: Connection, copy: Connection, tell: Tell) -> list[Compared]:
    """Compares every value of every row."""
    return copy.read(lambda: [_compare(source, copy, table, tell) for table in TABLES])


def _compare(source: Connection, copy: Connection, table: type[Table], tell: Tell) -> Compared:
    same = 0
    with _naming(table):
        for row, other in zip_longest(_in_order(source, table), _in_order(copy, table)):
            if row != other:
                return Compared(table._meta.table_name, same, _key_text(table, row or other))
            same += 1
            if same % BATCH_ROWS == 0:
                tell(BATCH_ROWS)
    tell(same % BATCH_ROWS)
    return Compared(table._meta.table_name, same, "")


def _in_order(connection: Connection, table: type[Table], after: Row = ()) -> Iterator[Row]:
    """The rows of a table, or those after a key. Text sorts by its bytes on every database."""
    key = ", ".join(quoted_key(table))
    where = f"WHERE ({key}) > ({', '.join('?' * len(after))})" if after else ""
    columns = ", ".join(quoted_columns(table))
    return connection.rows(f'SELECT {columns} FROM "{table._meta.table_name}" {where} ORDER BY {key}', *after)


def _last_key(connection: Connection, table: type[Table]) -> Row:
    key = quoted_key(table)
    order = ", ".join(f"{column} DESC" for column in key)
    return connection.one(f'SELECT {", ".join(key)} FROM "{table._meta.table_name}" ORDER BY {order} LIMIT 1') or ()


def _key_text(table: type[Table], row: Row) -> str:
    values = dict(zip(quoted_columns(table), row, strict=True))
    return ", ".join(str(values[column]) for column in quoted_key(table))


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """A few rows, or the one that is as large."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if len(batch) == BATCH_ROWS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


@contextmanager
def _writing(copy: Connection) -> Iterator[None]:
    """One transaction. It waits for the last one of a process that was killed, so that nothing comes after what was seen."""
    copy.take_head()
    try:
        yield
        copy.commit(news=False)
    except BaseException:
        copy.rollback()
        raise


@contextmanager
def _naming(table: type[Table]) -> Iterator[None]:
    """Says which table it was that failed."""
    try:
        yield
    except PeeweeException as error:
        told = f"the table {table._meta.table_name} cannot be copied: {one_line(error)}"
        known = storage_error(error)
        raise type(known)(told) if known else CopyFailed(told) from error
