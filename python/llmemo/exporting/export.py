"""The export: a store's answers as JSON lines.

store ──► pages ──► checked ──► lines
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmemo._core import ValueDamaged
from llmemo.codec.integrity import check_stored
from llmemo.exporting.lines import answer_line, end_line, header_line, number_of, state_line
from llmemo.telemetry import numbers

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo.exporting.source import Source
    from llmemo.stores.records import Record


@dataclass(frozen=True)
class ExportReport:
    """The result of an export. `str()` of it is for people."""

    answers: int
    """Answers that were written."""
    states: int
    """Named states that were written: what similar questions have proved."""
    expired: int
    """Answers left out since they have expired."""
    damaged: dict[str, int] = field(default_factory=dict)
    """Rows left out since no process could read them, by reason."""
    seconds: float = 0.0
    """How long it took."""

    def __str__(self) -> str:
        """One sentence."""
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(self.damaged.items()))
        bad = f", {sum(self.damaged.values()):,} damaged ({reasons})" if reasons else ""
        return (
            f"{numbers.answers(self.answers)} exported, {self.expired:,} expired{bad},"
            f" in {self.seconds:.1f} s"
        )


def export(
    source: Source,
    write: Callable[[bytes], object],
    *,
    progress: Callable[[int, int | None], object],
    clock: Callable[[], float] = time.time,
) -> ExportReport:
    """Write all answers of a store, a line each.

    Args:
        source: The store.
        write: Gets the lines, one or more at a time.
        progress: Called now and then with how far it is, and where that ends if it is known.
        clock: Returns Unix time in seconds.

    Raises:
        StoreError: The store cannot be read any more. What was written has no end then.
    """
    start, now = time.monotonic(), clock()
    write(header_line(source.kinds(), schema=source.schema, now=now))
    answers = states = expired = sums = 0
    for name, state in source.states():
        line = state_line(name, state)
        write(line)
        sums += number_of(line)
        states += 1
    damaged: Counter[str] = Counter()
    for page in source.pages():
        if page.damaged:
            damaged["not_an_entry"] += page.damaged
        lines = []
        for record in page.records:
            if not record.is_live(now):
                expired += 1
            elif (reason := _damage_of(record)) is not None:
                damaged[reason] += 1
            else:
                lines.append(answer_line(record))
        write(b"".join(lines))
        answers += len(lines)
        sums += sum(map(number_of, lines))
        progress(page.position, source.total)
    write(end_line(answers, states, sums))
    return ExportReport(answers, states, expired, dict(damaged), time.monotonic() - start)


def _damage_of(record: Record) -> str | None:
    """Why no process could read an answer; None if one may."""
    if not all(math.isfinite(it) for it in (record.created, record.expires or 0.0)):
        return "not_an_entry"
    try:
        check_stored(record.value, record.key)
    except ValueDamaged as damage:
        return str(damage)
    return None
