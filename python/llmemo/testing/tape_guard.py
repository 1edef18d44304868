"""Refuses the runs of models that would go past the cassette: their answers would not be in it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from langchain_core.caches import BaseCache
from langchain_core.globals import get_llm_cache

from llmemo.errors import CacheMiss
from llmemo.langchain.model_runs import guards
from llmemo.langchain.only_mode import ASKING, CACHING, caller, drop_pending

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmemo.testing.tape import Tape
    from llmemo.testing.tape_cache import TapeCache


class TapeGuard:
    """Knows which runs ask the cache of a tape. It holds for every thread and task."""

    def __init__(self, tape: Tape, cache: TapeCache) -> None:
        """Guard a test."""
        self._tape, self._cache = tape, cache

    @contextmanager
    def on_duty(self) -> Iterator[None]:
        """Refuse runs inside."""
        guards.append(self)
        try:
            yield
        finally:
            guards.remove(self)

    def chat(self) -> None:
        """Refuse a chat model's run that will not ask the cassette.

        Raises:
            CacheMiss: That is so.
        """
        __tracebackhide__ = True
        method, model = caller()
        if not method:
            self._refuse("it does not ask a cache")
        caching = getattr(type(model), CACHING, None)
        if caching is None and method not in ASKING:
            self._refuse("a stream asks no cache here: see accelerate(streams=True)")
        given = model.cache if caching is None else caching.cache
        if given is False:
            self._refuse("its model has cache=False")
        own = given if isinstance(given, BaseCache) else None
        asked = get_llm_cache() if own is None else own
        if asked is not self._cache:
            where = "the code under test called set_llm_cache" if own is None else "give it none"
            self._refuse(f"its model asks another cache, {type(asked).__name__}: {where}")

    def completion(self, prompts: Sequence[str]) -> None:
        """Refuse a completion model's run: it has asked by now, or asks no cache.

        Raises:
            CacheMiss: It has not asked, or it must not go on.
        """
        __tracebackhide__ = True
        if self._tape.is_replaying or not self._cache.asked_models.issuperset(prompts):
            self._refuse("it has not asked the cassette: a stream does not, nor does cache=False")

    def _refuse(self, why: str) -> None:
        __tracebackhide__ = True
        drop_pending()
        does = "would leave" if self._tape.is_replaying else "cannot be recorded"
        text = f"a model's call {does}, past the cassette {self._tape.path}: {why}"
        self._tape.refuse(text)
        raise CacheMiss(text)
