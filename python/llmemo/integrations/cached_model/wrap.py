"""`cached`: a chat model of the same class, which asks a cache on every path."""

from __future__ import annotations

from typing import Any, TypeVar, cast, get_args

from llmemo.cache import LLMCache
from llmemo.errors import ConfigurationError
from llmemo.integrations.cached_model.caching import Pace
from llmemo.integrations.cached_model.subclass import cached_chat_model
from llmemo.langchain.model_classes import is_chat_model, is_completion_model

Model = TypeVar("Model")


def cached(model: Model, cache: LLMCache | None = None, *, replay: Pace = "instant") -> Model:
    """A chat model of the same class, cached on every path: `invoke`, `batch`, `stream`, events.

    It is a copy (`model` stays as it is), and everything that works on `model` works on it:
    `isinstance`, `bind_tools`, `with_structured_output`, `configurable_fields`, agents. Streams are
    recorded as they pass, and kept if they come to their end; a hit replays their chunks. Calls
    with and without streams share their answers. Concurrent callers with the same question share
    one request: streams are read along live.

    Args:
        model: A chat model, one of `init_chat_model`, or a binding of one (`model.bind_tools(…)`).
        cache: Where answers are kept. None: what `set_llm_cache` was given, at each call.
        replay: "recorded": the chunks of a hit come as far apart as they did. "instant": at once.

    Raises:
        ConfigurationError: (which is a TypeError) `model` is no chat model, or `cache` no LLMCache.

    Examples:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> from llmemo import LLMCache, cached
        >>> model = cached(FakeListChatModel(responses=["one", "two"]), LLMCache())
        >>> [chunk.content for chunk in model.stream("Count.") if chunk.content]
        ['o', 'n', 'e']
        >>> [chunk.content for chunk in model.stream("Count.") if chunk.content]
        ['o', 'n', 'e']
        >>> model.invoke("Count.").content
        'one'
    """
    check(cache, replay)
    return cast("Model", _cached(model, cache, replay))


def check(cache: object, replay: object) -> None:
    """Check two arguments of `cached`.

    Raises:
        ConfigurationError: One has no valid value.
    """
    if cache is not None and not isinstance(cache, LLMCache):
        msg = f"cached: cache={cache!r} is not an LLMCache: give it LLMCache({cache!r}), or None"
        raise ModelTypeError(msg)
    if replay not in get_args(Pace):
        msg = f'cached: replay={replay!r} is not known: it is "instant" or "recorded"'
        raise ConfigurationError(msg)


class ModelTypeError(ConfigurationError, TypeError):
    """What was given is not of a type that can be used."""


def _cached(model: Any, cache: LLMCache | None, replay: Pace) -> Any:
    if is_chat_model(model):
        return cached_chat_model(model, cache, replay)
    bound = getattr(model, "bound", None)
    if bound is not None and hasattr(model, "model_copy"):
        return model.model_copy(update={"bound": _cached(bound, cache, replay)})
    if hasattr(type(model), "_model") and hasattr(model, "_queued_declarative_operations"):
        return _cached_configurable(model, cache, replay)
    hint = "give it a BaseChatModel of LangChain's, such as ChatOpenAI()"
    if isinstance(model, str):
        hint = f"give it init_chat_model({model!r})"
    elif is_completion_model(model):
        hint = "for completion models there is set_llm_cache(LLMCache())"
    msg = f"cached: {type(model).__name__} is not a chat model: {hint}"
    raise ModelTypeError(msg)


def _cached_configurable(model: Any, cache: LLMCache | None, replay: Pace) -> Any:
    """A model of `init_chat_model` whose fields are chosen at each call."""
    plain: Any = type(model)

    def again(new: Any) -> Any:
        return _cached_configurable(new, cache, replay) if isinstance(new, plain) else new

    class Configurable(plain):  # type: ignore[misc]
        def _model(self, config: Any = None) -> Any:
            unbound = plain.__new__(plain)
            unbound.__dict__.update(self.__dict__, _queued_declarative_operations=[])
            made = _cached(unbound._model(config), cache, replay)  # noqa: SLF001
            # What is bound to it may be no model: a parser after one.
            for name, arguments, options in self._queued_declarative_operations:
                made = getattr(made, name)(*arguments, **options)
            return made

        def with_config(self, config: Any = None, **kwargs: Any) -> Any:
            return again(super().with_config(config, **kwargs))

        def __getattr__(self, name: str) -> Any:
            found = super().__getattr__(name)
            if getattr(found, "__module__", None) != plain.__module__:
                return found
            # It binds something, and makes another such model of it.
            return lambda *arguments, **options: again(found(*arguments, **options))

    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(Configurable, name, getattr(plain, name))
    new = Configurable.__new__(Configurable)
    new.__dict__.update(model.__dict__)
    return new
