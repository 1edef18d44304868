"""What becomes of a lookup: counted, and told to those who track it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.errors import CacheMiss
from llmemo.keys.request import remember
from llmemo.telemetry.savings import Worth
from llmemo.telemetry.tracking import LookupEvent

if TYPE_CHECKING:
    from langchain_core.outputs import Generation

    from llmemo.config.options import Options
    from llmemo.keys.request import Request
    from llmemo.pipeline.tiers import Tiers
    from llmemo.telemetry.tracking import Source

    Hit = list[Generation]


def insist(said: Options | None, reason: str, key: bytes = b"") -> None:
    """Raise if the caller must not go on to the model.

    Raises:
        CacheMiss: That is so.
    """
    if said is not None and said.mode == "only":
        msg = f'options(mode="only"): there is no answer to this request ({reason})'
        if key:
            msg += f"; its key is {key.hex()}"
        raise CacheMiss(msg)


class Outcomes:
    """The outcomes of one lookup."""

    _tiers: Tiers
    _said: Options
    _prompt: str
    _request: Request
    _namespace: str
    _key = b""
    """Of the request, once it is known."""

    def miss(self, reason: str) -> None:
        """Send the caller to the model.

        Raises:
            CacheMiss: The caller must not go there.
        """
        self._tiers.tally.add("misses")
        remember(self._request)
        if self._said.trackers:
            self._tell(LookupEvent("miss", key=self._name(), reason=reason))
        insist(self._said, reason, self._key)

    def bypass(self, reason: str) -> None:
        """The same, for a request that the cache has nothing to do with.

        Raises:
            CacheMiss: As above.
        """
        if self._said.trackers:
            self._tell(LookupEvent("bypass", reason=reason))
        insist(self._said, reason)

    def key_of_hit(self) -> bytes:
        """The key of the request that was a hit; empty if it is not known any more."""
        if not self._key:
            name = self._request.name()
            known = self._tiers.memory.known(self._prompt, name, self._namespace)
            self._key = known or b""
        return self._key

    def _name(self) -> str | None:
        return self._key.hex() or None

    def _tell(self, event: LookupEvent) -> None:
        for tracker in self._said.trackers:
            tracker.events.append(event)

    def _hit_in_memory(self, hit: Hit) -> Hit:
        """A hit that memory has counted."""
        if self._said.trackers:
            tiers, key = self._tiers, self.key_of_hit()
            about = tiers.memory.about(key) if key else None
            age = None if about is None else max(0.0, tiers.clock() - about[0])
            worth = Worth(*tiers.memory.worth(hit))
            self._tell(LookupEvent("hit", "memory", age, self._name(), worth=worth))
        return hit

    def _hit(
        self,
        hit: Hit,
        count: str,
        tier: Source,
        created: float | None,
        *,
        is_stale: bool = False,
    ) -> Hit:
        """A hit that nobody has counted."""
        worth = Worth(*self._tiers.memory.worth(hit))
        self._tiers.tally.hit(count, worth)
        if self._said.trackers:
            self._tell_of_hit(tier, created, worth, is_stale=is_stale)
        return hit

    def _tell_of_hit(
        self, tier: Source, created: float | None, worth: Worth, *, is_stale: bool = False
    ) -> None:
        age = None if created is None else max(0.0, self._tiers.clock() - created)
        self._tell(LookupEvent("hit", tier, age, self._name(), is_stale, worth=worth))
