"""The settings of a server: one frozen dataclass, read from the command line."""

import argparse
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from podium_server.errors import InvalidArgument


@dataclass(frozen=True)
class Settings:
    """Where a server keeps its data and where it listens."""

    data: Path
    database: str
    blobs: str
    listen: str
    insecure: bool = False
    log_level: str = "info"
    grace_seconds: float = 30.0
    heartbeat_seconds: float = 10.0

    @classmethod
    def parse(cls, arguments: list[str] | None = None) -> "Settings":
        """Reads the command line; exits with a usage line if it is not right."""
        parser = argparse.ArgumentParser(
            prog="podium serve", usage=argparse.SUPPRESS, description="Serves the registry kept in a folder."
        )
        parser.add_argument("--data", type=Path, default=Path("podium-data"), metavar="DIR", help="the folder")
        parser.add_argument(
            "--database", metavar="URL", help="sqlite:///PATH, or postgresql://… (default: registry.db in the folder)"
        )
        parser.add_argument("--blobs", metavar="URL", help="file:///DIR, or gs://BUCKET/PREFIX (default: blobs in the folder)")
        where = parser.add_mutually_exclusive_group()
        where.add_argument("--listen", default="127.0.0.1:7070", metavar="HOST:PORT", help="a loopback address")
        where.add_argument("--insecure-listen", metavar="HOST:PORT", help="any address, open to all who reach it")
        parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
        parser.add_argument("--grace", type=float, default=30.0, metavar="SECONDS", help="for transfers at the end")
        parser.add_argument("--heartbeat", type=float, default=10.0, metavar="SECONDS", help="the longest silence of a watch")
        given = parser.parse_args(arguments)
        settings = cls(
            given.data,
            given.database or (given.data / "registry.db").absolute().as_uri().replace("file:", "sqlite:", 1),
            given.blobs or (given.data / "blobs").resolve().as_uri(),
            given.insecure_listen or given.listen,
            bool(given.insecure_listen),
            given.log_level,
            given.grace,
            given.heartbeat,
        )
        try:
            settings.check()
        except InvalidArgument as error:
            parser.error(error.message)
        return settings

    def check(self) -> None:
        """Refuses what cannot be, and an address that others can reach without having been asked to."""
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise InvalidArgument(f"{self.listen!r} is not HOST:PORT")
        if not 0.01 <= self.heartbeat_seconds <= 3600:
            raise InvalidArgument("--heartbeat is from 0.01 to 3600 seconds")
        if not self.insecure and not _is_loopback(host.strip("[]")):
            raise InvalidArgument(f"{host} can be reached by others and there is no access control yet: use --insecure-listen")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
