"""Answers whose model stopped for a good reason are kept, and no others."""

from __future__ import annotations

import enum
import json
import logging
from typing import TYPE_CHECKING, Any, get_args

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.outputs import ChatGeneration, Generation
from pydantic import SecretStr
from support.providers import Provider, chat_completion

from llmemo import LLMCache, worth_keeping
from llmemo.pipeline.admission import reason_against

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeCache = Callable[..., LLMCache]

GOOD = {
    # OpenAI, and those who are compatible: Groq, DeepSeek, Fireworks, xAI, NVIDIA, vLLM, …
    "finish_reason": "stop tool_calls function_call STOP COMPLETE STOP_SEQUENCE TOOL_CALL eos"
    " eos_token stop_sequence end_turn tool_use",
    "stop_reason": "end_turn stop_sequence tool_use compaction stop eos_token",
    "stopReason": "end_turn stop_sequence tool_use",
    "done_reason": "stop",
    "finishReason": "endoftext stop",
    "completionReason": "FINISHED FINISH STOP_CRITERIA_MET",
}

BAD = {
    "truncated": {
        "finish_reason": "length MAX_TOKENS CONTINUATION model_length not_finished token_limit",
        "stop_reason": "max_tokens pause_turn model_context_window_exceeded length",
        "stopReason": "max_tokens model_context_window_exceeded",
        "done_reason": "length",
        "completionReason": "LENGTH",
    },
    "filtered": {
        "finish_reason": "content_filter SAFETY RECITATION LANGUAGE BLOCKLIST PROHIBITED_CONTENT"
        " SPII IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT IMAGE_RECITATION MODEL_ARMOR ESCALATION"
        " ERROR_TOXIC sensitive",
        "stopReason": "guardrail_intervened content_filtered",
        "completionReason": "CONTENT_FILTERED",
    },
    "refused": {"stop_reason": "refusal"},
    "invalid_tool_calls": {
        "finish_reason": "MALFORMED_FUNCTION_CALL UNEXPECTED_TOOL_CALL TOO_MANY_TOOL_CALLS",
        "stopReason": "malformed_tool_use",
    },
    "failed": {
        "finish_reason": "insufficient_system_resource error ERROR ERROR_LIMIT TIMEOUT USER_CANCEL"
        " OTHER FINISH_REASON_UNSPECIFIED IMAGE_OTHER NO_IMAGE MISSING_THOUGHT_SIGNATURE abort"
        " MALFORMED_RESPONSE PUP_LIMITED_DISABLED network_error",
        "stop_reason": "cancelled error",
        "stopReason": "malformed_model_output",
        "done_reason": "load unload",
        "completionReason": "RAG_QUERY_WHEN_RAG_DISABLED",
    },
}


def said(**metadata: Any) -> list[Generation]:
    return [ChatGeneration(message=AIMessage("hello", response_metadata=metadata))]


def spellings(word: str) -> set[str]:
    return {word, word.lower(), word.upper(), word.capitalize()}


@pytest.mark.parametrize(("field", "words"), GOOD.items())
def test_what_ended_well_is_kept(field: str, words: str) -> None:
    for word in words.split():
        for spelling in spellings(word):
            assert reason_against(said(**{field: spelling})) is None, spelling
            text = [Generation(text="hello", generation_info={field: spelling})]
            assert worth_keeping(text), spelling


@pytest.mark.parametrize("reason", BAD)
def test_what_was_interrupted_is_not(reason: str) -> None:
    for field, words in BAD[reason].items():
        for word in words.split():
            for spelling in spellings(word):
                assert reason_against(said(**{field: spelling})) == reason, spelling
                text = [Generation(text="hello", generation_info={field: spelling})]
                assert reason_against(text) == reason, spelling


@pytest.mark.parametrize("field", GOOD)
@pytest.mark.parametrize("word", ["brand_new", "stopped", "stop.", "STOPMAX_TOKENS", "s", "1"])
def test_what_ended_for_an_unknown_reason_is_not(field: str, word: str) -> None:
    assert reason_against(said(**{field: word})) == "unknown_reason"
    assert not worth_keeping(said(**{field: word}))


@pytest.mark.clients
def test_every_reason_of_the_installed_openai_is_known() -> None:
    from openai.types import CompletionChoice
    from openai.types.chat.chat_completion import Choice

    models: list[Any] = [Choice, CompletionChoice]
    for model in models:
        words = get_args(model.model_fields["finish_reason"].annotation)
        assert len(words) >= 3
        for word in words:
            expected = (
                {None} if word in GOOD["finish_reason"].split() else {"truncated", "filtered"}
            )
            assert reason_against(said(finish_reason=word)) in expected, word


# The Responses API.


def response(**fields: Any) -> str | None:
    return reason_against(said(id="resp_1", object="response", **fields))


@pytest.mark.clients
def test_a_response_is_kept_if_it_is_completed() -> None:
    from openai.types.responses import ResponseStatus

    verdicts = {word: response(status=word) for word in get_args(ResponseStatus)}
    assert verdicts == {
        "completed": None,
        "failed": "failed",
        "cancelled": "failed",
        "in_progress": "truncated",
        "queued": "truncated",
        "incomplete": "truncated",
    }
    assert response(status="brand_new") == "unknown_reason"
    assert reason_against(said(id="resp_1", status="failed")) == "failed"
    # What others call a status may be anything.
    assert reason_against(said(id="1", status="gold", finish_reason="stop")) is None


def test_what_is_said_to_be_incomplete_is_so_whatever_the_reason() -> None:
    words = ["max_output_tokens", "max_messages", "content_filter", "steered"]
    for word in [*words, "brand_new", "stop"]:
        expected = "filtered" if word == "content_filter" else "truncated"
        assert response(incomplete_details={"reason": word}) == expected, word
    assert response(incomplete_details={"reason": None}) is None
    assert response(incomplete_details=None, status="completed") is None


