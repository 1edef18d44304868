"""llmemo: an async-first LLM response cache for LangChain, with a Rust core."""

from llmemo._core import __version__
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
