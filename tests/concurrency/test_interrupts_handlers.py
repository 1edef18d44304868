"""Signal handlers: what they raise reaches the caller, and they may use the cache."""

from __future__ import annotations

import functools
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import LIMIT, answer

from llmemo import LLMCache
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.pipeline import coordinate
from llmemo.single_flight.lease import Lease

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are hardly any signals")


class Soft(Exception):  # noqa: N818 (as Celery's SoftTimeLimitExceeded)
    pass


def plain(number: int, frame: object) -> None:
    raise Soft


def without_frame(number: int, frame: object) -> None:
    del frame
    raise Soft


class Handler:
    def __call__(self, *_: object) -> None:
        raise Soft

    def handle(self, number: int, frame: object) -> None:
        del frame
        raise Soft


HANDLERS: dict[str, Callable[..., Any]] = {
    "a function": plain,
    "one that lets go of the frame": without_frame,
    "an object": Handler(),
    "a method": Handler().handle,
    "a partial": functools.partial(without_frame),
}


@pytest.fixture
def handled() -> Iterator[Callable[[Any], None]]:
    before = signal.getsignal(signal.SIGALRM)

    def handle(handler: Any) -> None:
        signal.signal(signal.SIGALRM, handler)

    yield handle
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("handler", HANDLERS.values(), ids=HANDLERS.keys())
def test_what_a_handler_raises_is_told_from_trouble(
    handler: Callable[..., Any], handled: Callable[[Any], None]
) -> None:
    handled(handler)
    with pytest.raises(Soft) as caught:
        signal.raise_signal(signal.SIGALRM)
    assert is_interrupt(caught.value)
    with pytest.raises(Soft) as raised:
        raise Soft
    assert not is_interrupt(raised.value)


def test_a_handler_asks_for_what_is_being_asked_for() -> None:
    """Between a lease and its being held there are some instructions."""
    with LLMCache() as cache:
        flights = cache._tiers.flights
        assert flights is not None
        found: list[object] = []

        def asked(frame: FrameType, event: str, _: object) -> None:
            if event == "call" and frame.f_code is coordinate._hold.__code__ and not found:
                sys.setprofile(None)
                key = frame.f_locals["lease"].key
                found.extend((flights.lease(key), cache.lookup("p", "m")))

        sys.setprofile(asked)
        try:
            assert cache.lookup("p", "m") is None
        finally:
            sys.setprofile(None)
        lease, hit = found
        assert isinstance(lease, Lease)
        # It has not waited for its own thread, which would have taken seconds.
        assert hit is None
        assert cache.stats().misses == 2
        assert not lease.has_ended

        # Another thread does wait.
        other = threading.Thread(target=lambda: found.append(cache.lookup("p", "m")))
        other.start()
        cache.update("p", "m", answer("p"))
        other.join(LIMIT)
        assert found[2] == answer("p")


def test_no_python_code_runs_when_a_lease_that_has_ended_is_gone() -> None:
    """A signal handler's exception in a finalizer would not reach anybody."""
    assert "__del__" not in vars(Lease)
    with LLMCache() as cache:
        cache.lookup("p", "m")
        flights = cache._tiers.flights
        assert flights is not None
        ((key, _),) = flights._table.waiting().items()
        lease = flights.lease(key)
        cache.update("p", "m", answer("p"))
        lines: list[str] = []
        sys.setprofile(lambda frame, event, _: lines.append(frame.f_code.co_name))
        cache.lookup("q", "m")  # lets go of what is over
        del lease
        sys.setprofile(None)
        assert not {"_lose", "lost", "__del__"} & set(lines)
