"""Numbers in the texts that people read."""

from __future__ import annotations


def counted(number: int, one: str, many: str) -> str:
    """A number with its noun: `1 entry`, `2,000 entries`."""
    return f"{number:,} {one if number == 1 else many}"


def entries(number: int) -> str:
    """`1 entry`, `2 entries`."""
    return counted(number, "entry", "entries")


def answers(number: int) -> str:
    """`1 answer`, `2 answers`."""
    return counted(number, "answer", "answers")


def lines(number: int) -> str:
    """`1 line`, `2 lines`."""
    return counted(number, "line", "lines")
