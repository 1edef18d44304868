"""The chains that are open around a request: what retries it, and what becomes of its answer.

LangChain tells its callbacks of each run of a chain, a graph, a node of one, a parser. Two things
follow from that which a cache cannot know otherwise:

- **A retry asks the model.** `with_retry` tags the attempts from the second on. What failed was
  made from the answers that the first one got, so they are not what the second one wants.
- **An answer that a parser has refused is not served again** (`doubts`).

A retry has no need to ask others anew where that is settled: it was a model that failed, or the
answers that a parser refused are gone already. Then callers who retry at once share an answer.

A run's parent is known by its id, which is told; the context says it only to completion models,
which ask a cache before their runs begin.
"""

from __future__ import annotations

import weakref
from collections import deque
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from llmemo.concurrency.bounded_dict import note
from llmemo.config.options import Options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID


ATTEMPT = "retry:attempt:"
"""How `RunnableRetry` tags its attempts, but for the first."""

ANSWERS_MAX = 8
"""So many answers a chain remembers, the last ones."""

OPEN_MAX = 4096
"""So many chains are known: beyond it the oldest is forgotten, in case its end is never told."""

REFRESH = Options(mode="refresh")


class Source(Protocol):
    """The cache that an answer came from."""

    def created(self, key: bytes) -> float:
        """When the answer was made, as Unix time in seconds."""

    def distrust(self, key: bytes, created: float) -> None:
        """Let go of an answer that a parser could not read."""


class Given(NamedTuple):
    """An answer that a chain was given."""

    source: weakref.ref[Source]
    key: bytes
    created: float
    """Unix time in seconds."""


class Chain:
    """One run of something that is not a model."""

    __slots__ = (
        "answers",
        "asks_anew",
        "is_open",
        "is_parser",
        "is_to_blame",
        "parent",
        "settled",
    )

    def __init__(self, parent: Chain | None, *, is_parser: bool = False) -> None:
        """It begins, inside another."""
        self.parent = parent
        self.is_parser = is_parser
        self.is_open = True
        self.asks_anew: bool = parent is not None and parent.asks_anew
        """Whether it is, or is inside, a retry that wants other answers."""
        self.is_to_blame = False
        """Whether an attempt inside has failed for another reason than one that is settled."""
        self.settled: tuple[int, str] | None = None
        """The error inside that is no reason to ask others anew, until something caught it. Not
        the error itself: it has the frames that it went through, and what these hold."""
        self.answers: deque[Given] | None = None

    def said(self, said: Options | None) -> Options | None:
        """What holds for a lookup inside; `said` by the user."""
        if not self.asks_anew:
            return said
        if said is None:
            return REFRESH
        # What a block says goes before.
        return replace(said, mode="refresh") if said.mode == "default" else said

    def given(self, source: Source, key: bytes) -> None:
        """It was given the answer of this key."""
        if self.answers is None:
            self.answers = deque(maxlen=ANSWERS_MAX)
        self.answers.append(Given(weakref.ref(source), key, source.created(key)))

    def end(self) -> None:
        """It has ended well: what it was given, the one around it was."""
        self.is_open = False
        if self.answers and self.parent is not None:
            if self.parent.answers is None:
                self.parent.answers = deque(maxlen=ANSWERS_MAX)
            self.parent.answers.extend(self.answers)

    def fail(self, error: BaseException) -> None:
        """It has ended with an error."""
        self.is_open = False
        if self.is_parser and self._doubt():
            self.settled = _name(error)
        if self.settled == _name(error) and self.parent is not None:
            self.parent.settled = self.settled

    def _doubt(self) -> bool:
        """What a parser could not read was made from what the innermost chain was given.

        Returns whether that was something.
        """
        chain = self.parent
        while chain is not None and not chain.answers:
            chain = chain.parent
        if chain is None or chain.answers is None:
            return False
        answers, chain.answers = tuple(chain.answers), None
        for given in answers:
            source = given.source()
            if source is not None:
                source.distrust(given.key, given.created)
        return True


in_chain: ContextVar[Chain | None] = ContextVar("llmemo_chain", default=None)
"""The chain that was begun last in this context. It may have ended since: callbacks of async runs
end in a task of their own, so no end takes it back."""

_by_id: dict[object, Chain] = {}


def known_by(run_id: UUID | None) -> object:
    """What a run is known by: a UUID computes its hash in Python, a number need not."""
    return getattr(run_id, "int", run_id)


def current_chain() -> Chain | None:
    """The innermost chain that is open in this context."""
    found = chain = in_chain.get()
    while chain is not None and not chain.is_open:
        chain = chain.parent
    if chain is not found:
        in_chain.set(chain)
    return chain


def given(source: Source, key: bytes) -> None:
    """The innermost chain that is open here was given the answer of this key, by its model."""
    chain = current_chain()
    if chain is not None:
        chain.given(source, key)


def around(parent_run_id: UUID | None) -> Chain | None:
    """The chain that a run with this parent is in; None if it is in none."""
    if parent_run_id is None:
        return None
    # A tool's run is none of these, but inside of one.
    return _by_id.get(known_by(parent_run_id)) or current_chain()


def begin(
    run_id: UUID, parent_run_id: UUID | None, tags: Sequence[str] | None, run_type: str | None
) -> None:
    """A chain begins."""
    parent = _by_id.get(known_by(parent_run_id)) or around(parent_run_id)
    chain = Chain(parent, is_parser=run_type == "parser")
    if parent is not None:
        for tag in tags or ():
            if tag.startswith(ATTEMPT):
                # Once it is, it stays so: what failed first may be what is in the cache.
                parent.is_to_blame = parent.is_to_blame or parent.settled is None
                chain.asks_anew = chain.asks_anew or parent.is_to_blame
        # Whatever was raised there was caught.
        parent.settled = None
    note(_by_id, known_by(run_id), chain, OPEN_MAX)
    in_chain.set(chain)


def end(run_id: UUID, error: BaseException | None = None) -> None:
    """A chain has ended."""
    chain = _by_id.pop(known_by(run_id), None)
    if chain is None:
        return
    if error is not None:
        chain.fail(error)
    elif chain.answers:
        chain.end()
    else:
        chain.is_open = False


def enter(parent_run_id: UUID | None) -> None:
    """A model's run begins, in this context."""
    chain = around(parent_run_id)
    if chain is not None:
        chain.settled = None
    if in_chain.get() is not chain:
        in_chain.set(chain)


def model_failed(parent_run_id: UUID | None, error: BaseException) -> None:
    """A model's run has ended with an error."""
    chain = around(parent_run_id)
    if chain is not None:
        chain.settled = _name(error)


def _name(error: BaseException) -> tuple[int, str]:
    return id(error), type(error).__name__
