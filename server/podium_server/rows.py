"""What a row is: how it becomes its message, and the constant SQL by which the rows that every call needs are read and written.

Times are microseconds since the epoch, UTC: integers compare, index and travel alike on every database.
"""

from functools import cache
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from peewee import DatabaseProxy, Metadata, SqliteDatabase
from peewee import Model as PeeweeModel

database = DatabaseProxy()

M = TypeVar("M", bound=Message)


def timestamp(microseconds: int) -> Timestamp:
    """A time column as the well-known type."""
    return Timestamp(seconds=microseconds // 1_000_000, nanos=microseconds % 1_000_000 * 1000)


R = TypeVar("R", bound="Table")


class _Metadata(Metadata):
    """Lets a declaration say WITHOUT ROWID, which only SQLite knows."""

    @property
    def without_rowid(self) -> bool:
        return self._without_rowid and isinstance(self.database.obj, SqliteDatabase)

    @without_rowid.setter
    def without_rowid(self, wanted: bool) -> None:
        self._without_rowid = wanted


class Table(PeeweeModel):
    """A row, and how it becomes its message."""

    __data__: dict[str, Any]

    def to_proto(self, message: type[M], **more: Any) -> M:
        """The message of that type, from the columns named as its fields and from `more`."""
        fields = message.DESCRIPTOR.fields_by_name
        values = {name: value for name, value in self.__data__.items() if name in fields and name not in more}
        for name in ("create_time", "update_time", "time"):
            if values.get(name) is not None:
                values[name] = timestamp(values[name])
        return message(**values, **more)

    class Meta:
        database = database
        model_metadata_class = _Metadata
        legacy_table_names = False


class Reader(Protocol):
    """Anything that answers constant SQL: the writer's connection, a transaction, the pool."""

    def one(self, sql: str, *parameters: object) -> tuple[Any, ...] | None:
        """The first row."""

    def all(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """All rows."""


def get(reader: Reader, table: type[R], condition: str, *parameters: object) -> R | None:
    """The first row of a table for which a constant SQL condition holds. For what every mutation runs: Peewee builds no query."""
    row = reader.one(_select_statement(table, condition), *parameters)
    return None if row is None else _instance(table, row)


def find(reader: Reader, table: type[R], condition: str, *parameters: object) -> list[R]:
    """The rows of a table for which a constant SQL condition holds."""
    return [_instance(table, row) for row in reader.all(_select_statement(table, condition), *parameters)]


def add(reader: Reader, table: type[R], *values: object) -> R:
    """Inserts a row, the values of all columns but its id, and returns it with that."""
    row = reader.one(_add_statement(table), *values)
    assert row is not None
    return _instance(table, row)


@cache
def insert_statement(table: type[Table], count: int = 1) -> str:
    """Inserts that many rows: all columns but a generated id, in the order of their declaration."""
    columns = [column for column in quoted_columns(table) if not (column == '"id"' and table._meta.auto_increment)]
    row = f"({', '.join('?' * len(columns))})"
    return f'INSERT INTO "{table._meta.table_name}" ({", ".join(columns)}) VALUES {", ".join([row] * count)}'


@cache
def _add_statement(table: type[Table]) -> str:
    return f"{insert_statement(table)} RETURNING {', '.join(quoted_columns(table))}"


@cache
def _select_statement(table: type[Table], condition: str) -> str:
    return f'SELECT {", ".join(quoted_columns(table))} FROM "{table._meta.table_name}" WHERE {condition}'


def quoted_columns(table: type[Table]) -> list[str]:
    """All columns, in the order of their declaration."""
    return [f'"{field.column_name}"' for field in table._meta.sorted_fields]


def quoted_key(table: type[Table]) -> list[str]:
    """The columns of the primary key."""
    return [f'"{field.column_name}"' for field in table._meta.get_primary_keys()]  # type: ignore[no-untyped-call]  # Peewee's


def _instance(table: type[R], row: tuple[Any, ...]) -> R:
    instance = table()
    instance.__data__ = dict(zip(table._meta.sorted_field_names, row, strict=True))
    return instance
