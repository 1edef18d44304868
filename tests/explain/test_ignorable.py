"""What `explain` proposes to ignore: what looks made for each call, and nothing else."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.language_models import FakeListLLM
from support.counting_model import CountingModel

from llmemo import Explanation, LLMCache, SQLiteStore, track

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Provider(CountingModel):
    """A provider's model: all of its settings are in what it says of itself."""

    default_headers: dict[str, str] | None = None
    model_kwargs: dict[str, Any] | None = None


def new() -> str:
    return str(uuid.uuid4())


MADE: dict[str, tuple[Callable[[], dict[str, Any]], tuple[str, ...]]] = {
    "header": (
        lambda: {"extra_headers": {"X-Request-ID": new(), "X-Team": "a"}},
        ("extra_headers.x-request-id",),
    ),
    "trace headers": (
        lambda: {"extra_headers": {"traceparent": f"00-{new()}-01", "tracestate": new()}},
        ("extra_headers.traceparent", "extra_headers.tracestate"),
    ),
    "idempotency": (
        lambda: {"extra_headers": {"Idempotency-Key": new()}},
        ("extra_headers.idempotency-key",),
    ),
    "metadata": (
        lambda: {"extra_body": {"metadata": {"request_id": new()}}},
        ("metadata.request_id",),
    ),
    "session": (lambda: {"labels": {"session": new()}}, ("labels.session",)),
    "conversation": (
        lambda: {"extra_headers": {"x-conversation-id": f"c {new()}"}},
        ("extra_headers.x-conversation-id",),
    ),
    "time": (
        lambda: {"labels": {"at": f"2026-01-02T03:04:05.{uuid.uuid4().int % 10**6}"}},
        ("labels.at",),
    ),
    "user": (lambda: {"user": f"user {new()}"}, ("user",)),
    "passed on": (lambda: {"extra_body": {"user": new()}}, ("user",)),
    "two": (
        lambda: {"user": new(), "extra_headers": {"x-b3-traceid": new()}},
        ("extra_headers.x-b3-traceid", "user"),
    ),
}


@pytest.mark.parametrize("where", ["memory", "store", "requests"])
@pytest.mark.parametrize("name", MADE)
def test_what_is_made_for_each_call_is_proposed_and_would_be_a_hit(
    name: str, where: str, tmp_path: Path
) -> None:
    make, names = MADE[name]

    def cache(**settings: Any) -> LLMCache:
        if where == "memory":
            return LLMCache(**settings)
        keeps = where == "requests"
        path = tmp_path / f"{len(settings)}.db"
        return LLMCache(SQLiteStore(path, store_requests=keeps), max_bytes=0, **settings)

    with cache() as plain:
        CountingModel(cache=plain).bind(**make()).invoke("x")
        told = plain.explain(CountingModel().bind(**make()), "x")
        assert tuple(it.lower() for it in told.ignorable) == names
        assert f"LLMCache(ignore=({', '.join(quoted(told))}" in str(told)
    with cache(ignore=told.ignorable) as ignoring:
        CountingModel(cache=ignoring).bind(**make()).invoke("x")
        assert ignoring.explain(CountingModel().bind(**make()), "x").outcome == "hit"


def quoted(told: Explanation) -> list[str]:
    return [f'"{name}"' for name in told.ignorable]


