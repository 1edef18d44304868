"""Operations on their way to the store, and their outcomes on the way back to the callers."""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from llmemo._core import Insisting
from llmemo.concurrency.blocking_future import NotYetError, blocking_future
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.concurrency.loop_timers import deadline
from llmemo.errors import StoreError, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from llmemo.store_io.operations import Operation

T = TypeVar("T")

CLOSED = "the store is closed"


class Submission(Generic[T]):
    """An operation on its way to the store, whose outcome is for one caller or several."""

    __slots__ = ("loop", "operation")

    operation: Operation
    loop: asyncio.AbstractEventLoop | None
    """Of the tasks that wait for it; None for a thread that blocks."""

    @property
    @abstractmethod
    def is_over(self) -> bool:
        """Whether all callers have left, as far as one can tell from any thread."""

    @abstractmethod
    def set(self, result: T | None, error: Exception | None) -> None:
        """Hand the outcome over, in the caller's thread; without effect the second time."""

    def expire(self) -> None:
        """Give up: the caller's time is over."""
        self.set(None, NotYetError())

    def unclaimed(self, result: T | None) -> None:
        """Give back an outcome that no caller has taken."""
        give_back: Any = getattr(self.operation, "unclaimed", None)
        if give_back is not None:
            give_back(result)


class Call(Submission[T]):
    """An operation, and the place where one caller awaits its outcome.

    Its outcome is set once, as a plain pair: an exception set on a future that is not awaited any
    more would be reported as "never retrieved", and a caller may leave at any time.
    """

    __slots__ = ("_future",)

    def __init__(self, operation: Operation, loop: asyncio.AbstractEventLoop | None) -> None:
        """For a task of `loop`, or for a thread that blocks if there is none."""
        self.operation = operation
        self.loop = loop
        # Alike where it matters.
        self._future: Any = blocking_future() if loop is None else loop.create_future()

    @classmethod
    def blocking(cls, operation: Operation) -> Call[T]:
        """A call whose `wait` blocks the thread: for `run_inline`."""
        return cls(operation, None)

    @classmethod
    def awaited(cls, operation: Operation) -> Call[T]:
        """A call that is awaited in the running event loop."""
        return cls(operation, asyncio.get_running_loop())

    @property
    def is_over(self) -> bool:
        """Whether the outcome is there, or the caller's loop is closed."""
        return self._future.done() or (self.loop is not None and self.loop.is_closed())

    async def wait(self, timeout: float) -> T:
        """The result, within `timeout` seconds.

        Raises:
            NotYetError: There is none yet.
            Exception: What the store raised.
        """
        if self.loop is not None:
            # Not anyio.fail_after, which took half of a batched lookup's time.
            end = deadline(self.loop, timeout)
            try:
                end.waiting.add(self)
                result, error = await self._future
            finally:
                end.leave(self)
        else:
            result, error = self._future.wait(timeout)
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def when_over(self, callback: Callable[[T | None, Exception | None], object]) -> None:
        """Of a blocking call, before it is sent: have a callback get the result and the error.

        On the private thread, as a rule.
        """
        self._future.add_done_callback(lambda outcome: callback(*outcome))

    def set(self, result: T | None, error: Exception | None) -> None:
        """Hand the outcome over, unless the caller has left."""
        future = self._future
        if not future.done():
            try:
                future.set_result((result, error))
            except asyncio.InvalidStateError:
                pass  # a blocking caller leaves whenever it likes
            else:
                return
        if not future.cancelled():
            outcome = future.result()
            if outcome[0] is result and outcome[1] is error:
                # The same once more, since the first time was interrupted: see `settle`.
                self._tell(outcome)
                return
        self.unclaimed(result)

    def _tell(self, outcome: Any) -> None:
        if self.loop is None:
            self._future.set_result(outcome)

    def abandon(self) -> None:
        """Leave: an outcome that comes now, or has come unseen, is given back."""
        if not self._future.cancel() and not self._future.cancelled():
            self.unclaimed(self._future.result()[0])


Outcome: TypeAlias = "tuple[Submission[Any], Any, Exception | None]"


def _settle(outcomes: Sequence[Outcome]) -> None:
    """Give the outcomes to their callers: one message to each event loop, however many they are.

    An exception that a signal handler raises in between is raised only once all have theirs. Those
    that have it already get it again then, which has no effect.
    """
    by_loop: dict[asyncio.AbstractEventLoop, list[Outcome]] = {}
    for outcome in outcomes:
        call, result, error = outcome
        if call.loop is None:
            call.set(result, error)
        else:
            by_loop.setdefault(call.loop, []).append(outcome)
    for loop, group in by_loop.items():
        try:
            loop.call_soon_threadsafe(_deliver, group)
        except RuntimeError:
            # That loop was closed in the meantime: no caller waits there any more.
            for call, result, _ in group:
                call.unclaimed(result)


def _set_all(outcomes: list[Outcome]) -> None:
    for call, result, error in outcomes:
        call.set(result, error)


settle: Callable[[Sequence[Outcome]], object] = Insisting(_settle)
_deliver = Insisting(_set_all)


@contextlib.contextmanager
def store_errors(*, late: str, failed: str) -> Iterator[None]:
    """Raise a `StoreError` for what goes wrong with a call. Not for hot paths.

    Args:
        late: What to say if there is no outcome in time.
        failed: What to say of any other error, which follows it.

    Raises:
        StoreError: There is no outcome in time, or the store raised something.
    """
    try:
        yield
    except NotYetError as error:
        raise StoreError(late) from error
    except StoreError:
        raise
    except Exception as error:
        if is_interrupt(error):
            raise
        raise StoreError(f"{failed}: {text_of(error)}") from error


def run_inline(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, because its calls are blocking ones.

    This is how the sync methods borrow the async code: same lines, other kind of `Call`.
    """
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    coroutine.close()
    msg = "a blocking call suspended"
    raise RuntimeError(msg)
