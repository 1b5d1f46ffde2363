"""podium alias: the movable names of versions."""

from typing import TYPE_CHECKING

import click

from podium.cli.output import Column, numbered, safe, short, when
from podium.cli.session import Group, Session, pass_session
from podium.cli.values import reason_option
from podium.v1.aliases_pb2 import Alias

if TYPE_CHECKING:
    from podium import Registry

MAX_DIGITS = 18  # of a number

_COLUMNS: tuple[Column[Alias], ...] = (
    Column("ALIAS", lambda alias: alias.alias),
    Column("VERSION", numbered),
    Column("CHANGED", lambda alias: when(alias.update_time)),
    Column("DIGEST", lambda alias: short(alias.digest)),
)

_expect_option = click.option(
    "--expect",
    metavar="V",
    help="Only if it points to this version or number now (0: there is none); else exit code 5.",
)


@click.group(cls=Group)
def alias() -> None:
    """Set, move, remove and list the aliases of a model."""


@alias.command("set")
@click.argument("name")
@click.argument("alias")
@click.argument("version")
@_expect_option
@reason_option
@pass_session
def set_alias(session: Session, /, name: str, alias: str, version: str, *, expect: str | None, reason: str) -> None:
    """Point ALIAS of the model NAME at VERSION: 1.4.0, 7 (the number), @challenger, '#staging' or @latest."""
    with session.registry() as registry:
        expected = _number(registry, name, expect)
        reply = registry.set_alias(name, alias, version, expected_number=expected, reason=reason)
    moved = reply.previous_number not in (0, reply.alias.number)
    was = f", was {reply.previous_number}" if moved else ""
    session.answer(reply, f"{safe(name)}@{safe(alias)} → {numbered(reply.alias)}{was}")


@alias.command("rm")
@click.argument("name")
@click.argument("alias")
@_expect_option
@reason_option
@pass_session
def remove_alias(session: Session, /, name: str, alias: str, *, expect: str | None, reason: str) -> None:
    """Remove ALIAS of the model NAME."""
    with session.registry() as registry:
        expected = _number(registry, name, expect)
        reply = registry.delete_alias(name, alias, expected_number=expected, reason=reason)
    session.answer(reply, f"{safe(name)}@{safe(alias)} removed, was {reply.previous_number}")


@alias.command("ls")
@click.argument("name")
@pass_session
def list_aliases(session: Session, /, name: str) -> None:
    """List the aliases of the model NAME."""
    with session.registry() as registry:
        session.rows(registry.aliases(name), _COLUMNS)


def _number(registry: "Registry", name: str, version: str | None) -> int | None:
    if version is None:
        return None
    if version.isdecimal() and len(version) <= MAX_DIGITS:
        return int(version)
    sign = "" if version.startswith(("@", "#")) else ":"
    return registry.resolve(f"{name}{sign}{version}").number
