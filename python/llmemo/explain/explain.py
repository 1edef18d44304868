"""Why a request misses: the nearest entries, and what differs."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from llmemo._core import RequestBypassed, ValueDamaged, decode, settings
from llmemo.concurrency.blocking_future import NotYetError
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.config.options import DEFAULT, in_force
from llmemo.errors import CacheClosedError, text_of
from llmemo.explain import wording
from llmemo.explain.wording import Texts
from llmemo.keys.identity import REMEDIES, identify
from llmemo.keys.model_description import MARK
from llmemo.keys.outline import Difference, Outline
from llmemo.keys.request import Request
from llmemo.store_io.calls import Call, run_inline
from llmemo.store_io.operations import Get, Operation, Recent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llmemo._core import Memory
    from llmemo.pipeline.tiers import Tiers
    from llmemo.stores import Record

TIMEOUT = 10.0
"""Longest time to wait for the store, in seconds."""

NEAREST = 3
"""Entries in an explanation."""

TOLD = 8
"""Differences that are listed for one entry; the others are only counted."""

MEMORY_ENTRIES = 1_000
"""Entries in memory that are compared: the most recently used."""

MEMORY_BYTES = 8 * 2**20
"""Text of these entries that is compared, in bytes."""

ALL = 2**31
"""More messages than any request has."""

STORE_ENTRIES = 10_000
"""Entries in the store that are compared: the last added."""

FAMILIAR = (
    "class", "extra_body", "frequency_penalty", "logprobs", "max_completion_tokens", "max_retries",
    "max_tokens", "model", "model_kwargs", "model_name", "n", "parallel_tool_calls",
    "presence_penalty", "reasoning", "reasoning_effort", "response_format", "seed", "service_tier",
    "stop", "stream", "supplement", "temperature", "tool_choice", "tools", "top_k", "top_p", "user",
    "verbosity",
)  # fmt: skip
"""Settings whose digests are recognised where only another request has them."""


@dataclass(frozen=True)
class Neighbour:
    """An entry that is similar to the request."""

    differences: tuple[str, ...]
    """What differs, most telling first: a part's name, or a sentence where the texts are known."""
    tier: Literal["memory", "store"]
    """Where it is kept."""
    created: float | None = None
    """When it was stored, as Unix time in seconds; None if only memory has it."""

    def __str__(self) -> str:
        """The differences."""
        return "; ".join(self.differences)


@dataclass(frozen=True)
class Explanation:
    """The outcome of a lookup, and why. `str()` of it is for people."""

    outcome: Literal["hit", "miss", "bypass"]
    """The outcome that a lookup would have."""
    reason: str
    """Why, in a few words."""
    key: str | None = None
    """The key of the request, in hexadecimal; None if it is bypassed."""
    parameter: str | None = None
    """The parameter because of which it is bypassed."""
    nearest: tuple[Neighbour, ...] = field(default=())
    """For a miss: the entries that differ least, the nearest first."""

    def __str__(self) -> str:
        """One line for the outcome, one for each neighbour."""
        lines = [f"{self.outcome}: {self.reason}"]
        lines += [f"  nearest in {one.tier}: {one}" for one in self.nearest]
        return "\n".join(lines)


class ComparedRequest(NamedTuple):
    """A request, as far as it takes to compare it."""

    namespace: str
    texts: Texts
    schemas: Mapping[str, bytes] | None


class Candidate(NamedTuple):
    """An entry that the request is compared with."""

    outline: Outline
    texts: Texts | None
    tier: Literal["memory", "store"]
    created: float | None
    is_seen: bool = False
    """Whether its model had settings that are in neither text: they are not at hand."""


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
    namespace = tiers.namespace_of(in_force() or DEFAULT)
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
    record = None if found is None else found.get(identity.key)
    records, _ = _ask(tiers, Recent(STORE_ENTRIES)) if record is None else ((), "")
    if record is not None:
        trouble = _why_not_served(tiers, record)
        if not trouble:
            return Explanation("hit", "in the store", name)
    asked = ComparedRequest(namespace, Texts(llm_string, prompt), identity.schemas)
    readable = [_in_clear(tiers, one) for one in records or ()]
    among = candidates(tiers.memory, namespace, MARK, readable)
    found = Comparison(tiers.memory, asked).nearest(among)
    reason = trouble or (
        "no entry for this request" if found else "nothing is kept for this namespace"
    )
    return Explanation("miss", reason, name, nearest=found)


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


