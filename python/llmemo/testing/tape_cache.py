"""The cache that LangChain asks while a test records or replays a cassette."""

from __future__ import annotations

import contextlib
from contextlib import contextmanager
from sys import _getframe
from typing import TYPE_CHECKING, Any, cast

from typing_extensions import override

from llmemo._core import RequestBypassed
from llmemo.cache import LLMCache
from llmemo.config.options import DEFAULT, in_force, options
from llmemo.errors import CacheMiss, ConfigurationError
from llmemo.keys.identity import REMEDIES, identify
from llmemo.keys.request import answered, asked
from llmemo.langchain.chains import in_chain
from llmemo.testing.mismatch import mismatch
from llmemo.testing.tape_memory import TapeMemory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.caches import RETURN_VAL_TYPE
    from langchain_core.outputs import Generation

    from llmemo._core import Memory
    from llmemo.keys.request import Request
    from llmemo.testing.tape import Tape

UNKNOWN_OBJECT = (
    "an object that says nothing of its content: give plain values, or declare the field with"
    " exclude=True if no answer depends on it"
)

UNBOUNDED = 2**62
"""Bytes in memory: nothing of a cassette is evicted."""


class TapeCache(LLMCache):
    """An `LLMCache` of a cassette's answers: a request has one answer, recorded or replayed.

    So nothing expires or is removed, and `options(mode="bypass")` and `mode="refresh"` have no
    effect. Every answer is recorded, also one that an `LLMCache` would not keep. A request that the
    cassette cannot answer, or could not answer later, raises `CacheMiss`, and fails the test.
    """

    def __init__(self, tape: Tape) -> None:
        """Serve the lines of the tape, and record on it."""
        super().__init__(max_bytes=UNBOUNDED, admit=None)
        self._tape = tape
        self._plain_memory = self._tiers.memory
        self._tiers.memory = cast("Memory", TapeMemory(self._plain_memory, tape))
        self._tiers.watcher = self
        self.asked_models: set[str] = set()
        """Prompts whose models are asked now."""

    @override
    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        __tracebackhide__ = True  # pytest would show the request: secrets, too
        hit = None
        with self.in_its_mode(), self._refusing():
            hit = super().lookup(prompt, llm_string)
        if hit is None:
            self.missed(asked(_getframe(1), prompt, llm_string))
        return hit

    @override
    async def alookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        __tracebackhide__ = True
        hit = None
        with self.in_its_mode(), self._refusing():
            hit = await super().alookup(prompt, llm_string)
        if hit is None:
            self.missed(asked(_getframe(1), prompt, llm_string))
        return hit

    @override
    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        with self.in_its_mode():
            super().update(prompt, llm_string, return_val)
        self.kept(answered(_getframe(1), prompt, llm_string))

    @override
    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        with self.in_its_mode():
            await super().aupdate(prompt, llm_string, return_val)
        self.kept(answered(_getframe(1), prompt, llm_string))

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        msg = "the cache of a cassette is for one test in one process: it cannot be pickled"
        raise ConfigurationError(msg)

    @contextmanager
    def in_its_mode(self) -> Iterator[None]:
        """Have one answer for a request, whatever the code under test says."""
        given = in_force() or DEFAULT
        if self._tape.is_replaying:
            chain = in_chain.get()
            # A retry after an answer that cannot be parsed would ask the model.
            in_chain.set(None)
            try:
                with options(mode="only"):
                    yield
            finally:
                in_chain.set(chain)
        elif given.mode in {"bypass", "refresh"}:
            with options(mode="default"):
                yield
        else:
            yield

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """In replay, a `CacheMiss` is a miss, of which `missed` has more to say."""
        is_told_below = self._tape.is_replaying
        with contextlib.suppress(CacheMiss) if is_told_below else contextlib.nullcontext():
            yield

    def missed(self, request: Request) -> None:
        """A request without an answer.

        Raises:
            CacheMiss: The model must not be asked, or could not be recorded.
        """
        __tracebackhide__ = True
        given = in_force() or DEFAULT
        try:
            namespace = self._tiers.namespace_of(given)
            key = identify(self._tiers.memory, request, namespace).key
        except RequestBypassed as bypass:
            reason, parameter = bypass.args
            text = f"a request cannot be recorded: {parameter or 'llm_string'!r} holds"
            text = f"{text} {REMEDIES[reason]}"
        else:
            name = self._tape.request(key).unknown_object()
            if name is None and not self._tape.is_replaying:
                self.asked_models.add(request.prompt)
                return
            text = mismatch(self._plain_memory, self._tape, key)
            if name is not None:
                text = f"a request cannot be recorded: {name!r} holds {UNKNOWN_OBJECT}"
        if given.mode != "only":
            self._tape.refuse(text)
        raise CacheMiss(text)

    def kept(self, request: Request) -> None:
        """Have the test fail if an answer was not recorded."""
        self.asked_models.discard(request.prompt)
        key = None
        with contextlib.suppress(RequestBypassed, CacheMiss):
            namespace = self._tiers.namespace_of(in_force() or DEFAULT)
            key = identify(self._tiers.memory, request, namespace).key
        if key is None or not self._tape.has_recorded(key):
            why = ", ".join(self.stats().skipped) or "its request changed meanwhile"
            self._tape.refuse(f"an answer cannot be recorded ({why})")
