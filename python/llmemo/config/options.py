"""Per-call options for which LangChain has no argument, in context variables."""

from __future__ import annotations

import enum
import functools
import inspect
import sys
import weakref
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast, get_args

from llmemo.config import misplaced_options
from llmemo.config.validation import check_flag, check_seconds
from llmemo.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta
    from types import FrameType

    from llmemo.telemetry.tracking import Tracker

    Function = TypeVar("Function", bound=Callable[..., Any])

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
    """The options in force in a context: those of all blocks around it."""

    namespace: str | None = None
    """None: the cache's own."""
    ttl: float | _Unset | None = UNSET
    mode: Mode = "default"
    semantic: bool | None = None
    """Whether near matches may be served. None: unless the mode is "only"."""
    session: str | None = None
    """A session that is given no near match twice."""
    trackers: tuple[Tracker, ...] = ()
    """Trackers of the lookups inside: see `track`."""
    block: Block | None = field(default=None, compare=False, repr=False)
    """The innermost block."""
    outer: Options | None = field(default=None, compare=False, repr=False)
    """The options in force around the innermost block."""
    entry: misplaced_options.Entry | None = field(default=None, compare=False, repr=False)
    """The entry of the block to which these options belong."""


DEFAULT = Options()

current: ContextVar[Options | None] = ContextVar("llmemo_options", default=None)
"""The options of this context; None if there are none. There is only one variable, since each hit
in memory looks it up."""


class Block:
    """A `with` block, or a decorator. Several tasks and threads may enter it at once, repeatedly.

    At its end, it removes only its own options. A generator that holds a block open may end before
    a generator that was begun later, and in another context. That is how asyncio ends generators
    that are not read to their end, and how web frameworks end a request's dependencies. A token of
    `ContextVar.set` would then restore the wrong state, or raise.
    """

    def __init__(self, **fields: Any) -> None:
        """`fields`: the fields of `Options` to set."""
        self._fields: Mapping[str, Any] = fields
        self._last: weakref.ref[misplaced_options.Entry] | None = None
        self._is_shared = False

    def __repr__(self) -> str:
        """As it was written."""
        fields = (f"{name}={value!r}" for name, value in self._fields.items() if name != "trackers")
        return f"options({', '.join(fields)})"

    def __enter__(self) -> None:
        """Put the options of this block in force."""
        entry = misplaced_options.Entry(sys._getframe(1))  # noqa: SLF001 (there is no other way)
        self._is_shared, self._last = self._last is not None, weakref.ref(entry)
        entry.token = current.set(self.over(current.get(), entry))

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        """Take the options of this block out of force. Never raises, in any context."""
        active = current.get()
        entry = _innermost(self, active)
        if entry is not None:
            if not entry.end_here():
                # A copy of its context.
                entry.lose()
            current.set(_without(entry, active))
            return
        entry = None if self._is_shared or self._last is None else self._last()
        if entry is not None:
            entry.lose()
        if kind is not GeneratorExit or not _is_asynchronous(sys._getframe(1)):  # noqa: SLF001
            misplaced_options.note(misplaced_options.ELSEWHERE)

    def over(self, outer: Options | None, entry: misplaced_options.Entry | None) -> Options:
        """The options inside this block, with `outer` around it."""
        before = outer or DEFAULT
        trackers = (*before.trackers, *self._fields.get("trackers", ()))
        fields = {**self._fields, "trackers": trackers}
        return replace(before, **fields, block=self, outer=outer, entry=entry)

    def __call__(self, function: Function) -> Function:
        """The function, with each of its calls inside this block.

        Raises:
            ConfigurationError: It is a generator, and its reader would run in between.
        """
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            name = getattr(function, "__qualname__", repr(function))
            msg = (
                f"{name} is a generator, and what reads it runs in between: put"
                " `with options(…):` around the calls in it instead, with no `yield` inside"
            )
            raise ConfigurationError(msg)
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await function(*args, **kwargs)

            return cast("Function", awaited)

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return cast("Function", called)


def in_force() -> Options | None:
    """The options in force for a call here; None if there are none.

    They leave out the blocks that belong to this context and have ended in another.
    """
    active = current.get()
    if active is not None and misplaced_options.is_watchful:
        each: Options | None = active
        while each is not None:
            entry, each = each.entry, each.outer
            if entry is None:
                continue
            if entry.is_lost and entry.end_here():
                active = each = _without(entry, active)
                current.set(active)
            else:
                entry.look()
    return active


def _innermost(block: Block, active: Options | None) -> misplaced_options.Entry | None:
    """The last entry of this block among the options in force."""
    while active is not None and active.block is not block:
        active = active.outer
    return None if active is None else active.entry


def _without(entry: misplaced_options.Entry, active: Options | None) -> Options | None:
    """The options without those of this entry, if it is among them."""
    if active is None or active.entry is entry:
        return active and active.outer
    outer = _without(entry, active.outer)
    if outer is active.outer or active.block is None:
        return active
    return active.block.over(outer, active.entry)


def _is_asynchronous(frame: FrameType) -> bool:
    """Whether it is an async generator's. One that is left open may be closed in any context."""
    return bool(frame.f_code.co_flags & inspect.CO_ASYNC_GENERATOR)


_UNSAID = cast("float | None", UNSET)
"""`UNSET` with the type that a type checker sees: users never pass the marker."""


def options(
    *,
    namespace: str | None = None,
    ttl: float | timedelta | None = _UNSAID,
    mode: Mode | None = None,
    semantic: bool | None = None,
    session: str | None = None,
) -> Block:
    """Set how the calls inside use a cache, through chains, agents, batches, tasks and threads.

    A `with` block, or a decorator of a function, sync or async. An inner block inherits from the
    outer one what it does not name.

    Args:
        namespace: The user or tenant that asks. Different namespaces never share an answer.
        ttl: Seconds (or a `timedelta`) for which an answer that is stored inside may be served.
            None: for ever.
        mode: "bypass" neither looks up nor stores an answer. "refresh" skips the lookup, but stores
            the answer in place of an older one. "only" raises `CacheMiss` instead of calling the
            model, on every path: for tests and offline work. "default" undoes an outer
            block's mode.
        semantic: False: a cache with `semantic=` serves no answer to a similar question, and does
            not learn from the calls inside. True: also under `mode="only"`, which otherwise serves
            exact answers alone.
        session: Names a conversation or a user's visit. Within one session, a cache serves an
            answer for similar questions only once: a user that asks again wants another one.

    Raises:
        ConfigurationError: An argument has no valid value, or the decorated function is a
            generator.

    Examples:
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
    given: dict[str, Any] = {}
    if namespace is not None:
        if not isinstance(namespace, str):
            msg = f"namespace={namespace!r} is not a str: a name, or the empty string"
            raise ConfigurationError(msg)
        given["namespace"] = namespace
    if cast("object", ttl) is not UNSET:
        given["ttl"] = None if ttl is None else check_seconds("ttl", ttl)
    if mode is not None:
        if mode not in get_args(Mode):
            known = ", ".join(map(repr, get_args(Mode)))
            msg = f"mode={mode!r} is not known: it is one of {known}"
            raise ConfigurationError(msg)
        given["mode"] = mode
    if semantic is not None:
        check_flag("semantic", semantic)
        given["semantic"] = semantic
    if session is not None:
        if not isinstance(session, str):
            msg = f"session={session!r} is not a str: a name, such as the id of a conversation"
            raise ConfigurationError(msg)
        given["session"] = session
    return Block(**given)
