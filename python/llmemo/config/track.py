"""Collect what becomes of the lookups of some piece of code."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from llmemo.config.options import Block
from llmemo.telemetry.tracking import Tracker

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def track() -> Iterator[Tracker]:
    """Collect what becomes of the lookups inside, through chains, tasks and threads.

    The event of a miss keeps the texts of its request, up to 32 Ki characters, for `explain()`.

    Examples:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> from llmemo import LLMCache, track
        >>> model = FakeListChatModel(responses=["four"], cache=LLMCache())
        >>> with track() as tracker:
        ...     _ = [model.invoke("2 + 2?") for _ in range(3)]
        >>> tracker.hits, tracker.misses
        (2, 1)
        >>> tracker.events[-1].tier
        'memory'
    """
    tracker = Tracker()
    with Block(trackers=(tracker,)):
        yield tracker
