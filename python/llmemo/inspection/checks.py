"""The checks of `llmemo doctor`: each is fine, a warning, or a problem with a remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from llmemo.inspection.survey import contents, survey
from llmemo.telemetry.numbers import entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmemo.inspection.entries import View
    from llmemo.inspection.values import ValueReader

OK, WARN, PROBLEM = "ok", "warn", "problem"
"""A warning is something that may be meant; a problem is not."""


class Check(NamedTuple):
    """What one check found."""

    name: str
    status: str
    """One of the three above."""
    text: str
    remedy: str = ""
    """What to do about it; empty if it is fine."""


def fine(name: str, text: str) -> Check:
    """A check that found nothing."""
    return Check(name, OK, text)


def check_entries(
    view: View,
    reader: ValueReader,
    now: float,
    progress: Callable[[int, int], object],
    *,
    is_full: bool,
) -> Iterator[Check]:
    """The values of a sample, or of all entries; and entries from the future."""
    total = view.count()
    sample = max(total, 1) if is_full else SAMPLE
    counted = survey(view, now, progress, sample=sample)
    seen = contents(view, reader, counted.keys, progress)
    what = f"read {seen.seen:,} of {entries(counted.entries)}"
    if seen.damaged:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in seen.damaged.items())
        remedy = "services remove them when they meet them; llmemo verify lists them"
        yield Check("entries", PROBLEM, f"{what}; damaged: {reasons}", remedy)
    elif seen.unread:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in seen.unread.items())
        remedy = "set LLMEMO_ENCRYPTION_KEY as the services have it, or upgrade llmemo here"
        yield Check("entries", WARN, f"{what}; not readable here: {reasons}", remedy)
    else:
        yield fine("entries", f"{what}: sound")
    if counted.from_the_future:
        text = f"from the future, by this machine's clock: {entries(counted.from_the_future)}"
        yield Check("clock", WARN, text, "set the clocks of all machines by NTP")
    else:
        yield fine("clock", "no entry is from the future")


SAMPLE = 500
"""Entries that are read unless all are."""
