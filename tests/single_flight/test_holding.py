"""What a context holds, looked at while it changes."""

from __future__ import annotations

import contextvars
import threading
import weakref
from typing import TYPE_CHECKING, Any

from support.doubles import LIMIT, answer

from llmemo import LLMCache
from llmemo.langchain.model_runs import Run, observers
from llmemo.single_flight.flights import Flights
from llmemo.single_flight.holding import HELD_MAX, hold, holds_anything
from llmemo.single_flight.lease import Lease
from llmemo.store_io.calls import Call, run_inline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pytest

    from llmemo.single_flight import holding


class Held:
    """A lease; `ends`: called when it is looked at, and it is over from then on."""

    has_run = False
    older: holding.Held | None = None
    is_settled = False

    def __init__(self, *, changes: bool = False) -> None:
        self.changes = changes
        self.looks = 0
        self.has_ended = False

    @property
    def is_over(self) -> bool:
        self.looks += 1
        if self.changes and self.looks == 1:
            # As a signal handler may, in the middle of a look.
            hold(Held())
            return True
        return self.has_ended

    def run_began(self, run: Run) -> None:
        self.has_run = True

    def run_ended(self, *, failed: bool) -> None: ...

    def end(self, *, failed: bool) -> None:
        self.has_ended = True


def test_a_look_finds_what_is_held_though_that_changes_meanwhile() -> None:
    def look() -> bool:
        hold(Held())
        hold(Held(changes=True))
        return holds_anything()

    assert contextvars.copy_context().run(look)


def test_a_look_stops_at_the_newest_that_is_not_over() -> None:
    def look() -> tuple[bool, int]:
        older = [Held() for _ in range(100)]
        for held in older:
            hold(held)
        before = sum(held.looks for held in older)
        return holds_anything(), sum(held.looks for held in older) - before

    assert contextvars.copy_context().run(look) == (True, 1)


def held(count: int) -> list[Held]:
    """Leases that the current context holds now, the oldest first."""
    leases = [Held() for _ in range(count)]
    for lease in leases:
        hold(lease)
    return leases


def alone(work: Callable[[], Any]) -> Any:
    """What some work returns in a context that holds nothing before."""
    return contextvars.Context().run(work)


def in_child(context: contextvars.Context, work: Callable[[], object]) -> None:
    """Do some work in another thread, with a context of this one."""
    child = threading.Thread(target=context.run, args=(work,))
    child.start()
    child.join()


def looks(leases: Iterable[Held]) -> int:
    """How often these were looked at since the last time."""
    counted = 0
    for lease in leases:
        counted += lease.looks
        lease.looks = 0
    return counted


def begin_run() -> None:
    run = Run(None)
    for observe in observers:
        observe(run)


def test_a_child_does_not_look_at_what_its_parent_holds_later() -> None:
    def look() -> None:
        held(1)[0].has_ended = True
        context = contextvars.copy_context()
        later = held(100)
        looks(later)
        shown: list[bool] = []
        in_child(context, lambda: shown.append(holds_anything()))
        assert shown == [False]
        assert looks(later) == 0

    alone(look)


def test_a_child_passes_by_what_is_over_only_once() -> None:
    def look() -> None:
        oldest, *over = held(100)
        contexts = [contextvars.copy_context(), contextvars.copy_context()]
        for lease in over:
            lease.has_ended = True
        shown: list[bool] = []
        looks([oldest, *over])
        in_child(contexts[0], lambda: shown.append(holds_anything()))
        assert looks([oldest, *over]) == 100
        in_child(contexts[1], lambda: shown.append(holds_anything()))
        assert looks([oldest, *over]) == 2
        assert shown == [True, True]

    alone(look)


def test_a_run_stands_behind_all_that_have_none_and_looks_at_each_once() -> None:
    def look() -> None:
        leases = held(100)
        begin_run()
        assert all(lease.has_run for lease in leases)
        looks(leases)
        for _ in range(3):
            (lease,) = held(1)
            begin_run()
            assert lease.has_run
            lease.has_ended = True
        assert looks(leases) <= 3

    alone(look)


def test_what_is_held_beyond_the_bound_ends_and_is_not_kept() -> None:
    def look() -> None:
        kept = held(HELD_MAX)
        gone = weakref.ref(kept[0])
        first, *rest = kept
        assert not first.has_ended
        newest = held(1)
        assert first.has_ended
        assert not any(lease.has_ended for lease in (*rest, *newest))
        del first, kept
        assert gone() is None

    alone(look)


def test_what_has_ended_makes_room_before_anything_that_has_not() -> None:
    def look() -> None:
        leases = held(HELD_MAX - 1)
        for _ in range(3):
            held(1)[0].has_ended = True
        assert not any(lease.has_ended for lease in leases)

    alone(look)


def test_what_is_over_without_an_end_is_let_go_after_a_while() -> None:
    class Forgotten(Held):
        @property
        def is_over(self) -> bool:
            return True

    def look() -> None:
        forgotten = [Forgotten() for _ in range(100)]
        for lease in forgotten:
            hold(lease)
        assert sum(not lease.has_ended for lease in forgotten) < 50

    alone(look)


def test_a_lease_is_not_over_before_it_is_told_of_the_end_of_its_run() -> None:
    flights = Flights(None)
    seen: list[bool] = []

    class Earlier(Held):
        def run_ended(self, *, failed: bool) -> None:
            seen.append(lease.is_over)

    lease: Lease = flights.lead(b"k")  # type: ignore[assignment]
    # The model took long.
    lease.granted -= 3600.0
    run, earlier = Run(None), Earlier()
    run.stand_behind(earlier)
    run.stand_behind(lease)
    run.end()
    assert seen == [False]
    assert not lease.is_over


def test_an_answer_that_comes_before_the_lease_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, lead = LLMCache(), Flights.lead

    def late(self: Flights, key: bytes) -> Lease | None:
        monkeypatch.undo()
        # Another thread's.
        alone(lambda: cache.update("p", "m", answer("p")))
        return lead(self, key)

    monkeypatch.setattr(Flights, "lead", late)
    assert cache.lookup("p", "m") == answer("p")
    assert cache._tiers.flights is not None
    assert cache._tiers.flights._flights == {}


def test_a_lease_that_nothing_refers_to_is_over_or_goes_to_the_next() -> None:
    flights = Flights(None)
    lease = flights.lead(b"k")
    assert lease is not None
    lease.holder = threading.get_ident()
    call = flights.enter(b"k", Call.blocking)
    assert isinstance(call, Call)
    del lease
    heir = run_inline(call.wait(LIMIT))
    assert isinstance(heir, Lease)
    assert flights.lease(b"k") is heir
    del heir, call
    assert flights._flights == {}


class Store:
    """Notes which leases end without an answer."""

    held: Any = None

    def __init__(self) -> None:
        self.released: list[tuple[bytes, int, int]] = []

    def release(self, key: bytes, fence: int, failures: int) -> None:
        self.released.append((key, fence, failures))

    def release_held(self, key: bytes) -> None: ...


def test_a_lease_that_the_store_knows_ends_there_too_though_no_caller_waits() -> None:
    store = Store()
    flights = Flights(store)
    lease = flights.lead(b"k")
    assert lease is not None
    lease.fence = 7
    lease.end(failed=False)
    assert store.released == [(b"k", 7, 0)]
    assert lease.has_ended
    assert flights._flights == {}
