"""Phrases of several words, found by their first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Value = TypeVar("Value")


class Phrases(Generic[Value]):
    """A table of phrases with a value each; the longest phrase wins."""

    firsts: frozenset[str]
    """The words that a phrase begins with."""

    def __init__(self, entries: Iterable[tuple[tuple[str, ...], Value]]) -> None:
        """Take each phrase, as a tuple of words, with its value."""
        self._by_first: dict[str, list[tuple[int, list[str], Value]]] = {}
        for words, value in entries:
            self._by_first.setdefault(words[0], []).append((len(words), list(words), value))
        for options in self._by_first.values():
            options.sort(key=lambda option: -option[0])
        self.firsts = frozenset(self._by_first)

    def at(self, words: Sequence[str], start: int) -> tuple[int, Value] | None:
        """The number of words and the value of the longest phrase that begins at `start`."""
        for length, phrase, value in self._by_first.get(words[start], ()):
            if length == 1 or words[start : start + length] == phrase:
                return length, value
        return None
