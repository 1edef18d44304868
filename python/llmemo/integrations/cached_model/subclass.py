"""The classes of cached models: one for each class of models and cache, made when it is needed."""

from __future__ import annotations

import sys
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from llmemo.cache import LLMCache
from llmemo.integrations.cached_model.caching import Caching, Pace
from llmemo.integrations.cached_model.chunks import CHUNKS
from llmemo.integrations.cached_model.entry_points import SHORT
from llmemo.integrations.cached_model.events import EVENTS
from llmemo.integrations.cached_model.generate import agenerate, generate, undone
from llmemo.integrations.cached_model.question import Form, Question
from llmemo.integrations.cached_model.twin import SLOT, STATE, share, twin_of
from llmemo.keys.caller import run_of
from llmemo.langchain.only_mode import CACHING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.language_models import BaseChatModel
    from langchain_core.outputs import ChatGenerationChunk, ChatResult


def cached_chat_model(model: BaseChatModel, cache: LLMCache | None, replay: Pace) -> Any:
    """A cached model over a copy of the fields of another one, which may be a cached one."""
    inner: Caching | None = getattr(type(model), CACHING, None)
    plain = type(model)
    if inner is not None:
        # One layer.
        plain, cache = inner.plain, cache or inner.cache
    elif cache is None and isinstance(model.cache, LLMCache):
        cache = model.cache
    new = _of(model, plain, cache, replay)
    for name in STATE:
        own = getattr(new, name)
        object.__setattr__(new, name, own if own is None else own.copy())
    return new


def view_of(model: BaseChatModel, cache: LLMCache, replay: Pace = "instant") -> Any:
    """A cached model that is the given one otherwise: they share their fields."""
    view = _of(model, type(model), cache, replay)
    object.__setattr__(view, SLOT, model)
    return view


def _of(model: BaseChatModel, plain: type, cache: LLMCache | None, replay: Pace) -> Any:
    cls = _class_of(plain, cache, replay)
    new = cls.__new__(cls)
    share(model, new)
    return new


_classes: weakref.WeakValueDictionary[tuple[type, Pace], type] = weakref.WeakValueDictionary()
_recent: deque[type] = deque(maxlen=64)
"""The classes without a cache of their own, and the last ones of these: to make one takes long."""


def _class_of(plain: type, cache: LLMCache | None, replay: Pace) -> type[BaseChatModel]:
    """The class of cached models of a class. Its cache keeps it, and it keeps its cache."""
    known: Any = _classes if cache is None else cache._tiers.model_classes  # noqa: SLF001
    key = (plain, replay)
    cls = known.get(key)
    if cls is None:
        made = _make_class(plain, Caching(plain, cache, replay))
        if cache is None:
            _recent.append(made)
        cls = known.setdefault(key, made)
    return cast("type[BaseChatModel]", cls)


def _make_class(plain: Any, caching: Caching) -> type:
    from langchain_core.language_models import BaseChatModel  # noqa: PLC0415 (takes long)

    members: dict[str, Any] = {
        "__module__": plain.__module__,
        "__qualname__": plain.__qualname__,
        "__doc__": plain.__doc__,
        "__slots__": (SLOT,),
        CACHING: caching,
        "_generate": _generate,
        "_agenerate": _agenerate,
        "_generate_with_cache": _generate_with_cache,
        "_agenerate_with_cache": _agenerate_with_cache,
        "__reduce__": _reduce,
    }
    # A class may have its own way to them.
    short = {
        name: it
        for name, it in SHORT.items()
        if getattr(plain, name) is getattr(BaseChatModel, name)
    }
    members.update(short)
    has_stream = plain._stream is not BaseChatModel._stream  # noqa: SLF001
    if has_stream:
        members["_stream"] = _stream
    if has_stream or plain._astream is not BaseChatModel._astream:  # noqa: SLF001
        members["_astream"] = _astream
    if getattr(plain, EVENTS.stream, None) is not None:
        members[EVENTS.stream] = _stream_events
    if getattr(plain, EVENTS.astream, None) is not None:
        members[EVENTS.astream] = _astream_events
    make: Any = type(plain)
    cls = make(plain.__name__, (plain,), members)
    # Afterwards, since Pydantic lets no property take the place of a field.
    for name, value in HIDDEN.items():
        setattr(cls, name, _hidden(name, value))
    return cast("type", cls)


HIDDEN = {"cache": False, "rate_limiter": None}
"""Fields that LangChain is not to see, since it would ask a cache, too, and wait before a hit; and
what it sees. They keep their values, which the plain twin has."""


def _hidden(name: str, value: object) -> property:
    def put(self: Any, new: object) -> None:
        self.__dict__[name] = new

    return property(lambda _: value, put)


def _question(  # noqa: PLR0917 (as LangChain gives them)
    self: Any,
    messages: Any,
    stop: Any,
    run_manager: Any,
    options: dict[str, Any],
    form: Form = CHUNKS,
) -> tuple[Caching, Question]:
    caching: Caching = getattr(type(self), CACHING)
    plain = twin_of(self, caching.plain)
    question = Question(plain, messages, stop, run_manager, options, form)
    if run_manager is None:
        # What called `_stream` or its like, which called this.
        question.traced = run_of(sys._getframe(2))  # noqa: SLF001 (there is no other way)
    return caching, question


def _generate(
    self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
) -> ChatResult:
    caching, question = _question(self, messages, stop, run_manager, kwargs)
    return generate(caching.tiers(), question)


async def _agenerate(
    self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
) -> ChatResult:
    caching, question = _question(self, messages, stop, run_manager, kwargs)
    return await agenerate(caching.tiers(), question)


def _generate_with_cache(self: Any, *args: Any, **kwargs: Any) -> Any:
    caching: Any = getattr(type(self), CACHING)
    return undone(caching.plain._generate_with_cache(self, *args, **kwargs))  # noqa: SLF001


async def _agenerate_with_cache(self: Any, *args: Any, **kwargs: Any) -> Any:
    caching: Any = getattr(type(self), CACHING)
    return undone(await caching.plain._agenerate_with_cache(self, *args, **kwargs))  # noqa: SLF001


def _stream(
    self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
) -> Iterator[ChatGenerationChunk]:
    caching, question = _question(self, messages, stop, run_manager, kwargs)
    return caching.stream(question)


def _astream(
    self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
) -> AsyncIterator[ChatGenerationChunk]:
    caching, question = _question(self, messages, stop, run_manager, kwargs)
    return caching.astream(question)


def _stream_events(
    self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
) -> Iterator[Any]:
    caching, question = _question(self, messages, stop, run_manager, kwargs, EVENTS)
    return caching.stream(question)


def _astream_events(
    self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
) -> AsyncIterator[Any]:
    caching, question = _question(self, messages, stop, run_manager, kwargs, EVENTS)
    return caching.astream(question)


def _reduce(self: Any) -> tuple[Any, ...]:
    """For `pickle`: as the plain model, and what makes it a cached one."""
    caching: Caching = getattr(type(self), CACHING)
    plain = caching.plain.__new__(caching.plain)
    share(self, plain)
    return cached_chat_model, (plain, caching.cache, caching.replay)