def candidates(
    memory: Memory, namespace: str, mark: str, records: Iterable[Record]
) -> list[Candidate]:
    """The entries of this namespace in memory and among the records: one for each key.

    `mark` separates the llm_string from the schemas in memory's name of a request.
    """
    found: dict[bytes, Candidate] = {}
    for key, name, prompt in memory.recent(namespace, MEMORY_ENTRIES, MEMORY_BYTES):
        llm_string, _, rest = _text(name).partition(mark)
        known, _, beside = rest.partition(mark)
        if prompt is not None:
            texts = Texts(llm_string, _text(prompt))
            schemas = dict(ast.literal_eval(known)) if known else None
            outline = _outline(memory, ComparedRequest(namespace, texts, schemas))
            found[key] = Candidate(outline, texts, "memory", None, is_seen=bool(beside))
    label = memory.label(namespace)
    for record in records:
        if record.namespace == label and record.outline and record.key not in found:
            outline = Outline.read(record.outline)
            found[record.key] = Candidate(outline, _request(record), "store", record.created)
    return list(found.values())


class Comparison:
    """Compares a request with entries."""

    def __init__(self, memory: Memory, request: ComparedRequest) -> None:
        """Outline the request.

        Raises:
            RequestBypassed: It has none.
        """
        self._texts = request.texts
        self._outline = _outline(memory, request)
        familiar = Texts(str([(name, None) for name in FAMILIAR]), "")
        self._names = _names(familiar, _outline(memory, request._replace(texts=familiar)))
        self._names.update(_names(request.texts, self._outline))

    def nearest(self, among: Iterable[Candidate]) -> tuple[Neighbour, ...]:
        """The candidates that differ least, with what differs."""
        compared = [(one, self._outline.differences(one.outline)) for one in among]
        # Stable: of equal ones, the last used or added come first.
        compared.sort(key=lambda pair: self._distance(*pair))
        return tuple(
            Neighbour(tuple(self._sentences(one, differences)), one.tier, one.created)
            for one, differences in compared[:NEAREST]
        )

    def _distance(self, one: Candidate, differences: Sequence[Difference]) -> int:
        """The number of parts that differ; a message that only one of the two has is a part."""
        extra = abs(self._outline.messages - one.outline.messages)
        return extra + sum(difference.kind != "messages" for difference in differences)

    def _sentences(self, one: Candidate, differences: Sequence[Difference]) -> Iterable[str]:
        names = self._names
        if one.texts is not None:
            names = {**_names(one.texts, one.outline), **names}
        if one.is_seen:
            yield "what its model says beside its text"
        for difference in differences[:TOLD]:
            yield self._sentence(one.texts, difference, names)
        if len(differences) > TOLD:
            yield f"{len(differences) - TOLD} more differences"

    def _sentence(
        self, old: Texts | None, difference: Difference, names: Mapping[bytes, str]
    ) -> str:
        kind, setting, at = difference
        if kind == "setting":
            name = names.get(setting)
            if name == "supplement":
                return "what the model says beside its text"
            return wording.setting(name, self._texts, old) if name else "another setting"
        if kind == "message":
            return wording.message(at, self._texts, old)
        if kind == "earlier":
            return f"a message before message {at + 1}"
        if kind == "messages":
            return f"number of messages: {self._outline.messages} was {at}"
        return wording.prompt(self._texts, old)


def _outline(memory: Memory, request: ComparedRequest) -> Outline:
    namespace, texts, schemas = request
    return Outline.read(
        memory.outline(Request(texts.prompt, texts.llm_string), namespace, schemas, tail=ALL)
    )


def _names(texts: Texts, outline: Outline) -> dict[bytes, str]:
    """Names of the settings of a request by their digests."""
    names = [name for name, _ in settings(texts.llm_string)] or ["llm_string"]
    return dict(zip((digest for digest, _ in outline.settings), names, strict=False))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _request(record: Record) -> Texts | None:
    """The texts of the request, if the store keeps requests and this one can be parsed."""
    try:
        _, llm_string, prompt = json.loads(record.request or b"")
        return Texts(str(llm_string), str(prompt))
    except (ValueError, TypeError, RecursionError):
        return None
