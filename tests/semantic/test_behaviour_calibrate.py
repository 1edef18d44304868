"""Calibration by pairs: what it certifies is served at once, in every process."""

from __future__ import annotations

import asyncio
import threading
import time
from array import array
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import LIMIT
from support.embedders import Gate
from support.near import Meaning, keep, look, meant, near_cache, semantic, told, wording

from llmemo import CacheClosedError, ConfigurationError, LLMCache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Pairs = list[tuple[str, str, bool]]


def topics(count: int) -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [f"topic{letters[at // 26]}{letters[at % 26]}" for at in range(count)]


def pairs(count: int, wrong: int = 0) -> Pairs:
    return [
        (wording(0, topic), wording(1, topic), at >= wrong)
        for at, topic in enumerate(topics(count))
    ]


@pytest.fixture(params=["calibrate", "acalibrate"])
def calibrate(request: pytest.FixtureRequest) -> Callable[..., Any]:
    def call(cache: LLMCache, *args: Any, **options: Any) -> Any:
        if request.param == "calibrate":
            return cache.calibrate(*args, **options)
        return asyncio.run(cache.acalibrate(*args, **options))

    return call


@pytest.fixture(params=["memory", "store"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LLMCache]:
    where = tmp_path / "cache.db" if request.param == "store" else None
    settings = semantic(max_error=0.1, confidence=0.95)
    with near_cache(where, semantic=settings) as cache:
        yield cache


def test_what_is_certified_is_served_at_once(cache: LLMCache, calibrate: Any) -> None:
    keep(cache, wording(0, "tides"))
    assert look(cache, wording(1, "tides")) is None
    report = calibrate(cache, pairs(60))
    assert report.hits == 60
    assert report.threshold == told(cache).threshold
    assert report.error == 0
    assert 0 < report.bound <= 0.1
    assert look(cache, wording(2, "tides")) == "all about tides"


def test_pairs_that_differ_certify_nothing(cache: LLMCache, calibrate: Any) -> None:
    report = calibrate(cache, pairs(60, wrong=30))
    assert report.threshold is None
    keep(cache, wording(0, "tides"))
    assert look(cache, wording(1, "tides")) is None


def test_a_calibration_takes_the_place_of_the_certificate(cache: LLMCache, calibrate: Any) -> None:
    calibrate(cache, pairs(60))
    assert told(cache).threshold is not None
    calibrate(cache, pairs(60, wrong=60))
    assert told(cache).threshold is None


def test_another_process_serves_it_too(tmp_path: Path, calibrate: Any) -> None:
    settings: dict[str, Any] = {"max_error": 0.1, "confidence": 0.95}
    with near_cache(tmp_path / "c.db", semantic=semantic(**settings)) as one:
        keep(one, wording(0, "tides"))
        with near_cache(tmp_path / "c.db", semantic=semantic(**settings)) as other:
            assert look(other, wording(1, "tides")) is None
            calibrate(one, pairs(60))
            end = time.monotonic() + LIMIT
            while look(other, wording(2, "tides")) is None:
                assert time.monotonic() < end
                time.sleep(0.02)
    # Of another promise it says nothing.
    with near_cache(tmp_path / "c.db", semantic=semantic(max_error=0.2)) as other:
        assert look(other, wording(2, "tides")) is None


@pytest.mark.parametrize("count", [0, 1, 43])
def test_too_few_pairs_are_refused(cache: LLMCache, calibrate: Any, count: int) -> None:
    with pytest.raises(
        ConfigurationError, match=r"44 pairs without an error are needed for max_error=0\.1"
    ):
        calibrate(cache, pairs(count))
    assert told(cache).threshold is None


@pytest.mark.parametrize(
    "given",
    [
        [("a", "b")],
        [("a", "b", "yes")] * 60,
        [("a", None, True)] * 60,
        ["abc"] * 60,
        [1, 2],
        5,
        None,
        "text",
    ],
)
def test_what_is_no_pairs_is_refused(cache: LLMCache, calibrate: Any, given: Any) -> None:
    with pytest.raises((ConfigurationError, TypeError)):
        calibrate(cache, given)
    assert told(cache).checks == 0
    assert told(cache).threshold is None


def test_pairs_may_come_from_a_generator(cache: LLMCache, calibrate: Any) -> None:
    assert calibrate(cache, (pair for pair in pairs(60))).hits == 60


def test_without_near_matches_there_is_nothing_to_calibrate(calibrate: Any) -> None:
    with LLMCache() as cache, pytest.raises(ConfigurationError, match="semantic="):
        calibrate(cache, pairs(60))


def test_a_closed_cache_is_not_calibrated(calibrate: Any) -> None:
    cache = near_cache()
    cache.close()
    with pytest.raises(CacheClosedError):
        calibrate(cache, pairs(60))


def test_progress_is_told(cache: LLMCache, calibrate: Any) -> None:
    seen: list[tuple[int, int]] = []
    calibrate(cache, pairs(60), progress=lambda done, of: seen.append((done, of)))
    assert seen == [(64, 120), (120, 120)]


def test_embeddings_that_raise_are_told(calibrate: Any) -> None:
    embeddings = Meaning()
    with near_cache(semantic=semantic(embeddings, max_error=0.1)) as cache:
        calibrate(cache, pairs(60))
        before = told(cache)
        embeddings.before = fail
        with pytest.raises(ConnectionError):
            calibrate(cache, pairs(60, wrong=60))
        assert told(cache) == before


def fail(texts: list[str]) -> None:
    raise ConnectionError("down")


def test_vectors_that_are_none_are_no_checks(calibrate: Any) -> None:
    embeddings = Meaning()
    embeddings.answer = lambda texts: [[float("nan")] * 4 for _ in texts]
    with (
        near_cache(semantic=semantic(embeddings)) as cache,
        pytest.raises(ConfigurationError, match="no vector of finite numbers for 60 of 60"),
    ):
        calibrate(cache, pairs(60))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda texts: None, "a NoneType for 64 texts"),
        (lambda texts: 5, "a int for 64 texts"),
        (lambda texts: "a" * 64, "64 vectors for 64 texts"),
        (lambda texts: meant(texts)[:-1], "63 vectors for 64 texts"),
        (lambda texts: [[1.0, 2.0]], "1 vectors for 64 texts"),
        (lambda texts: [None] * len(texts), "no vector of finite numbers for 60 of 60"),
        (lambda texts: ["ab"] * len(texts), "no vector of finite numbers for 60 of 60"),
        (lambda texts: [5] * len(texts), "no vector of finite numbers for 60 of 60"),
        (lambda texts: [[None]] * len(texts), "no vector of finite numbers for 60 of 60"),
    ],
)
def test_what_is_no_vectors_is_refused(calibrate: Any, answer: Any, said: str) -> None:
    embeddings = Meaning()
    embeddings.answer = answer
    with near_cache(semantic=semantic(embeddings)) as cache:
        with pytest.raises(ConfigurationError, match=said):
            calibrate(cache, pairs(60))
        assert told(cache).threshold is None


