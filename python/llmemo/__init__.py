"""llmemo: an async-first LLM response cache for LangChain, with a Rust core.

Nothing is imported but what a program asks for: the `llmemo` command starts without LangChain.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
"""What type checkers take for true. The one of `typing` takes longer than all the rest here."""

if TYPE_CHECKING:
    from typing import Any

    from llmemo._core import __version__
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
    from llmemo.importing.importer import ImportReport
    from llmemo.integrations.accelerate import Acceleration, accelerate
    from llmemo.integrations.cached_model import cached
    from llmemo.integrations.embeddings import cached_embeddings
    from llmemo.integrations.langgraph_cache import LangGraphCache
    from llmemo.integrations.message_key import message_key
    from llmemo.integrations.middleware import CacheMiddleware
    from llmemo.integrations.otel import instrument_otel
    from llmemo.integrations.prometheus import PrometheusCollector
    from llmemo.pipeline.admission import worth_keeping
    from llmemo.semantic.calibration import CalibrationReport
    from llmemo.semantic.judges import LLMJudge
    from llmemo.semantic.settings import Semantic
    from llmemo.stores.base import Store
    from llmemo.stores.redis import RedisStore
    from llmemo.stores.sqlite import SQLiteStore
    from llmemo.telemetry.explanation import Explanation, Neighbour
    from llmemo.telemetry.health import Health
    from llmemo.telemetry.savings import Worth
    from llmemo.telemetry.stats import CacheStats, SemanticStats
    from llmemo.telemetry.tracking import LookupEvent, Tracker

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
    "Health",
    "ImportReport",
    "LLMCache",
    "LLMJudge",
    "LLMemoError",
    "LangGraphCache",
    "LookupEvent",
    "NamespaceRequiredError",
    "Neighbour",
    "NotACacheError",
    "PrometheusCollector",
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
    "instrument_otel",
    "message_key",
    "options",
    "track",
    "worth_keeping",
]

_LATER = {
    "REQUIRED": "llmemo.config.options",
    "Acceleration": "llmemo.integrations.accelerate",
    "Block": "llmemo.config.options",
    "CacheClosedError": "llmemo.errors",
    "CacheMiddleware": "llmemo.integrations.middleware",
    "CacheMiss": "llmemo.errors",
    "CacheStats": "llmemo.telemetry.stats",
    "CalibrationReport": "llmemo.semantic.calibration",
    "ConfigurationError": "llmemo.errors",
    "Explanation": "llmemo.telemetry.explanation",
    "Health": "llmemo.telemetry.health",
    "ImportReport": "llmemo.importing.importer",
    "LLMCache": "llmemo.cache",
    "LLMJudge": "llmemo.semantic.judges",
    "LLMemoError": "llmemo.errors",
    "LangGraphCache": "llmemo.integrations.langgraph_cache",
    "LookupEvent": "llmemo.telemetry.tracking",
    "NamespaceRequiredError": "llmemo.errors",
    "Neighbour": "llmemo.telemetry.explanation",
    "NotACacheError": "llmemo.errors",
    "PrometheusCollector": "llmemo.integrations.prometheus",
    "RedisStore": "llmemo.stores.redis",
    "Required": "llmemo.config.options",
    "SQLiteStore": "llmemo.stores.sqlite",
    "Semantic": "llmemo.semantic.settings",
    "SemanticStats": "llmemo.telemetry.stats",
    "Store": "llmemo.stores.base",
    "StoreError": "llmemo.errors",
    "Tracker": "llmemo.telemetry.tracking",
    "Worth": "llmemo.telemetry.savings",
    "__version__": "llmemo._core",
    "accelerate": "llmemo.integrations.accelerate",
    "cached": "llmemo.integrations.cached_model",
    "cached_embeddings": "llmemo.integrations.embeddings",
    "instrument_otel": "llmemo.integrations.otel",
    "message_key": "llmemo.integrations.message_key",
    "options": "llmemo.config.options",
    "track": "llmemo.config.track",
    "worth_keeping": "llmemo.pipeline.admission",
}
"""Where each name is: it is imported when it is first asked for."""

_ROOMS = {
    "_core",
    "cache",
    "codec",
    "concurrency",
    "config",
    "errors",
    "explain",
    "introspection",
    "keys",
    "langchain",
    "lifecycle",
    "pickling",
    "pipeline",
    "single_flight",
    "store_io",
    "stores",
    "telemetry",
}
"""What the first name brings along: `llmemo.errors` is there after `import llmemo` alone, too."""

_NEEDS = {
    "CacheMiddleware": ("langchain", "agents"),
    "LangGraphCache": ("langgraph", "graph"),
    "PrometheusCollector": ("prometheus_client", "bridge"),
    "RedisStore": ("redis", "asyncio"),
    "instrument_otel": ("opentelemetry", "metrics"),
}
"""Names that cannot be imported without another package: `from llmemo import *` leaves them out."""

if not TYPE_CHECKING:  # it would let a type checker take any name
    _ALL = __all__
    del __all__  # it is asked for by `__getattr__`: to look for packages takes time

    def _is_there(package: str, part: str) -> bool:
        """Whether there is such a package, which is not imported."""
        from importlib.util import find_spec  # noqa: PLC0415 (see the module)
        from pathlib import Path  # noqa: PLC0415

        # Any folder of that name would have a spec.
        try:
            spec = find_spec(package)
        except (ImportError, ValueError):  # it is blocked, as tests do it
            return False
        folders = () if spec is None else spec.submodule_search_locations or ()
        return any(Path(folder, part, "__init__.py").is_file() for folder in folders)

    def __getattr__(name: str) -> Any:
        """Import one of `_LATER`, or of `_ROOMS`."""
        import importlib  # noqa: PLC0415 (see the module)

        if name == "__all__":
            found = [one for one in _ALL if one not in _NEEDS or _is_there(*_NEEDS[one])]
        elif name in _LATER:
            if name != "__version__":
                # With it comes what sees the runs of models: no run begins without it from here on.
                importlib.import_module("llmemo.cache")
            found = getattr(importlib.import_module(_LATER[name]), name)
        elif name in _ROOMS:
            found = importlib.import_module(f"llmemo.{name}")
        else:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        """All names that can be had, the later ones too."""
        missing = {name for name, needs in _NEEDS.items() if not _is_there(*needs)}
        return sorted({*globals(), *_LATER} - missing)

    if "langchain_core" in sys.modules:
        # The program uses models: the first run that may begin has to be seen.
        __getattr__("LLMCache")
