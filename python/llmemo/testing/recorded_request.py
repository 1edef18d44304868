"""A request as a cassette keeps it: without secrets, readable, and enough to compute its key."""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from typing_extensions import Self

from llmemo.keys import description_text
from llmemo.keys.description_text import UnreadableError
from llmemo.keys.objects_in_messages import UNSENT
from llmemo.keys.request import Request
from llmemo.testing.json_text import written
from llmemo.testing.redaction import Redaction, split

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmemo._core import Memory

    Json = dict[str, Any]

MESSAGE = ["langchain", "schema", "messages"]
"""The module by which LangChain names its messages in a prompt."""


class RecordedRequest(NamedTuple):
    """What a request asks, without secrets."""

    namespace: str
    llm_string: str
    prompt: str
    supplement: bytes = b""
    is_text: bool = False
    """Whether the prompt is a completion model's."""
    objects: bool = False
    """Whether the supplement tells what the objects in the prompt hold."""
    classes: tuple[tuple[str, str], ...] = ()
    """Digests of the classes that the `llm_string` names, in hexadecimal, by name."""

    @classmethod
    def of(
        cls,
        request: Request,
        namespace: str,
        schemas: Mapping[str, bytes] | None,
        redaction: Redaction,
    ) -> Self:
        """The request of a call, without the secrets that `redaction` finds in it."""
        if request.caller is not None:
            redaction.learn(request.caller.model)
        llm_string = redaction.llm_string(request.llm_string)
        named = sorted(
            (name, digest.hex())
            for name, digest in (schemas or {}).items()
            if f"<class '{name}'>" in llm_string
        )
        return cls(
            namespace,
            llm_string,
            redaction.text(request.prompt),
            _supplement(redaction, request.supplement or b""),
            request.is_text,
            request.objects,
            tuple(named),
        )

    def asked(self) -> Request:
        """The request, for `Memory`."""
        return Request(
            self.prompt,
            self.llm_string,
            self.supplement,
            is_text=self.is_text,
            objects=self.objects,
        )

    def schemas(self) -> dict[str, bytes] | None:
        """Digests of the classes, for `Memory`."""
        digests = {name: bytes.fromhex(digest) for name, digest in self.classes}
        return digests if "<class '" in self.llm_string else None

    def key(self, memory: Memory) -> bytes:
        """Its key.

        Raises:
            RequestBypassed: It has none.
        """
        return memory.key(self.asked(), self.namespace, self.schemas())

    def unknown_object(self) -> str | None:
        """The setting with an object that no other process describes in the same way, if any."""
        for _, name, value in description_text.to_json(self.supplement):
            if '"$18": ["this object"' in json.dumps(value):
                return str(name)
        return None

    # As a part of a line.

    def to_json(self, memory: Memory) -> Json:
        """The request as JSON from which `from_json` makes one of the same key.

        In the most readable form that has that key: the texts as they are, if need be.

        Raises:
            UnreadableError: There is none: a text has two halves of one character.
        """
        key = self.key(memory)
        rest = self._rest()
        for form in (_readable, _readable_model, _plain):
            try:
                found = {**form(self), **rest}
                # As it is read from the file.
                if type(self).from_json(json.loads(written(found))).key(memory) == key:
                    return found
            except Exception:  # noqa: BLE001, S112 (any text may be in a prompt: another form)
                continue
        raise UnreadableError

    def _rest(self) -> Json:
        found: Json = {}
        if self.supplement:
            found["beside"] = description_text.to_json(self.supplement)
        if self.classes:
            found["classes"] = dict(self.classes)
        if self.namespace:
            found["namespace"] = self.namespace
        for flag in ("is_text", "objects"):
            if getattr(self, flag):
                found[flag] = True
        return found

    @classmethod
    def from_json(cls, parts: Json) -> Self:
        """The request of a line.

        Raises:
            UnreadableError: It is no request.
        """
        try:
            return cls(
                _text(parts.get("namespace", "")),
                _llm_string(parts),
                _prompt_text(parts),
                description_text.from_json(parts.get("beside", [])),
                bool(parts.get("is_text")),
                bool(parts.get("objects")),
                tuple(sorted(parts.get("classes", {}).items())),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UnreadableError from error


def _supplement(redaction: Redaction, supplement: bytes) -> bytes:
    parts = description_text.to_json(supplement)
    clean = redaction.entries(parts)
    return supplement if clean == parts else description_text.from_json(clean)


def _readable(request: RecordedRequest) -> Json:
    messages = [
        {it["id"][-1]: {name: arg for name, arg in it["kwargs"].items() if name not in UNSENT}}
        for it in json.loads(request.prompt)
    ]
    return {**_model(request), "messages": messages}


def _readable_model(request: RecordedRequest) -> Json:
    return {**_model(request), "prompt": request.prompt}


def _model(request: RecordedRequest) -> Json:
    head, tail = split(request.llm_string)
    found: Json = {} if head is None else {"model": head}
    try:
        pairs = ast.literal_eval(tail)
        call = dict(pairs)
        json.dumps(call, allow_nan=False)
        is_same = str(sorted(json.loads(json.dumps(call)).items())) == tail
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        is_same = False
    return {**found, "call": call if is_same else tail}


def _plain(request: RecordedRequest) -> Json:
    return {"llm_string": request.llm_string, "prompt": request.prompt}


def _llm_string(parts: Json) -> str:
    if "llm_string" in parts:
        return _text(parts["llm_string"])
    call = parts["call"]
    tail = str(sorted(call.items())) if isinstance(call, dict) else _text(call)
    return f"{json.dumps(parts['model'], sort_keys=True)}---{tail}" if "model" in parts else tail


def _prompt_text(parts: Json) -> str:
    if "prompt" in parts:
        return _text(parts["prompt"])
    messages = []
    for message in parts["messages"]:
        ((name, arguments),) = message.items()
        messages.append(
            {"lc": 1, "type": "constructor", "id": [*MESSAGE, name], "kwargs": arguments}
        )
    return json.dumps(messages, ensure_ascii=False)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
