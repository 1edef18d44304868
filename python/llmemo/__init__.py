"""llmemo: an async-first LLM response cache for LangChain, with a Rust core."""

import contextlib

from llmemo._core import __version__, prepare
from llmemo.cache import LLMCache
from llmemo.config.options import REQUIRED, Block, Required, options
from llmemo.config.track import track
from llmemo.errors import (
    CacheClosedError,
    CacheMiss,
    ConfigurationError,
    LLMemoError,
    NamespaceRequiredError,
    NotACacheError,
    StoreError,
)
from llmemo.explain.comparison import Neighbour
from llmemo.explain.explain import Explanation
from llmemo.importing.importer import ImportReport
from llmemo.integrations.accelerate import Acceleration, accelerate
from llmemo.pipeline.admission import worth_keeping
from llmemo.stores import SQLiteStore, Store
from llmemo.telemetry.savings import Worth
from llmemo.telemetry.stats import CacheStats
from llmemo.telemetry.tracking import LookupEvent, Tracker

__all__ = [
    "REQUIRED",
    "Acceleration",
    "Block",
    "CacheClosedError",
    "CacheMiss",
    "CacheStats",
    "ConfigurationError",
    "Explanation",
    "ImportReport",
    "LLMCache",
    "LLMemoError",
    "LookupEvent",
    "NamespaceRequiredError",
    "Neighbour",
    "NotACacheError",
    "Required",
    "SQLiteStore",
    "Store",
    "StoreError",
    "Tracker",
    "Worth",
    "__version__",
    "accelerate",
    "options",
    "track",
    "worth_keeping",
]

# A langchain-core that lacks some is no reason not to start: its answers are not kept, and counted.
with contextlib.suppress(Exception):
    prepare()
