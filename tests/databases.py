"""The database of a server under test, from outside: what is in it, and how it becomes an older copy of itself.

`PODIUM_TEST_DATABASE=postgresql` runs the same tests on PostgreSQL.
"""

import hashlib
import os
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import apsw
import postgres
import psycopg

BUSY_MILLISECONDS = 60_000
ON_POSTGRES = os.environ.get("PODIUM_TEST_DATABASE") == "postgresql"


class Witness(Protocol):
    """A connection that stays open and only looks."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]: ...

    def digest(self) -> str:
        """Of every row."""

    def close(self) -> None: ...


class SqliteFile:
    """The file in a data folder."""

    is_in_folder = True

    def __init__(self, data: Path) -> None:
        self.path = data / "registry.db"
        self.options: tuple[str, ...] = ()
        self.url = f"sqlite://{self.path}"

    def run(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Runs a statement by itself; its rows."""
        with closing(apsw.Connection(str(self.path))) as connection:
            return connection.execute(sql, parameters).fetchall()

    def look(self) -> Witness:
        """Opens a connection that only looks."""
        return _SqliteWitness(self.path)

    def back_up(self, folder: Path) -> None:
        """Keeps its state of now in a folder, while servers use it."""
        folder.mkdir(exist_ok=True)
        _copy(self.path, folder / self.path.name)

    def restore(self, folder: Path) -> None:
        """Falls back to a state that was kept, while servers use it."""
        _copy(folder / self.path.name, self.path)

    def replace(self, folder: Path) -> None:
        """The same while no server uses it."""
        for file in self.path.parent.glob(f"{self.path.name}*"):
            file.unlink()
        self.restore(folder)


class _SqliteWitness:
    def __init__(self, path: Path) -> None:
        self._connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        self._seen: tuple[int | None, str] = (None, "")

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql).fetchall()

    def digest(self) -> str:
        version = self._connection.pragma("data_version")
        if version != self._seen[0]:
            self._seen = (version, _digest(self, "SELECT name FROM sqlite_schema WHERE type = 'table'"))
        return self._seen[1]

    def close(self) -> None:
        self._connection.close()


def _copy(source: Path, target: Path) -> None:
    """Makes one database equal another, in one transaction."""
    with closing(apsw.Connection(str(source))) as read, closing(apsw.Connection(str(target))) as written:
        written.set_busy_timeout(BUSY_MILLISECONDS)
        with written.backup("main", read, "main") as copying:
            copying.step()


class PostgresBase:
    """The database that stands for a data folder on a server of the tests' own."""

    is_in_folder = False

    def __init__(self, data: Path) -> None:
        self.server = postgres.shared_server()
        self.name = "d" + hashlib.sha256(str(data).encode()).hexdigest()[:16]
        self.url = self.server.url(self.name)
        self.options = ("--database", self.url)
        if not self.server.run("SELECT 1 FROM pg_database WHERE datname = %s", self.name):
            self._make(self.name)

    def run(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """See SqliteFile.run."""
        return self.server.run(sql.replace("?", "%s"), *parameters, database=self.name)

    def look(self) -> Witness:
        """See SqliteFile.look."""
        return _PostgresWitness(self.url)

    def back_up(self, folder: Path) -> None:
        """See SqliteFile.back_up."""
        folder.mkdir(exist_ok=True)
        command = [postgres.program("pg_dump"), "--format=custom", "--file", folder / "registry.dump", self.url]
        subprocess.run(command, check=True)

    def restore(self, folder: Path) -> None:
        """See SqliteFile.restore. Its connections are cut, and the other database takes the name."""
        other = f"{self.name}_other"
        self.server.run(f'DROP DATABASE IF EXISTS "{other}" WITH (FORCE)')
        self._make(other)
        command = [postgres.program("pg_restore"), "--dbname", self.server.url(other), folder / "registry.dump"]
        subprocess.run(command, check=True)
        self.server.run(f'ALTER DATABASE "{self.name}" ALLOW_CONNECTIONS false')
        self.server.run(f'DROP DATABASE "{self.name}" WITH (FORCE)')
        self.server.run(f'ALTER DATABASE "{other}" RENAME TO "{self.name}"')

    replace = restore

    def clear(self) -> None:
        """Makes it empty, while no server uses it."""
        self.server.run(f'DROP DATABASE "{self.name}" WITH (FORCE)')
        self._make(self.name)

    def _make(self, name: str) -> None:
        self.server.run(f'CREATE DATABASE "{name}"')


class _PostgresWitness:
    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql).fetchall()  # type: ignore[call-overload, no-any-return]  # the tests' own

    def digest(self) -> str:
        return _digest(self, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")

    def close(self) -> None:
        self._connection.close()


def _digest(witness: Witness, names: str) -> str:
    digest = hashlib.sha256()
    for (table,) in witness.rows(names):
        for row in sorted(map(repr, witness.rows(f'SELECT * FROM "{table}"'))):
            digest.update(row.encode())
    return digest.hexdigest()


def database_of(data: Path) -> SqliteFile | PostgresBase:
    """The database of the server over a folder."""
    return PostgresBase(data) if ON_POSTGRES else SqliteFile(data)
