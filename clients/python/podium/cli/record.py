"""A version's record for people: every field that is set, a line for each thing."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from podium.cli.output import size, when, word
from podium.cli.values import typed
from podium.v1 import records_pb2 as records

# The fields that speak for themselves and lead a message's line; the others follow with their names.
_LEADING = {
    "Library": ("name", "version"),
    "Metric": ("name", "value"),
    "Input": ("kind", "name", "version"),
    "Parent": ("reference", "uri", "relation"),
    "Run": ("system", "id"),
    "Column": ("name", "type", "shape"),
    "ExternalFile": ("path", "uri"),
    "Source": ("repository", "commit"),
}


def record_facts(record: records.VersionRecord) -> Iterator[tuple[str, list[str]]]:
    """Labels and lines for output.facts, in the order of the .proto; the manifest's digest is left to the version."""
    for field, value in record.ListFields():
        if field.name != "manifest_digest":
            yield _label(field), [_text(field, item) for item in (value if field.is_repeated else [value])]


def _text(field: Any, value: Any) -> str:
    if isinstance(value, Message):
        return _FORMS.get(type(value), _line)(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if field.enum_type is not None:
        return word(records.InputKind, value)
    return size(value) if field.name.endswith("_bytes") else str(value)


def _line(message: Message) -> str:
    return "  ".join(_parts(message))


def _parts(message: Message) -> Iterator[str]:
    descriptor = message.DESCRIPTOR
    leading = [descriptor.fields_by_name[name] for name in _LEADING.get(descriptor.name, ())]
    for field in leading:
        yield from filter(None, _values(field, getattr(message, field.name)))
    others = (pair for pair in message.ListFields() if pair[0] not in leading)
    rest = ", ".join(f"{_label(field)} {' '.join(_values(field, value))}" for field, value in others)
    if rest:
        yield rest


def _values(field: Any, value: Any) -> Iterable[str]:
    if field.name == "shape":
        return [str(list(value))] if value else []
    return [_text(field, item) for item in (value if field.is_repeated else [value])]


def _label(field: Any) -> str:
    return str(field.name).replace("_", " ")


def _param(param: records.Param) -> str:
    value = getattr(param, param.WhichOneof("value") or "string_value")
    if isinstance(value, bool):
        return f"{param.name}  {str(value).lower()}"
    if isinstance(value, str) and not _is_plain(value):
        return f'{param.name}  "{value}"'  # the text, not the number that it looks like
    return f"{param.name}  {value}"


def _is_plain(text: str) -> bool:
    try:
        return typed(text) == text
    except ValueError:
        return False


_FORMS: dict[type[Message], Callable[[Any], str]] = {
    Timestamp: when,
    Duration: lambda duration: str(duration.ToTimedelta()),
    records.Param: _param,
}
