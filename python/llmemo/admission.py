"""What is not worth keeping: answers that nobody would want a second time.

The model says so itself, in words that differ by provider; they are compared without regard to
case. Sources: OpenAI's `finish_reason` (length, content_filter), `incomplete_details` and
`refusal`; Anthropic's `stop_reason` (max_tokens, model_context_window_exceeded, refusal); Google's
`finish_reason` (MAX_TOKENS, SAFETY and what stands beside it); Bedrock's `stopReason`
(guardrail_intervened, content_filtered); Ollama's `done_reason` (length); Cohere's (MAX_TOKENS,
ERROR_TOXIC, ERROR).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

WHERE = ("finish_reason", "stop_reason", "stopReason", "done_reason")
"""What providers call the reason why a model stopped."""

REASONS = {
    "length": "truncated",
    "max_tokens": "truncated",
    "max_output_tokens": "truncated",
    "model_length": "truncated",
    "model_context_window_exceeded": "truncated",
    "incomplete": "truncated",
    "content_filter": "filtered",
    "content_filtered": "filtered",
    "guardrail_intervened": "filtered",
    "safety": "filtered",
    "recitation": "filtered",
    "blocklist": "filtered",
    "prohibited_content": "filtered",
    "spii": "filtered",
    "image_safety": "filtered",
    "error_toxic": "filtered",
    "refusal": "refused",
    "malformed_function_call": "invalid_tool_calls",
    "error": "failed",
    "error_limit": "failed",
}


def worth_keeping(generations: Sequence[Generation]) -> bool:
    """Whether an answer is worth keeping: it is whole, and says something.

    Not if the model says that it was truncated, filtered or refused, if it is empty, or if it has
    tool calls that are not valid.
    """
    return reason_against(generations) is None


def reason_against(generations: Sequence[Generation]) -> str | None:
    """Why an answer is not worth keeping; None if it is. One bad generation is enough."""
    for generation in generations:
        reason = _reason(generation)
        if reason is not None:
            return reason
    return None


def _reason(generation: Generation) -> str | None:
    message = generation.message if isinstance(generation, ChatGeneration) else None
    if message is None:
        return _stopped((generation.generation_info,)) or (None if generation.text else "empty")
    stopped = _stopped((generation.generation_info, message.response_metadata))
    if stopped is not None:
        return stopped
    if message.additional_kwargs.get("refusal") or _has_block(message.content, "refusal"):
        return "refused"
    if not isinstance(message, AIMessage):
        return None if message.content else "empty"
    if message.invalid_tool_calls:
        return "invalid_tool_calls"
    # What is said by neither text nor a tool call stands among the last: audio, a function call.
    says_something = (
        _says_something(message.content)
        or message.tool_calls
        or any(message.additional_kwargs.values())
    )
    return None if says_something else "empty"


def _stopped(places: Iterable[Mapping[str, Any] | None]) -> str | None:
    for place in places:
        if not place:
            continue
        details = place.get("incomplete_details")
        told = [place.get(name) for name in WHERE]
        told.append(details.get("reason") if isinstance(details, dict) else None)
        for said in told:
            if isinstance(said, str) and said.lower() in REASONS:
                return REASONS[said.lower()]
    return None


def _says_something(content: object) -> bool:
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
