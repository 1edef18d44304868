"""The vectors of questions, by the user's embeddings, on a private thread.

    any thread, any loop                     the private thread
    ────────────────────                     ──────────────────
    vector(text) ── _Ticket, wake-up ──►     all waiting texts, one `embed_documents`
      │                                        │
      ◄───────── packed vector or None ────────┴──► VectorMemory

Whatever goes wrong is a None, never an exception: the lookup is then a miss.
"""

from __future__ import annotations

import inspect
import time
from array import array
from collections import deque
from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings

from llmemo import _core, lifecycle
from llmemo.concurrency.blocking_future import NotYetError
from llmemo.concurrency.circuit_breaker import CircuitBreaker
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.config.options import options
from llmemo.semantic.background import Background, Loop, Note
from llmemo.semantic.vector_memory import VectorMemory
from llmemo.store_io.calls import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmemo.store_io.calls import Call

BATCH_MAX = 32
"""Texts of one call of `embed_documents`, at most. All of its callers wait for the last text."""

WAITING_MAX = 1_024
"""Texts that wait, at most. A caller with another text gets None at once."""

PATIENCE = 10
"""Time-outs after which a call counts as stuck, and another thread takes over."""


class _Ticket:
    """One text, and the callers that wait for its vector. Each step is atomic."""

    __slots__ = ("_calls", "_vectors", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._calls: deque[Call[bytes | None]] = deque()
        self._vectors: list[bytes | None] = []

    def join(self, call: Call[bytes | None]) -> None:
        """Have a caller wait. An outcome that is there already is handed over at once."""
        self._calls.append(call)
        if self._vectors:
            settle(self.outcomes())

    def end(self, vector: bytes | None) -> None:
        """Note the outcome, unless there is one."""
        self._vectors.append(vector)

    def outcomes(self) -> list[tuple[Call[Any], bytes | None, None]]:
        """The outcome for each caller that has none; None where there is no vector yet."""
        found: list[tuple[Call[Any], bytes | None, None]] = []
        while self._calls:
            try:
                call = self._calls.popleft()
            except IndexError:  # another thread took it
                break
            found.append((call, self._vectors[0] if self._vectors else None, None))
        return found


class Embedder:
    """Asks a user's embeddings, with a time limit, a memory and a circuit breaker.

    The sync method is called, in the private thread: async clients belong to the user's
    loop. Embeddings that have only an async method run in a loop of that thread.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        timeout: float,
        note: Note,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask nothing yet.

        Args:
            embeddings: LangChain embeddings, or what has their `embed_documents`.
            timeout: Longest time that a caller waits, in seconds.
            note: Counts and logs trouble.
            clock: Monotonic time in seconds.
        """
        self._embeddings = embeddings
        self._timeout = timeout
        self._note = note
        self._clock = clock
        self._is_async = False
        self._is_closed = False
        self._known = VectorMemory()
        self._patience = PATIENCE * timeout
        self._background = Background(self._step, self._patience, clock)
        self._begin()
        lifecycle.has_lock(self)

    def _begin(self) -> None:
        self._tickets: dict[str, _Ticket] = {}
        self._breaker = CircuitBreaker(self._clock)

    def after_fork_in_child(self) -> None:
        """Leave the texts that wait to the parent."""
        self._background.after_fork_in_child()
        self._begin()

    async def vector(self, text: str, make_call: Callable[[Any], Call[Any]]) -> bytes | None:
        """The packed vector of a text, or None after trouble or a time-out.

        Args:
            text: A question.
            make_call: `Call.awaited`, or `Call.blocking` for `run_inline`: then it never suspends.
        """
        known = self._known.get(text)
        if known is not None or self._is_closed:
            return known
        if self._breaker.is_open:
            # No caller waits for the attempt. Its vector is kept.
            if self._breaker.may_try():
                self._submit(text, None)
            message = "llmemo: the embedder is not asked for a while: it is in trouble"
            self._note("embedder_shut", message)
            return None
        try:
            return await self._wait(text, make_call)
        except Exception as error:
            if is_interrupt(error):
                raise
            self._failed(error)
            return None

    async def _wait(self, text: str, make_call: Callable[[Any], Call[Any]]) -> bytes | None:
        if self._is_full(text):
            # No fault of the embedder's.
            self._note("embedder_busy", "llmemo: too many texts wait for the embedder")
            return None
        call: Call[bytes | None] = make_call(None)
        try:
            if self._submit(text, call):
                return await call.wait(self._timeout)
        except BaseException:
            call.abandon()
            raise
        raise NotYetError

    def _is_full(self, text: str) -> bool:
        return len(self._tickets) >= WAITING_MAX and text not in self._tickets

    def _submit(self, text: str, call: Call[bytes | None] | None) -> bool:
        """Have the thread embed a text. Returns whether it will."""
        if self._is_full(text):
            return False
        ticket = self._tickets.setdefault(text, _Ticket(text))
        if call is not None:
            ticket.join(call)
        # Each caller does: the one that made the ticket may have been interrupted here.
        return self._background.wake()

    def close(self) -> None:
        """End the thread after its present call, without waiting for it. No text is asked again."""
        self._is_closed = True
        self._background.close()
        self._release()

    def _failed(self, error: BaseException) -> None:
        """Count a failure, and tell the breaker."""
        if self._is_closed:
            return
        if isinstance(error, NotYetError):
            text = "llmemo: the embedder took longer than %.3g s"
            self._note("embedder_slow", text, self._timeout)
        else:
            # Not what it says: that may quote the text.
            kind = type(error).__name__
            self._note("embedder_failed", "llmemo: the embedder has raised %s", kind)
        self._trip()

    def _trip(self) -> None:
        """Tell the breaker of a failure. If that opens it, no caller waits any longer."""
        if self._breaker.failed():
            self._release()

    def _release(self) -> None:
        """Have no caller wait any longer."""
        settle([out for each in list(self._tickets.values()) for out in each.outcomes()])

    def _step(self, loop: Loop) -> bool:
        """Embed some of the texts that wait. Returns whether there are more. In the thread."""
        now = self._clock()
        # Those that a stuck thread has taken are among them: they are asked for again.
        left = list(self._tickets.values())
        batch = left[:BATCH_MAX]
        if not batch:
            return False
        vectors: Sequence[bytes | None] = [None] * len(batch)
        try:
            vectors = self._embedded([ticket.text for ticket in batch], loop)
            if None in vectors:
                self._trip()
            elif self._clock() - now <= self._timeout:
                self._breaker.succeeded()
        except BaseException as error:  # noqa: BLE001 (of a user's code, in a thread of ours)
            self._failed(error)
        self._end(batch, vectors)
        return len(left) > BATCH_MAX

    def _end(self, batch: Sequence[_Ticket], vectors: Sequence[bytes | None]) -> None:
        outcomes = []
        for ticket, vector in zip(batch, vectors, strict=True):
            if vector is not None:
                self._known.set(ticket.text, vector)
            # Kept first: a caller that finds no ticket finds the vector.
            if self._tickets.get(ticket.text) is ticket:
                self._tickets.pop(ticket.text, None)
            ticket.end(vector)
            outcomes += ticket.outcomes()
        settle(outcomes)

    def _embedded(self, texts: list[str], loop: Loop) -> list[bytes | None]:
        """The packed vectors of some texts. None for what is no vector, which is counted."""
        # They may ask a model with the same cache, which would wait for this thread.
        with options(semantic=False):
            answer = self._answer(texts, loop)
            try:
                found = list(answer)
            except TypeError:
                found = []
        if len(found) != len(texts):
            found = [None] * len(texts)
        packed = list(map(_packed, found))
        if None in packed:
            text = "llmemo: the embedder has returned no vector of finite numbers for each text"
            self._note("embedder_invalid", text)
        return packed

    def _answer(self, texts: list[str], loop: Loop) -> Any:
        if not self._is_async:
            try:
                answer: Any = self._embeddings.embed_documents(texts)
            except NotImplementedError:
                if not _has_async(self._embeddings):
                    raise
                self._is_async = True
            else:
                return loop.run(answer, self._patience) if inspect.isawaitable(answer) else answer
        return loop.run(self._embeddings.aembed_documents(texts), self._patience)


def _has_async(embeddings: object) -> bool:
    """Whether a class has an async method of its own: LangChain's calls the sync one."""
    own = getattr(type(embeddings), "aembed_documents", None)
    return own is not None and own is not Embeddings.aembed_documents


def _packed(values: Any) -> bytes | None:
    """A vector as `_core.pack_vector` packs it; None for what is none."""
    if isinstance(values, (str, bytes, bytearray, memoryview)):
        return None  # an array would take bytes for numbers
    try:
        packed = _core.pack_vector(array("d", values).tolist())
    except (TypeError, ValueError, OverflowError):
        return None
    return packed
