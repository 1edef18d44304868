"""The answers on a Redis server, found by SCAN."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.exporting.source import SAMPLE, Page, Source, kinds_of
from llmemo.stores.records import Record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from llmemo.exporting.lines import Kinds
    from llmemo.inspection.redis_view import RedisView


class RedisSource(Source):
    """A server, or a cluster, that is only read."""

    def __init__(self, view: RedisView) -> None:
        """Read by this view."""
        self._view = view

    def kinds(self) -> Kinds:
        """See `Source.kinds`."""
        return kinds_of((record.namespace, record.value) for record in self._sample())

    def has_namespace(self, labels: Collection[bytes]) -> bool:
        """See `Source.has_namespace`: in the sample, that is."""
        return any(record.namespace in labels for record in self._sample())

    def _sample(self) -> list[Record]:
        found: list[Record] = []
        for page in self.pages():
            found += page.records
            if len(found) >= SAMPLE:
                break
        return found

    def pages(self) -> Iterator[Page]:
        """See `Source.pages`. An answer may come twice: an import takes it once."""
        done = 0
        for entries in self._view.entries():
            for stored in self._view.pages(entries):
                records = [
                    Record(it.key, one.value, it.namespace, it.llm, it.created, it.expires)
                    for one in stored
                    if not one.is_damaged
                    for it in (one.entry,)
                ]
                done += len(stored)
                yield Page(records, len(stored) - len(records), done)
