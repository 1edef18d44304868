"""Blocks of options that are not in force where their caller believes them to be.

A block holds in the context (`contextvars`) that it is entered in, and in copies made of that
meanwhile. Two mistakes let a request have another namespace than its caller believes:

- **A block is entered in a copy.** A web framework runs each half of a sync generator in a thread,
  in a copy of the request's context: the block never holds where the model is called. This shows
  when the block is left, since a token of `ContextVar.set` knows its context.
- **A generator holds a block open across a `yield`.** What reads the generator in a loop runs
  between its steps, in the same context, and so under the block.

The first mistake has a counterpart. A generator that is not read to its end is closed in another
context, and its block would hold in the first one for good. Such an entry is `is_lost`; the context
that it belongs to lets go of it at the next lookup.
"""

from __future__ import annotations

import dis
import inspect
from typing import TYPE_CHECKING, Any

from llmemo.telemetry.stats import Tally

if TYPE_CHECKING:
    from contextvars import Token
    from types import FrameType

ELSEWHERE = "options_elsewhere"
LOOPED = "options_in_a_loop"

_TEXTS = {
    ELSEWHERE: (
        "llmemo: a `with options(…)` block ended in another context than it began in: model calls"
        " in between were made without it, maybe in another namespace. Enter it in the task or"
        " thread that calls the model; in FastAPI, in an `async def` dependency or an ASGI"
        " middleware, and not in a `def` dependency (docs/namespaces.md)"
    ),
    LOOPED: (
        "llmemo: a model is called under the options of a generator that has a `yield` inside"
        " `with options(…)`, by the loop that reads it: put the block around the calls in the"
        " generator, with no `yield` inside (docs/namespaces.md)"
    ),
}

_GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR

_WORDS_MAX = 6
"""Words of bytecode between the beginning of an `async for`'s step and its wait."""

tally = Tally()
"""Counts for the whole process: a block belongs to no cache."""

is_watchful = False
"""Whether any entry has to be looked at in lookups: most programs have none."""


class Entry:
    """One entering of a block."""

    __slots__ = ("__weakref__", "generator", "is_lost", "token")

    def __init__(self, frame: FrameType) -> None:
        """It is entered by this frame."""
        self.token: Token[Any] | None = None
        """Knows the context of the entry; None once it has ended there. Copies keep it."""
        self.is_lost = False
        """Whether it has ended elsewhere."""
        self.generator: FrameType | None = None
        """The generator that entered it, if a loop reads that."""
        if frame.f_code.co_flags & _GENERATOR and _is_looped(frame):
            self.generator = frame
            _watch()

    def end_here(self) -> bool:
        """End it, if this is the context it belongs to. Leaves the variable to the caller."""
        token = self.token
        if token is None:
            return False
        try:
            token.var.reset(token)
        except (ValueError, RuntimeError):
            return False
        self.token = self.generator = None
        return True

    def lose(self) -> None:
        """It has ended in another context."""
        self.is_lost = True
        self.generator = None
        _watch()

    def look(self) -> None:
        """Say so if the generator that entered it waits while its loop calls a model."""
        generator, token = self.generator, self.token
        # What runs has a caller. A generator that waits for a task of its own has none, either, but
        # then this is the task's context.
        if generator is None or generator.f_back is not None or token is None:
            return
        options = token.var.get()
        try:
            token.var.reset(token)
        except (ValueError, RuntimeError):
            return
        self.token = token.var.set(options)
        self.generator = None
        note(LOOPED)


def note(reason: str) -> None:
    """Count it, and say it once a minute."""
    tally.note("errors", reason, _TEXTS[reason])


def counts() -> dict[str, int]:
    """How often each was met in this process."""
    return tally.snapshot()[2]["errors"]


def _watch() -> None:
    global is_watchful  # noqa: PLW0603 (read by each lookup under options)
    is_watchful = True


def _is_looped(frame: FrameType) -> bool:
    """Whether a `for` or `async for` reads this generator, directly or by `yield from`.

    What calls `next` by itself (contextlib, pytest) means the block to hold until it does again.
    """
    above = frame.f_back
    if above is None or above.f_lasti < 0:
        return False
    code, at = above.f_code.co_code, above.f_lasti
    while at > 0 and dis.opname[code[at]] == "CACHE":  # of Python 3.12, in a loop that is hot
        at -= 2
    operation = dis.opname[code[at]]
    if operation == "FOR_ITER":
        return True
    if frame.f_code.co_flags & inspect.CO_ASYNC_GENERATOR:
        before = code[max(0, at - 2 * _WORDS_MAX) : at : 2]
        return operation in {"SEND", "YIELD_FROM"} and dis.opmap["GET_ANEXT"] in before
    return bool(above.f_code.co_flags & _GENERATOR) and _is_looped(above)
