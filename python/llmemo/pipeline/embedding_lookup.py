"""What memory and the store have for the texts of one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmemo._core import ValueDamaged
from llmemo.codec.vectors import vector_of
from llmemo.pipeline.embedding_request import TextLookup
from llmemo.pipeline.embedding_writes import Breath
from llmemo.pipeline.tier_reads import accept, read_by_key, read_by_text
from llmemo.store_io.calls import Call

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_core.outputs import Generation

    from llmemo.config.options import Options
    from llmemo.pipeline.embedding_request import EmbeddingRequest
    from llmemo.pipeline.tiers import Tiers
    from llmemo.store_io.client import MakeCall, StoreClient
    from llmemo.store_io.operations import Found
    from llmemo.store_io.time_budget import TimeBudget
    from llmemo.stores import Record


class EmbeddingLookup:
    """The lookups of the texts of one call."""

    def __init__(
        self, tiers: Tiers, request: EmbeddingRequest, options: Options, make_call: MakeCall
    ) -> None:
        """Begin.

        Args:
            tiers: Where to look.
            request: What is asked of the texts.
            options: What the context says of the call.
            make_call: Makes the kind of call that the caller can wait for.
        """
        self.found: dict[str, Any] = {}
        """The vectors, by text."""
        self.tiers = tiers
        self.options = options
        self.make_call = make_call
        self.is_awaited = make_call == Call.awaited
        self.lookups: dict[str, TextLookup] = {}
        """Of the texts that memory did not have at first sight."""
        self._request = request
        self._breath = Breath(is_awaited=self.is_awaited)

    async def lookup(self, text: str) -> TextLookup:
        """The lookup of a text, with its key."""
        found = self.lookups.get(text)
        if found is None:
            found = TextLookup(self.tiers, self._request, text, self.options, self.make_call)
            await found.find_key()
            self.lookups[text] = found
        return found

    async def ask_memory(self, texts: Iterable[str]) -> list[str]:
        """Find what memory has. Returns the other texts."""
        missing, has_trackers = [], bool(self.options.trackers)
        for text in texts:
            hit = self._recalled(text)
            if hit is False:
                # The text is long: a thread beside the event loop looks.
                lookup = await self.lookup(text)
                hit = await read_by_text(lookup, lookup.name)
            if not hit or not await self.take(text, hit):
                missing.append(text)
            elif has_trackers:
                (await self.lookup(text)).hit_in_memory(hit)
        return missing

    def _recalled(self, text: str) -> Any:
        memory, request = self.tiers.memory, self._request
        name = request.name_of(text)
        if self.is_awaited:
            return memory.lookup(text, name, request.namespace, at_once=True)
        return memory.lookup(text, name, request.namespace)

    async def ask_memory_again(self, text: str) -> bool:
        """Find what has come to memory since. Returns whether it has."""
        lookup = await self.lookup(text)
        if not self.tiers.memory.size(lookup.key):
            return False
        hit = await read_by_key(lookup)
        if hit is None or not await self.take(text, hit):
            return False
        lookup.hit_in_memory(hit)
        return True

    async def ask_store(
        self, texts: Sequence[str], durable: StoreClient, budget: TimeBudget, wanted: Sequence[str]
    ) -> Found:
        """Read records. `wanted`: the texts whose leases are to come along."""
        keys = []
        for text in texts:
            lookup = self.lookups[text]
            lookup.epoch = self.tiers.memory.epoch(lookup.key)
            keys.append(lookup.key)
        wanted_keys = [self.lookups[text].key for text in wanted]
        return await durable.read_all(keys, self.make_call, budget, wanted=wanted_keys)

    async def accept(self, text: str, record: Record | None) -> bool:
        """Take what the store has for a text. Returns False if that is no vector."""
        if record is None:
            return False
        lookup = self.lookups[text]
        hit = await accept(lookup, record, lookup.epoch)
        return hit is not None and await self.take(text, hit)

    async def take(self, text: str, hit: list[Generation]) -> bool:
        """Take the vector of a hit. Returns False if it is no vector."""
        vector = vector_of(hit)
        if vector is None:
            self.tiers.note_damage(ValueDamaged("malformed"))
            return False
        self.found[text] = vector
        if self._breath.is_due(len(vector)):
            await self._breath.take()
        return True
