"""What `explain` says of a request, and of a lookup."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Neighbour:
    """An entry that is similar to the request."""

    differences: tuple[str, ...]
    """What differs, most telling first: a part's name, or a sentence where the texts are known."""
    tier: Literal["memory", "store"]
    """Where it is kept."""
    created: float | None = None
    """When it was stored, as Unix time in seconds; None if only memory has it."""

    def __str__(self) -> str:
        """The differences."""
        return "; ".join(self.differences)


@dataclass(frozen=True)
class Explanation:
    """The outcome of a lookup, and why. `str()` of it is for people."""

    outcome: Literal["hit", "semantic", "miss", "bypass"]
    """The outcome that a lookup would have, or had."""
    reason: str
    """Why, in a few words."""
    key: str | None = None
    """The key of the request, in hexadecimal; None if it is bypassed."""
    parameter: str | None = None
    """The parameter because of which it is bypassed."""
    nearest: tuple[Neighbour, ...] = field(default=())
    """For a miss: the entries that differ least, the nearest first."""
    semantic: tuple[str, ...] = field(default=())
    """For an exact miss of a cache with `semantic=`: the most similar questions, and why the answer
    of each is served or not, a line for each."""
    ignorable: tuple[str, ...] = field(default=())
    """Settings that differ from all of `nearest` and look made for each call, such as request ids:
    names for `LLMCache(ignore=…)`. Whether an answer depends on one, only you know."""

    @property
    def suggestion(self) -> str:
        """How the next request of this kind would be a hit; empty if there is nothing to say."""
        if not self.ignorable:
            return ""
        quoted = ", ".join(f'"{name}"' for name in self.ignorable)
        comma, it = (",", "it") if len(self.ignorable) == 1 else ("", "them")
        names = " and ".join(self.ignorable)
        return f"every call has another {names}: LLMCache(ignore=({quoted}{comma})) leaves {it} out"

    def __str__(self) -> str:
        """One line for the outcome, one for each neighbour, and one for the suggestion."""
        lines = [f"{self.outcome}: {self.reason}"]
        lines += [f"  nearest in {one.tier}: {one}" for one in self.nearest]
        lines += [f"  semantic: {one}" for one in self.semantic]
        lines += [f"  {line}" for line in [self.suggestion] if line]
        return "\n".join(lines)
