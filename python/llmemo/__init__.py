"""llmemo: an async-first LLM response cache for LangChain, with a Rust core."""

import contextlib

from llmemo._core import __version__, prepare
from llmemo.accelerate import Acceleration, accelerate
from llmemo.cache import LLMCache
from llmemo.errors import (
    CacheClosedError,
    ConfigurationError,
    LLMemoError,
    NotACacheError,
    StoreError,
)
from llmemo.explain import Explanation, Neighbour
from llmemo.stats import CacheStats
from llmemo.stores import SQLiteStore, Store

__all__ = [
    "Acceleration",
    "CacheClosedError",
    "CacheStats",
    "ConfigurationError",
    "Explanation",
    "LLMCache",
    "LLMemoError",
    "Neighbour",
    "NotACacheError",
    "SQLiteStore",
    "Store",
    "StoreError",
    "__version__",
    "accelerate",
]

# A langchain-core that lacks some is no reason not to start: its answers are not kept, and counted.
with contextlib.suppress(Exception):
    prepare()
