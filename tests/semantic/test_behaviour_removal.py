"""An answer that is gone, or that may not be kept, is no near match either."""

from __future__ import annotations

import datetime
import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.outputs import Generation
from support.doubles import Clock
from support.near import ask, certify, keep, look, near_cache, told, wording
from support.scripted import Scripted

from llmemo import SQLiteStore, options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from llmemo import LLMCache

    Make = Callable[..., LLMCache]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "store", "store without memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Make]:
    """Makes certified caches on one store, if there is one."""
    made: list[LLMCache] = []

    def make(**settings: Any) -> LLMCache:
        store = None if request.param == "memory" else tmp_path / "cache.db"
        if request.param == "store without memory":
            settings.setdefault("max_bytes", 0)
        cache = near_cache(store, clock=clock, **settings)
        made.append(cache)
        certify(cache)
        return cache

    yield make
    for cache in made:
        cache.close()


def test_an_answer_is_served_until_it_expires(make: Make, clock: Clock) -> None:
    cache = make(ttl=100)
    keep(cache, wording(0, "tides"))
    clock.now += 99
    assert look(cache, wording(1, "tides")) == "all about tides"
    clock.now += 1
    assert look(cache, wording(1, "tides")) is None
    assert look(cache, wording(2, "tides")) is None


def test_an_expired_answer_is_not_stale_for_another_question(make: Make, clock: Clock) -> None:
    cache = make(ttl=100, stale_if_error=1_000)
    keep(cache, wording(0, "tides"))
    clock.now += 100
    assert look(cache, wording(1, "tides")) is None
    keep(cache, wording(3, "moons"))
    assert look(cache, wording(4, "moons")) == "all about moons"


def test_a_failing_model_is_no_reason_to_serve_a_stale_neighbour(make: Make, clock: Clock) -> None:
    cache = make(ttl=100, stale_if_error=1_000)

    def fail(text: str) -> str:
        raise ConnectionError("down")

    model = Scripted(act=lambda text: "all about tides", cache=cache, asked=[])
    model.invoke(wording(0, "tides"))
    clock.now += 100
    model.act = fail
    with pytest.raises(ConnectionError):
        model.invoke(wording(1, "tides"))
    with pytest.raises(ConnectionError):
        model.invoke(wording(0, "tides"))
    # The question itself has a stale answer; its paraphrase has none.
    assert model.invoke(wording(0, "tides")).text == "all about tides"
    with pytest.raises(ConnectionError):
        model.invoke(wording(1, "tides"))


def test_near_matches_never_cross_namespaces(make: Make) -> None:
    cache = make()
    with options(namespace="mine"):
        keep(cache, wording(0, "tides"))
        assert look(cache, wording(1, "tides")) == "all about tides"
    for other in ("yours", "", "mine2"):
        with options(namespace=other):
            assert look(cache, wording(1, "tides")) is None
    assert look(cache, wording(1, "tides")) is None


REMOVALS: dict[str, Callable[[LLMCache, Clock], object]] = {
    "delete": lambda cache, clock: cache.delete(wording(0, "tides"), "m"),
    "clear": lambda cache, clock: cache.clear(),
    "invalidate namespace": lambda cache, clock: cache.invalidate(namespace="here"),
    "invalidate model": lambda cache, clock: cache.invalidate(llm_string="m"),
    "invalidate old": lambda cache, clock: cache.invalidate(older_than=10),
    "invalidate timedelta": lambda cache, clock: cache.invalidate(
        older_than=datetime.timedelta(seconds=10)
    ),
}


@pytest.mark.parametrize("how", REMOVALS)
def test_what_is_removed_is_not_served(make: Make, clock: Clock, how: str) -> None:
    cache = make(namespace="here")
    keep(cache, wording(0, "tides"))
    assert look(cache, wording(1, "tides")) == "all about tides"
    clock.now += 20
    REMOVALS[how](cache, clock)
    for number in range(1, 4):
        assert look(cache, wording(number, "tides")) is None
    # It may be learned again.
    keep(cache, wording(0, "tides"))
    assert look(cache, wording(1, "tides")) == "all about tides"


def test_a_removal_leaves_the_others(make: Make, clock: Clock) -> None:
    cache = make()
    keep(cache, wording(0, "tides"))
    keep(cache, wording(0, "moons"))
    assert cache.delete(wording(0, "tides"), "m")
    assert look(cache, wording(1, "tides")) is None
    assert look(cache, wording(1, "moons")) == "all about moons"


def test_an_answer_that_is_replaced_is_served_as_it_is_now(make: Make) -> None:
    cache = make()
    keep(cache, wording(0, "tides"))
    with options(mode="refresh"):
        keep(cache, wording(0, "tides"), answer="news of tides")
    assert look(cache, wording(1, "tides")) == "news of tides"


def test_an_answer_that_is_not_admitted_is_no_neighbour(make: Make) -> None:
    def admit(generations: Any) -> bool:
        return "moons" not in generations[0].text

    cache = make(admit=admit)
    keep(cache, wording(0, "tides"))
    keep(cache, wording(0, "moons"))
    assert look(cache, wording(1, "tides")) == "all about tides"
    assert look(cache, wording(1, "moons")) is None
    assert told(cache).abstained["no_neighbour"] >= 1


