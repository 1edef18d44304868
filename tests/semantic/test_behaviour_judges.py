"""Judges of every kind: what they say counts, when they say it, and holds nobody up."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration
from support.doubles import LIMIT
from support.near import ask, keep, look, near_cache, semantic, told, wording
from support.scripted import Scripted

from llmemo import LLMJudge
from llmemo.semantic import background_judge

if TYPE_CHECKING:
    from pathlib import Path

    from llmemo import LLMCache


def judged(cache: LLMCache) -> None:
    """Wait for the judge."""
    tier = cache._tiers.semantic
    assert tier is not None
    assert tier.judge.flush(LIMIT)


def asked(cache: LLMCache, count: int = 4, topic: str = "tides") -> None:
    """Ask in several wordings; each answer is another text."""
    for number in range(count):
        ask(cache, wording(number, topic), answer=f"told {number} times: {topic}")
        judged(cache)


def same(question: str, stored: str, fresh: str) -> bool:
    return stored.rsplit(maxsplit=1)[-1] == fresh.rsplit(maxsplit=1)[-1]


async def same_later(question: str, stored: str, fresh: str) -> bool:
    await asyncio.sleep(0)
    return same(question, stored, fresh)


class Same:
    def __call__(self, stored: str, fresh: str) -> bool:
        return same("", stored, fresh)


@pytest.mark.parametrize(
    "judge",
    [
        same,
        same_later,
        lambda stored, fresh: same("", stored, fresh),
        Same(),
        LLMJudge(FakeListChatModel(responses=["Yes."])),
    ],
)
def test_a_judge_that_finds_no_fault_certifies(judge: Any) -> None:
    with near_cache(semantic=semantic(judge=judge)) as cache:
        asked(cache)
        assert (told(cache).checks, told(cache).wrong) == (3, 0)
        assert (look(cache, wording(5, "tides")) or "").startswith("told")
        assert cache.stats().errors == {}


@pytest.mark.parametrize(
    "judge",
    [
        None,
        lambda question, stored, fresh: False,
        LLMJudge(FakeListChatModel(responses=["No, it differs."])),
    ],
)
def test_a_judge_that_finds_faults_certifies_nothing(judge: Any) -> None:
    with near_cache(semantic=semantic(judge=judge)) as cache:
        asked(cache, 8)
        assert (told(cache).checks, told(cache).wrong) == (7, 7)
        assert told(cache).threshold is None
        assert told(cache).hits == 0
        assert cache.stats().errors == {}


def raises(question: str, stored: str, fresh: str) -> bool:
    raise RuntimeError("quota")


async def raises_later(question: str, stored: str, fresh: str) -> bool:
    raise RuntimeError("quota")


def leaves(question: str, stored: str, fresh: str) -> bool:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("judge", "errors"),
    [
        (lambda question, stored, fresh: None, 0),
        (LLMJudge(FakeListChatModel(responses=["Who knows?"])), 0),
        (lambda question, stored, fresh: "yes", 7),
        (lambda question, stored, fresh: 1, 7),
        (raises, 7),
        (raises_later, 7),
        (leaves, 7),
    ],
)
def test_a_judge_without_a_verdict_counts_no_check(judge: Any, errors: int) -> None:
    with near_cache(semantic=semantic(judge=judge)) as cache:
        asked(cache, 8)
        assert (told(cache).checks, told(cache).hits) == (0, 0)
        assert told(cache).abstained["no_verdict"] == 7
        assert cache.stats().errors.get("judge_failed", 0) == errors


def test_a_judge_is_given_the_question_and_both_answers() -> None:
    given: list[tuple[str, str, str]] = []

    def judge(question: str, stored: str, fresh: str) -> bool:
        given.append((question, stored, fresh))
        return True

    with near_cache(semantic=semantic(judge=judge)) as cache:
        asked(cache, 2)
    assert given == [(wording(1, "tides"), "told 0 times: tides", "told 1 times: tides")]


class HungJudge:
    """A judge that says True when it is let go."""

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()

    def __call__(self, question: str, stored: str, fresh: str) -> bool:
        self.reached.set()
        assert self.go.wait(LIMIT)
        return True


def test_a_slow_judge_holds_no_caller_up() -> None:
    judge = HungJudge()
    with near_cache(semantic=semantic(judge=judge)) as cache:
        model = Scripted(act=lambda text: "all about tides", cache=cache, asked=[])
        model.invoke(wording(0, "tides"))
        model.invoke(wording(1, "tides"))
        assert judge.reached.wait(LIMIT)
        begun = time.monotonic()
        for number in range(2, 6):
            model.invoke(wording(number, "tides"))
        assert time.monotonic() - begun < 5
        assert told(cache).checks == 0
        judge.go.set()
        judged(cache)
        assert told(cache).checks == 5
        assert look(cache, wording(6, "tides"), "other model") is None
        model.invoke(wording(7, "tides"))
        assert told(cache).hits == 1


@pytest.mark.parametrize("where", ["memory", "store"])
def test_a_verdict_that_comes_after_close_is_dropped(tmp_path: Path, where: str) -> None:
    judge = HungJudge()
    cache = near_cache(
        tmp_path / "cache.db" if where == "store" else None, semantic=semantic(judge=judge)
    )
    keep(cache, wording(0, "tides"))
    ask(cache, wording(1, "tides"))
    assert judge.reached.wait(LIMIT)
    assert cache.close(0.2) == 0
    judge.go.set()
    tier = cache._tiers.semantic
    assert tier is not None
    end = time.monotonic() + LIMIT
    while tier.judge._background.is_working:
        assert time.monotonic() < end
        time.sleep(0.001)
    assert look(cache, wording(2, "tides")) is None
    assert cache.stats().errors == {}


def test_a_hung_judge_costs_no_write(tmp_path: Path) -> None:
    judge = HungJudge()
    cache = near_cache(tmp_path / "cache.db", semantic=semantic(judge=judge))
    keep(cache, wording(0, "tides"))
    ask(cache, wording(1, "tides"))
    assert judge.reached.wait(LIMIT)
    begun = time.monotonic()
    assert cache.close(0.3) == 0
    assert time.monotonic() - begun < 5
    judge.go.set()
    with near_cache(tmp_path / "cache.db") as cache:
        assert look(cache, wording(1, "tides")) == "all about tides"


def test_judgements_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_judge, "JOBS_MAX", 3)
    judge = HungJudge()
    with near_cache(semantic=semantic(judge=judge)) as cache:
        keep(cache, wording(0, "tides"))
        ask(cache, wording(1, "tides"))
        assert judge.reached.wait(LIMIT)
        for number in range(2, 10):
            ask(cache, wording(number, "tides"))
        assert cache.stats().errors == {"judge_skipped": 5}
        judge.go.set()
        judged(cache)
        assert told(cache).checks == 4


def test_a_judge_that_asks_a_cached_model_asks_it() -> None:
    """A judge is no user: no answer of the cache is a verdict."""
    calls: list[str] = []

    def answer(text: str) -> str:
        calls.append(text)
        return "yes"

    with near_cache() as own:
        inner = Scripted(act=answer, cache=own, asked=[])
        with near_cache(semantic=semantic(judge=LLMJudge(inner))) as cache:
            asked(cache)
            asked(cache, 1, "moons")
        assert len(calls) == 3
        assert own.stats().entries == 0


def test_an_answer_with_a_tool_call_is_a_wrong_check() -> None:
    with near_cache() as cache:
        keep(cache, wording(0, "tides"))
        assert look(cache, wording(1, "tides")) is None
        call = {"name": "look", "args": {}, "id": "1"}
        message = AIMessage("all about tides", tool_calls=[call])
        cache.update(wording(1, "tides"), "m", [ChatGeneration(message=message)])
        assert (told(cache).checks, told(cache).wrong) == (1, 1)


def test_answers_that_change_are_found_out() -> None:
    with near_cache(semantic=semantic(shadow=1.0)) as cache:
        asked_topics = [f"topic{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
        for number in range(4):
            ask(cache, wording(number, "tides"), answer="old")
        assert told(cache).threshold is not None
        for topic in asked_topics:
            ask(cache, wording(0, topic), answer="old")
            ask(cache, wording(1, topic), answer="new")
        assert told(cache).threshold is None
        assert told(cache).wrong == len(asked_topics)
