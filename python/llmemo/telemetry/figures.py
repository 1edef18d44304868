"""Figures as people read them: aligned columns, thousands separators, units."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Row = tuple[str, str]

MONEY_DIGITS = 9
"""Decimals that sums of money are rounded to. One token of the cheapest models costs some 1e-8."""


def rounded(money: float) -> float:
    """A sum of money without the noise of its float additions (0.30000000000000004)."""
    return round(money, MONEY_DIGITS)


def money(amount: float) -> str:
    """A sum of money: with cents, or with what digits there are below 1."""
    if abs(amount) >= 1:
        return f"{amount:,.2f}"
    return f"{amount:.{MONEY_DIGITS}f}".rstrip("0").rstrip(".")


def size(count: int) -> str:
    """A number of bytes, in MiB, or below one in KiB."""
    return f"{count / 2**20:,.1f} MiB" if count >= 2**20 else f"{count / 2**10:,.1f} KiB"


def percent(part: float) -> str:
    """A ratio, in percent."""
    return f"{part:.1%}".replace("%", " %")


def counted(counts: Mapping[str, int]) -> list[Row]:
    """Counts by name, those that are not zero; the largest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(name, f"{count:,}") for name, count in ordered if count]


def table(groups: Iterable[tuple[str, str, Sequence[Row]]]) -> str:
    """Groups as lines: title and figure of each, and its rows, indented, in the same columns."""
    lines = [
        line
        for title, figure, rows in groups
        if figure or rows
        for line in [(title, figure), *((f"  {name}", it) for name, it in rows)]
    ]
    names = max(len(name) for name, _ in lines)
    figures = max(len(figure) for _, figure in lines)
    return "\n".join(f"{name:<{names}}  {figure:>{figures}}".rstrip() for name, figure in lines)
