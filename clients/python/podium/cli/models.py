"""podium models and podium model: the models, a new one, a changed one."""

from typing import Any

import click

from podium.cli.output import Column, safe, when, word
from podium.cli.session import Command, Group, Session, pass_session
from podium.cli.values import (
    check_changes,
    description_option,
    etag_option,
    label_filter,
    label_option,
    lifecycle_option,
    remove_label_option,
    strategy_option,
)
from podium.v1.models_pb2 import Model, VersionStrategy

_COLUMNS: tuple[Column[Model], ...] = (
    Column("NAME", lambda model: model.name),
    Column("VERSIONS", lambda model: model.last_number, right=True),
    Column("STRATEGY", lambda model: word(VersionStrategy, model.strategy)),
    Column("LIFECYCLE", lambda model: model.lifecycle),
    Column("CHANGED", lambda model: when(model.update_time)),
    Column("DESCRIPTION", lambda model: " ".join(model.description.split())[:60]),
)


@click.command(cls=Command)
@click.option("--prefix", "name_prefix", default="", metavar="TEXT", help="Only names that start with this.")
@label_filter
@pass_session
def models(session: Session, /, name_prefix: str, labels: dict[str, str]) -> None:
    """List the models."""
    with session.registry() as registry:
        session.rows(registry.models(name_prefix=name_prefix, labels=labels), _COLUMNS)


@click.group(cls=Group)
def model() -> None:
    """Create a model, or change what may change of one."""


@model.command
@click.argument("name")
@description_option
@label_option
@strategy_option
@lifecycle_option
@pass_session
def create(session: Session, /, name: str, description: str | None, **given: Any) -> None:
    """Create the model NAME. Its strategy and its lifecycle are fixed then."""
    with session.registry() as registry:
        made = registry.create_model(name, description=description or "", **given)
    session.answer(made, f"{safe(made.name)}  {word(VersionStrategy, made.strategy)}, lifecycle {safe(made.lifecycle)}")


@model.command
@click.argument("name")
@description_option
@label_option
@remove_label_option
@etag_option
@pass_session
def edit(session: Session, /, name: str, **changes: Any) -> None:
    """Change the description or labels of the model NAME."""
    check_changes(changes)
    with session.registry() as registry:
        changed = registry.edit_model(name, **changes)
    session.answer(changed, f"{safe(changed.name)}  changed")
