"""Whatever a signal handler raises on the way of a near match: no other caller hangs."""

from __future__ import annotations

import contextvars
import gc
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import LIMIT, ROUNDS
from support.interrupts import Interrupts, SoftTimeLimit
from support.near import Meaning, certify, keep, near_cache, said_of, semantic, wording
from support.scripted import Scripted
from support.slices import first

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    # A coroutine that was interrupted before its first instruction.
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

STEP = max(1, 97 // ROUNDS)
"""Instructions from one interrupt to the next; others each day."""

HANGS = 3600.0
"""Seconds for which leases are believed: a call that waits for one that was lost hangs."""


def elsewhere(work: Callable[[], Any]) -> Any:
    """The outcome of some work in another thread, which must not hang."""
    outcomes: list[Any] = []
    thread = threading.Thread(target=lambda: outcomes.append(work()), daemon=True)
    thread.start()
    thread.join(LIMIT / 4)
    assert not thread.is_alive(), "it hangs"
    return outcomes[0]


@pytest.mark.parametrize(
    ("kind", "is_signal"),
    [(KeyboardInterrupt, False), (KeyboardInterrupt, True), (SoftTimeLimit, True)],
)
@pytest.mark.parametrize("where", ["memory", "store"])
@pytest.mark.parametrize("what", ["near match", "check", "cold"])
def test_an_interrupt_leaves_nothing_half_done(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    what: str,
    where: str,
    kind: type[BaseException],
    is_signal: bool,
) -> None:
    monkeypatch.setattr("llmemo.single_flight.lease.UNBACKED", HANGS)
    monkeypatch.setattr("llmemo.store_io.leases.manager.LEASE", HANGS)
    store = None if where == "memory" else tmp_path / "cache.db"
    settings = semantic(Meaning(), shadow=1.0 if what == "check" else 1e-9)
    with near_cache(store, semantic=settings, lease_timeout=HANGS) as cache:
        certify(cache)
        model = Scripted(act=lambda text: said_of("tides"), cache=cache, asked=[])
        left = 0
        at, was_raised = first(STEP), True
        while was_raised:
            topic = f"tides{'x' * (at % 31)}{'y' * (at // 31 % 37)}"
            text = wording(1, topic)
            if what != "cold":
                keep(cache, wording(0, topic))

            def act(text: str = text, topic: str = topic) -> None:
                if cache.lookup(text, "m") is None:
                    keep(cache, text)

            with Interrupts(at, kind, is_signal=is_signal) as interrupts:
                contextvars.copy_context().run(act)
            interrupts.error = None
            gc.collect(0)

            def after(text: str = text, topic: str = topic) -> str:
                hit = cache.lookup(text, "m")
                if hit is None:
                    keep(cache, text)
                    hit = cache.lookup(text, "m")
                assert hit is not None
                return hit[0].text

            assert elsewhere(after) == said_of(topic), (at, interrupts.where)
            # A caller that was interrupted between its miss and its answer keeps its lease.
            left += not interrupts.is_own
            errors = cache.stats().errors
            assert errors.pop("holder_stuck", 0) <= left, (at, interrupts.where)
            assert errors == {}, (at, interrupts.where, errors)
            was_raised = interrupts.was_raised
            at += STEP
        assert elsewhere(lambda: model.invoke("explain x").text) == said_of("tides")
