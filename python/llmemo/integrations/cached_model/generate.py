"""`_generate` and `_agenerate` of cached models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.outputs import ChatResult

from llmemo.integrations.cached_model.as_langchain import chat_generations, complete
from llmemo.integrations.cached_model.calls import call_of
from llmemo.integrations.cached_model.limiter import abefore_request, before_request
from llmemo.store_io.calls import Call, run_inline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.outputs import Generation

    from llmemo.integrations.cached_model.calls import ModelCall
    from llmemo.integrations.cached_model.question import Question
    from llmemo.pipeline.tiers import Tiers


def generate(tiers: Tiers | None, question: Question) -> ChatResult:
    """The cache's answer, or the model's, which is kept. For a caller that blocks."""
    call = None if tiers is None else call_of(tiers, question, Call.blocking)
    if call is not None:
        hit = call.at_once() or run_inline(call.find())
        if hit:
            return _hit(hit)
    before_request(question.model)
    result: ChatResult = question.ask("_generate")
    answer = complete(result, question.model, question.run_manager)
    if call is not None:
        run_inline(call.keep(answer))
    return result


async def agenerate(tiers: Tiers | None, question: Question) -> ChatResult:
    """As `generate`, for a caller that awaits."""
    call: ModelCall | None = None if tiers is None else call_of(tiers, question, Call.awaited)
    if call is not None:
        hit = call.at_once() or await call.find()
        if hit:
            return _hit(hit)
    await abefore_request(question.model)
    result: ChatResult = await question.ask("_agenerate")
    answer = complete(result, question.model, question.run_manager)
    if call is not None:
        await call.keep(answer)
    return result


METADATA = "__llmemo_metadata__"
"""The attribute of a `Hit` that has the metadata of its messages."""


class Hit(ChatResult):
    """An answer of the cache's, which LangChain is to leave as it is."""

    __slots__ = (METADATA,)


def _hit(generations: Sequence[Generation]) -> Hit:
    hit = Hit(generations=chat_generations(generations))
    metadata = [each.message.response_metadata for each in hit.generations]
    object.__setattr__(hit, METADATA, metadata)
    return hit


def undone(result: Any) -> Any:
    """Undo what LangChain does to the metadata of an answer, if it is a hit.

    It adds the generation's to the message's. They are there already, and would only come in
    another order: then the next turn of a conversation had another key than when it was kept.
    """
    if isinstance(result, Hit):
        for generation, metadata in zip(result.generations, getattr(result, METADATA), strict=True):
            generation.message.response_metadata = metadata
    return result
