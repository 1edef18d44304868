"""What the soaks have counted and timed: the end of a test run prints it (see conftest.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

lines: list[str] = []


def tell(what: str, **figures: object) -> None:
    """Have figures printed at the end: those of one soak, in one line."""
    said = ", ".join(f"{name.replace('_', ' ')} {_text(value)}" for name, value in figures.items())
    lines.append(f"{what}: {said}")


def _text(value: object) -> str:
    return (
        f"{value:.3g}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )


def at(part: float, values: Sequence[float]) -> float:
    """The value below which that part of them lies."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]