def test_vectors_may_come_in_any_sequence(calibrate: Any) -> None:
    embeddings = Meaning()
    embeddings.answer = lambda texts: iter([array("f", each) for each in meant(texts)])
    with near_cache(semantic=semantic(embeddings)) as cache:
        assert calibrate(cache, pairs(60)).hits == 60


def test_a_calibration_that_is_cancelled_changes_nothing() -> None:
    embeddings, gate = Meaning(), Gate()
    with near_cache(semantic=semantic(embeddings)) as cache:
        embeddings.before = gate
        done = threading.Event()
        given = pairs(60)

        async def main() -> None:
            task = asyncio.ensure_future(cache.acalibrate(given))
            await asyncio.to_thread(gate.reached.wait, LIMIT)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        embeddings.before = lambda texts: done.set()
        gate.go.set()
        # Its thread ends after the batch that it was in.
        for thread in threading.enumerate():
            if "AnyIO" in thread.name:
                thread.join(LIMIT)
        assert told(cache).threshold is None
        assert len(embeddings.calls) <= 2


class Coroutines(Meaning):
    """Its sync method is async, as some users write it."""

    async def embed_documents(  # type: ignore[override]
        self, texts: list[str]
    ) -> list[list[float]]:
        await asyncio.sleep(0)
        return meant(texts)


def test_embeddings_that_have_to_be_awaited_are_calibrated(calibrate: Any) -> None:
    with near_cache(semantic=semantic(Coroutines())) as cache:
        assert calibrate(cache, pairs(60)).hits == 60


def test_async_embeddings_are_calibrated(calibrate: Any) -> None:
    with near_cache(semantic=semantic(AsyncOnly())) as cache:
        assert calibrate(cache, pairs(60)).hits == 60


class AsyncOnly(Meaning):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        raise NotImplementedError

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        await asyncio.sleep(0)
        return meant(texts)
