"""What an event of a lookup keeps of it, to explain it later."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from llmemo.errors import CacheClosedError

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable

    from llmemo.keys.request import Request
    from llmemo.telemetry.explanation import Explanation
    from llmemo.telemetry.tracking import LookupEvent

LONGEST = 32 * 2**10
"""Characters, and bytes, of the longest request whose texts are kept after its lookup."""

GONE = "the cache of this lookup is closed or gone: there is nothing left to explain"


class Asked(Protocol):
    """The cache that was asked: its `Tiers`."""

    is_closed: bool
    explain_lookup: Callable[..., Explanation] | None


class LookedUp(NamedTuple):
    """One lookup that has ended. It keeps neither model nor cache, and no long texts."""

    tiers: weakref.ref[Asked]
    request: Request
    """With the objects in its texts told beside them."""
    at: float
    """When it ended, as Unix time in seconds."""
    namespace: str
    key: bytes
    """Empty if it has none."""
    name: str
    """The text by which memory knows the model and the call."""
    expired: float | None
    """Seconds since the store's answer had expired, if it had one that had."""
    parameter: str | None
    """The parameter because of which it was bypassed."""
    has_texts: bool = True
    """Whether it keeps the texts of the request."""

    @property
    def length(self) -> int:
        """Characters and bytes of all texts, each object once."""
        request = self.request
        texts = (
            request.prompt,
            request.llm_string,
            request.supplement or b"",
            request.mark,
            request.description,
            request.head,
            request.given,
            request.changes,
            self.name,
        )
        return sum({id(text): len(text) for text in texts}.values())

    def without_texts(self) -> LookedUp:
        """The same without the texts of the request."""
        request = self.request._replace(
            prompt="", llm_string="", supplement=None, given="", head="", mark=""
        )
        return self._replace(request=request, name="", has_texts=False)

    def __call__(self, event: LookupEvent) -> Explanation:
        """Explain it.

        Raises:
            CacheClosedError: The cache is closed, or there is none any more.
        """
        tiers = self.tiers()
        if tiers is None or tiers.is_closed or tiers.explain_lookup is None:
            raise CacheClosedError(GONE)
        return tiers.explain_lookup(tiers, self, event)
