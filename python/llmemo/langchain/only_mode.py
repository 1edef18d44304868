"""`options(mode="only")` where this cache is not asked: the run is refused before it begins.

A lookup without an answer raises by itself. But a stream asks no cache, nor does a model without a
cache or with `cache=False`. LangChain tells its callbacks of each run before it calls the model,
from the method that the user called: the frame of that method has the model, and its name says
whether a cache will be asked.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

from langchain_core.caches import BaseCache
from langchain_core.globals import get_llm_cache

from llmemo.config.options import in_force
from llmemo.errors import CacheMiss
from llmemo.introspection.type_signature import name_of
from llmemo.langchain.model_classes import is_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

ASKING = frozenset({"generate", "agenerate"})
"""Methods of chat models that begin a run and then ask a cache."""

STREAMING = frozenset({"stream", "astream", "ensure_started"})
"""Methods that ask no cache. The last one is a function in `stream_events(version="v3")`."""

CACHING = "__llmemo_caching__"
"""The attribute of the class of a model that asks a cache on every path: see `cached`. Its `tiers`
returns None if there is no cache."""

STARTING = frozenset({"on_chat_model_start", "on_llm_start"})
"""Methods of callback managers, and of handlers."""

FRAMES_MAX = 32
"""Most frames between the handler and that method: LangChain's callbacks and their wrappers."""


def refuse_chat() -> None:
    """Refuse a chat model's run that will not ask a cache, under `mode="only"`.

    Raises:
        CacheMiss: The model would be called.
    """
    options = in_force()
    if options is None or options.mode != "only":
        return
    method, model = caller()
    caching = getattr(type(model), CACHING, None)
    if caching is not None and caching.tiers() is not None:
        return
    if method not in ASKING:
        what = (
            "a stream asks no cache: use cached(model), or invoke" if method else "it asks no cache"
        )
    elif model.cache is False:
        what = "its model has cache=False"
    else:
        cache = model.cache if isinstance(model.cache, BaseCache) else get_llm_cache()
        if cache is None and model.cache is None:
            what = "its model has no cache: give it one, or call set_llm_cache"
        elif cache is not None and str(name_of(type(cache))[0]).startswith("langchain_"):
            # A cache of the user's class may pass lookups on to this one.
            what = f"its model asks another cache ({type(cache).__name__})"
        else:
            return
    raise _miss(what)


def refuse_completion() -> None:
    """Refuse a completion model's run, under `mode="only"`: it asks a cache before its run begins.

    The run means that the model will be called: no cache was asked, or it had no answer.

    Raises:
        CacheMiss: The model would be called.
    """
    options = in_force()
    if options is not None and options.mode == "only":
        raise _miss("this cache was not asked: a stream asks none, nor does cache=False")


def _miss(what: str) -> CacheMiss:
    drop_pending()
    return CacheMiss(f'options(mode="only"): the model would be called: {what}')


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 (there is no other way)
    for _ in range(FRAMES_MAX):
        if frame is None:
            break
        yield frame
        frame = frame.f_back


def caller() -> tuple[str, Any]:
    """The method that begins the run, and the model; an empty name if it is not found."""
    for frame in _frames():
        name = frame.f_code.co_name
        if name in ASKING or name in STREAMING:
            model = frame.f_locals.get("self")
            if is_model(model):
                return name, model
    return "", None


def drop_pending() -> None:
    """Close the coroutines by which an async callback manager calls its other handlers.

    It makes one for each handler and, after an error, awaits none of the rest: Python would warn of
    each.
    """
    for frame in _frames():
        if frame.f_code.co_name not in STARTING:
            continue
        for name in ("inline_tasks", "non_inline_tasks"):
            pending = frame.f_locals.get(name, ())
            for each in pending if isinstance(pending, list) else ():
                if inspect.iscoroutine(each) and inspect.getcoroutinestate(each) == "CORO_CREATED":
                    each.close()
