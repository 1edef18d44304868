"""What is worth keeping: a whole answer that says something.

The model itself says whether it is whole, in words that differ by provider: see `finish_reasons`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation

from llmemo.concurrency.interrupts import is_interrupt
from llmemo.pipeline import finish_reasons
from llmemo.pipeline.finish_reasons import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import BaseMessage

    from llmemo.pipeline.tiers import Tiers

REMEDY = (
    "llmemo: answers are not kept: the model stopped for a reason that is not known (%s); if they"
    " are whole, keep them by `admit=` a function of your own, or None"
)
"""The log message for reasons that are not known."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
"""A reason that may be logged: anything longer, or with spaces, could be part of an answer."""


def worth_keeping(generations: Sequence[Generation]) -> bool:
    """Whether an answer is worth keeping: it is whole, and says something.

    Not if the model stopped for any other reason than one that is known to be good (the end of its
    turn, a stop sequence, a tool call: in OpenAI's words `stop` and `tool_calls`), if it is empty,
    or if it has tool calls that are not valid. An answer that names no reason is taken for whole.

    The reasons are those of OpenAI (Responses API included), Anthropic, Google, Bedrock, Cohere,
    Mistral, Groq, DeepSeek, Fireworks, Together, Cerebras, xAI, Perplexity, NVIDIA, Ollama,
    Hugging Face, watsonx, vLLM, SGLang and llama.cpp, as their SDKs and documentation have them.
    """
    return reason_against(generations) is None


def reason_against(generations: Sequence[Generation]) -> str | None:
    """Why an answer is not worth keeping; None if it is. One bad generation is enough."""
    against = [reason for generation in generations if (reason := _reason(generation))]
    # A known reason goes before an unknown one.
    return next(
        (reason for reason in against if reason != UNKNOWN), against[0] if against else None
    )


def refusal_of(tiers: Tiers, generations: Sequence[Generation]) -> str | None:
    """Why a cache does not keep an answer; None if it does."""
    admit = tiers.settings.admit
    if admit is None:
        return None
    reason = reason_against(generations)
    # A user's function may know reasons that are not known here.
    if admit is worth_keeping or reason not in (None, UNKNOWN):
        return reason
    try:
        return None if admit(generations) else reason or "not_admitted"
    except Exception as error:  # a user's function may raise anything
        if is_interrupt(error):
            raise
        text = "llmemo: `admit` raised, and the answer was not kept: %s"
        tiers.tally.note("errors", "admit", text, type(error).__name__)
        return "not_admitted"


def refuse(tiers: Tiers, generations: Sequence[Generation], refusal: str) -> None:
    """Count an answer that is not kept, and say so."""
    if refusal == UNKNOWN:
        tiers.tally.note("skipped", refusal, REMEDY, _unknown_word(generations))
    else:
        tiers.skip(refusal)


def _unknown_word(generations: Sequence[Generation]) -> str:
    """A reason that is not known; for a log."""
    for generation in generations:
        for place in _places(generation):
            found = finish_reasons.against(place)
            if found is not None and found[0] == UNKNOWN and NAME.fullmatch(found[1]):
                return repr(found[1])
    return "no plain word"


def _places(generation: Generation) -> tuple[Mapping[str, Any] | None, ...]:
    """Where a provider puts the reason why its model stopped."""
    message = generation.message if isinstance(generation, ChatGeneration) else None
    return generation.generation_info, message.response_metadata if message else None


def _reason(generation: Generation) -> str | None:
    unknown = None
    for place in _places(generation):
        found = finish_reasons.against(place)
        if found is not None and found[0] != UNKNOWN:
            return found[0]
        unknown = unknown or found
    message = generation.message if isinstance(generation, ChatGeneration) else None
    reason = _empty(generation.text) if message is None else _reason_in(message)
    return reason or (unknown and unknown[0])


def _reason_in(message: BaseMessage) -> str | None:
    """Why a message is not worth keeping, whatever its model stopped for."""
    if message.additional_kwargs.get("refusal") or _has_block(message.content, "refusal"):
        return "refused"
    if not isinstance(message, AIMessage):
        return _empty(message.content)
    if message.invalid_tool_calls:
        return "invalid_tool_calls"
    # Audio and function calls are in `additional_kwargs`, and are neither text nor tool calls.
    has_content = (
        _has_content(message.content)
        or message.tool_calls
        or any(message.additional_kwargs.values())
    )
    return None if has_content else "empty"


def _empty(content: object) -> str | None:
    return None if content else "empty"


def _has_content(content: object) -> bool:
    if not isinstance(content, list):
        return bool(content)
    return any(
        block.get("type") != "text" or block.get("text") if isinstance(block, dict) else block
        for block in content
    )


def _has_block(content: object, kind: str) -> bool:
    return isinstance(content, list) and any(
        isinstance(block, dict) and block.get("type") == kind for block in content
    )
