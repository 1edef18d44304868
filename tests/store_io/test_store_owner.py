"""A store and the cache that runs it."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support.doubles import FakeStore, answer

from llmemo import ConfigurationError, LLMCache, SQLiteStore

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Unhashable(FakeStore):
    """As a dataclass is that compares by its fields."""

    name: str = "store"

    def __post_init__(self) -> None:
        super().__init__()


def test_a_store_need_not_be_hashable() -> None:
    store = Unhashable()
    with LLMCache(store) as cache:
        cache.update("p", "m", answer("p"))
        with pytest.raises(ConfigurationError, match="in use by another cache"):
            LLMCache(store)
    with LLMCache(store, max_bytes=0) as cache:
        assert cache.lookup("p", "m") == answer("p")


def test_equal_stores_may_be_of_two_caches() -> None:
    with LLMCache(Unhashable()), LLMCache(Unhashable()):
        pass


def test_nothing_keeps_a_store_whose_cache_is_gone(tmp_path: Path) -> None:
    cache = LLMCache(store := SQLiteStore(tmp_path / "c.db"))
    cache.update("p", "m", answer("p"))
    cache.close()
    gone = weakref.ref(store)
    del cache, store
    gc.collect()
    assert gone() is None
