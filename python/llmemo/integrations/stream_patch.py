"""Streams of models that cannot be edited: LangChain's entry points go through `cached`.

Some methods of `BaseChatModel` are replaced. Where a model has an `LLMCache`, its own or the global
one, they run on a view of it: an object of the class that `cached` makes, with the same fields.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import threading
from typing import TYPE_CHECKING, Any

from langchain_core.globals import get_llm_cache

from llmemo.cache import LLMCache
from llmemo.integrations.cached_model.subclass import view_of
from llmemo.langchain.only_mode import CACHING

if TYPE_CHECKING:
    from collections.abc import Callable

MODULE = "langchain_core.language_models.chat_models"

INPUT = ("self", "input", "config", "stop", "kwargs")
MESSAGES = ("self", "messages", "stop", "run_manager", "kwargs")

ENTRIES = {
    "_generate_with_cache": MESSAGES,
    "_agenerate_with_cache": MESSAGES,
    "stream": INPUT,
    "astream": INPUT,
}
"""The methods that every supported langchain-core has, and their parameters."""

LATER_ENTRIES = {"_chat_model_stream_v3": INPUT, "_achat_model_stream_v3": INPUT}
"""The same of methods that newer ones have: `stream_events(version="v3")`."""

_lock = threading.Lock()
_latest: StreamPatch | None = None


class StreamPatch:
    """The methods in the place of LangChain's."""

    def __init__(self, base: Any, names: list[str]) -> None:
        """Replace these methods of a class."""
        self._base = base
        self._own = {name: vars(base)[name] for name in names}
        self._put = {name: self._through(name, own) for name, own in self._own.items()}
        self.holders = 0
        self._is_active = True
        for name, entry in self._put.items():
            setattr(base, name, entry)

    def _through(self, name: str, own: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(own)
        def entry(model: Any, *args: Any, **kwargs: Any) -> Any:
            is_cached = hasattr(type(model), CACHING)
            cache = None if is_cached or not self._is_active else cache_of(model)
            if cache is None:
                return own(model, *args, **kwargs)
            return getattr(view_of(model, cache), name)(*args, **kwargs)

        return entry

    def remove(self) -> None:
        """Put LangChain's methods back."""
        # One that another program has wrapped stays below, and passes on.
        self._is_active = False
        for name, entry in self._put.items():
            if vars(self._base)[name] is entry:
                setattr(self._base, name, self._own[name])


def cache_of(model: Any) -> LLMCache | None:
    """The cache that LangChain would ask for a model, if it is an `LLMCache`."""
    own = model.cache
    cache = get_llm_cache() if own is None or own is True else own
    return cache if isinstance(cache, LLMCache) else None


def install() -> StreamPatch | None:
    """Replace the methods, unless they are replaced. None if LangChain's are not as expected."""
    global _latest  # noqa: PLW0603 (one per process)
    module = importlib.import_module(MODULE)
    base: Any = module.BaseChatModel
    later = {name: it for name, it in LATER_ENTRIES.items() if name in vars(base)}
    entries = {**ENTRIES, **later}
    if not all(_has(base, name, parameters) for name, parameters in entries.items()):
        return None
    with _lock:
        patch = _latest
        if patch is None:
            patch = StreamPatch(base, list(entries))
            if not _works():
                patch.remove()
                return None
            _latest = patch
        patch.holders += 1
        return patch


def uninstall(patch: StreamPatch) -> None:
    """Put LangChain's methods back, once no acceleration needs these."""
    global _latest  # noqa: PLW0603 (one per process)
    with _lock:
        patch.holders -= 1
        if patch.holders == 0:
            patch.remove()
            _latest = None


def _has(base: Any, name: str, parameters: tuple[str, ...]) -> bool:
    method = vars(base).get(name)
    return method is not None and tuple(inspect.signature(method).parameters) == parameters


def _works() -> bool:
    """Whether a model streams, and a hit replays it, and serves a call without a stream."""
    fakes = importlib.import_module("langchain_core.language_models.fake_chat_models")
    try:
        with LLMCache() as cache:
            model = fakes.FakeListChatModel(responses=["one", "two"], cache=cache)
            first, second = ([it.content for it in model.stream("?")] for _ in range(2))
            return first == second and "".join(first) == model.invoke("?").content == "one"
    except Exception:  # noqa: BLE001 (whatever another version does)
        return False
