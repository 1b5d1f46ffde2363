"""The grammar of names, references and digests. A name is accepted or refused, never repaired."""

import re
from typing import NamedTuple

from podium_server.errors import InvalidArgument, shown

MAX_MODEL_NAME_BYTES = 256
MAX_ALIAS_BYTES = 128
MAX_VERSION_BYTES = 320  # the last segment of a model's name, a time or commit, and a counter
LATEST = "latest"

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NUMBER = re.compile(r"[0-9]{1,18}")
_FORMS = "NAME:VERSION, NAME:NUMBER, NAME@ALIAS, NAME#STAGE, NAME@latest or NAME@sha256:DIGEST"


class Reference(NamedTuple):
    """A parsed reference. `kind` is one of version, number, alias, stage, digest; `value` is what follows the sign."""

    model: str
    kind: str
    value: str


def parse_reference(text: str, field: str = "reference") -> Reference:
    """Parses one reference to one version; InvalidArgument names the forms it could take."""
    cut = re.search("[:@#]", text)
    if cut is None:
        check_model_name(text, field)
        raise InvalidArgument(f"{shown(text)} names a model where one version is meant: use {_FORMS}", field=field)
    model = check_model_name(text[: cut.start()], field)
    return Reference(model, *parse_selector(text[cut.start() :], field))


def parse_selector(text: str, field: str) -> tuple[str, str]:
    """Parses what follows the model's name in a reference, sign first, into its kind and value."""
    sign, value = text[:1], text[1:]
    if sign == ":" and _NUMBER.fullmatch(value):
        return "number", str(int(value))
    if sign == ":":
        return "version", check_version(value, field)
    if sign == "#":
        return "stage", check_stage(value, field)
    if sign == "@" and value.startswith("sha256:"):
        return "digest", check_digest(value, field)
    if sign == "@":
        return "alias", check_alias(value, field)
    raise InvalidArgument(f"{shown(text)} is not a reference: use {_FORMS}", field=field)


def check_model_name(name: str, field: str) -> str:
    """Returns the name if it is a model's."""
    if not _MODEL_NAME.fullmatch(name) or len(name) > MAX_MODEL_NAME_BYTES:
        raise InvalidArgument(
            f"{shown(name)} is not a model name: segments separated by '/', each of ASCII letters, digits, '.', '_' and '-' "
            f"and starting with a letter or digit, at most {MAX_MODEL_NAME_BYTES} bytes",
            field=field,
        )
    return name


def check_alias(name: str, field: str, what: str = "an alias") -> str:
    """Returns the name if it is an alias's."""
    if not _ALIAS.fullmatch(name) or len(name) > MAX_ALIAS_BYTES:
        raise InvalidArgument(
            f"{shown(name)} is not {what}: ASCII letters, digits, '.', '_' and '-', starting with a letter or digit, "
            f"at most {MAX_ALIAS_BYTES} bytes",
            field=field,
        )
    return name


def check_settable_alias(name: str, field: str) -> str:
    """Returns the name if it is an alias's that callers may set."""
    if name == LATEST:
        raise InvalidArgument(f"{LATEST} is kept by the server: it is always the highest number", field=field)
    return check_alias(name, field)


def check_stage(name: str, field: str) -> str:
    """Returns the name if it is a stage's. Whether a lifecycle has that stage is another question."""
    return check_alias(name, field, "a stage")


def check_version(name: str, field: str) -> str:
    """Returns the name if it is a version string: not only digits, which would be a number."""
    if not _VERSION.fullmatch(name) or len(name) > MAX_VERSION_BYTES or name.isdigit():
        raise InvalidArgument(
            f"{shown(name)} is not a version: ASCII letters, digits, '.', '_', '+' and '-', starting with a letter or digit, "
            f"at most {MAX_VERSION_BYTES} bytes",
            field=field,
        )
    return name


def check_digest(digest: str, field: str) -> str:
    """Returns the digest if it is `sha256:` and 64 lowercase hex digits."""
    if not _DIGEST.fullmatch(digest):
        raise InvalidArgument(f"{shown(digest)} is not a digest: 'sha256:' and 64 lowercase hex digits", field=field)
    return digest
