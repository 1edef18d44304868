"""Why a request misses: the nearest entries, and what differs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from llmemo._core import RequestBypassed, ValueDamaged, decode
from llmemo.concurrency.blocking_future import NotYetError
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.config.options import DEFAULT, in_force
from llmemo.errors import CacheClosedError, text_of
from llmemo.explain.comparison import ComparedRequest, Comparison, Neighbour, candidates
from llmemo.explain.wording import Texts
from llmemo.keys.identity import REMEDIES, identify
from llmemo.keys.request import Request
from llmemo.store_io.calls import Call, run_inline
from llmemo.store_io.operations import Get, Operation, Recent

if TYPE_CHECKING:
    from llmemo.pipeline.tiers import Tiers
    from llmemo.stores import Record

TIMEOUT = 10.0
"""Longest time to wait for the store, in seconds."""

STORE_ENTRIES = 10_000
"""Entries in the store that are compared: the last added."""

NOTHING_KEPT = "nothing is kept for this namespace"

NOT_LISTED = " (this store lists no entries: those in memory were compared)"


@dataclass(frozen=True)
class Explanation:
    """The outcome of a lookup, and why. `str()` of it is for people."""

    outcome: Literal["hit", "semantic", "miss", "bypass"]
    """The outcome that a lookup would have."""
    reason: str
    """Why, in a few words."""
    key: str | None = None
    """The key of the request, in hexadecimal; None if it is bypassed."""
    parameter: str | None = None
    """The parameter because of which it is bypassed."""
    nearest: tuple[Neighbour, ...] = field(default=())
    """For a miss: the entries that differ least, the nearest first."""
    semantic: tuple[str, ...] = field(default=())
    """For an exact miss of a cache with `semantic=`: the most similar questions, and why the answer
    of each is served or not, a line for each."""

    def __str__(self) -> str:
        """One line for the outcome, one for each neighbour."""
        lines = [f"{self.outcome}: {self.reason}"]
        lines += [f"  nearest in {one.tier}: {one}" for one in self.nearest]
        lines += [f"  semantic: {one}" for one in self.semantic]
        return "\n".join(lines)


def explain(tiers: Tiers, prompt: str, llm_string: str) -> Explanation:
    """Explain what a lookup would do. Counts nothing, and waits for the store.

    Raises:
        CacheClosedError: The cache is closed.
        NamespaceRequiredError: The caller has to name a namespace.
    """
    if tiers.is_closed:
        msg = "the cache is closed: there is nothing left to explain"
        raise CacheClosedError(msg)
    if not (isinstance(prompt, str) and isinstance(llm_string, str)):
        return Explanation("bypass", "prompt and llm_string have to be text")
    options = in_force() or DEFAULT
    namespace = tiers.namespace_of(options)
    try:
        identity = identify(tiers.memory, Request(prompt, llm_string), namespace)
    except RequestBypassed as bypass:
        reason, parameter = bypass.args
        text = f"{parameter or 'llm_string'!r} holds {REMEDIES[reason]}"
        return Explanation("bypass", text, parameter=parameter or "llm_string")
    name = identity.key.hex()
    if tiers.memory.holds(identity.key):
        return Explanation("hit", "in memory", name)
    found, trouble = _ask(tiers, Get([identity.key]))
    record = None if found is None else found.records.get(identity.key)
    is_listed = tiers.durable is None or tiers.durable.store.lists_recent
    records, _ = _ask(tiers, Recent(STORE_ENTRIES)) if record is None and is_listed else ((), "")
    if record is not None:
        trouble = _why_not_served(tiers, record)
        if not trouble:
            return Explanation("hit", "in the store", name)
    asked = ComparedRequest(namespace, Texts(llm_string, prompt), identity.schemas)
    readable = [_in_clear(tiers, one) for one in records or ()]
    among = candidates(tiers.memory, namespace, readable)
    found = Comparison(tiers.memory, asked).nearest(among)
    reason = trouble or ("no entry for this request" if found or not is_listed else NOTHING_KEPT)
    if not is_listed:
        reason += NOT_LISTED
    explanation = Explanation("miss", reason, name, nearest=found)
    if tiers.semantic is not None and options.semantic is not False:
        from llmemo.explain.near_matches import near_matches  # noqa: PLC0415 (few caches have any)

        request = Request(prompt, llm_string)
        is_served, lines = near_matches(tiers, tiers.semantic, request, namespace)
        explanation = replace(explanation, semantic=tuple(lines))
        if is_served:
            why = "the answer to a similar question is served"
            explanation = replace(explanation, outcome="semantic", reason=why)
    return explanation


def _in_clear(tiers: Tiers, record: Record) -> Record:
    """The record with its request in clear, or without one if it cannot be read."""
    if record.request is None:
        return record
    return record._replace(request=tiers.envelope.open_request(record.request, record.key))


def _ask(tiers: Tiers, operation: Operation) -> tuple[Any, str]:
    """The store's answer, or what its trouble is."""
    if tiers.executor is None:
        return None, ""
    call: Call[Any] = Call.blocking(operation)
    try:
        tiers.executor.submit(call)
        return run_inline(call.wait(TIMEOUT)), ""
    except NotYetError:
        return None, f"the store did not answer within {TIMEOUT:.0f} s"
    except Exception as error:  # a store may fail in any way
        if is_interrupt(error):
            raise
        return None, f"the store failed to read: {text_of(error)}"


def _why_not_served(tiers: Tiers, record: Record) -> str:
    """Why a record is not served; empty if it is."""
    now = tiers.clock()
    if record.expires is not None and record.expires <= now:
        return f"its answer expired {now - record.expires:.3g} s ago"
    try:
        decode(tiers.envelope.open(record.value, record.key), record.key)
    except ValueDamaged as damage:
        return f"its stored answer cannot be read ({damage})"
    return ""
