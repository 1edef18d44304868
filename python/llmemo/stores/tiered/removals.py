"""Removals that a tier has to carry out still. Until then its records are not believed."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from llmemo.stores.base import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmemo.stores.records import Record, Selection
    from llmemo.stores.tiered.tier import Tier

KEYS_AT_ONCE = 1_000
"""Most keys of one removal: some milliseconds' work."""


def matches(selection: Selection, record: Record) -> bool:
    """Whether a record is one of a selection."""
    namespace, llm, before = selection
    return (
        (namespace is None or record.namespace == namespace)
        and (llm is None or record.llm == llm)
        and (before is None or record.created < before)
    )


class Removals:
    """Keys and selections that a tier has to remove; each with when it was added, as a number."""

    def __init__(self, tier: Tier) -> None:
        """Begin with none."""
        self._tier = tier
        self._keys: dict[bytes, int] = {}
        self._everything: int | None = None
        self._sweeps: dict[Selection, bool] = {}
        """By selection, whether its sweep has begun."""
        self._driven: set[Selection] = set()
        """Those whose steps a caller takes."""

    def __bool__(self) -> bool:
        """Whether there is anything to remove."""
        return bool(self._keys or self._sweeps or self._everything is not None)

    def add_keys(self, keys: Iterable[bytes], at: int) -> None:
        """Have these removed."""
        self._keys.update(dict.fromkeys(keys, at))

    def add_everything(self, at: int) -> None:
        """Have all records removed."""
        self._everything = at

    def add_sweep(self, selection: Selection, *, is_driven: bool = False) -> None:
        """Have a selection removed, step by step. `is_driven`: the caller calls `step`."""
        self._sweeps.setdefault(selection, False)
        if is_driven:
            self._driven.add(selection)

    def leave(self, selection: Selection) -> None:
        """The caller of `step` calls it no more: the sweep goes on without."""
        self._driven.discard(selection)

    def covers(self, key: bytes, record: Record) -> bool:
        """Whether the tier's record is to be removed."""
        return (
            key in self._keys
            or self._everything is not None
            or any(matches(one, record) for one in self._sweeps)
        )

    def spare(self, key: bytes, since: int) -> bool:
        """Forget a key that was stored again, in a write that began then.

        Returns False if a removal came in the meantime: then the key stays.
        """
        at = self._keys.get(key)
        if at is not None and at > since:
            return False
        self._keys.pop(key, None)
        return True

    async def remove_keys(self, keys: Iterable[bytes] | None) -> int:
        """Remove some that were added, or everything that was. Returns how many there were.

        Raises what the tier raises: what `StoreUnavailableError` left undone is still due.
        """
        wanted = None if keys is None else list(keys)
        before = self._everything if keys is None else None
        due = self._keys.copy() if wanted is None else {key: self._keys.get(key) for key in wanted}
        try:
            count = await self._tier.write(lambda store: store.delete(wanted))
        except StoreUnavailableError:
            raise
        except Exception:
            self._done(due, before)
            raise
        self._done(due, before)
        return count

    def _done(self, due: dict[bytes, int] | dict[bytes, int | None], before: int | None) -> None:
        for key, at in due.items():
            if self._keys.get(key) == at:
                self._keys.pop(key, None)
        if before is not None and self._everything == before:
            self._everything = None

    async def step(self, selection: Selection) -> int | None:
        """A step of a sweep: see `Store.invalidate`. Raises what `remove_keys` raises."""
        try:
            removed = await self._tier.write(lambda store: store.invalidate(selection))
        except StoreUnavailableError:
            raise
        except Exception:
            self._swept(selection)
            raise
        if removed is None:
            self._sweeps[selection] = True
        else:
            self._swept(selection)
        return removed

    def _swept(self, selection: Selection) -> None:
        self._sweeps.pop(selection, None)
        self._driven.discard(selection)

    async def begin(self) -> None:
        """Remove what is due before anything is stored; of each sweep the first step at least."""
        if self._everything is not None:
            await self.remove_keys(None)
        while self._keys:
            await self.remove_keys(list(islice(self._keys, KEYS_AT_ONCE)))
        for selection, has_begun in list(self._sweeps.items()):
            if not has_begun and selection not in self._driven:
                await self.step(selection)

    async def go_on(self) -> None:
        """Remove what is due, and take a step of each sweep."""
        await self.begin()
        for selection in list(self._sweeps):
            if selection not in self._driven:
                await self.step(selection)
