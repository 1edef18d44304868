"""What a LangChain user would use instead, each as documented, with its defaults.

A rival is a name (its column in the table) and a function that opens it in a folder. All are
LangChain's `BaseCache`, so the benches need no other interface. Each imports its library when it is
opened: `memory.py` weighs a process that holds one cache and nothing of the others.
"""

from __future__ import annotations

import hashlib
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_core.caches import BaseCache

SUBJECT = "llmemo"


class Opener(Protocol):
    """Opens a cache that keeps its files, if it has any, in `folder`."""

    def __call__(self, folder: Path) -> BaseCache: ...


@dataclass(frozen=True)
class Rival:
    """A column of the table."""

    name: str
    open: Opener

    def __str__(self) -> str:
        return self.name


@contextmanager
def quiet_import() -> Iterator[None]:
    """Ignore what third parties warn of when imported; it is an error under pytest."""
    with warnings.catch_warnings():
        # langchain-community announces its sunset and uses SQLAlchemy's old declarative_base.
        warnings.simplefilter("ignore")
        yield


def _llmemo(folder: Path) -> BaseCache:
    from llmemo import LLMCache

    return LLMCache()


def _llmemo_alone(folder: Path) -> BaseCache:
    from llmemo import LLMCache

    return LLMCache(single_flight=False)


def _llmemo_semantic(folder: Path) -> BaseCache:
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from llmemo import LLMCache, Semantic

    return LLMCache(semantic=Semantic(DeterministicFakeEmbedding(size=384)))


def _llmemo_on_file(folder: Path) -> BaseCache:
    from llmemo import LLMCache

    return LLMCache(folder / "llmemo.db")


def _in_memory(folder: Path) -> BaseCache:
    from langchain_core.caches import InMemoryCache

    return InMemoryCache()


def _sqlite(folder: Path) -> BaseCache:
    with quiet_import():
        from langchain_community.cache import SQLiteCache

    return SQLiteCache(str(folder / "langchain.db"))


def _diskcache(folder: Path) -> BaseCache:
    from benches.plain_stores import DiskCache

    return DiskCache(folder / "diskcache")


def _select(folder: Path) -> BaseCache:
    from benches.plain_stores import PlainSQLite

    return PlainSQLite(folder / "plain.db")


def _refuse_install(package: str, warn: bool = False) -> None:
    raise ModuleNotFoundError(f"gptcache wants to pip-install {package}; the bench must not")


def _gptcache(folder: Path) -> BaseCache:
    with quiet_import():
        import gptcache.utils  # type: ignore[import-untyped]
        from langchain_community.cache import GPTCache

    # It pip-installs what it misses, whenever it comes to it. The map manager misses nothing;
    # should a later version, let it fail in plain sight.
    gptcache.utils.prompt_install = _refuse_install

    def initialise(cache_object: Any, llm_string: str) -> None:
        from gptcache.manager.factory import manager_factory  # type: ignore[import-untyped]
        from gptcache.processor.pre import get_prompt  # type: ignore[import-untyped]

        name = hashlib.sha256(llm_string.encode()).hexdigest()
        cache_object.init(
            pre_embedding_func=get_prompt,
            data_manager=manager_factory(manager="map", data_dir=str(folder / f"map_cache_{name}")),
        )

    return GPTCache(initialise)


def no_cache(folder: Path) -> BaseCache:
    raise AssertionError("this one is not opened in a folder")


def close(cache: BaseCache) -> None:
    """Close `cache`, whatever its library calls that."""
    if (close_llmemo := getattr(cache, "close", None)) is not None:
        close_llmemo()
    elif (engine := getattr(cache, "engine", None)) is not None:
        engine.dispose()


IN_MEMORY = Rival("InMemoryCache", _in_memory)
SQLITE = Rival("SQLiteCache", _sqlite)
GPT = Rival("GPTCache", _gptcache)
LANGCHAIN = Rival("LangChain", no_cache)
DEEPCOPY = Rival("deepcopy", no_cache)
DISKCACHE = Rival("diskcache", _diskcache)
SELECT = Rival("SELECT", _select)
NUMPY = Rival("numpy", no_cache)
WITH_SEMANTIC = Rival(SUBJECT, _llmemo_semantic)
PLAIN = Rival("without semantic=", _llmemo)
ALONE = Rival("single_flight=False", _llmemo_alone)

# Like with like. GPTCache's map keeps 1,000 entries in memory, and pickles them all to a file every
# 20 updates: it outlives a process, but holds no thousands of keys and survives no crash.
MEMORY = (Rival(SUBJECT, _llmemo), IN_MEMORY, GPT)
DURABLE = (Rival(SUBJECT, _llmemo_on_file), SQLITE)
BLOCKING = (*DURABLE, DISKCACHE, SELECT)
ALL = (*MEMORY[:2], SQLITE, GPT)
