"""How things look: JSON lines, tables, facts, sizes, times, and nothing that a terminal would obey."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click

if TYPE_CHECKING:
    from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

    from podium.v1.aliases_pb2 import Alias
    from podium.v1.resolve_pb2 import Target
    from podium.v1.versions_pb2 import Version

Row = TypeVar("Row")

_ROWS_AT_ONCE = 500


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column of a table: its heading and what it shows of a row."""

    heading: str
    cell: Callable[[Row], object]
    right: bool = False


def to_json(document: object) -> str:
    """One line of JSON for a message, or for plain data that may hold messages."""
    return json.dumps(document, default=_message_to_dict)  # ASCII only: no terminal and no locale stumbles over it


def _message_to_dict(message: "Message") -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def safe(value: object) -> str:
    r"""The text with every character that could steer a terminal written out, `\x1b` for example."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))


def size(count: int) -> str:
    """Bytes for people, in powers of ten: `38 B`, `412 MB`, `1.2 GB`."""
    if count < 1000:
        return f"{count} B"
    units = ["kB", "MB", "GB", "TB", "PB"]
    value = count / 1000
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        del units[0]
    unit = units[0]
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def files(count: int) -> str:
    """`1 file`, `3 files`."""
    return f"{count} file" if count == 1 else f"{count:,} files"


def when(time: "Timestamp") -> str:
    """Local time to the second."""
    try:
        return f"{time.ToDatetime(UTC).astimezone():%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError):  # at the ends of the calendar there is no local time
        return time.ToJsonString()


def short(digest: str) -> str:
    """As much of a digest as tells versions apart for people."""
    return safe(digest[:19] + "…" if len(digest) > 20 else digest)


def word(enum: "EnumTypeWrapper", number: int) -> str:
    """An enum's value without its prefix: `version-registered`. One that this release does not know is its number."""
    value = enum.DESCRIPTOR.values_by_number.get(number)
    prefix = enum.DESCRIPTOR.values[0].name.removesuffix("UNSPECIFIED")
    return value.name.removeprefix(prefix).lower().replace("_", "-") if value else str(number)


def numbered(version: "Version | Target | Alias") -> str:
    """The version string with its number where that says more: `1.0.1 (2)`, `7`."""
    text = version.version
    return safe(text if text == str(version.number) else f"{text} ({version.number})")


def named(version: "Version | Target") -> str:
    """`risk/fraud:1.0.1 (2)`."""
    return f"{safe(version.model)}:{numbered(version)}"


def facts(pairs: Iterable[tuple[str, Sequence[str] | str]]) -> str:
    """Labels and values in two columns; a value of several lines goes on below itself, an empty one is left out."""
    shown = [(label, value.splitlines() if isinstance(value, str) else value) for label, value in pairs if value]
    width = max((len(label) for label, _ in shown), default=0)
    return "\n".join(
        f"  {label if first else '':{width}}  {safe(line)}"
        for label, lines in shown
        for first, line in zip([True] + [False] * len(lines), lines, strict=False)
    )


def print_table(rows: Iterable[Row], columns: Sequence[Column[Row]]) -> None:
    """Prints the rows as they come, in columns under their headings. Lines are left whole, also on a narrow terminal."""
    iterator, heading = iter(rows), [[column.heading for column in columns]]
    while (chunk := list(islice(iterator, _ROWS_AT_ONCE))) or heading:
        lines = _aligned([*heading, *([safe(column.cell(row)) for column in columns] for row in chunk)], columns)
        if heading:
            click.secho(next(lines), bold=True)
        click.echo("".join(f"{line}\n" for line in lines), nl=False)
        heading = []


def _aligned(cells: list[list[str]], columns: Sequence[Column[Row]]) -> Iterator[str]:
    from rich.cells import cell_len  # some characters are two places wide, some none

    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        gaps = [" " * (width - cell_len(cell)) for width, cell in zip(widths, line, strict=True)]
        padded = (gap + cell if column.right else cell + gap for column, cell, gap in zip(columns, line, gaps, strict=True))
        yield "  ".join(padded).rstrip()
