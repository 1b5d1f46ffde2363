"""What the tests of single rules share."""

from collections.abc import Callable

import pytest
from podium_server.errors import InvalidArgument


def refused_field(check: Callable[..., object], *args: object) -> str | None:
    """Calls a check that must refuse, and returns the field that it names."""
    with pytest.raises(InvalidArgument) as refusal:
        check(*args)
    assert "\n" not in refusal.value.message
    return refusal.value.field
