"""Whatever a signal handler raises in a call of cached embeddings: no other call hangs."""

from __future__ import annotations

import contextvars
import gc
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import LIMIT, ROUNDS
from support.embedders import Embedder, vectors
from support.interrupts import Interrupts, SoftTimeLimit
from support.slices import first

from llmemo import LLMCache, cached_embeddings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    # A coroutine that was interrupted before its first instruction.
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

STEP = max(1, 41 // ROUNDS)
"""Instructions from one interrupt to the next; others each day."""

HANGS = 3600.0
"""Seconds for which leases are believed: a call that waits for one that was lost hangs."""


def elsewhere(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    outcomes: list[Any] = []
    return threading.Thread(target=lambda: outcomes.append(work()), daemon=True), outcomes


@pytest.mark.parametrize(
    ("kind", "is_signal"),
    [(KeyboardInterrupt, False), (KeyboardInterrupt, True), (SoftTimeLimit, True)],
)
@pytest.mark.parametrize("where", ["memory", "store"])
def test_an_interrupt_leaves_nothing_half_done(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    where: str,
    kind: type[BaseException],
    is_signal: bool,
) -> None:
    monkeypatch.setattr("llmemo.single_flight.lease.UNBACKED", HANGS)
    monkeypatch.setattr("llmemo.store_io.leases.manager.LEASE", HANGS)
    store = None if where == "memory" else tmp_path / "cache.db"
    with LLMCache(store, lease_timeout=HANGS) as cache:
        embedder = Embedder()
        embeddings = cached_embeddings(embedder, cache, namespace="m")
        flights = cache._tiers.flights
        assert flights is not None
        at, was_raised = first(STEP), True
        while was_raised:
            texts = [f"{at} a", f"{at} b"]
            beside, found = elsewhere(lambda texts=texts: embeddings.embed_documents(texts[::-1]))  # type: ignore[misc]

            def begin(texts: object, beside: threading.Thread = beside) -> None:
                if threading.current_thread() is threading.main_thread():
                    beside.start()
                    while beside.is_alive() and not any(flights._table.waiting().values()):
                        pass

            embedder.before = begin
            with Interrupts(at, kind, is_signal=is_signal) as interrupts:
                contextvars.copy_context().run(embeddings.embed_documents, texts)
            embedder.before = lambda texts: None
            interrupts.error = None
            gc.collect(0)
            after, known = elsewhere(lambda texts=texts: embeddings.embed_documents(texts))  # type: ignore[misc]
            after.start()
            for thread in (beside, after):
                if thread.ident is not None:
                    thread.join(LIMIT / 4)
                    assert not thread.is_alive(), (at, interrupts.where)
            assert known == [vectors(texts)], (at, interrupts.where)
            assert found in ([], [vectors(texts[::-1])]), (at, interrupts.where)
            was_raised = interrupts.was_raised
            at += STEP
