"""Caches with a near store each, and one that they share: what one changes, and its absence."""

from __future__ import annotations

import contextlib
import pickle
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from support.doubles import answer, patience, run
from support.tiers import FarStore, Server

from llmemo import LLMCache, SQLiteStore, StoreError, cached_embeddings
from llmemo.stores.tiered import TieredStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmemo import Store


def until(is_so: Callable[[], bool]) -> float:
    """Seconds until it is so."""
    begun = time.monotonic()
    while not is_so():
        assert time.monotonic() < begun + patience()
        time.sleep(0.01)
    return time.monotonic() - begun


def entries(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM entries").fetchone()[0])


def cache_of(folder: Path, name: str, far: Store, max_bytes: int = 2**20) -> LLMCache:
    return LLMCache([folder / name, far], max_bytes=max_bytes, store_timeout=1.0)


@pytest.mark.parametrize("how", ["clear", "delete", "replace", "invalidate"])
@pytest.mark.parametrize("max_bytes", [pytest.param(0, marks=pytest.mark.slow), 2**20])
def test_what_one_machine_changes_another_stops_serving(
    how: str, max_bytes: int, tmp_path: Path
) -> None:
    far = [SQLiteStore(tmp_path / "far.db") for _ in range(2)]
    one = cache_of(tmp_path, "one.db", far[0], max_bytes=max_bytes)
    other = cache_of(tmp_path, "other.db", far[1], max_bytes=max_bytes)
    with one, other:
        one.update("p", "m", answer("old"))
        assert other.lookup("p", "m") == answer("old")
        until(lambda: entries(tmp_path / "other.db") == 1)
        new = None
        if how == "clear":
            one.clear()
        elif how == "delete":
            assert one.delete("p", "m")
        elif how == "replace":
            one.update("p", "m", answer("new"))
            new = answer("new")
        else:
            assert one.invalidate(older_than=0.0001) == 1
        until(lambda: other.lookup("p", "m") == new)
        assert one.lookup("p", "m") == new
        assert one.stats().errors == other.stats().errors == {}
    with LLMCache(tmp_path / "other.db") as near:
        assert near.lookup("p", "m") in (None, new), "nor is it left in the near store"


CHANGE = """
near, far = path + "/other.db", path + "/far.db"
with LLMCache([near, far]) as cache:
    assert cache.lookup("p", "m") == answer("p")
    {}
"""


@pytest.mark.slow
@pytest.mark.parametrize("change", ['cache.delete("p", "m")', "cache.clear()"])
def test_another_process_is_heeded(change: str, tmp_path: Path) -> None:
    with LLMCache([tmp_path / "one.db", tmp_path / "far.db"]) as cache:
        cache.update("p", "m", answer("p"))
        run(CHANGE.format(change), tmp_path)
        until(lambda: cache.lookup("p", "m") is None)
        assert cache.stats().errors == {}


def test_a_start_is_warm_without_the_far_store(tmp_path: Path) -> None:
    server = Server()
    with cache_of(tmp_path, "near.db", FarStore(server)) as cache:
        for key in ("p", "q"):
            cache.update(key, "m", answer(key))
    with cache_of(tmp_path, "other.db", FarStore(server)) as other:
        other.delete("q", "m")
    far = FarStore(server, "away")
    with cache_of(tmp_path, "near.db", far) as cache:
        assert [cache.lookup(key, "m") for key in ("p", "q")] == [answer("p"), answer("q")]
        assert cache.lookup("absent", "m") is None
        assert "store_read" not in cache.stats().errors
        far.mode = "well"
        until(lambda: cache.lookup("q", "m") is None)
        until(lambda: cache.lookup("p", "m") == answer("p"))


@pytest.mark.parametrize("mode", ["away", "frozen", "refusing"])
def test_a_service_keeps_its_hits(mode: str, tmp_path: Path) -> None:
    far = FarStore(Server())
    with cache_of(tmp_path, "near.db", far, max_bytes=0) as cache:
        keys = [str(number) for number in range(20)]
        for key in keys:
            cache.update(key, "m", answer(key))
        far.mode = mode
        slow = 0
        for key in keys * 2:
            begun = time.monotonic()
            assert cache.lookup(key, "m") == answer(key)
            slow += time.monotonic() - begun > 0.25
        assert slow <= 5
        for key in keys:
            assert cache.lookup("absent " + key, "m") is None
        cache.update("new", "m", answer("new"))
        assert cache.lookup("new", "m") == answer("new")
        assert cache.stats().writes_unconfirmed == 0
        until(lambda: bool(cache.stats().errors))
        kinds = ("changes", "upkeep", "lease", "coordinate_timeout")
        assert set(cache.stats().errors) <= {f"store_{kind}" for kind in kinds}
        far.mode = "well"
        if mode != "refusing":
            until(lambda: len(far.server.records) == 21)


def test_a_removal_that_is_not_confirmed_says_so_and_does_not_stop_other_writes(
    tmp_path: Path,
) -> None:
    far = FarStore(Server())
    with cache_of(tmp_path, "near.db", far) as cache:
        for key in ("p", "q"):
            cache.update(key, "m", answer(key))
        far.mode = "away"
        with pytest.raises(StoreError, match="goes on by itself"):
            cache.delete("p", "m")
        with pytest.raises(StoreError, match="goes on by itself"):
            cache.invalidate(older_than=0.0001)
        cache.update("r", "m", answer("r"))
        assert cache.lookup("p", "m") is cache.lookup("q", "m") is None
        assert len(far.server.records) == 2
        far.mode = "well"
        until(lambda: len(far.server.records) == 1)
        assert cache.lookup("p", "m") is cache.lookup("q", "m") is None
        assert cache.lookup("r", "m") == answer("r")


def test_whatever_takes_a_store_takes_two(tmp_path: Path) -> None:
    both = [tmp_path / "near.db", tmp_path / "far.db"]
    embeddings = cached_embeddings(DeterministicFakeEmbedding(size=4), both, namespace="m")
    with embeddings.cache:
        assert isinstance(embeddings.cache._tiers.store, TieredStore)
        assert embeddings.embed_query("x") == embeddings.embed_query("x")
    pytest.importorskip("langgraph")
    from llmemo import LangGraphCache

    nodes: LangGraphCache[Any]
    with LangGraphCache(both) as nodes:
        values: Any = {(("ns",), "k"): ({"a": 1}, None)}
        nodes.set(values)
        assert nodes.get([(("ns",), "k")]) == {(("ns",), "k"): {"a": 1}}


def test_a_cache_with_two_goes_to_another_process(tmp_path: Path) -> None:
    with LLMCache((tmp_path / "near.db", tmp_path / "far.db")) as cache:
        data = pickle.dumps(cache)
        assert repr(cache).startswith("LLMCache(TieredStore([SQLiteStore(")
    with pickle.loads(data) as again:
        again.update("p", "m", answer("p"))
        assert again.lookup("p", "m") == answer("p")
    for name in ("near.db", "far.db"):
        with LLMCache(tmp_path / name) as one:
            assert one.lookup("p", "m") == answer("p")
