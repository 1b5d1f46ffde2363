"""The mark of a copy that podium migrate has not finished: a table that is made before all others, and dropped at the very end."""

from typing import Any, NamedTuple

from podium_server.database.base import Connection

_TABLE = "unfinished_copy"


class Copied(NamedTuple):
    """What is copied: a registry as of a position."""

    registry_uid: str
    position: str


def set_mark(database: Any, copied: Copied) -> None:  # Peewee is untyped
    """Marks a database that has no tables yet."""
    with database.connection_context(), database.atomic():
        database.execute_sql(f"CREATE TABLE {_TABLE} (registry_uid TEXT NOT NULL, position TEXT NOT NULL)")
        database.execute_sql(f"INSERT INTO {_TABLE} VALUES ({database.param}, {database.param})", copied)


def read_mark(database: Any) -> Copied | None:  # Peewee is untyped
    """What the database is an unfinished copy of; None if it is none."""
    with database.connection_context():
        return Copied(*database.one(f"SELECT registry_uid, position FROM {_TABLE}")) if database.table_exists(_TABLE) else None


def drop_mark(connection: Connection) -> None:
    """Says that the copy is whole."""
    connection.run(f"DROP TABLE {_TABLE}")
