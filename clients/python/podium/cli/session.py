"""What every command shares: which server, who asks, and whether to answer in JSON."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from podium import Registry
    from podium.cli.output import Column

Row = TypeVar("Row")


@dataclass
class Session:
    """The options that may stand before or after a command's name, and the two ways to print an answer."""

    url: str | None = None
    actor: str | None = None
    json: bool = False

    def registry(self, *, direct: bool = False) -> "Registry":
        """The server that --url names, else PODIUM_URL."""
        import podium

        return podium.connect(self.url, actor=self.actor, direct=direct)

    def answer(self, document: object, text: str | Callable[[], str]) -> None:
        """Prints one thing: a JSON object on one line, or the text."""
        from podium.cli.output import to_json

        if self.json:
            click.echo(to_json(document))
        else:
            click.echo(text if isinstance(text, str) else text())

    def rows(
        self,
        rows: "Iterable[Row]",
        columns: "Sequence[Column[Row]]",
        document: Callable[["Row"], object] = lambda message: message,
    ) -> None:
        """Prints many things as they come: a JSON object on a line for each, or a table."""
        from podium.cli.output import print_table, to_json

        if self.json:
            for row in rows:
                click.echo(to_json(document(row)))
        else:
            print_table(rows, columns)


direct_option = click.option("--direct", is_flag=True, help="Read the files from where the server keeps them, if it signs URLs.")

pass_session = click.make_pass_decorator(Session, ensure=True)


class Command(click.Command):
    """A command that takes the shared options too."""

    def __init__(self, name: str | None, *, params: list[click.Parameter] | None = None, **attributes: Any) -> None:
        super().__init__(name, params=[*(params or []), *shared_options()], **attributes)


class Group(click.Group):
    """A group whose commands take the shared options."""

    command_class = Command

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **{"no_args_is_help": False, **attributes})  # no command: an error of one line


def shared_options() -> list[click.Parameter]:
    return [
        _option("--url", metavar="HOST:PORT[,...]", help="The server, or several; else $PODIUM_URL, else 127.0.0.1:7070."),
        _option("--actor", metavar="WHO", help="Who does it, for the events; else USER@HOST."),
        _option("--json", is_flag=True, help="Print JSON: one object on one line for each thing."),
    ]


def _option(name: str, **attributes: Any) -> click.Option:
    return click.Option([name], expose_value=False, callback=_keep, **attributes)


def _keep(context: click.Context, parameter: click.Parameter, value: object) -> None:
    if value and parameter.name:
        setattr(context.ensure_object(Session), parameter.name, value)
