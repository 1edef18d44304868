"""Whether gevent or eventlet has patched the standard library, and what was there before.

Looked up at each use: a process may patch before it imports llmemo, after it, or after it made a
cache. A library that the process has not imported is never imported here.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

PATCHED = {"gevent": "gevent.monkey", "eventlet": "eventlet.patcher"}
"""Libraries that patch the standard library, and the module that does it."""


def patched_by() -> str | None:
    """The library that has patched threads in this process: "gevent", "eventlet", or None."""
    monkey = sys.modules.get("gevent.monkey")
    # Half-imported, it has patched nothing yet.
    is_patched = getattr(monkey, "is_module_patched", None)
    if is_patched is not None and (is_patched("threading") or is_patched("selectors")):
        return "gevent"
    patcher = sys.modules.get("eventlet.patcher")
    is_patched = getattr(patcher, "is_monkey_patched", None)
    if is_patched is not None and (is_patched("thread") or is_patched("select")):
        return "eventlet"
    return None


def original(module: str, name: str) -> Any:
    """A name of the standard library as it was before the patch."""
    library = patched_by()
    if library == "gevent":
        return sys.modules[PATCHED[library]].get_original(module, name)
    if library == "eventlet":
        return getattr(sys.modules[PATCHED[library]].original(module), name)
    return getattr(importlib.import_module(module), name)
