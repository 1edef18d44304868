"""Sizes, times and tables, as people read them."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

STEPS = ((86_400, "d"), (3_600, "h"), (60, "m"))


def size(count: int) -> str:
    """A number of bytes: `912 B`, `1.2 KiB`, `34.5 MiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def span(seconds: float) -> str:
    """A length of time: `42s`, `5m`, `3h`, `12d`; with a minus if it is over."""
    sign, seconds = ("-" if seconds < 0 else ""), abs(seconds)
    for length, unit in STEPS:
        if seconds >= length:
            return f"{sign}{seconds / length:.0f}{unit}"
    return f"{sign}{seconds:.0f}s"


def moment(seconds: float | None) -> str:
    """A Unix time, by the clock of this place; a dash for none."""
    if seconds is None:
        return "-"
    try:
        when = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).astimezone()
    except (OverflowError, OSError, ValueError):  # a damaged row, or a clock that was never set
        return f"{seconds:.0f}"
    return when.strftime("%Y-%m-%d %H:%M:%S")


def share(part: float) -> str:
    """A part from 0 to 1, in percent."""
    return f"{100 * part:.0f} %"


def table(rows: Sequence[Sequence[str]], right: str = "") -> str:
    """Rows in columns; `right`: a letter for each column, `r` for one whose ends are in line."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = right.ljust(len(widths))
    return "\n".join(
        "  ".join(
            cell.rjust(width) if side == "r" else cell.ljust(width)
            for cell, width, side in zip(row, widths, sides, strict=True)
        ).rstrip()
        for row in rows
    )
