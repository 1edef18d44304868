"""The chains that are open around a request: whether they retry, and which answers they were given.

LangChain tells its callbacks of each run of a chain, a graph, a node or a parser. A cache learns
two things from that:

- **A retry asks the model.** `with_retry` tags the attempts from the second on. The first attempt
  failed with the answers that it was given, so the second one must not be given the same.
- **An answer that a parser has refused is not served again** (`rejected_answers`).

A retry need not ask the model if the cause is settled: a model failed, or the answers that a parser
refused are removed already. Then callers that retry at once share an answer.

A run's parent is found by its id. Only for completion models, which ask a cache before their runs
begin, it is the chain of the context.
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
"""How `RunnableRetry` tags its attempts from the second on."""

ANSWERS_MAX = 8
"""Answers that a chain remembers: the last ones."""

OPEN_MAX = 4096
"""Chains that are known. Beyond it the oldest is forgotten: its end may never be reported."""

REFRESH = Options(mode="refresh")


class AnswerSource(Protocol):
    """The cache that an answer came from."""

    def created(self, key: bytes) -> float:
        """When the answer was made, as Unix time in seconds."""

    def reject_answer(self, key: bytes, created: float) -> None:
        """Drop an answer that a parser could not read."""


class ServedAnswer(NamedTuple):
    """An answer that a chain was given."""

    source: weakref.ref[AnswerSource]
    key: bytes
    created: float
    """Unix time in seconds."""
    is_near: bool
    """Whether it is the answer to a similar question: there may be more of these."""


class Chain:
    """One run of anything but a model."""

    __slots__ = (
        "answers",
        "has_open_cause",
        "is_open",
        "is_parser",
        "parent",
        "refreshes",
        "settled",
    )

    def __init__(self, parent: Chain | None, *, is_parser: bool = False) -> None:
        """Begin it, inside `parent`."""
        self.parent = parent
        self.is_parser = is_parser
        self.is_open = True
        self.refreshes: bool = parent is not None and parent.refreshes
        """Whether it is, or is inside, a retry that must not be given the same answers."""
        self.has_open_cause = False
        """Whether an attempt inside has failed for a cause that is not settled."""
        self.settled: tuple[int, str] | None = None
        """The error inside whose cause is settled, until something catches it: its id and type. Not
        the error itself, which keeps its frames alive, and what these hold."""
        self.answers: deque[ServedAnswer] | None = None

    def options_for(self, options: Options | None) -> Options | None:
        """The options of a lookup inside, for which the user gave `options`."""
        if not self.refreshes:
            return options
        if options is None:
            return REFRESH
        # A mode that the user gave goes first.
        return replace(options, mode="refresh") if options.mode == "default" else options

    def remember(self, source: AnswerSource, key: bytes, *, is_near: bool = False) -> None:
        """Remember that it was given the answer of this key, maybe for a similar question."""
        if self.answers is None:
            self.answers = deque(maxlen=ANSWERS_MAX)
        created = source.created(key)
        self.answers.append(ServedAnswer(weakref.ref(source), key, created, is_near))

    def end(self) -> None:
        """End it without an error: its answers were given to its parent, too."""
        self.is_open = False
        if self.answers and self.parent is not None:
            if self.parent.answers is None:
                self.parent.answers = deque(maxlen=ANSWERS_MAX)
            self.parent.answers.extend(self.answers)

    def fail(self, error: BaseException) -> None:
        """End it with an error."""
        self.is_open = False
        if self.is_parser and self._reject_answers():
            self.settled = _name(error)
        if self.settled == _name(error) and self.parent is not None:
            self.parent.settled = self.settled

    def _reject_answers(self) -> bool:
        """Reject the answers of the innermost chain that has any: the parser could not read them.

        Returns whether that settles the cause: there were some, and all were exact. A retry could
        be given the answer to another similar question, which is as likely to be refused.
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
                source.reject_answer(given.key, given.created)
        return not any(given.is_near for given in answers)


in_chain: ContextVar[Chain | None] = ContextVar("llmemo_chain", default=None)
"""The last chain that was begun in this context. It may have ended since: callbacks of async runs
end in a task of their own, so no end resets this."""

_by_id: dict[object, Chain] = {}


def known_by(run_id: UUID | None) -> object:
    """The dictionary key of a run: a UUID computes its hash in Python, a number does not."""
    return getattr(run_id, "int", run_id)


def current_chain() -> Chain | None:
    """The innermost chain that is open in this context."""
    found = chain = in_chain.get()
    while chain is not None and not chain.is_open:
        chain = chain.parent
    if chain is not found:
        in_chain.set(chain)
    return chain


def remember(source: AnswerSource, key: bytes) -> None:
    """Have the innermost open chain remember an answer that it was given by its model."""
    chain = current_chain()
    if chain is not None:
        chain.remember(source, key)


def around(parent_run_id: UUID | None) -> Chain | None:
    """The chain that a run with this parent is in, if any."""
    if parent_run_id is None:
        return None
    # A tool's run is not known, but inside a chain that is.
    return _by_id.get(known_by(parent_run_id)) or current_chain()


def begin(
    run_id: UUID, parent_run_id: UUID | None, tags: Sequence[str] | None, run_type: str | None
) -> None:
    """Note that a chain begins."""
    parent = _by_id.get(known_by(parent_run_id)) or around(parent_run_id)
    chain = Chain(parent, is_parser=run_type == "parser")
    if parent is not None:
        for tag in tags or ():
            if tag.startswith(ATTEMPT):
                # It stays so: the answers that failed first may still be in the cache.
                parent.has_open_cause = parent.has_open_cause or parent.settled is None
                chain.refreshes = chain.refreshes or parent.has_open_cause
        # An error that was raised there was caught.
        parent.settled = None
    note(_by_id, known_by(run_id), chain, OPEN_MAX)
    in_chain.set(chain)


def end(run_id: UUID, error: BaseException | None = None) -> None:
    """Note that a chain has ended."""
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
    """Note that a model's run begins, in this context."""
    chain = around(parent_run_id)
    if chain is not None:
        chain.settled = None
    if in_chain.get() is not chain:
        in_chain.set(chain)


def model_failed(parent_run_id: UUID | None, error: BaseException) -> None:
    """Note that a model's run has ended with an error."""
    chain = around(parent_run_id)
    if chain is not None:
        chain.settled = _name(error)


def _name(error: BaseException) -> tuple[int, str]:
    return id(error), type(error).__name__
