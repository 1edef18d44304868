"""What one call may say of itself, though LangChain has no argument for it: context variables."""

from __future__ import annotations

import contextlib
import enum
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, get_args

from llmemo.arguments import check_seconds
from llmemo.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmemo.tracking import Tracker

Mode = Literal["default", "bypass", "refresh", "only"]


class Required(enum.Enum):
    """The type of `REQUIRED`."""

    REQUIRED = "REQUIRED"

    def __repr__(self) -> str:
        """Its name."""
        return self.value


class _Unset(enum.Enum):
    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "…"


REQUIRED: Final = Required.REQUIRED
"""As `LLMCache(namespace=REQUIRED)`: each call has to name its namespace, with `options`."""

UNSET: Final = _Unset.UNSET


@dataclass(frozen=True, slots=True)
class Options:
    """What `options` has said, all in all."""

    namespace: str | None = None
    """None: the cache's own."""
    ttl: float | _Unset | None = UNSET
    mode: Mode = "default"
    trackers: tuple[Tracker, ...] = ()
    """Who wants to know what becomes of lookups: see `track`."""


DEFAULT = Options()

current: ContextVar[Options | None] = ContextVar("llmemo_options", default=None)
"""What holds in this context; None where nothing was said. Only one variable: a hit in memory looks
it up."""


@contextlib.contextmanager
def options(
    *,
    namespace: str | None = None,
    ttl: float | _Unset | None = UNSET,
    mode: Mode | None = None,
) -> Iterator[None]:
    """How the calls inside use a cache, through chains, agents, batches, tasks and threads.

    A `with` block, or a decorator. What an inner block does not name is as the outer one says.

    Args:
        namespace: On whose behalf: requests of different namespaces never share an answer.
        ttl: Seconds for which an answer that is stored here may be served; None for ever.
        mode: "bypass" neither asks nor tells a cache. "refresh" does not ask, but keeps the answer,
            in place of an older one. "only" raises `CacheMiss` where the model would be called, on
            every path that asks a cache: for tests and work offline. "default" undoes an outer
            block's mode.

    Raises:
        ConfigurationError: An argument is not one of these.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> from llmemo import LLMCache, options
        >>> model = FakeListChatModel(responses=["one", "two"], cache=LLMCache())
        >>> model.invoke("Count.").content
        'one'
        >>> with options(mode="refresh"):
        ...     model.invoke("Count.").content
        'two'
        >>> model.invoke("Count.").content
        'two'
    """
    said = current.get() or DEFAULT
    if namespace is not None:
        if not isinstance(namespace, str):
            msg = f"namespace={namespace!r} is not a str: a name, or the empty string"
            raise ConfigurationError(msg)
        said = replace(said, namespace=namespace)
    if ttl is not UNSET:
        if ttl is not None:
            check_seconds("ttl", ttl)
        said = replace(said, ttl=ttl)
    if mode is not None:
        if mode not in get_args(Mode):
            known = ", ".join(map(repr, get_args(Mode)))
            msg = f"mode={mode!r} is not known: it is one of {known}"
            raise ConfigurationError(msg)
        said = replace(said, mode=mode)
    token = current.set(said)
    try:
        yield
    finally:
        current.reset(token)