# What is no word.


class Finish(enum.Enum):
    """As SDKs have them: by name, and by value."""

    STOP = 1
    MAX_TOKENS = "MAX_TOKENS"
    BRAND_NEW = 99


class Number(enum.IntEnum):
    """As protocol buffers have them."""

    STOP = 1
    SAFETY = 3


NO_WORDS: list[tuple[Any, str | None]] = [
    (None, None),
    ("", None),
    (Finish.STOP, None),
    (Finish.MAX_TOKENS, "truncated"),
    (Finish.BRAND_NEW, "unknown_reason"),
    (Number.STOP, None),
    (Number.SAFETY, "filtered"),
    (1, "unknown_reason"),
    (["stop"], None),
    (["length"], "truncated"),
    (["\n"], "unknown_reason"),
    ([], None),
    ({"type": "length", "length": 7}, "truncated"),
    ({"type": "stop", "matched": 128009}, None),
    ({"reason": "endoftext"}, None),
    ({"reason": "length"}, "truncated"),
    ({"odd": 1}, None),
    (3.5, None),
]


@pytest.mark.parametrize(("reason", "expected"), NO_WORDS, ids=repr)
def test_a_reason_that_is_no_word(reason: Any, expected: str | None) -> None:
    assert reason_against(said(finish_reason=reason)) == expected


def test_what_is_no_word_does_not_count_beside_one() -> None:
    # OllamaLLM writes its stop sequences there, vLLM the token that it stopped at.
    assert reason_against(said(finish_reason=["\n", "error"], done_reason="stop")) is None
    assert reason_against(said(finish_reason="stop", stop_reason=128009)) is None
    assert reason_against(said(finish_reason=["stop"], done_reason="length")) == "truncated"
    # Of two words the worse.
    assert reason_against(said(finish_reason="stop", stop_reason="max_tokens")) == "truncated"
    assert reason_against(said(finish_reason="odd", stop_reason="max_tokens")) == "truncated"
    assert reason_against(said(finish_reason="stop", stop_reason="odd")) == "unknown_reason"


@pytest.mark.parametrize("count", [2, 3, 200])
def test_a_stream_says_its_reason_more_than_once(count: int) -> None:
    for word, expected in [("STOP", None), ("tool_calls", None), ("length", "truncated")]:
        chunks = [
            AIMessageChunk(content="a", response_metadata={"finish_reason": word})
            for _ in range(count)
        ]
        message = add_ai_message_chunks(chunks[0], *chunks[1:])
        assert message.response_metadata["finish_reason"] == word * count
        assert reason_against([ChatGeneration(message=message)]) == expected


# In a cache.


def test_an_unknown_reason_is_counted_and_said_once(
    make_cache: MakeCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make_cache()
    with caplog.at_level(logging.WARNING, "llmemo"):
        for number in range(3):
            cache.update(f"{number}", "m", said(finish_reason=f"new_{number}"))
    assert [cache.lookup(f"{number}", "m") for number in range(3)] == [None] * 3
    assert cache.stats().skipped == {"unknown_reason": 3}
    [line] = [record.getMessage() for record in caplog.records]
    assert "'new_0'" in line
    assert "`admit=`" in line


def test_what_could_be_part_of_an_answer_is_not_logged(
    make_cache: MakeCache, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "llmemo"):
        make_cache().update("p", "m", said(finish_reason="the secret is out"))
    assert "secret" not in caplog.text
    assert "reason that is not known" in caplog.text


def test_a_function_of_the_users_own_may_know_the_reason(make_cache: MakeCache) -> None:
    cache = make_cache(admit=lambda generations: "keep" in generations[0].text)

    def answer(text: str, reason: str) -> list[Generation]:
        return [Generation(text=text, generation_info={"finish_reason": reason})]

    cache.update("a", "m", answer("keep", "brand_new"))
    cache.update("b", "m", answer("drop", "brand_new"))
    cache.update("c", "m", answer("drop", "stop"))
    cache.update("d", "m", answer("keep", "length"))
    assert [cache.lookup(prompt, "m") is not None for prompt in "abcd"] == [True] + [False] * 3
    assert cache.stats().skipped == {"unknown_reason": 1, "not_admitted": 1, "truncated": 1}


def test_of_several_generations_what_is_known_is_said(make_cache: MakeCache) -> None:
    cache = make_cache(admit=lambda _: True)
    cache.update("p", "m", said(finish_reason="odd") + said(finish_reason="length"))
    assert cache.stats().skipped == {"truncated": 1}


@pytest.mark.clients
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("reason", "calls"), [("stop", 1), ("insufficient_system_resource", 2), ("length", 2)]
)
def test_through_a_real_client(
    make_cache: MakeCache, reason: str, calls: int, *, streaming: bool
) -> None:
    from langchain_openai import ChatOpenAI

    def answer(body: dict[str, Any], number: int) -> dict[str, Any] | str:
        whole = chat_completion("hello", number, finish_reason=reason)
        if not body.get("stream"):
            return whole
        [choice] = whole["choices"]
        choice["delta"] = choice.pop("message")
        whole["object"] = "chat.completion.chunk"
        return f"data: {json.dumps(whole)}\n\ndata: [DONE]\n\n"

    with Provider(answer) as server:
        model = ChatOpenAI(
            model="m",
            api_key=SecretStr("k"),
            base_url=server.url,
            cache=make_cache(),
            streaming=streaming,
        )
        for _ in range(2):
            assert model.invoke("q").content == "hello"
        assert len(server.bodies) == calls
