"""llmemo: an async-first LLM response cache for LangChain, with a Rust core."""

from __future__ import annotations

import contextlib
import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from llmemo.pipeline.admission import worth_keeping
from llmemo.stores.base import Store
from llmemo.telemetry.savings import Worth
from llmemo.telemetry.stats import CacheStats, SemanticStats
from llmemo.telemetry.tracking import LookupEvent, Tracker

if TYPE_CHECKING:
    from llmemo.importing.importer import ImportReport
    from llmemo.integrations.accelerate import Acceleration, accelerate
    from llmemo.integrations.cached_model import cached
    from llmemo.integrations.embeddings import cached_embeddings
    from llmemo.integrations.langgraph_cache import LangGraphCache
    from llmemo.integrations.message_key import message_key
    from llmemo.integrations.middleware import CacheMiddleware
    from llmemo.semantic.calibration import CalibrationReport
    from llmemo.semantic.judges import LLMJudge
    from llmemo.semantic.settings import Semantic
    from llmemo.stores.redis import RedisStore
    from llmemo.stores.sqlite import SQLiteStore
    from llmemo.telemetry.explanation import Explanation, Neighbour

__all__ = [
    "REQUIRED",
    "Acceleration",
    "Block",
    "CacheClosedError",
    "CacheMiddleware",
    "CacheMiss",
    "CacheStats",
    "CalibrationReport",
    "ConfigurationError",
    "Explanation",
    "ImportReport",
    "LLMCache",
    "LLMJudge",
    "LLMemoError",
    "LangGraphCache",
    "LookupEvent",
    "NamespaceRequiredError",
    "Neighbour",
    "NotACacheError",
    "RedisStore",
    "Required",
    "SQLiteStore",
    "Semantic",
    "SemanticStats",
    "Store",
    "StoreError",
    "Tracker",
    "Worth",
    "__version__",
    "accelerate",
    "cached",
    "cached_embeddings",
    "message_key",
    "options",
    "track",
    "worth_keeping",
]

_LATER = {
    "Acceleration": "llmemo.integrations.accelerate",
    "CacheMiddleware": "llmemo.integrations.middleware",
    "CalibrationReport": "llmemo.semantic.calibration",
    "Explanation": "llmemo.telemetry.explanation",
    "ImportReport": "llmemo.importing.importer",
    "LLMJudge": "llmemo.semantic.judges",
    "LangGraphCache": "llmemo.integrations.langgraph_cache",
    "Neighbour": "llmemo.telemetry.explanation",
    "RedisStore": "llmemo.stores.redis",
    "SQLiteStore": "llmemo.stores.sqlite",
    "Semantic": "llmemo.semantic.settings",
    "accelerate": "llmemo.integrations.accelerate",
    "cached": "llmemo.integrations.cached_model",
    "message_key": "llmemo.integrations.message_key",
    "cached_embeddings": "llmemo.integrations.embeddings",
}
"""Names that are imported when they are first asked for: not every program uses them."""


_NEEDS = {
    "CacheMiddleware": ("langchain", "agents"),
    "LangGraphCache": ("langgraph", "graph"),
    "RedisStore": ("redis", "asyncio"),
}
"""Names that cannot be imported without another package: `from llmemo import *` leaves them out."""

if not TYPE_CHECKING:  # it would let a type checker take any name

    def _is_there(package: str, part: str) -> bool:
        """Whether there is such a package, which is not imported."""
        # Any folder of that name would have a spec.
        spec = find_spec(package)
        folders = () if spec is None else spec.submodule_search_locations or ()
        return any(Path(folder, part, "__init__.py").is_file() for folder in folders)

    __all__ = [name for name in __all__ if name not in _NEEDS or _is_there(*_NEEDS[name])]

    def __getattr__(name: str) -> Any:
        """Import one of `_LATER`."""
        if name not in _LATER:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        found = globals()[name] = getattr(importlib.import_module(_LATER[name]), name)
        return found


def __dir__() -> list[str]:
    """All names, the later ones too."""
    return sorted({*globals(), *__all__})


# A langchain-core that lacks some is no reason not to start: its answers are not kept, and counted.
with contextlib.suppress(Exception):
    prepare()
