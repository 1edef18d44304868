"""Why a model stopped, in the words of each provider.

An answer is kept if its reason is known to be a good one. A list of bad reasons is out of date as
soon as a provider adds a way to interrupt an answer; then half an answer would be served for ever.

Words are read in every field, without regard to case: gateways pass on the words of one
provider in the fields of another, and no word is good for one and bad for another. Streams repeat
a word for each chunk that says it, and LangChain joins them (`STOPSTOP`).

Sources, as of November 2026: the types of the packages openai 3.57, anthropic 2.14, google-genai
3.6, groq 0.37, cohere 5.21, fireworks-ai 1.2, huggingface-hub 1.33, litellm 1.110, the service
description in botocore 1.44, LangChain's integrations (what they copy, and from where), and the
providers' documentation of their APIs.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WHERE = (
    "finish_reason",
    "stop_reason",
    "stopReason",
    "done_reason",
    "finishReason",
    "completionReason",
)
"""What providers call the reason. Most follow OpenAI; then Anthropic, and Bedrock for Mistral's and
Meta's models; Bedrock's Converse; Ollama; Google, and Bedrock for AI21's; Amazon's Titan."""

GOOD = {
    "openai": "stop tool_calls function_call",
    "anthropic": "end_turn stop_sequence tool_use compaction",
    "google": "STOP",
    "bedrock_converse": "end_turn tool_use stop_sequence",
    "amazon_titan": "FINISH FINISHED STOP_CRITERIA_MET",
    "ai21": "stop endoftext",
    "cohere": "COMPLETE STOP_SEQUENCE TOOL_CALL",
    "mistral": "stop tool_calls",
    "groq": "stop tool_calls function_call",
    "deepseek": "stop tool_calls",
    "fireworks": "stop tool_calls function_call",
    "together": "stop eos tool_calls function_call",
    "cerebras": "stop tool_calls",
    "xai": "stop tool_calls end_turn",
    "perplexity": "stop tool_calls",
    "nvidia": "stop tool_calls",
    "ollama": "stop",
    "huggingface": "stop eos_token stop_sequence tool_calls",
    "watsonx": "stop eos_token stop_sequence tool_calls",
    "vllm, sglang, llama.cpp": "stop tool_calls function_call",
    "responses": "completed",
}
"""By provider, the reasons of whole answers. Anthropic's `compaction` comes only if a
pause after a summary was asked for."""

BAD = {
    "truncated": (
        # OpenAI's, and those of its Responses API.
        "length incomplete max_output_tokens max_messages steered queued in_progress"
        # Anthropic. `pause_turn`: the rest comes when the answer is sent back.
        " max_tokens model_context_window_exceeded pause_turn"
        # Google, Mistral, watsonx, Zhipu.
        " continuation model_length token_limit time_limit not_finished"
    ),
    "filtered": (
        "content_filter content_filtered guardrail_intervened error_toxic sensitive"
        " safety recitation blocklist prohibited_content spii language model_armor escalation"
        " image_safety image_prohibited_content image_recitation"
    ),
    "refused": "refusal",
    "invalid_tool_calls": (
        "malformed_function_call malformed_tool_use unexpected_tool_call too_many_tool_calls"
    ),
    "failed": (
        "error error_limit timeout user_cancel failed cancelled abort network_error"
        " insufficient_system_resource malformed_model_output malformed_response"
        " missing_thought_signature pup_limited_disabled no_image image_other other"
        " finish_reason_unspecified rag_query_when_rag_disabled load unload"
    ),
}
"""Reasons that say what is wrong, by what `stats().skipped` calls it. Any other is unknown."""

UNKNOWN = "unknown_reason"

_VERDICTS: dict[str, str | None] = {
    **{word: reason for reason, words in BAD.items() for word in words.split()},
    **{word.lower(): None for words in GOOD.values() for word in words.split()},
}


def against(place: Mapping[str, Any] | None) -> tuple[str, str] | None:
    """Why an answer is not worth keeping, by the provider's fields, and the provider's word for it.

    None if it is, or there is no reason: fakes and many local models give none.
    """
    if not place:
        return None
    unknown = None
    for reason in _reasons_in(place):
        verdict = _verdict(reason)
        if verdict == UNKNOWN:
            unknown = UNKNOWN, reason
        elif verdict is not None:
            return verdict, reason
    return unknown


def _verdict(reason: str) -> str | None:
    word = reason.lower()
    # Of a word that is repeated, the shortest part that is: it comes again first at its own length.
    once = word[: (word * 2).find(word, 1)]
    return _VERDICTS.get(once, UNKNOWN)


def _reasons_in(place: Mapping[str, Any]) -> Iterator[str]:
    """The reasons that a provider gives, as words."""
    given = [place[name] for name in WHERE if place.get(name) is not None]
    words = [word for word in map(_word, given) if word is not None]
    # A number is a token's (vLLM), a list has the stop words of OllamaLLM. They count where there
    # is no word.
    yield from words or (str(each) for value in given for each in _numbered(value))
    details = place.get("incomplete_details")
    reason = _word(details.get("reason")) if isinstance(details, dict) else None
    if reason is not None:
        # Half an answer, whatever the word.
        yield reason if _verdict(reason) not in (None, UNKNOWN) else "incomplete"
    # Of the Responses API: elsewhere the name means other things.
    status = _word(place.get("status"))
    if status is not None and (place.get("object") == "response" or _is_response(place.get("id"))):
        yield status


def _word(value: object) -> str | None:
    """A reason that is a word, or the name of a constant, or has one inside."""
    if isinstance(value, dict):
        # AI21's, and SGLang's own.
        value = value.get("type") or value.get("reason")
    if isinstance(value, enum.Enum):
        value = value.value if isinstance(value.value, str) else value.name
    # Bedrock's completions have an empty one where the model gives none.
    return value if isinstance(value, str) and value else None


def _numbered(value: object) -> Iterator[object]:
    if isinstance(value, (list, tuple)):
        yield from (word for word in map(_word, value) if word is not None)
    elif isinstance(value, int) and not isinstance(value, enum.Enum):
        yield value


def _is_response(name: object) -> bool:
    return isinstance(name, str) and name.startswith("resp_")
