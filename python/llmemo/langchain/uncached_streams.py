"""Streams for which LangChain asks no cache: the cache that the model has is told of each.

A run of a chat model begins in the method that the user called. Most are `generate` or `agenerate`,
which ask: that is seen a few frames up. Otherwise that method is looked for, and its model.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from langchain_core.caches import BaseCache
from langchain_core.globals import get_llm_cache

from llmemo.langchain.only_mode import ASKING, STARTING, STREAMING, caller

if TYPE_CHECKING:
    from types import FrameType

TOLD = "_streams_past"
"""The method of a cache that counts such streams."""

DEPTH = 4
"""Frames from here up to the method that begins the run, or, with async callbacks, to the one that
it awaits."""


def watch_stream() -> None:
    """Tell the model's cache of a run that is a stream and does not ask it. Called by a handler."""
    if _asks(sys._getframe(1)):  # noqa: SLF001 (there is no other way)
        return
    method, model = caller()
    if method not in STREAMING:
        return
    # A model of `cached` says False here: it asks its cache by itself.
    own = model.cache
    cache = own if isinstance(own, BaseCache) else None if own is False else get_llm_cache()
    told = getattr(cache, TOLD, None)
    if told is not None:
        told()


def _asks(frame: FrameType | None) -> bool:
    """Whether the run is seen at once to be one that asks a cache."""
    for _ in range(DEPTH - 1):
        frame = frame and frame.f_back
    if frame is not None and frame.f_code.co_name in STARTING:
        frame = frame.f_back
    return frame is not None and frame.f_code.co_name in ASKING
