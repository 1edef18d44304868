"""What a context holds, looked at while it changes."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING

from llmemo.single_flight.holding import hold, holds_anything

if TYPE_CHECKING:
    from llmemo.langchain.model_runs import Run


class Held:
    """A lease; `ends`: called when it is looked at, and it is over from then on."""

    has_run = False

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

    def run_began(self, run: Run) -> None: ...

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
