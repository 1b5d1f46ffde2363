"""The rows of the result: a figure, what it could be at best, and what the project promises."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One figure. `best` is what it could be, or what a peer has; `ratio` the median over rounds of figure to that; `ok` is unset
    without a target.
    """

    what: str
    unit: str
    ours: float
    beside: str = ""
    best: float | None = None
    ratio: float | None = None
    target: str = ""
    ok: bool | None = None
    rounds: tuple[tuple[float, float], ...] = ()  # ours and best of each, for who wants to see how far they scatter

    def as_json(self) -> dict[str, object]:
        """The row without what is not set."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "", ())}


def paired(
    what: str,
    unit: str,
    rounds: Sequence[tuple[float, float]],
    beside: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Row:
    """A row of figures that were measured in pairs, (ours, best) in each round; the target is a bound of their ratio."""
    ratio = statistics.median(ours / best for ours, best in rounds)
    ours, best = (statistics.median(column) for column in zip(*rounds, strict=True))
    target, ok = _judge(ratio, at_least, at_most, "×")
    return Row(what, unit, ours, beside, best, ratio, target, ok, tuple(rounds))


def alone(what: str, unit: str, ours: float, *, at_most: float | None = None, beside: str = "") -> Row:
    """A row with nothing to compare; the target is a bound of the figure itself."""
    target, ok = _judge(ours, None, at_most, f" {unit}")
    return Row(what, unit, ours, beside, None, None, target, ok)


def _judge(value: float, at_least: float | None, at_most: float | None, unit: str) -> tuple[str, bool | None]:
    if at_least is not None:
        return f"≥ {at_least:g}{unit}", value >= at_least
    if at_most is not None:
        return f"≤ {at_most:g}{unit}", value <= at_most
    return "", None


def lines(rows: Sequence[Row]) -> list[str]:
    """The table, aligned."""
    cells = [("", "podium", "beside", "ratio", "target", "", "what is beside it")]
    above = ""
    for row in rows:
        more = row.what.removeprefix(above + ", ") if above else row.what
        above = row.what if more == row.what else above
        cells.append(("  " * (more != row.what) + more, *_cells(row)))
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    right = {1, 2, 3, 4}
    return [
        "  ".join(
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _cells(row: Row) -> tuple[str, str, str, str, str, str]:
    return (
        _figure(row.ours, row.unit),
        "" if row.best is None else _figure(row.best, row.unit),
        "" if row.ratio is None else f"{row.ratio:.2f}",
        row.target,
        {True: "ok", False: "SHORT", None: ""}[row.ok],
        row.beside,
    )


def _figure(value: float, unit: str) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2  # three digits mean something here
    return f"{value:,.{digits}f} {unit}"
