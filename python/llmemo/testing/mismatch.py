"""Why a test fails in replay: what was asked, the nearest recorded request, and what to do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from llmemo._core import RequestBypassed
from llmemo.explain.comparison import Candidate, ComparedRequest, Comparison, outline_of
from llmemo.explain.values import Texts
from llmemo.keys.description_text import to_json
from llmemo.testing.redaction import split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmemo._core import Memory
    from llmemo.testing.cassette import Line
    from llmemo.testing.recorded_request import RecordedRequest
    from llmemo.testing.tape import Tape

NEAREST = 2
"""Recorded requests that are told of."""

SHORT = 80
"""Longest text that is quoted, in characters."""


def mismatch(memory: Memory, tape: Tape, key: bytes) -> str:
    """What to say of a request that is not in the cassette of a tape.

    Args:
        memory: Compares requests.
        tape: Knows the request, and the recorded ones.
        key: Of the request.
    """
    request = tape.request(key)
    if not tape.path.exists():
        begin = f"there is no cassette {tape.path}"
    else:
        begin = f"the cassette {tape.path} has no answer to a request"
    same = tape.lines.get(key)
    if same is not None:
        return (
            f"{tape.path}, line {same.number}: the answer to this request cannot be read here: a"
            " class in it is not loaded, or has changed: record it again (pytest --llmemo=refresh)"
        )
    lines = [
        f"{begin}, and in replay no request leaves",
        f"  asked: {_summary(request)}",
        *(f"  nearest, line {number}: {text}" for number, text in _nearest(memory, request, tape)),
        "To record what is missing: pytest --llmemo=record. To ask for all again: --llmemo=refresh",
    ]
    return "\n".join(lines)


def _nearest(memory: Memory, request: RecordedRequest, tape: Tape) -> Iterator[tuple[int, str]]:
    try:
        comparison = Comparison(memory, _compared(request))
    except RequestBypassed:
        return
    found = []
    for line in tape.lines.values():
        beside = _beside(request, line.request)
        distance, texts = comparison.with_one(_candidate(memory, line))
        told = [*beside, *texts]
        if request.namespace != line.request.namespace:
            told.insert(0, f"namespace: {request.namespace!r} was {line.request.namespace!r}")
        found.append((distance + len(told) - len(texts), line.number, "; ".join(told)))
    for _, number, text in sorted(found)[:NEAREST]:
        yield number, text


def _compared(request: RecordedRequest) -> ComparedRequest:
    # What is beside the texts is compared by itself: there, its parts have names.
    texts = Texts(request.llm_string, request.prompt)
    return ComparedRequest(request.namespace, texts, request.schemas())


def _candidate(memory: Memory, line: Line) -> Candidate:
    compared = _compared(line.request)
    return Candidate(outline_of(memory, compared), compared.texts, "store", None)


def _beside(new: RecordedRequest, old: RecordedRequest) -> list[str]:
    """What differs of what the models say beside their texts."""
    mine, other = (
        {(place, name): value for place, name, value in to_json(it.supplement)} for it in (new, old)
    )
    return [
        _setting(name, mine.get((place, name)), other.get((place, name)))
        for place, name in {**mine, **other}
        if mine.get((place, name)) != other.get((place, name))
    ]


def _setting(name: str, new: Any, old: Any) -> str:
    texts = ["not set" if it is None else json.dumps(it) for it in (new, old)]
    if any(len(text) > SHORT for text in texts):
        return f"{name}: differs"
    return f"{name}: {texts[0]} was {texts[1]}"


def _summary(request: RecordedRequest) -> str:
    head, _ = split(request.llm_string)
    model = ""
    if head is not None:
        model = f"{head['id'][-1]}, "
    try:
        messages = json.loads(request.prompt)
        last = messages[-1]
        role, content = last["id"][-1], last["kwargs"]["content"]
        number = f"{len(messages)} message{'s'[: len(messages) != 1]}"
        return f"{model}{number}, the last: {role} {_short(content)}"
    except (ValueError, TypeError, LookupError, RecursionError):
        return f"{model}{_short(request.prompt)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"
