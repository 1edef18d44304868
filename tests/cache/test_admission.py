"""What is not worth keeping is not kept, and counted by reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, Generation

from llmemo import ConfigurationError, LLMCache, worth_keeping

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    MakeCache = Callable[..., LLMCache]


def said(text: Any = "hello", **fields: Any) -> ChatGeneration:
    info = fields.pop("info", None)
    return ChatGeneration(message=AIMessage(text, **fields), generation_info=info)


def stopped(name: str, reason: str) -> list[Generation]:
    return [said(response_metadata={name: reason})]


REFUSED: list[tuple[str, Sequence[Generation]]] = [
    ("truncated", [said(info={"finish_reason": "length"})]),
    ("truncated", [Generation(text="once upon", generation_info={"finish_reason": "length"})]),
    ("truncated", stopped("finish_reason", "length")),
    ("truncated", stopped("stop_reason", "max_tokens")),
    ("truncated", stopped("finish_reason", "MAX_TOKENS")),
    ("truncated", stopped("done_reason", "length")),
    (
        "truncated",
        [said(response_metadata={"incomplete_details": {"reason": "max_output_tokens"}})],
    ),
    ("filtered", stopped("finish_reason", "content_filter")),
    ("filtered", stopped("finish_reason", "SAFETY")),
    ("filtered", stopped("stopReason", "guardrail_intervened")),
    ("refused", stopped("stop_reason", "refusal")),
    ("refused", [said(additional_kwargs={"refusal": "I will not."})]),
    ("refused", [said([{"type": "refusal", "refusal": "I will not."}])]),
    ("empty", [said("")]),
    ("empty", [said([])]),
    ("empty", [said([{"type": "text", "text": ""}])]),
    ("empty", [said("", additional_kwargs={"refusal": None})]),
    ("empty", [Generation(text="")]),
    (
        "invalid_tool_calls",
        [
            said(
                "",
                invalid_tool_calls=[
                    {"type": "invalid_tool_call", "name": "f", "args": "{", "id": "1", "error": "x"}
                ],
            )
        ],
    ),
    ("invalid_tool_calls", stopped("finish_reason", "MALFORMED_FUNCTION_CALL")),
    # One bad answer of several is enough.
    ("truncated", [said(), said(info={"finish_reason": "length"})]),
]

KEPT: list[Sequence[Generation]] = [
    [said()],
    [said(info={"finish_reason": "stop", "logprobs": None})],
    stopped("finish_reason", "tool_calls"),
    stopped("stop_reason", "end_turn"),
    stopped("finish_reason", "STOP"),
    [said("", tool_calls=[{"name": "f", "args": {}, "id": "1", "type": "tool_call"}])],
    [said("", additional_kwargs={"audio": {"id": "a", "data": "…"}})],
    [said([{"type": "reasoning", "reasoning": "hm"}])],
    [said("refusal")],
    [said(response_metadata={"finish_reason": None})],
    [said(response_metadata={"finish_reason": {"odd": 1}})],
    [Generation(text="hello", generation_info={"finish_reason": "stop"})],
    [ChatGeneration(message=HumanMessage("hello"))],
]


@pytest.mark.slow
@pytest.mark.parametrize(("reason", "answer"), REFUSED)
def test_what_is_not_worth_keeping(
    reason: str, answer: Sequence[Generation], make_cache: MakeCache
) -> None:
    cache = make_cache()
    cache.update("p", "m", answer)
    assert cache.lookup("p", "m") is None
    assert (cache.stats().skipped, cache.stats().updates) == ({reason: 1}, 0)
    assert not worth_keeping(answer)


@pytest.mark.slow
@pytest.mark.parametrize("answer", KEPT)
def test_what_is(answer: Sequence[Generation], make_cache: MakeCache) -> None:
    cache = make_cache()
    cache.update("p", "m", answer)
    assert cache.lookup("p", "m") == answer
    assert cache.stats().skipped == {}
    assert worth_keeping(answer)


def test_an_answer_that_is_refused_replaces_none(make_cache: MakeCache) -> None:
    cache = make_cache()
    cache.update("p", "m", [said("whole")])
    cache.update("p", "m", [said("ha", info={"finish_reason": "length"})])
    assert cache.lookup("p", "m") == [said("whole")]


def test_a_function_of_the_users_own_is_asked_beside_that(make_cache: MakeCache) -> None:
    asked: list[str] = []

    def admit(generations: Sequence[Generation]) -> bool:
        asked.append(generations[0].text)
        return "secret" not in generations[0].text

    cache = make_cache(admit=admit)
    cache.update("a", "m", [said("fine")])
    cache.update("b", "m", [said("a secret")])
    cache.update("c", "m", [said("")])
    assert cache.lookup("a", "m") is not None
    assert cache.lookup("b", "m") is None
    assert cache.stats().skipped == {"not_admitted": 1, "empty": 1}
    assert asked == ["fine", "a secret"]


def test_a_function_that_raises_keeps_nothing_and_reaches_nobody(make_cache: MakeCache) -> None:
    def admit(generations: Sequence[Generation]) -> bool:
        raise ValueError("oh")

    cache = make_cache(admit=admit)
    cache.update("p", "m", [said()])
    assert cache.lookup("p", "m") is None
    assert cache.stats().skipped == {"not_admitted": 1}
    assert cache.stats().errors == {"admit": 1}


def test_none_keeps_everything(make_cache: MakeCache) -> None:
    cache = make_cache(admit=None)
    for number, (_, answer) in enumerate(REFUSED):
        cache.update(f"{number}", "m", answer)
        assert cache.lookup(f"{number}", "m") == answer
    assert cache.stats().skipped == {}


@pytest.mark.parametrize("wrong", [True, 7, "all"])
def test_what_is_no_function_is_an_error_at_once(wrong: Any) -> None:
    with pytest.raises(
        ConfigurationError, match="give a function that takes a list of generations"
    ):
        LLMCache(admit=wrong)
