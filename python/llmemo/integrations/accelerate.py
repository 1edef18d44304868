"""Faster serialisation of messages: most of the time of a cached call is spent there."""

from __future__ import annotations

import importlib
import threading
import warnings
from typing import TYPE_CHECKING

from langchain_core.version import VERSION

from llmemo.integrations.rust_dumps import USER, trial
from llmemo.integrations.stream_patch import install, uninstall

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType, TracebackType

    from typing_extensions import Self

    from llmemo._core import Dumps
    from llmemo.integrations.stream_patch import StreamPatch

NAME = "dumps"

_lock = threading.Lock()
_latest: Installation | None = None


class Installation:
    """A Rust function in the place of LangChain's."""

    def __init__(self, own: Callable[..., str], dumps: Dumps) -> None:
        """Note that `dumps` is in the place of `own`."""
        self.own = own
        self.dumps = dumps
        self.holders = 0

    def is_on_top(self, module: ModuleType) -> bool:
        """Whether no other program has replaced it."""
        return getattr(module, NAME) is self.dumps

    def remove(self, module: ModuleType) -> None:
        """Put `own` back, if it is on top."""
        if self.is_on_top(module):
            setattr(module, NAME, self.own)
        # It may have been wrapped: the wrapper stays, and gets what `own` returns.
        self.dumps.stop()


class Acceleration:
    """What `accelerate` installed. Ended by `undo`, or at the end of a `with` block."""

    def __init__(
        self, installation: Installation | None, streams: StreamPatch | None = None
    ) -> None:
        """Made by `accelerate`; None for what was refused, or not asked for."""
        self._installation = installation
        self._streams = streams
        self._is_active = installation is not None

    @property
    def streams(self) -> bool:
        """Whether streams ask the cache."""
        return self._streams is not None

    @property
    def active(self) -> bool:
        """Whether it is in force: neither refused nor undone."""
        return self._is_active

    @property
    def handled(self) -> int:
        """Lists of messages that were serialised in Rust. Nested accelerations count together."""
        return 0 if self._installation is None else self._installation.dumps.handled

    @property
    def fallbacks(self) -> int:
        """Lists that LangChain's own function had to serialise."""
        return 0 if self._installation is None else self._installation.dumps.fallbacks

    def undo(self) -> None:
        """Put LangChain's function back, unless another acceleration still needs this one.

        A second call has no effect.
        """
        global _latest  # noqa: PLW0603 (one per process)
        streams, self._streams = self._streams, None
        if streams is not None:
            uninstall(streams)
        with _lock:
            installation = self._installation
            if installation is None or not self._is_active:
                return
            self._is_active = False
            installation.holders -= 1
            if installation.holders == 0:
                installation.remove(importlib.import_module(USER))
                if _latest is installation:
                    _latest = None

    def __enter__(self) -> Self:
        """Return itself; it is active already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Call `undo`."""
        self.undo()

    def __repr__(self) -> str:
        """Whether it is active, and its counts."""
        state = "active" if self.active else "inactive"
        return f"<Acceleration: {state}, {self.handled} handled, {self.fallbacks} fallbacks>"


def accelerate(*, streams: bool = False) -> Acceleration:
    """Have chat models serialise messages for their cache in Rust, to the very same bytes.

    LangChain asks a cache with `dumps(messages)`, which for a long history takes many times as
    long as the rest of a cached call. This affects every chat model and every cache in the
    process. A list whose bytes are not certain, because of a user's message class for example,
    goes to LangChain's function as before.

    It may be called several times: the last `undo` puts LangChain's function back.

    Args:
        streams: Have all chat models that have an `LLMCache` ask it for streams, too, as
            `cached(model)` does: for code that cannot be edited. A hit inside an agent or a graph
            then tells its tokens.

    Returns:
        An object that undoes it, has counts, and is a context manager.

    Warns:
        RuntimeWarning: The installed langchain-core writes messages, or streams, in another way
            than this version of llmemo. Nothing was changed in that, and `active`, or `streams`, is
            False.

    >>> from langchain_core.language_models import FakeListChatModel
    >>> from llmemo import LLMCache
    >>> model = FakeListChatModel(responses=["four"], cache=LLMCache())
    >>> with accelerate() as acceleration:
    ...     _ = model.invoke("2 + 2?")
    >>> acceleration
    <Acceleration: inactive, 1 handled, 0 fallbacks>
    """
    installation, patch = _install(), install() if streams else None
    if installation is None:
        _warn("writes messages")
    if streams and patch is None:
        _warn("streams")
    return Acceleration(installation, patch)


def _warn(what: str) -> None:
    warnings.warn(
        f"accelerate() changed nothing: langchain-core {VERSION} {what} in another way "
        "than this version of llmemo. A newer llmemo may know it.",
        RuntimeWarning,
        stacklevel=3,
    )


def _install() -> Installation | None:
    global _latest  # noqa: PLW0603 (one per process)
    module = importlib.import_module(USER)
    while True:
        own = getattr(module, NAME)
        candidate = None if _is_ours(own) else trial(own)
        with _lock:
            if getattr(module, NAME) is not own:
                continue  # another thread was faster
            if _latest is None or not _latest.is_on_top(module):
                if candidate is None:
                    break
                _latest = Installation(own, candidate)
                setattr(module, NAME, candidate)
            _latest.holders += 1
            return _latest
    return None


def _is_ours(function: object) -> bool:
    return _latest is not None and _latest.dumps is function
