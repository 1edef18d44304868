"""What a stream replays of a hit."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.outputs import Generation


class Replay(NamedTuple):
    """A hit, and how it came."""

    hit: Sequence[Generation]
    recording: bytes | None
    """Of the stream that it came by, if it did."""
    is_near: bool
    """Whether it is the answer to a similar question: the recording names another response."""

    def copy(self) -> Replay:
        """The same for another caller."""
        return self._replace(hit=copy.deepcopy(self.hit))
