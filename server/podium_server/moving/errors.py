"""Why a registry is not moved."""


class CannotMove(Exception):
    """What was asked for cannot be done, and nothing was changed."""


class CopyFailed(Exception):
    """A row was not taken by the other database."""
