"""Events of lookups, and the tracker that collects them: see `llmemo.track`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, Protocol

from llmemo.errors import CacheClosedError
from llmemo.telemetry.savings import NOTHING, Worth, total

if TYPE_CHECKING:
    from llmemo.telemetry.explanation import Explanation

Outcome = Literal["hit", "semantic", "miss", "bypass"]
Source = Literal["memory", "store", "flight"]


class Explainer(Protocol):
    """Knows the lookup of an event."""

    def __call__(self, event: LookupEvent) -> Explanation:
        """Explain it.

        Raises:
            CacheClosedError: Its cache is closed, or gone.
        """


class _Explained:
    """Has room for an explainer, which is no field: it holds texts of the request.

    So neither `asdict` nor equality, `repr`, a pickle or a schema knows of it.
    """

    __slots__ = ("_explainer",)


@dataclass(frozen=True, slots=True)
class LookupEvent(_Explained):
    """One lookup."""

    outcome: Outcome
    """`hit`: answered. `semantic`: answered with the answer to a similar question. `miss`: the
    caller goes on to the model. `bypass`: likewise, since the request does not say what is asked,
    or the caller said so."""
    tier: Source | None = None
    """Where a hit came from; `flight`: from another caller, which asked the model meanwhile."""
    age: float | None = None
    """Seconds since a hit's answer was made."""
    key: str | None = None
    """The request's durable key, in hexadecimal; None where it has none."""
    is_stale: bool = False
    """Whether a hit is past its time to live: served since the model failed (`stale_if_error`)."""
    reason: str | None = None
    """Of a miss: `absent`, `early` (to be refreshed before it expires), `refresh` (as was
    said, or a retry wants), or `closed`. Of a bypass: as in `stats().bypassed`."""
    worth: Worth = NOTHING
    """What a hit saved."""
    score: float | None = None
    """Of a semantic hit: the cosine of the two questions' vectors. Of a miss: the same, if the
    answer to a similar question was not served."""
    neighbour: str | None = None
    """The similar question."""

    def explain(self) -> Explanation:
        """Why this lookup was a hit, a miss or a bypass: as of then, whatever was stored since.

        For a miss: the entries of then that differ least, and what differs. As `LLMCache.explain`,
        it is for people. It compares with up to 11,000 entries, and waits for a store.

        Raises:
            CacheClosedError: The cache is closed, or the event is a copy or comes from a pickle.
        """
        explainer: Explainer | None = getattr(self, "_explainer", None)
        if explainer is None:
            msg = "this event has no cache (it was pickled, or made by hand): explain the original"
            raise CacheClosedError(msg)
        return explainer(self)

    def explained_by(self, explainer: Explainer) -> LookupEvent:
        """This event, which can be explained from now on. For the cache that made it."""
        object.__setattr__(self, "_explainer", explainer)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """For `pickle`: without the cache, and without the texts of the request."""
        return type(self), tuple(getattr(self, it.name) for it in fields(self))


class Tracker:
    """Lookups in the order in which they ended. Appended to by any thread."""

    def __init__(self) -> None:
        """Nothing was looked up yet."""
        self.events: list[LookupEvent] = []

    @property
    def hits(self) -> int:
        """Lookups that were answered, exactly or with the answer to a similar question."""
        return self._count("hit") + self._count("semantic")

    @property
    def misses(self) -> int:
        """Lookups that were not; those that went past the cache are neither."""
        return self._count("miss")

    @property
    def saved(self) -> Worth:
        """Tokens and money that the hits saved; the money rounded to 9 decimals."""
        return total(event.worth for event in list(self.events))

    def _count(self, outcome: Outcome) -> int:
        return sum(event.outcome == outcome for event in list(self.events))
