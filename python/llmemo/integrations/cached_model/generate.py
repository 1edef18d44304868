"""`_generate` and `_agenerate` of cached models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.outputs import ChatResult

from llmemo.integrations.cached_model.as_langchain import chat_generations, complete
from llmemo.integrations.cached_model.calls import call_of
from llmemo.integrations.cached_model.limiter import abefore_request, before_request
from llmemo.store_io.calls import Call, run_inline

if TYPE_CHECKING:
    from llmemo.integrations.cached_model.calls import ModelCall, Question
    from llmemo.pipeline.tiers import Tiers


def generate(tiers: Tiers | None, question: Question) -> ChatResult:
    """The cache's answer, or the model's, which is kept. For a caller that blocks."""
    call = None if tiers is None else call_of(tiers, question, Call.blocking)
    if call is not None:
        hit = call.at_once() or run_inline(call.find())
        if hit:
            return ChatResult(generations=chat_generations(hit))
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
            return ChatResult(generations=chat_generations(hit))
    await abefore_request(question.model)
    result: ChatResult = await question.ask("_agenerate")
    answer = complete(result, question.model, question.run_manager)
    if call is not None:
        await call.keep(answer)
    return result
