"""A PostgreSQL server of the tests' own, as Debian has it, on a port and in a folder of its own."""

import os
import pwd
import select
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from free_ports import free_port

START_SECONDS = 60
USER = "postgres"  # the server refuses to run as root


class PostgresServer:
    """A server that can be killed, stopped and started again. Its port stays the same."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="podium-postgres."))
        # Not Popen's `user`: that forks, and in the child gRPC's threads begin anew, and may crash before it is PostgreSQL.
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            account = pwd.getpwnam(USER)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self._as_user = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        self.port = free_port()
        made = [program("initdb"), "-D", self.folder / "data", "-U", "podium", "-A", "trust", "--no-locale", "-E", "UTF8", "-N"]
        subprocess.run([*self._as_user, *made], check=True, capture_output=True, cwd=self.folder)
        self.start()

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        self._log = (self.folder / "log").open("ab")
        command = [
            *self._as_user, program("postgres"), "-D", self.folder / "data", "-p", str(self.port), "-k", self.folder,
            "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300",
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log, cwd=self.folder)
        answers = [program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        ready = f"until {' '.join(map(str, answers))}; do sleep 0.05; done"
        subprocess.run(["sh", "-c", ready], check=True, timeout=START_SECONDS)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, name: str, address: str = "") -> str:
        """The URL of a database; by way of another address."""
        return f"postgresql://podium@{address or self.address}/{name}"

    def run(self, sql: str, *parameters: object, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Runs a statement of an administrator; its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql, parameters)  # type: ignore[call-overload]  # the tests' own
            return cursor.fetchall() if cursor.description else []

    def end(self, number: int = signal.SIGINT) -> None:
        """Ends it: SIGINT at once and in order, SIGQUIT as a crash does."""
        self.process.send_signal(number)
        self.process.wait(START_SECONDS)
        self._log.close()

    def pause(self) -> None:
        """Lets it stand still with all its connections, as a machine does that hangs."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)  # from now on it begins no more
        self._signal_children(signal.SIGSTOP)

    def go_on(self) -> None:
        """Lets it go on."""
        self._signal_children(signal.SIGCONT)
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Ends all of its processes at once, as a power cut does."""
        self.pause()
        ends = [os.pidfd_open(child) for child in self.children()]
        self._signal_children(signal.SIGKILL)
        self.process.kill()
        self.process.wait(START_SECONDS)
        for end in ends:
            select.select([end], [], [], START_SECONDS)
            os.close(end)
        self._log.close()

    def children(self) -> list[int]:
        """Its processes but the first: those of connections, and those that work for all."""
        main = self.process.pid
        return [int(child) for child in Path(f"/proc/{main}/task/{main}/children").read_text().split()]

    def _signal_children(self, number: int) -> None:
        for child in self.children():
            with suppress(ProcessLookupError):
                os.kill(child, number)

    def keep(self, name: str) -> None:
        """Copies its data, while it does not run."""
        subprocess.run(["cp", "-a", self.folder / "data", self.folder / name], check=True)

    def replace(self, name: str, aside: str) -> None:
        """Its data becomes a copy of what was kept, while it does not run; what it was is kept under another name."""
        (self.folder / "data").rename(self.folder / aside)
        subprocess.run(["cp", "-a", self.folder / name, self.folder / "data"], check=True)

    def close(self) -> None:
        """Ends it, and removes all of it."""
        if self.process.returncode is None:
            self.end()
        shutil.rmtree(self.folder)


def program(name: str) -> Path:
    """A program of PostgreSQL, which Debian does not put on the path."""
    found = shutil.which(name)
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    if not found and not places:
        raise FileNotFoundError(f"{name} is missing. On Debian: apt-get install postgresql")
    return Path(found) if found else places[-1]


@cache
def shared_server() -> PostgresServer:
    """The one of all tests of this process."""
    return PostgresServer()
