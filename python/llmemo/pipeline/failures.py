"""What becomes of an exception on the way of a model call: a count and a miss, if it is ours."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from llmemo._core import PanicException, ValueDamaged
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.config.options import in_force
from llmemo.errors import CacheMiss, NamespaceRequiredError
from llmemo.pipeline.lookup_state import raise_if_only
from llmemo.single_flight.holding import end_unbacked

if TYPE_CHECKING:
    from llmemo.pipeline.tiers import Tiers

SURVIVED = (Exception, PanicException)
"""What must not reach the model call: everything but cancellation and interrupts."""

ASKED_FOR = (CacheMiss, NamespaceRequiredError)
"""Exceptions that the user has asked for: these do reach the model call."""


def survive(tiers: Tiers, error: BaseException, prompt: object, llm_string: object) -> None:
    """Count a failure of the cache, and go on.

    Raises:
        CacheMiss: The caller must not go on to the model.
        BaseException: It is a signal handler's.
    """
    if is_interrupt(error):
        interrupted(tiers, error)
        raise error
    tally = tiers.tally
    if not (isinstance(prompt, str) and isinstance(llm_string, str)):
        text = "llmemo: a request could not be keyed: %s"
        tally.note("bypassed", "not_text", text, error)
    elif isinstance(error, ValueDamaged):
        # This is an entry in memory. Its class is gone, or has changed.
        tiers.note_damage(error)
        tally.miss("unreadable")
    else:
        count_defect(tiers, error)
    raise_if_only(in_force(), "trouble")


def count_defect(tiers: Tiers, error: BaseException) -> None:
    """Count an error that should not have come."""
    # The type only: a message of unknown origin may quote a prompt.
    text = "llmemo: a defect of the cache was survived (%s)"
    tiers.tally.note("errors", "internal", text, type(error).__name__)


def interrupted(tiers: Tiers, error: BaseException) -> None:
    """Release the callers that wait for an answer that this caller will not compute."""
    # A cancelled call does that itself, and no caller holds what is garbage.
    if not isinstance(error, (GeneratorExit, asyncio.CancelledError)):
        end_unbacked()
        if tiers.durable is not None:
            tiers.durable.release_unclaimed()