def test_what_the_model_says_beside_its_text_is_proposed_too(tmp_path: Path) -> None:
    cache = LLMCache(tmp_path / "cache.db")
    for _ in range(2):
        model = Provider(
            default_headers={"x-request-id": new()}, model_kwargs={"user": new()}, cache=cache
        )
        with track() as tracker:
            model.invoke("x")
    told = tracker.events[-1].explain()
    assert told.ignorable == ("default_headers.x-request-id", "user")
    assert told.suggestion == (
        "every call has another default_headers.x-request-id and user: "
        'LLMCache(ignore=("default_headers.x-request-id", "user")) leaves them out'
    )
    cache.close()
    again = LLMCache(tmp_path / "cache.db")
    other = Provider(default_headers={"x-request-id": new()}, model_kwargs={"user": "b"})
    assert again.explain(other, "x").ignorable == told.ignorable
    again.close()


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"temperature": 0.1}, {"temperature": 0.2}),
        ({"seed": 1}, {"seed": 2}),
        ({"model": "a"}, {"model": new()}),
        ({"revision": "0" * 40}, {"revision": "1" * 40}),
        ({"extra_headers": {"x-team": "a"}}, {"extra_headers": {"x-team": "b"}}),
        ({"labels": {"topic": "a"}}, {"labels": {"topic": "b"}}),
        ({"user": "a", "seed": 1}, {"user": "b", "seed": 2}),
        ({"conversation": {"request_id": new()}}, {"conversation": {"request_id": new()}}),
        *(
            ({name: new()}, {name: new()})
            for name in ("thread_id", "conversation_id", "session_id", "previous_response_id")
        ),
        ({"state": {"thread_id": new()}}, {"state": {"thread_id": new()}}),
        ({"labels": {"document": "0" * 32}}, {"labels": {"document": "1" * 32}}),
        ({"extra_headers": {"x-sha": "0" * 64}}, {"extra_headers": {"x-sha": "1" * 64}}),
        ({"extra_body": {"tools": [new()]}}, {"extra_body": {"tools": [new()]}}),
        (
            {"extra_headers": {f"x-{at}-request-id": new() for at in range(9)}},
            {"extra_headers": {f"x-{at}-request-id": new() for at in range(9)}},
        ),
    ],
)
def test_what_may_decide_an_answer_is_not_proposed(
    before: dict[str, Any], now: dict[str, Any]
) -> None:
    cache = LLMCache()
    CountingModel(cache=cache).bind(**before).invoke("x")
    told = cache.explain(CountingModel().bind(**now), "x")
    assert (told.outcome, told.ignorable, told.suggestion) == ("miss", (), "")


def test_another_question_is_not_proposed() -> None:
    cache = LLMCache()
    CountingModel(cache=cache).bind(user=new()).invoke("x")
    assert cache.explain(CountingModel().bind(user=new()), "y").ignorable == ()
    CountingModel(cache=cache).bind(user=new()).invoke("y")
    assert cache.explain(CountingModel().bind(user=new()), "y").ignorable == ("user",)


def test_a_cache_that_ignores_some_is_told_of_the_others() -> None:
    cache = LLMCache(ignore=("user",))
    CountingModel(cache=cache).bind(user=new(), labels={"run_id": new()}).invoke("x")
    told = cache.explain(CountingModel().bind(user=new(), labels={"run_id": new()}), "x")
    assert told.nearest[0].differences[0].startswith("labels")
    assert told.ignorable == ("labels.run_id",)
    assert len(told.nearest[0].differences) == 1


def test_completion_models_too() -> None:
    cache = LLMCache()
    FakeListLLM(responses=["a"], cache=cache).bind(user="a").invoke("x")
    told = cache.explain(FakeListLLM(responses=["a"]).bind(user="b"), "x")
    assert str(told.nearest[0]) == "user: 'b' was 'a'"
    assert told.ignorable == ("user",)


def test_entries_of_a_cache_that_ignores_other_settings_are_told_apart(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "cache.db") as plain:
        CountingModel(cache=plain).invoke("x")
    with LLMCache(tmp_path / "cache.db", ignore=("user",)) as cache:
        told = cache.explain(CountingModel(), "x")
        assert str(told.nearest[0]) == "what its cache ignores (LLMCache(ignore=…))"
        assert told.ignorable == ()


def test_a_header_is_named_and_no_value_is_shown() -> None:
    cache = LLMCache()
    for token in ("hush", "psst"):
        headers = {"Authorization": f"Bearer {token}", "x-request-id": token}
        model = Provider(default_headers=headers, cache=cache)
        with track() as tracker:
            model.invoke("x")
    told = str(tracker.events[-1].explain())
    assert "default_headers: differs" in told
    assert "hush" not in told
    assert "psst" not in told
