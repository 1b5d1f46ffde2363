"""Podium's Python client: `podium.push`, `podium.pull`, `podium.resolve` …, or `with podium.connect() as registry:`.

Everything is in podium.api, which is loaded when it is first asked for: the command line and the server import this package
for podium.cli and podium.v1 alone, and should not wait for the client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podium.api import *  # noqa: F403  its __all__ is the list

    __version__: str


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("podium")
    if not name.startswith("_"):
        api = import_module("podium.api")
        if name in api.__all__:
            return getattr(api, name)
    raise AttributeError(f"podium has no {name!r}")


def __dir__() -> list[str]:
    return sorted(import_module("podium.api").__all__)
