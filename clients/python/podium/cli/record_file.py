"""A VersionRecord from a file: what `podium push --metadata` reads."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from podium.v1.records_pb2 import VersionRecord


def read_record(context: click.Context, parameter: click.Parameter, path: Path | None) -> "VersionRecord | None":
    """An option's callback: the record in a JSON or YAML file, with the field names of records.proto."""
    if path is None:
        return None
    try:
        return _record(_from_json(path) if path.suffix == ".json" else _from_yaml(path))
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", context, parameter) from error
    except ValueError as error:
        raise click.BadParameter(f"{path}: {error}", context, parameter) from error


def _record(content: object) -> "VersionRecord":
    from google.protobuf.json_format import ParseDict, ParseError

    from podium.v1.records_pb2 import VersionRecord

    if not isinstance(content, dict):
        raise ValueError("not a VersionRecord: its fields and their values are wanted, `author: ann` for example")  # noqa: TRY004
    try:
        return ParseDict(content, VersionRecord())
    except ParseError as error:  # its further lines list the fields, in another spelling than the .proto's
        message = str(error).split("\n", 1)[0].rstrip(".")
        raise ValueError(message.replace("string or bytes-like object", "text in quotes")) from error


def _from_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _from_yaml(path: Path) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML whose times stay text, as protobuf's JSON wants them."""

        yaml_implicit_resolvers = {  # noqa: RUF012  yaml's own name for it
            first: [resolver for resolver in resolvers if resolver[0] != "tag:yaml.org,2002:timestamp"]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader)  # noqa: S506  it is a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
