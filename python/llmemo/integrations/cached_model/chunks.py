"""The chunks of a hit: those that were recorded, or the answer in one."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from llmemo._core import Playback, ValueDamaged
from llmemo.integrations.cached_model.as_langchain import as_chunk, chat_generations

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_core.outputs import ChatGenerationChunk, Generation


def chunks_of(
    hit: Sequence[Generation], recording: bytes | None, *, fresh_ids: bool
) -> Iterator[tuple[ChatGenerationChunk, float]]:
    """Fresh chunks of a hit, each with the seconds that it took to come."""
    if recording is None:
        # A stream has one answer.
        yield as_chunk(chat_generations(hit[:1])[0]), 0.0
        return
    playback = Playback(recording, fresh_ids=fresh_ids)
    try:
        first = playback.next()
    except ValueDamaged:
        # Another langchain-core made it, of classes that this one lacks.
        yield from chunks_of(hit, None, fresh_ids=fresh_ids)
        return
    step: Any = first
    while step is not None:
        yield step[0], step[1] / 1000
        step = playback.next()


@functools.lru_cache(maxsize=512)
def tells_tokens(cls: type, method: str) -> bool:
    """Whether a class's own method tells the run of each token that it makes.

    Then a hit tells it, too. Its code is searched for the name: a stream cannot be tried.
    """
    code = getattr(getattr(cls, method, None), "__code__", None)
    return code is not None and "on_llm_new_token" in code.co_names
