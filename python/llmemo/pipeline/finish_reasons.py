"""Why a model stopped, in the words of each provider.

An answer is kept if its reason is known to be a good one. A list of bad reasons is out of date as
soon as a provider has another way to interrupt an answer, and then half an answer is served for
ever.

Words are read wherever they stand, without regard to case: gateways pass on the words of one
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
"""By provider, the reasons of whole answers. Anthropic's `compaction` comes only to who asked for a
pause after a summary, and has it."""

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
    """What speaks against an answer of which a provider says this: why, and in which word.

    None if nothing does, or nothing is said: fakes and many local models give no reason.
    """
    if not place:
        return None
    unknown = None
    for said in _told(place):
        verdict = _verdict(said)
        if verdict == UNKNOWN:
            unknown = UNKNOWN, said
        elif verdict is not None:
            return verdict, said
    return unknown


def _verdict(said: str) -> str | None:
    word = said.lower()
    # Of a word that is repeated, the shortest part that is: it comes again first at its own length.
    once = word[: (word * 2).find(word, 1)]
    return _VERDICTS.get(once, UNKNOWN)


def _told(place: Mapping[str, Any]) -> Iterator[str]:
    """The reasons that there are, as words."""
    told = [place[name] for name in WHERE if place.get(name) is not None]
    words = [word for word in map(_word, told) if word is not None]
    # A number is a token's (vLLM), a list what OllamaLLM was told to stop at. They count where
    # nothing better is said.
    yield from words or (str(each) for said in told for each in _others(said))
    details = place.get("incomplete_details")
    reason = _word(details.get("reason")) if isinstance(details, dict) else None
    if reason is not None:
        # Half an answer, whatever the word.
        yield reason if _verdict(reason) not in (None, UNKNOWN) else "incomplete"
    # Of the Responses API: others use the name for other things.
    status = _word(place.get("status"))
    if status is not None and (place.get("object") == "response" or _is_response(place.get("id"))):
        yield status


def _word(said: object) -> str | None:
    """A reason that is a word, or the name of a constant, or has one inside."""
    if isinstance(said, dict):
        # AI21's, and SGLang's own.
        said = said.get("type") or said.get("reason")
    if isinstance(said, enum.Enum):
        said = said.value if isinstance(said.value, str) else said.name
    # Bedrock's completions have an empty one where the model gives none.
    return said if isinstance(said, str) and said else None


def _others(said: object) -> Iterator[object]:
    if isinstance(said, (list, tuple)):
        yield from (word for word in map(_word, said) if word is not None)
    elif isinstance(said, int) and not isinstance(said, enum.Enum):
        yield said


def _is_response(name: object) -> bool:
    return isinstance(name, str) and name.startswith("resp_")
