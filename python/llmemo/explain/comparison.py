"""Compares a request with the entries of a cache, and finds the nearest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from llmemo._core import Memory, entries, settings
from llmemo.config.ignore import check_ignore
from llmemo.explain import wording
from llmemo.explain.ignorable import ignorable, likely
from llmemo.explain.values import Texts, is_told, names_of, paths_that_differ
from llmemo.keys.memory_name import TEXT, parsed_name
from llmemo.keys.model_class import Place
from llmemo.keys.model_description import supplement_of
from llmemo.keys.outline import Difference, Outline
from llmemo.keys.request import Request
from llmemo.telemetry.explanation import Neighbour

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
    "async_client", "class", "client", "client_kwargs", "default_headers", "extra_body",
    "extra_headers", "frequency_penalty", "ignored settings", "llm_string", "logprobs",
    "max_completion_tokens", "max_retries", "max_tokens", "messages", "metadata", "model",
    "model_kwargs", "model_name", "n", "parallel_tool_calls", "presence_penalty", "reasoning",
    "reasoning_effort", "response_format", "root_async_client", "root_client", "seed",
    "service_tier", "stop", "stream", "supplement", "temperature", "tool_choice", "tools", "top_k",
    "top_p", "user", "verbosity",
)  # fmt: skip
"""Settings whose digests are recognised where only another request has them."""

SPECIAL = {
    "ignored settings": "what its cache ignores (LLMCache(ignore=…))",
    "messages": "what the objects in its messages hold",
    "supplement": "what the model says beside its text",
}
"""What to say of a difference that is of no setting."""


class ComparedRequest(NamedTuple):
    """What a comparison needs of a request."""

    namespace: str
    texts: Texts
    schemas: Mapping[str, bytes] | None
    is_text: bool = False
    """As of `Request`."""


class Candidate(NamedTuple):
    """An entry that the request is compared with."""

    outline: Outline
    texts: Texts | None
    tier: Literal["memory", "store"]
    created: float | None
    is_partial: bool = False
    """Whether the outline lacks what its model says beside its text, which is not at hand."""


def candidates(memory: Memory, namespace: str, records: Iterable[Record]) -> dict[bytes, Candidate]:
    """The entries of this namespace in memory and among the records, by key."""
    found: dict[bytes, Candidate] = {}
    for key, name, prompt in memory.recent(namespace, MEMORY_ENTRIES, MEMORY_BYTES):
        if prompt is not None:
            found[key] = _in_memory(memory, namespace, _text(name), _text(prompt))
    label = memory.label(namespace)
    for record in records:
        if record.namespace == label and record.outline and record.key not in found:
            outline = Outline.read(record.outline)
            found[record.key] = Candidate(outline, _request(record), "store", record.created)
    return found


def _in_memory(memory: Memory, namespace: str, name: str, prompt: str) -> Candidate:
    llm_string, schemas, mark = parsed_name(name)
    is_text = mark.endswith(TEXT)
    supplement = supplement_of(mark.removesuffix(TEXT))
    texts = Texts(llm_string, prompt, supplement)
    outline = outline_of(memory, ComparedRequest(namespace, texts, schemas, is_text))
    return Candidate(outline, texts, "memory", None, is_partial=supplement is None)


class Comparison:
    """Compares a request with entries."""

    def __init__(
        self, memory: Memory, request: ComparedRequest, ignore: Sequence[str] = ()
    ) -> None:
        """Outline the request. `ignore`: the settings that do not count in `memory`.

        Raises:
            RequestBypassed: It has none.
        """
        self._memory, self._ignore = memory, ignore
        self._texts, self._is_text = request.texts, request.is_text
        beside = entries(request.texts.supplement or b"")
        self._clients = {entry.name for entry in beside if entry.place == Place.CLIENT}
        self._outline = outline_of(memory, request)
        self._names = self._names_of([*FAMILIAR, *names_of(request.texts)])

    def nearest(self, among: Iterable[Candidate]) -> tuple[tuple[Neighbour, ...], tuple[str, ...]]:
        """The candidates that differ least, with what differs; and the settings to ignore."""
        compared = [(one, self._outline.differences(one.outline)) for one in among]
        # Stable: of equal ones, the last used or added come first.
        compared.sort(key=lambda pair: self._distance(*pair))
        nearest = compared[:NEAREST]
        neighbours = tuple(
            Neighbour(tuple(self._sentences(one, differences)), one.tier, one.created)
            for one, differences in nearest
        )
        for one, differences in nearest:
            names = ignorable(self._places(one, differences))
            if names and self._is_all(names, one):
                return neighbours, names
        return neighbours, ()

    def with_one(self, one: Candidate) -> tuple[int, tuple[str, ...]]:
        """How far a candidate is from the request, and what differs in words."""
        differences = self._outline.differences(one.outline)
        return self._distance(one, differences), tuple(self._sentences(one, differences))

    def _distance(self, one: Candidate, differences: Sequence[Difference]) -> int:
        """The number of parts that differ; a message that only one of the two has is a part."""
        extra = abs(self._outline.messages - one.outline.messages)
        return extra + sum(difference.kind != "messages" for difference in differences)

    def _places(self, one: Candidate, differences: Sequence[Difference]) -> list[tuple[str, Any]]:
        """Where the settings differ; empty if anything else does, or it is not known what."""
        names = self._known_names(one)
        places: list[tuple[str, Any]] = []
        for kind, setting, _ in differences:
            if kind != "setting" or setting not in names or one.is_partial:
                return []
            name = names[setting]
            if name in self._clients:
                continue  # it sends what a setting says
            found = paths_that_differ(name, self._texts, one.texts)
            if one.texts is None or not is_told(name, self._texts, one.texts):
                found = likely(found)
            if not found:
                return []
            places += found
        return places

    def _is_all(self, names: Sequence[str], one: Candidate) -> bool:
        """Whether nothing else differs; or that cannot be known of an entry without texts."""
        if one.texts is None or one.texts.supplement is None:
            return True
        ignore = check_ignore({*self._ignore, *names})
        memory = Memory(0, fingerprint_secret=bytes(192), ignore=ignore)
        mine, other = (
            outline_of(memory, ComparedRequest("", texts, None, self._is_text))
            for texts in (self._texts, one.texts)
        )
        return mine == other

    def _sentences(self, one: Candidate, differences: Sequence[Difference]) -> Iterable[str]:
        names = self._known_names(one)
        if one.is_partial:
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
            if name is None:
                return "another setting"
            return SPECIAL.get(name) or wording.setting(name, self._texts, old)
        if kind == "message":
            return wording.message(at, self._texts, old)
        if kind == "earlier":
            return f"a message before message {at + 1}"
        if kind == "messages":
            return f"number of messages: {self._outline.messages} was {at}"
        return wording.prompt(self._texts, old)

    def _known_names(self, one: Candidate) -> Mapping[bytes, str]:
        if one.texts is None:
            return self._names
        return {**self._names_of(names_of(one.texts)), **self._names}

    def _names_of(self, names: Iterable[str]) -> dict[bytes, str]:
        """The names of settings by their digests."""
        text = str([(name, None) for name in names])
        request = ComparedRequest("", Texts(text, ""), None)
        digests = [digest for digest, _ in outline_of(self._memory, request).settings]
        return dict(zip(digests, [name for name, _ in settings(text, self._ignore)], strict=False))


def outline_of(memory: Memory, request: ComparedRequest) -> Outline:
    """Digests of all parts of a request.

    Raises:
        RequestBypassed: It has none.
    """
    llm_string, prompt, supplement = request.texts
    supplement = supplement or b""
    told = any(entry.place == Place.OBJECT for entry in entries(supplement))
    asked = Request(prompt, llm_string, supplement, is_text=request.is_text, objects=told)
    return Outline.read(memory.outline(asked, request.namespace, request.schemas, tail=ALL))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _request(record: Record) -> Texts | None:
    """The texts of the request, if the store keeps requests and this one can be parsed."""
    try:
        _, llm_string, prompt = json.loads(record.request or b"")
        return Texts(str(llm_string), str(prompt), None)
    except (ValueError, TypeError, RecursionError):
        return None
