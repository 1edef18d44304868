"""Compares a request with the entries of a cache, and finds the nearest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from llmemo._core import settings
from llmemo.explain import wording
from llmemo.explain.wording import Texts
from llmemo.keys.memory_name import parsed_name
from llmemo.keys.outline import Difference, Outline
from llmemo.keys.request import Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llmemo._core import Memory
    from llmemo.stores import Record

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


class ComparedRequest(NamedTuple):
    """What a comparison needs of a request."""

    namespace: str
    texts: Texts
    schemas: Mapping[str, bytes] | None
    supplement: bytes | None = None
    """What its model says beside the texts, where that is at hand."""


class Candidate(NamedTuple):
    """An entry that the request is compared with."""

    outline: Outline
    texts: Texts | None
    tier: Literal["memory", "store"]
    created: float | None
    is_seen: bool = False
    """Whether its model had settings that are in neither text: they are not at hand."""


def candidates(memory: Memory, namespace: str, records: Iterable[Record]) -> list[Candidate]:
    """The entries of this namespace in memory and among the records: one for each key."""
    return list(candidates_by_key(memory, namespace, records).values())


def candidates_by_key(
    memory: Memory, namespace: str, records: Iterable[Record]
) -> dict[bytes, Candidate]:
    """The same, by the keys of their requests."""
    found: dict[bytes, Candidate] = {}
    for key, name, prompt in memory.recent(namespace, MEMORY_ENTRIES, MEMORY_BYTES):
        if prompt is not None:
            llm_string, schemas, supplement = parsed_name(_text(name))
            texts = Texts(llm_string, _text(prompt))
            outline = outline_of(memory, ComparedRequest(namespace, texts, schemas))
            found[key] = Candidate(outline, texts, "memory", None, is_seen=bool(supplement))
    label = memory.label(namespace)
    for record in records:
        if record.namespace == label and record.outline and record.key not in found:
            outline = Outline.read(record.outline)
            found[record.key] = Candidate(outline, _request(record), "store", record.created)
    return found


class Comparison:
    """Compares a request with entries."""

    def __init__(self, memory: Memory, request: ComparedRequest) -> None:
        """Outline the request.

        Raises:
            RequestBypassed: It has none.
        """
        self._texts = request.texts
        self._outline = outline_of(memory, request)
        familiar = Texts(str([(name, None) for name in FAMILIAR]), "")
        self._names = _names(familiar, outline_of(memory, request._replace(texts=familiar)))
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

    def with_one(self, one: Candidate) -> tuple[int, tuple[str, ...]]:
        """How far a candidate is from the request, and what differs in words."""
        differences = self._outline.differences(one.outline)
        return self._distance(one, differences), tuple(self._sentences(one, differences))

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


def outline_of(memory: Memory, request: ComparedRequest) -> Outline:
    """Digests of all parts of a request.

    Raises:
        RequestBypassed: It has none.
    """
    namespace, texts, schemas, supplement = request
    asked = Request(texts.prompt, texts.llm_string, supplement)
    return Outline.read(memory.outline(asked, namespace, schemas, tail=ALL))


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
