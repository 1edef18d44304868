"""One lookup: what is known of it so far, and how its outcome is counted and tracked."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from llmemo._core import LARGE as LIMIT
from llmemo._core import recording_of
from llmemo.errors import CacheMiss
from llmemo.keys.request import remember
from llmemo.langchain.traced_runs import traced_run
from llmemo.pipeline.announce import announce
from llmemo.pipeline.hit_marks import mark
from llmemo.pipeline.looked_up import LONGEST, LookedUp
from llmemo.store_io.calls import Call
from llmemo.telemetry.savings import Worth
from llmemo.telemetry.tracking import LookupEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.outputs import Generation

    from llmemo.config.options import Options
    from llmemo.keys.request import Request
    from llmemo.langchain.chains import Chain
    from llmemo.pipeline.tiers import Tiers
    from llmemo.semantic.neighbours import Neighbour
    from llmemo.store_io.client import MakeCall
    from llmemo.stores import Record
    from llmemo.stores.lease_store import Grant, LeaseState
    from llmemo.telemetry.tracking import Outcome, Source

    Hit = list[Generation]

T = TypeVar("T")


def raise_if_only(options: Options | None, reason: str, key: bytes = b"") -> None:
    """Raise if the caller must not go on to the model.

    Raises:
        CacheMiss: That is so.
    """
    if options is not None and options.mode == "only":
        msg = f'options(mode="only"): there is no answer to this request ({reason})'
        if key:
            msg += f"; its key is {key.hex()}"
        raise CacheMiss(msg)


class LookupState:
    """One lookup that memory has not answered at first sight."""

    namespace = ""
    name = ""
    """The text by which memory knows the model and the call, once the key is known."""
    key = b""
    """The key of the request, once it is known."""
    time_left = 0.0
    """Seconds that the model call may still wait for the store."""
    store_lease: Grant | LeaseState | None = None
    """What the store said of the lease of the key, when it had no answer."""
    expired: Record | None = None
    """The store's record, if it has expired."""
    chain: Chain | None = None
    """The innermost chain around it."""
    has_asked_memory = False
    """Whether memory was asked for the request as it is written, and has no answer."""
    wants_recording = False
    """Whether the caller replays a stream."""
    recording: bytes | None = None
    """Of the hit, if it came by a stream that was recorded, and one is wanted. That of a similar
    question names its response: see `is_near`."""
    neighbour_key = b""
    """The key of the similar question whose answer was served."""
    near: tuple[float, str] | None = None
    """Score and text of a similar question whose answer was not served."""
    resolved: Request | None = None
    """The request with the objects in its texts told beside them, once the key is known."""
    obstacle: str | None = None
    """The parameter because of which there is no key."""
    event: LookupEvent | None = None
    """What has become of it, if anything is to be told of that."""
    is_unreadable = False
    """Whether the store has an answer that is not for this caller: it would be offered again."""

    def __init__(
        self, tiers: Tiers, request: Request, options: Options, make_call: MakeCall
    ) -> None:
        """Begin. Arguments as for `fetch`."""
        self.tiers = tiers
        self.request, self.prompt = request, request.prompt
        self.options = options
        caller, settings = request.caller, tiers.settings
        self._traced = None if caller is None else traced_run(caller.run)
        is_shown = self._traced is not None or settings.on_event is not None
        self.is_told = bool(options.trackers) or is_shown or settings.mark_hits
        """Whether anything is to be told of its outcome."""
        self.make_call = make_call
        self.is_awaited = make_call == Call.awaited
        # Of the prompt. A thread that waits does everything itself.
        self.is_long = len(self.prompt) > LIMIT and self.is_awaited

    async def unless_small(self, work: Callable[[], T], *, is_large: bool) -> T:
        """Do some work: beside the event loop, if there is one and the work is large."""
        if is_large and self.is_awaited:
            return await self.tiers.large_reads.run(work)
        return work()

    @property
    def is_near(self) -> bool:
        """Whether the hit is the answer to a similar question."""
        return bool(self.neighbour_key)

    def give_back_lease(self) -> None:
        """End the store's lease, if it came with the read and is not used."""
        lease, self.store_lease = self.store_lease, None
        if lease is not None and self.tiers.durable is not None:
            self.tiers.durable.give_back(self.key, lease)

    # Outcomes.

    def miss(self, reason: str) -> None:
        """Send the caller to the model.

        Raises:
            CacheMiss: The caller must not go there.
        """
        self.tiers.tally.miss(reason)
        looked_up = None
        if reason == "absent":
            looked_up = self._looked_up("miss")
            self.tiers.recent_misses.add(looked_up)
        remember(self.request)
        if self.is_told:
            event = LookupEvent("miss", key=self._shown_key(), reason=reason)
            if self.near is not None:
                event = replace(event, score=self.near[0], neighbour=self.near[1])
            self._track(event, looked_up)
        raise_if_only(self.options, reason, self.key)

    def bypass(self, reason: str) -> None:
        """Send the caller to the model with a request that the cache has nothing to do with.

        Raises:
            CacheMiss: The caller must not go there.
        """
        self.tiers.tally.add("bypasses")
        if self.is_told:
            self._track(LookupEvent("bypass", reason=reason))
        raise_if_only(self.options, reason)

    def hit_in_memory(self, hit: Hit) -> Hit:
        """Note a hit that memory has counted."""
        if self.wants_recording:
            key = self.key_of_hit()
            self.recording = self.tiers.memory.recording(key) if key else None
        if self.is_told:
            memory, key = self.tiers.memory, self.key_of_hit()
            about = memory.about(key) if key else None
            created = None if about is None else about[0]
            self.track_hit("memory", created, Worth(*memory.worth(hit)))
        return hit

    def hit(
        self,
        hit: Hit,
        count: str,
        tier: Source,
        created: float | None,
        *,
        is_stale: bool = False,
    ) -> Hit:
        """Count a hit, and note it."""
        worth = Worth(*self.tiers.memory.worth(hit))
        self.tiers.tally.hit(count, worth)
        if self.is_told:
            self.track_hit(tier, created, worth, is_stale=is_stale)
        return hit

    def near_hit(self, neighbour: Neighbour) -> Hit:
        """Count a hit with the answer to a similar question, and note it."""
        tiers, answer = self.tiers, neighbour.answer
        hit = neighbour.generations(fresh_ids=tiers.settings.fresh_ids)
        self.neighbour_key = neighbour.key
        if self.wants_recording:
            self.recording = recording_of(answer.value, neighbour.key)
        worth = Worth(*tiers.memory.worth(hit))
        tiers.tally.hit("semantic", worth)
        if self.is_told:
            age = max(0.0, tiers.clock() - answer.created)
            event = LookupEvent("semantic", answer.tier, age, self._shown_key(), worth=worth)
            event = replace(event, score=neighbour.score, neighbour=neighbour.question)
            self._track(event)
        return hit

    def track_hit(
        self, tier: Source, created: float | None, worth: Worth, *, is_stale: bool = False
    ) -> None:
        """Tell the trackers of a hit."""
        age = None if created is None else max(0.0, self.tiers.clock() - created)
        self._track(LookupEvent("hit", tier, age, self._shown_key(), is_stale, worth=worth))

    def mark(self, hit: Hit) -> None:
        """Mark the messages of a hit, before any caller has them."""
        if self.event is not None:
            mark(hit, self.event)

    def key_of_hit(self) -> bytes:
        """The key of the request that was a hit; empty if memory no longer knows it."""
        if not self.key:
            name = self.request.name()
            known = self.tiers.memory.known(self.prompt, name, self.namespace)
            self.key = known or b""
        return self.key

    def remember_hit(self, chain: Chain | None) -> None:
        """Have the chain around it, if there is one, remember that it was given this hit."""
        key = b"" if chain is None else self.neighbour_key or self.key_of_hit()
        if chain is not None and key:
            chain.remember(self.tiers, key, is_near=self.is_near)

    def _shown_key(self) -> str | None:
        return self.key.hex() or None

    def _track(self, event: LookupEvent, looked_up: LookedUp | None = None) -> None:
        if self.options.trackers or self.tiers.settings.on_event:
            # Who only shows or counts it cannot ask.
            event.explained_by(looked_up or self._looked_up(event.outcome))
        self.event = event
        announce(self.tiers, self.options, event, self._traced)

    def _looked_up(self, outcome: Outcome) -> LookedUp:
        """What it takes to explain this lookup, when it has ended."""
        at, request = self.tiers.clock(), self.resolved or self.request
        expires = None if self.expired is None else self.expired.expires
        looked_up = LookedUp(
            weakref.ref(self.tiers),
            request._replace(caller=None, bypass=None, description=b"", given="", head=""),
            at=at,
            namespace=self.namespace,
            key=self.key,
            name=self.name or request.llm_string,
            expired=None if expires is None else at - expires,
            parameter=self.obstacle,
        )
        # A miss alone is compared with others.
        is_kept = outcome == "miss" and looked_up.length <= LONGEST
        return looked_up if is_kept else looked_up.without_texts()