def test_a_question_of_an_evicted_answer_is_no_neighbour() -> None:
    with near_cache(max_entries=4) as cache:
        certify(cache)
        keep(cache, wording(0, "tides"))
        for topic in ("moons", "stars", "suns", "comets"):
            keep(cache, wording(0, topic))
        assert cache.stats().evictions > 0
        assert look(cache, wording(0, "tides")) is None
        assert look(cache, wording(1, "tides")) is None
        assert look(cache, wording(1, "comets")) == "all about comets"


def test_a_near_match_keeps_its_answer_from_eviction() -> None:
    with near_cache(max_entries=4) as cache:
        certify(cache)
        keep(cache, wording(0, "tides"))
        for number, topic in enumerate(("moons", "stars", "suns", "comets"), 1):
            assert look(cache, wording(number, "tides")) == "all about tides"
            keep(cache, wording(0, topic))


def test_a_store_without_room_drops_question_and_answer(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "cache.db", max_store_bytes=400_000)
    with near_cache(store, max_bytes=0) as cache:
        certify(cache)
        topics = [f"topic{'abcdefghij'[at // 10]}{'abcdefghij'[at % 10]}" for at in range(60)]
        for topic in topics:
            keep(
                cache,
                wording(0, topic),
                answer=f"all about {topic} " + random.Random(topic).randbytes(8_000).hex(),
            )
        exact = [look(cache, wording(0, topic)) is not None for topic in topics]
        near = [look(cache, wording(1, topic)) is not None for topic in topics]
        assert 0 < sum(exact) < len(topics)
        # Evictions may go on in between; none comes back.
        assert sum(near) <= sum(exact)
        assert near[-1]
        assert all(was for was, is_near in zip(exact, near, strict=True) if is_near)


@pytest.mark.parametrize("settings", [{"encryption_key": "0" * 64}, {}])
def test_only_an_encrypted_store_hides_its_questions(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    question = wording(0, "pistachios")
    with near_cache(tmp_path / "cache.db", **settings) as cache:
        certify(cache)
        keep(cache, question, answer="nuts")
        assert look(cache, wording(1, "pistachios")) == "nuts"
    found = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert (b"pistachios" in found) == (not settings)
    with near_cache(tmp_path / "cache.db", max_bytes=0, **settings) as cache:
        assert look(cache, wording(1, "pistachios")) == "nuts"


def test_an_encrypted_question_is_nothing_to_another_key(tmp_path: Path) -> None:
    with near_cache(tmp_path / "cache.db", encryption_key="0" * 64) as cache:
        certify(cache)
        keep(cache, wording(0, "tides"))
    for key in ("1" * 64, None):
        with near_cache(tmp_path / "cache.db", encryption_key=key) as cache:
            assert look(cache, wording(1, "tides")) is None
            assert look(cache, wording(0, "tides")) is None
    with near_cache(tmp_path / "cache.db", encryption_key=["1" * 64, "0" * 64]) as cache:
        assert look(cache, wording(1, "tides")) == "all about tides"


def test_a_secret_parts_those_who_know_it(tmp_path: Path) -> None:
    with near_cache(tmp_path / "cache.db", secret="s" * 32) as cache:
        certify(cache)
        keep(cache, wording(0, "tides"))
        assert look(cache, wording(1, "tides")) == "all about tides"
    for secret in ("t" * 32, None):
        with near_cache(tmp_path / "cache.db", secret=secret) as cache:
            assert look(cache, wording(1, "tides")) is None
    with near_cache(tmp_path / "cache.db", secret="s" * 32) as cache:
        assert look(cache, wording(1, "tides")) == "all about tides"


def test_a_paraphrase_that_was_answered_is_an_exact_hit_from_then_on(make: Make) -> None:
    cache = make()
    keep(cache, wording(0, "tides"))
    assert ask(cache, wording(1, "tides")) == "all about tides"
    hits = told(cache).hits
    keep(cache, wording(1, "tides"), answer="more of tides")
    assert look(cache, wording(1, "tides")) == "more of tides"
    assert told(cache).hits == hits


def test_a_damaged_answer_is_no_neighbour(tmp_path: Path) -> None:
    with near_cache(tmp_path / "cache.db") as cache:
        certify(cache)
        keep(cache, wording(0, "tides"))
    with closing(sqlite3.connect(tmp_path / "cache.db")) as connection, connection:
        connection.execute("UPDATE entries SET value = x'00112233'")
    with near_cache(tmp_path / "cache.db") as cache:
        assert look(cache, wording(1, "tides")) is None
        assert cache.lookup("x", "m") is None
        cache.update("x", "m", [Generation(text="y")])
        assert cache.lookup("x", "m") == [Generation(text="y")]


def test_a_damaged_question_is_no_neighbour(tmp_path: Path) -> None:
    with near_cache(tmp_path / "cache.db") as cache:
        certify(cache)
        keep(cache, wording(0, "tides"))
        keep(cache, wording(0, "moons"))
    with closing(sqlite3.connect(tmp_path / "cache.db")) as connection, connection:
        connection.execute("UPDATE questions SET sealed = x'0011' WHERE id % 2")
    with near_cache(tmp_path / "cache.db") as cache:
        found = [look(cache, wording(1, topic)) for topic in ("tides", "moons")]
        assert None in found
        assert set(found) & {"all about tides", "all about moons"}
        assert any(reason.startswith("question_") for reason in cache.stats().errors)
        assert look(cache, wording(0, "tides")) == "all about tides"
