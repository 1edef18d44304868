"""What a caller says about near matches: options, sessions, modes, and what the question is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from support.near import Meaning, ask, certify, keep, look, near_cache, semantic, told, wording
from support.scripted import Scripted

from llmemo import CacheMiss, ConfigurationError, options
from llmemo.semantic import sessions, tier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmemo import LLMCache


@pytest.fixture(params=["memory", "store"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LLMCache]:
    where = tmp_path / "cache.db" if request.param == "store" else None
    with near_cache(where) as cache:
        certify(cache)
        keep(cache, wording(0, "tides"))
        yield cache


def test_near_matches_are_turned_off_for_a_block(cache: LLMCache) -> None:
    with options(semantic=False):
        assert look(cache, wording(1, "tides")) is None
        assert look(cache, wording(0, "tides")) == "all about tides"
        with options(semantic=True):
            assert look(cache, wording(1, "tides")) == "all about tides"
    assert look(cache, wording(1, "tides")) == "all about tides"


def test_a_block_without_near_matches_checks_and_learns_nothing(cache: LLMCache) -> None:
    before = told(cache)
    with options(semantic=False):
        assert ask(cache, wording(1, "moons")) is None
        assert ask(cache, wording(2, "moons")) is None
    assert told(cache) == before
    # Nor were its questions embedded.
    assert look(cache, wording(3, "moons")) is None


def test_a_call_that_must_not_ask_the_model_is_exact(cache: LLMCache) -> None:
    with options(mode="only"):
        with pytest.raises(CacheMiss):
            look(cache, wording(1, "tides"))
        assert look(cache, wording(0, "tides")) == "all about tides"
        with options(semantic=True):
            assert look(cache, wording(1, "tides")) == "all about tides"
            with pytest.raises(CacheMiss):
                look(cache, wording(1, "moons"))
        with options(semantic=False), pytest.raises(CacheMiss):
            look(cache, wording(1, "tides"))


def test_a_call_that_must_not_ask_the_model_is_never_checked() -> None:
    with near_cache(semantic=semantic(shadow=1.0)) as cache:
        certify(cache)
        keep(cache, wording(0, "tides"))
        assert look(cache, wording(1, "tides")) is None
        with options(mode="only", semantic=True):
            assert look(cache, wording(2, "tides")) == "all about tides"


def test_a_call_that_must_not_ask_the_model_gets_nothing_uncertified() -> None:
    with near_cache() as cache:
        keep(cache, wording(0, "tides"))
        with options(mode="only", semantic=True), pytest.raises(CacheMiss):
            look(cache, wording(1, "tides"))


@pytest.mark.parametrize("mode", ["refresh", "bypass"])
def test_modes_that_ask_the_model_are_no_near_match(cache: LLMCache, mode: Any) -> None:
    before, model = told(cache), Scripted(act=lambda text: "news", cache=cache, asked=[])
    with options(mode=mode, semantic=True):
        assert model.invoke(wording(1, "tides")).text == "news"
    assert told(cache) == before
    kept = model.invoke(wording(1, "tides")).text == "news" and len(model.asked) == 1
    assert kept == (mode == "refresh")


def test_a_session_gets_no_near_match_twice(cache: LLMCache) -> None:
    keep(cache, wording(3, "tides"), answer="more about tides")
    with options(session="a"):
        first = look(cache, wording(1, "tides"))
        second = look(cache, wording(2, "tides"))
        assert {first, second} == {"all about tides", "more about tides"}
        assert look(cache, wording(4, "tides")) is None
        # An exact hit is no near match.
        assert look(cache, wording(0, "tides")) == "all about tides"
    assert told(cache).abstained["session"] == 1
    with options(session="b"):
        assert look(cache, wording(4, "tides")) is not None
    assert look(cache, wording(5, "tides")) is not None


def test_a_session_asks_the_same_question_again(cache: LLMCache) -> None:
    with options(session="a"):
        assert look(cache, wording(1, "tides")) == "all about tides"
        assert ask(cache, wording(1, "tides"), answer="another") is None
        assert look(cache, wording(1, "tides")) == "another"


def test_a_request_that_is_repeated_gets_an_answer_of_its_own(cache: LLMCache) -> None:
    question = wording(1, "tides")
    for _ in range(3):
        assert ask(cache, question, answer="its own") == "all about tides"
    checks = told(cache).checks
    assert ask(cache, question, answer="its own") is None
    assert told(cache).abstained["repeated"] == 1
    # It would not have been a hit, so it says nothing of hits.
    assert told(cache).checks == checks
    hits = told(cache).hits
    assert [look(cache, question) for _ in range(5)] == ["its own"] * 5
    assert told(cache).hits == hits
    # It may be a near match for others, as any answer.
    assert look(cache, wording(2, "tides")) in {"its own", "all about tides"}


def test_what_may_not_ask_the_model_is_repeated(cache: LLMCache) -> None:
    with options(mode="only", semantic=True):
        for _ in range(10):
            assert look(cache, wording(1, "tides")) == "all about tides"


def test_requests_that_were_repeated_do_not_pile_up(
    cache: LLMCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tier, "SERVED_MAX", 4)
    for number in range(1, 20):
        look(cache, wording(number, "tides"))
    semantic_tier = cache._tiers.semantic
    assert semantic_tier is not None
    assert len(semantic_tier._served) == 4
    cache.clear()
    assert not semantic_tier._served


def test_sessions_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 10)
    monkeypatch.setattr(sessions, "MATCHES_MAX", 5)
    kept = sessions.Sessions()
    for number in range(100):
        for match in range(20):
            kept.add(f"session {number}", bytes([match]))
    assert len(kept._given) == 10
    assert list(kept.given("session 99")) == [bytes([match]) for match in range(15, 20)]
    assert kept.given("session 0") == {}
    assert kept.given(None) == {}


def test_a_session_of_a_models_calls(cache: LLMCache) -> None:
    model = Scripted(act=lambda text: "all about moons", cache=cache, asked=[])
    model.invoke(wording(0, "moons"))

    async def main() -> None:
        with options(session="a"):
            await model.ainvoke(wording(1, "moons"))
            await model.ainvoke(wording(2, "moons"))
            # The second was asked: so there is one that the session was not given yet.
            await model.ainvoke(wording(3, "moons"))

    asyncio.run(main())
    assert model.asked == [wording(0, "moons"), wording(2, "moons")]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"semantic": 1}, "semantic"),
        ({"semantic": "yes"}, "semantic"),
        ({"session": 5}, "session"),
        ({"session": b"a"}, "session"),
    ],
)
def test_options_that_cannot_work(given: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigurationError, match=error):
        options(**given)


def by_line(text: str) -> str | None:
    return text.partition("Question: ")[2] or None


def test_a_function_says_what_the_question_is() -> None:
    embeddings = Meaning()
    with near_cache(semantic=semantic(embeddings, question=by_line)) as cache:
        for number in range(4):
            ask(cache, f"Context {number}. Question: {wording(number, 'rehearsals')}")
        keep(cache, f"Be kind. Question: {wording(0, 'tides')}")
        found = look(cache, f"Be brief. Question: {wording(1, 'tides')}")
        assert found == "all about Be"
        assert not any("Be" in text for call in embeddings.calls for text in call)


def raising(text: str) -> str:
    raise LookupError(text)


@pytest.mark.parametrize(
    "question", [lambda text: None, raising, lambda text: 5, lambda text: "", lambda text: " \n"]
)
def test_a_request_without_a_question_is_not_compared(question: Any) -> None:
    embeddings = Meaning()
    with near_cache(semantic=semantic(embeddings, question=question)) as cache:
        assert ask(cache, wording(0, "tides")) is None
        assert ask(cache, wording(1, "tides")) is None
        assert look(cache, wording(0, "tides")) == "all about tides"
        assert embeddings.calls == []
        assert told(cache).abstained == {"no_question": 2}
        assert set(cache.stats().errors) == ({"question"} if question is raising else set())


@pytest.mark.parametrize(
    "message",
    [
        AIMessage("explain tides in short"),
        SystemMessage("explain tides in short"),
        HumanMessage([{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]),
    ],
)
def test_only_a_humans_text_is_compared(message: Any) -> None:
    with near_cache() as cache:
        model = Scripted(act=lambda text: "all about it", cache=cache, asked=[])
        for number in range(6):
            model.invoke(wording(number, "tides"))
        assert told(cache).hits > 0
        hits, asked = told(cache).hits, len(model.asked)
        model.invoke([HumanMessage("so"), message])
        model.invoke([message])
        assert (told(cache).hits, len(model.asked)) == (hits, asked + 2)
        assert told(cache).abstained["no_question"] == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([SystemMessage("Be kind.")], [SystemMessage("Be brief.")]),
        ([], [SystemMessage("Be brief.")]),
        ([HumanMessage("hi"), AIMessage("hello")], [HumanMessage("hi"), AIMessage("ho")]),
    ],
)
def test_all_messages_before_the_question_have_to_be_equal(one: Any, other: Any) -> None:
    with near_cache() as cache:
        model = Scripted(act=lambda text: "all about it", cache=cache, asked=[])
        for number in range(6):
            model.invoke([*one, HumanMessage(wording(number, "tides"))])
        assert told(cache).hits == 2
        model.invoke([*other, HumanMessage(wording(7, "tides"))])
        assert told(cache).hits == 2
        model.invoke([*one, HumanMessage(wording(7, "tides"))])
        assert told(cache).hits == 3


def test_a_question_that_no_embedder_reads_whole_is_not_compared() -> None:
    embeddings = Meaning()
    with near_cache(semantic=semantic(embeddings)) as cache:
        ask(cache, "tides " * 300)
        assert told(cache).abstained == {"too_long": 1}
        assert embeddings.calls == []
