"""The settings of a server, from a file, the environment and the command line: what comes later in this list wins.

click lays them over one another, for it reads the command line anyway: the file is its map of defaults. Nothing of the server
is imported here, so that `podium serve --help` needs no extra.
"""

import ipaddress
import json
import math
import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

_ENVIRONMENT = "PODIUM_SERVE_"
_PASSWORD = re.compile(r"(?<=://)(?P<user>[^/@:]*):[^/]*@|(?P<key>password=)[^&\s]+", re.IGNORECASE)
_SOURCES = {
    ParameterSource.COMMANDLINE: "command line",
    ParameterSource.ENVIRONMENT: "environment",
    ParameterSource.DEFAULT_MAP: "file",
}


@dataclass(frozen=True)
class Settings:
    """Where a server keeps its data, where it listens, and how it behaves. See `options` for each."""

    data: Path
    database: str
    blobs: str
    listen: str
    workers: int
    insecure: bool
    log_level: str
    log_format: str
    metrics: str
    grace: float
    heartbeat: float

    @classmethod
    def of(cls, context: click.Context) -> "Settings":
        """What was given for `options`, checked: click.UsageError says in a line what is wrong. Ends here for --print-settings."""
        _refuse_unknown((name for name in os.environ if name.startswith(_ENVIRONMENT)), map(_variable, _names()))
        given = {name: context.params[name] for name in _names() - {"config"}}
        for name, url in places_in(given["data"]).items():
            given[name] = given[name] or url
        settings = cls(**given)
        settings._check(context)
        if context.params["print_settings"]:
            settings._print(context)
            context.exit()
        return settings

    def _check(self, context: click.Context) -> None:
        for address in filter(None, (self.listen, self.metrics)):
            self._check_address(address)
        if math.isnan(self.grace + self.heartbeat):  # which is in any range
            raise click.UsageError("--grace and --heartbeat are numbers of seconds")
        for name in ("database", "blobs"):
            if context.get_parameter_source(name) == ParameterSource.COMMANDLINE and has_password(getattr(self, name)):
                raise click.UsageError(f"all users of this machine see a password in --{name}: use {_variable(name)}, or --config")

    def _check_address(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise click.UsageError(f"{address!r} is not HOST:PORT")
        if not self.insecure and not _is_loopback(host.strip("[]")):
            raise click.UsageError(f"{host} can be reached by others and there is no access control yet: add --insecure")

    def _print(self, context: click.Context) -> None:
        """As a file of settings, but for passwords, with where each is from."""
        lines = {name: f"{name} = {json.dumps(_shown(value))}" for name, value in asdict(self).items()}
        width = max(map(len, lines.values()))
        for name, line in lines.items():
            source = context.get_parameter_source(name)
            click.echo(f"{line:<{width}}  # {_SOURCES.get(source, 'default') if source else 'default'}")


def options() -> list[click.Parameter]:
    """The options of `podium serve`: each is a variable of the environment and a key of the file too."""
    return [
        click.Option(
            ["--config"],
            metavar="FILE",
            type=click.Path(dir_okay=False),
            is_eager=True,
            callback=_read_file,
            envvar=_variable("config"),
            help="Reads settings from this TOML file; their names are those of the options, with _ for -.",
        ),
        _option("data", "Where everything is kept.", metavar="DIR", type=click.Path(path_type=Path), default="podium-data"),
        _option("database", "Keeps all but the blobs elsewhere: postgresql://USER@HOST/NAME, or sqlite:///PATH.", metavar="URL"),
        _option("blobs", "Keeps the blobs elsewhere: gs://BUCKET/PREFIX, or file:///DIR.", metavar="URL"),
        _option("listen", "A loopback address; port 0 takes a free one.", metavar="HOST:PORT", default="127.0.0.1:7070"),
        _option("workers", "How many processes serve: as many as cores.", metavar="N", type=click.IntRange(1, 64), default=1),
        _option("insecure", "Listens on any address: whoever reaches it may do everything.", is_flag=True, default=False),
        _option("log-level", "How much stderr tells.", type=click.Choice(["debug", "info", "warning", "error"]), default="info"),
        _option("log-format", "How stderr is written.", type=click.Choice(["text", "json"]), default="text"),
        _option("metrics", "Shows Prometheus metrics here, by HTTP; port 0 takes a free one.", metavar="HOST:PORT", default=""),
        _option("grace", "How long transfers may go on at the end.", metavar="SECONDS", type=click.FloatRange(0, 3600), default=30),
        _option("heartbeat", "The longest silence of a watch.", metavar="SECONDS", type=click.FloatRange(0.01, 3600), default=10),
        click.Option(["--print-settings"], is_flag=True, help="Prints what all this comes to, with where each is from, and ends."),
    ]


def places_in(folder: Path) -> dict[str, str]:
    """The URLs of the database and of the blobs that a data folder has."""
    folder = folder.absolute()
    return {
        "database": folder.joinpath("registry.db").as_uri().replace("file:", "sqlite:", 1),
        "blobs": folder.joinpath("blobs").as_uri(),
    }


def has_password(url: str) -> bool:
    """Whether a URL should not be shown."""
    return _PASSWORD.search(url) is not None


def _option(name: str, text: str, **attributes: Any) -> click.Option:
    return click.Option(
        [f"--{name}"], envvar=_variable(name), help=text, show_default=bool(attributes.get("default")), **attributes
    )


def _variable(name: str) -> str:
    return _ENVIRONMENT + name.replace("-", "_").upper()


def _names() -> set[str]:
    return {"config", *(field.name for field in fields(Settings))}


def _read_file(context: click.Context, _option: click.Parameter, path: str | None) -> None:
    """Makes what the file says the defaults of the other options."""
    if path is None:
        return
    try:
        given = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.UsageError(f"cannot read {path}: {error.strerror if isinstance(error, OSError) else error}") from None
    _refuse_unknown(given, _names() - {"config"}, f"{path}: ")
    context.default_map = given


def _refuse_unknown(given: Iterable[str], known: Iterable[str], where: str = "") -> None:
    """What is misspelled would be left out without a word."""
    known = sorted(known)
    for name in given:
        if name not in known:
            raise click.UsageError(f"{where}there is no setting {name}: there are {', '.join(known)}")


def _shown(value: object) -> object:
    if isinstance(value, str):
        return _PASSWORD.sub(lambda found: f"{found['key']}***" if found["key"] else f"{found['user']}:***@", value)
    return str(value) if isinstance(value, Path) else value


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
