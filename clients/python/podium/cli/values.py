"""Options that several commands have, and what options take: pairs, typed params, data sets, runs."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from podium.v1.records_pb2 import Input

Value = TypeVar("Value")

_INT = re.compile(r"-?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_QUOTED = re.compile(r"""(["'])(.*)\1""", re.DOTALL)
_DATASET = re.compile(r"(?P<name>[^:@]+)(:(?P<version>[^@]+))?(@(?P<digest>.+))?")


def pairs(
    parse: Callable[[str], Value],
) -> Callable[[click.Context, click.Parameter, Sequence[str]], dict[str, Value]]:
    """An option's callback that makes a mapping of its NAME=VALUE occurrences; no name may come twice."""

    def callback(context: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for text in texts:
            name, sign, value = text.partition("=")
            if not sign or not name:
                raise click.BadParameter(f"{text!r} is not NAME=VALUE", context, parameter)
            if name in found:
                raise click.BadParameter(f"{name!r} is given twice", context, parameter)
            found[name] = _parsed(parse, value, context, parameter)
        return found

    return callback


def each(parse: Callable[[str], Value]) -> Callable[[click.Context, click.Parameter, Sequence[str]], list[Value]]:
    """An option's callback that parses every occurrence."""

    def callback(context: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> list[Value]:
        return [_parsed(parse, text, context, parameter) for text in texts]

    return callback


def _parsed(parse: Callable[[str], Value], text: str, context: click.Context, parameter: click.Parameter) -> Value:
    try:
        return parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


def number(text: str) -> float:
    """A metric's value; infinite is a number, NaN is not."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise ValueError(f"{text!r} is not a number")
    return value


def typed(text: str) -> str | int | float | bool:
    """A param's value: `100` is an integer, `0.5` and `1e-3` are floats, `true` and `false` truth values.

    All else is text, and so is what stands in quotes.
    """
    if quoted := _QUOTED.fullmatch(text):
        return quoted[2]
    if text in ("true", "false"):
        return text == "true"
    if _INT.fullmatch(text):
        return _int64(text)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text


def _int64(text: str) -> int:
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{text} does not fit 64 bits; quote it to keep it as text: '\"{text}\"'")
    return value


def dataset(text: str) -> "Input":
    """A data set that a version was made from: NAME, NAME:VERSION, each with @DIGEST if it is known."""
    from podium.v1.records_pb2 import INPUT_KIND_DATASET, Input

    match = _DATASET.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not NAME:VERSION@sha256:DIGEST")
    digest = match["digest"] or ""
    if digest.startswith("sha256:") and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise ValueError(f"{digest!r} is not a digest: 'sha256:' and 64 lowercase hex digits")
    return Input(kind=INPUT_KIND_DATASET, name=match["name"], version=match["version"] or "", digest=digest)


def run(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    """The callback of --run SYSTEM:ID."""
    if text is not None and not all(text.partition(":")):
        raise click.BadParameter(f"{text!r} is not SYSTEM:ID", context, parameter)
    return text


label_option = click.option("--label", "labels", multiple=True, metavar="K=V", callback=pairs(str), help="A label. Repeatable.")
label_filter = click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="K=V",
    callback=pairs(str),
    help="Only those with this label. Repeatable.",
)
description_option = click.option("--description", metavar="TEXT", help="What it is, in words.")
reason_option = click.option("--reason", default="", metavar="TEXT", help="Why, for the events.")
strategy_option = click.option(
    "--strategy",
    type=click.Choice(["semantic", "git", "timestamp", "integer"]),
    help="How the versions of a new model are named.  [default: semantic]",
)
lifecycle_option = click.option("--lifecycle", default="", metavar="NAME", help="The lifecycle of a new model.")
remove_label_option = click.option(
    "--remove-label", "remove_labels", multiple=True, metavar="K", help="Remove the label with this key. Repeatable."
)
etag_option = click.option(
    "--etag", default="", metavar="E", help="Change it only if its etag (see show --json) still is this one."
)


def check_changes(changes: Mapping[str, object]) -> None:
    """An edit changes something."""
    if changes["description"] is None and not changes["labels"] and not changes["remove_labels"]:
        raise click.UsageError("nothing to change: give --description, --label or --remove-label")
