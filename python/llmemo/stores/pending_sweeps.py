"""Removals that take several steps: `Store.invalidate` gets the same selection for each."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from llmemo.stores.base import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmemo.stores.records import Selection


class Sweep(Protocol):
    """A removal under way."""

    is_over: bool


SweepT = TypeVar("SweepT", bound=Sweep)


class PendingSweeps(dict[int, "tuple[Selection, SweepT]"], Generic[SweepT]):
    """The removals of a store that have a step left, by the identity of their selection.

    It keeps the selection, too: another one must not get its id.
    """

    @contextlib.contextmanager
    def step(self, selection: Selection, begin: Callable[[], SweepT]) -> Iterator[SweepT]:
        """Take a step of a removal. It stays pending if it is not over, or the store unavailable.

        `begin`: makes the removal for the first step.
        """
        sweep = self.pop(id(selection))[1] if id(selection) in self else begin()
        try:
            yield sweep
        except StoreUnavailableError:
            self[id(selection)] = selection, sweep
            raise
        if not sweep.is_over:
            self[id(selection)] = selection, sweep
