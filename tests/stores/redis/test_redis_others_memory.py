"""What one process changes, another's memory follows; what was lost is not trusted any more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import answer
from support.fleet import within
from support.slices import some

from llmemo import LLMCache, options
from llmemo.stores.redis.changes import ChangeStreams
from llmemo.stores.redis.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.servers import Replies

SOON = 1.0
"""Seconds within which a memory has to follow."""


@pytest.fixture
def here(redis_url: str) -> Iterator[LLMCache]:
    """A cache that changes something."""
    with LLMCache(redis_url) as cache:
        yield cache


@pytest.fixture
def there(redis_url: str) -> Iterator[LLMCache]:
    """Another one on the same server, whose memory is to follow."""
    with LLMCache(redis_url) as cache:
        yield cache


def entries(cache: LLMCache) -> int:
    return cache.stats().entries


def fill(here: LLMCache, there: LLMCache, count: int = 3) -> None:
    """Have both memories hold the same answers."""
    for n in range(count):
        here.update(f"p{n}", "m", answer(f"p{n}"))
        assert there.lookup(f"p{n}", "m") == answer(f"p{n}")
    assert entries(here) == entries(there) == count


def no_errors(*caches: LLMCache) -> None:
    assert [cache.stats().errors for cache in caches] == [{}] * len(caches)


def test_a_replaced_answer_leaves_the_memory_of_others(here: LLMCache, there: LLMCache) -> None:
    fill(here, there)
    with options(mode="refresh"):
        here.update("p0", "m", answer("new"))
    within(SOON, lambda: there.lookup("p0", "m") == answer("new"))
    assert entries(there) == 3
    no_errors(here, there)


def test_a_deleted_answer_leaves_the_memory_of_others(here: LLMCache, there: LLMCache) -> None:
    fill(here, there)
    assert here.delete("p1", "m")
    within(SOON, lambda: entries(there) == 2)
    assert there.lookup("p1", "m") is None
    there.update("p1", "m", answer("p1"))
    no_errors(here, there)


def test_clear_empties_the_memory_of_others(here: LLMCache, there: LLMCache) -> None:
    fill(here, there)
    here.clear()
    within(SOON, lambda: entries(there) == 0)
    no_errors(here, there)


def test_invalidate_empties_the_memory_of_others_of_what_it_names(
    here: LLMCache, there: LLMCache
) -> None:
    fill(here, there)
    here.update("p0", "other", answer("other"))
    assert there.lookup("p0", "other") == answer("other")
    assert here.invalidate(llm_string="m") == 3
    within(SOON, lambda: entries(there) == 1)
    assert there.lookup("p0", "other") == answer("other")
    no_errors(here, there)


def test_own_changes_are_not_foreign(here: LLMCache, there: LLMCache) -> None:
    fill(here, there)
    for n in range(3):
        with options(mode="refresh"):
            here.update(f"p{n}", "m", answer("new"))
    here.delete("p2", "m")
    within(SOON, lambda: entries(there) == 0)
    time.sleep(0.6)  # two looks at the changes
    assert entries(here) == 2
    before = here.stats().memory_hits
    assert here.lookup("p0", "m") == answer("new")
    assert here.stats().memory_hits == before + 1
    no_errors(here, there)


def test_what_is_only_read_and_added_costs_no_memory(here: LLMCache, there: LLMCache) -> None:
    fill(here, there)
    for n in range(200):
        here.update(f"q{n}", "m", answer(f"q{n}"))
    time.sleep(0.6)
    assert entries(there) == 3
    assert entries(here) == 203
    no_errors(here, there)


def _flush(ask: Replies) -> None:
    ask("FLUSHALL")


def _flush_the_database(ask: Replies) -> None:
    ask("FLUSHDB")


def _delete_the_streams(ask: Replies) -> None:
    ask("DEL", *[Keys("llmemo").changes(bucket) for bucket in range(64)])


def _unlink_one_of_each(ask: Replies) -> None:
    # As an eviction does.
    for bucket in range(64):
        ask("UNLINK", Keys("llmemo").changes(bucket))


def _trim(ask: Replies) -> None:
    for bucket in range(64):
        stream = Keys("llmemo").changes(bucket)
        ask("XADD", stream, "*", "k", b"k" * 32, "w", b"x" * 8)
        ask("XTRIM", stream, "MAXLEN", 0)


def _trim_to_what_is_new(ask: Replies) -> None:
    for bucket in range(64):
        stream = Keys("llmemo").changes(bucket)
        for _ in range(3):
            ask("XADD", stream, "MAXLEN", 2, "*", "k", b"k" * 32, "w", b"x" * 8)


def _replace_by_younger_streams(ask: Replies) -> None:
    for bucket in range(64):
        stream = Keys("llmemo").changes(bucket)
        ask("DEL", stream)
        ask("XADD", stream, "*", "b", "7")


def _replace_by_older_streams(ask: Replies) -> None:
    for bucket in range(64):
        stream = Keys("llmemo").changes(bucket)
        ask("DEL", stream)
        ask("XADD", stream, "1-1", "b", "7")


LOSSES: list[Callable[[Replies], None]] = [
    _flush,
    _flush_the_database,
    _delete_the_streams,
    _unlink_one_of_each,
    _trim,
    _trim_to_what_is_new,
    _replace_by_younger_streams,
    _replace_by_older_streams,
]


@pytest.mark.parametrize("lose", some(LOSSES, 3))
def test_memory_is_cleared_once_where_changes_may_be_lost(
    lose: Callable[[Replies], None], here: LLMCache, there: LLMCache, ask: Replies
) -> None:
    fill(here, there)
    lose(ask)
    within(SOON, lambda: entries(here) == entries(there) == 0)
    # Once, and not again and again.
    time.sleep(0.3)
    there.update("q", "m", answer("q"))
    here.update("r", "m", answer("r"))
    assert here.lookup("q", "m") == answer("q")
    time.sleep(0.6)
    assert (entries(there), entries(here)) == (1, 2)
    with options(mode="refresh"):
        there.update("q", "m", answer("new"))
    within(SOON, lambda: here.lookup("q", "m") == answer("new"))
    assert entries(here) == 2
    no_errors(here, there)


def test_connections_that_are_cut_lose_no_change(
    here: LLMCache, there: LLMCache, ask: Replies
) -> None:
    fill(here, there)
    for turn in range(5):
        with options(mode="refresh"):
            here.update("p0", "m", answer(f"new {turn}"))
        ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        within(SOON, lambda turn=turn: there.lookup("p0", "m") == answer(f"new {turn}"))  # type: ignore[misc]
        ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert entries(there) == 3
    no_errors(here, there)


def test_who_falls_behind_by_many_changes_forgets_only_what_changed(
    here: LLMCache, there: LLMCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmemo.stores.redis.changes.AT_ONCE", 7)
    fill(here, there, 40)
    real, is_held = ChangeStreams.others, True

    async def held(streams: ChangeStreams) -> Any:
        return () if is_held else await real(streams)

    monkeypatch.setattr(ChangeStreams, "others", held)
    for turn in range(30):
        for n in range(20):
            with options(mode="refresh"):
                here.update(f"p{n}", "m", answer(f"new {turn}"))
    is_held = False
    within(SOON, lambda: entries(there) == 20)
    assert all(there.lookup(f"p{n}", "m") == answer("new 29") for n in range(20))


def test_a_refresh_of_an_evicted_answer_reaches_the_others(
    here: LLMCache, there: LLMCache, ask: Replies
) -> None:
    fill(here, there)
    for name in ask("KEYS", "*:v:*"):
        ask("DEL", name)  # as the server's eviction does
    with options(mode="refresh"):
        here.update("p0", "m", answer("new"))
    within(1, lambda: there.lookup("p0", "m") == answer("new"))
    assert entries(there) == 3, "the others stay"
    no_errors(here, there)
