"""Why a request misses: the nearest entries, and what differs."""

from __future__ import annotations

from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from llmemo._core import RequestBypassed, ValueDamaged, decode
from llmemo.config.options import DEFAULT, in_force
from llmemo.errors import CacheClosedError
from llmemo.explain.comparison import Candidate, ComparedRequest, Comparison, candidates
from llmemo.explain.model_request import USAGE, is_runnable, request_to
from llmemo.explain.store_calls import ask
from llmemo.explain.values import Texts
from llmemo.keys.identity import REMEDIES, identify
from llmemo.keys.request import Request
from llmemo.store_io.operations import Get, Recent
from llmemo.telemetry.explanation import Explanation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmemo.pipeline.tiers import Tiers
    from llmemo.stores import Record

TIMEOUT = 10.0
"""Longest time to wait for the store, in seconds."""

STORE_ENTRIES = 10_000
"""Entries in the store that are compared: the last added."""

CLOSED = "the cache is closed: there is nothing left to explain"

NOTHING_KEPT = "nothing is kept for this namespace"

NOT_LISTED = " (this store lists no entries: those in memory were compared)"


STORED_SINCE = "no entry for this request at that time; its answer has been stored since"


class Subject(NamedTuple):
    """A request that is explained."""

    request: Request
    """With the objects in its texts told beside them."""
    namespace: str
    key: bytes
    schemas: Mapping[str, bytes] | None
    """Digests of the classes that its `llm_string` names, if it names any."""
    at: float | None = None
    """When it was looked up, as Unix time in seconds; None: it would be now."""

    @property
    def compared(self) -> ComparedRequest:
        """What a comparison needs of it."""
        request = self.request
        texts = Texts(request.llm_string, request.prompt, request.supplement or b"")
        return ComparedRequest(self.namespace, texts, self.schemas, request.is_text)


def arguments(asked: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
    """The two arguments of `LLMCache.explain`, by position or by name.

    Raises:
        TypeError: They are others.
    """
    for names in (("prompt", "llm_string"), ("model", "input")):
        rest = names[len(asked) :]
        if len(asked) <= len(names) and set(rest) == set(named):
            first, second = (*asked, *(named[name] for name in rest))
            return first, second
    raise TypeError(f"explain takes two arguments: {USAGE}")


def explain(tiers: Tiers, asked: object, given: object) -> Explanation:
    """Explain what a lookup would do. Counts nothing, and waits for the store.

    Args:
        tiers: Of the cache.
        asked: A model, or a prompt.
        given: The model's input, or an `llm_string`.

    Raises:
        CacheClosedError: The cache is closed.
        NamespaceRequiredError: The caller has to name a namespace.
        TypeError: The arguments are neither a model and its input, nor two texts.
    """
    if tiers.is_closed:
        raise CacheClosedError(CLOSED)
    # The run that is begun for a model's classes, and what looks at options, stay in there.
    return copy_context().run(_explain, tiers, asked, given)


def _explain(tiers: Tiers, asked: Any, given: Any) -> Explanation:
    options = in_force() or DEFAULT
    namespace = tiers.namespace_of(options)
    if is_runnable(asked):
        request = request_to(asked, given)
    elif is_runnable(given) or not isinstance(asked, (str, bytes)):
        found = f"explain was given {type(asked).__name__} and {type(given).__name__}"
        raise TypeError(f"{found}: {USAGE}")
    elif not (isinstance(asked, str) and isinstance(given, str)):
        return Explanation("bypass", "prompt and llm_string have to be text")
    else:
        request = Request(asked, given)
    try:
        identity = identify(tiers.memory, request, namespace)
    except RequestBypassed as bypass:
        return bypassed(bypass)
    told = Subject(identity.request, namespace, identity.key, identity.schemas)
    explanation = explain_request(tiers, told)
    if explanation.outcome == "hit" or tiers.semantic is None or options.semantic is False:
        return explanation
    from llmemo.explain.near_matches import near_matches  # noqa: PLC0415 (few caches have any)

    is_served, lines = near_matches(tiers, tiers.semantic, told.request, namespace, told.key)
    explanation = replace(explanation, semantic=tuple(lines))
    if is_served:
        why = "the answer to a similar question is served"
        explanation = replace(explanation, outcome="semantic", reason=why)
    return explanation


def bypassed(bypass: RequestBypassed) -> Explanation:
    """Explain why a request has no key."""
    reason, parameter = bypass.args
    text = f"{parameter or 'llm_string'!r} holds {REMEDIES[reason]}"
    return Explanation("bypass", text, parameter=parameter or "llm_string")


def explain_request(tiers: Tiers, subject: Subject) -> Explanation:
    """Explain a hit or a miss: as of now, or as of the time of its lookup."""
    key, name = subject.key, subject.key.hex()
    about = tiers.memory.about(key) if tiers.memory.holds(key) else None
    found, trouble = (None, "") if about is not None else ask(tiers, Get([key]), TIMEOUT)
    record = None if found is None else found.records.get(key)
    created = about[0] if about is not None else None if record is None else record.created
    if subject.at is None and about is not None:
        return Explanation("hit", "in memory", name)
    if record is not None and subject.at is None:
        trouble = _why_not_served(tiers, record)
        if not trouble:
            return Explanation("hit", "in the store", name)
    elif created is not None and subject.at is not None:
        trouble = _why_missed(record, created, subject.at)
    is_listed = tiers.durable is None or tiers.durable.store.lists_recent
    wants_all = is_listed and (record is None or subject.at is not None)
    records, _ = ask(tiers, Recent(STORE_ENTRIES), TIMEOUT) if wants_all else ((), "")
    readable = [_in_clear(tiers, one) for one in records or ()]
    among = candidates(tiers.memory, subject.namespace, readable)
    if subject.at is not None:
        among = {it: one for it, one in among.items() if _was_there(tiers, it, one, subject)}
    comparison = Comparison(tiers.memory, subject.compared, tuple(tiers.settings.ignore))
    nearest, names = comparison.nearest(among.values())
    reason = trouble or ("no entry for this request" if nearest or not is_listed else NOTHING_KEPT)
    if not is_listed:
        reason += NOT_LISTED
    return Explanation("miss", reason, name, nearest=nearest, ignorable=names)


def _was_there(tiers: Tiers, key: bytes, one: Candidate, subject: Subject) -> bool:
    """Whether an entry is of another request, and was there when this one was looked up."""
    created = one.created
    if created is None:
        about = tiers.memory.about(key)
        created = None if about is None else about[0]
    is_older = created is None or subject.at is None or created <= subject.at
    return key != subject.key and is_older


def _why_missed(record: Record | None, created: float, at: float) -> str:
    """Why a lookup at that time did not get an answer that there is now."""
    if created >= at:
        return f"{STORED_SINCE} ({created - at:.3g} s later)"
    if record is not None and record.expires is not None and record.expires <= at:
        return f"its answer had expired {at - record.expires:.3g} s before"
    return (
        f"its answer, stored {at - created:.3g} s before, was not read: the store was away or did"
        " not answer in time, or another process had just stored it"
    )


def _in_clear(tiers: Tiers, record: Record) -> Record:
    """The record with its request in clear, or without one if it cannot be read."""
    if record.request is None:
        return record
    return record._replace(request=tiers.envelope.open_request(record.request, record.key))


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
