"""An independent reader of docs/keys.md: the canonical form of an llm_string, and keys.

It shares no code with the core; see also `oracle_forms.py`.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from blake3 import blake3

from support.oracle_forms import (
    STR,
    TRUE,
    Bypass,
    DepthError,
    FormError,
    Json,
    data_of,
    encoded,
    has_address,
    leaf,
)
from support.oracle_prompt import prompt, settled, worst
from support.oracle_repr import LiteralError, Repr, diagnosis, leaf_end
from support.oracle_tables import CALL, ENVELOPE, MODEL, counts, is_thin

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Bypass", "framed", "key", "keyed", "label", "llm_string", "prompt"]

VERSION = 2
KEY_CONTEXT = "llmemo 2026-11 request key"
SECRET_CONTEXT = "llmemo 2026-11 secret to request key"
LABEL_CONTEXT = "llmemo 2026-11 label"
_NEXT = re.compile(r"""\), \(["']""")

# Settings.


class Setting(NamedTuple):
    place: int
    name: str
    value: bytes
    classes: list[str]
    obstacles: list[str]


def shown(place: int, name: str) -> str:
    """A parameter, as a bypass names it."""
    is_class = place == ENVELOPE and name == "id"
    return "class" if is_class else data_of(name).decode("utf-8", "replace")


class Settings:
    """The settings of an llm_string."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.found: list[Setting] = []
        self.class_id: list[Any] = []
        self.current: str | None = None
        self.skipped: list[tuple[int, str | None]] = []

    def read(self) -> None:
        self.tail(self.head() if self.text.startswith("{") else 0)

    def head(self) -> int:
        json = Json(self.text)
        envelope: list[tuple[str, Any]] = []
        arguments: list[tuple[str, Any]] = []
        times = 0

        def member(name: str) -> None:
            nonlocal times
            if name == "kwargs":
                times += 1
                json.members(argument)
                return
            self.current = shown(ENVELOPE, name)
            envelope.append((name, json.value()))

        def argument(name: str) -> None:
            self.current = shown(MODEL, name)
            arguments.append((name, json.value()))

        json.members(member)
        parts = dict(envelope)
        is_whole = times == 1 and {"id", "lc", "type"} <= set(parts) and len(parts) == len(envelope)
        if not is_whole or type(parts["id"]) is not list or not json.eat_at_once("---"):
            raise FormError
        self.class_id, self.current = parts["id"], None
        envelope.sort(key=lambda setting: data_of(setting[0]))
        for place, settings in ((ENVELOPE, envelope), (MODEL, arguments)):
            for name, value in settings:
                obstacles: list[str] = []
                if place == ENVELOPE and name == "type" and value == "not_implemented":
                    obstacles.append("unknown_repr")
                form = encoded(settled(value, obstacles))
                self.found.append(Setting(place, name, form, [], obstacles))
        return json.at

    def tail(self, at: int) -> None:
        reader = Repr(self.text, at)
        try:
            self.parameters(reader)
            names = [data_of(one.name) for one in self.found if one.place == CALL]
            is_sorted = all(one < other for one, other in itertools.pairwise(names))
            if reader.at < len(self.text) or (self.skipped and not is_sorted):
                raise FormError
        except (LiteralError, FormError) as failure:
            leaf = failure.args[0] if isinstance(failure, LiteralError) else None
            if leaf is None and self.skipped:
                leaf, self.current = self.skipped[0]
            if leaf is None:
                raise
            raise Bypass(diagnosis(self.text[leaf:]), self.current) from failure

    def parameters(self, reader: Repr) -> None:
        def need(token: str) -> None:
            if not reader.eat(token):
                raise FormError

        need("[")
        if reader.eat("]"):
            return
        while True:
            need("(")
            name = reader.name()
            need(", ")
            self.current, reader.classes = shown(CALL, name), []
            start = reader.at
            try:
                value, _ = reader.value()
                if not reader.eat(")"):
                    raise FormError if reader.follows(", ") else reader.failure()
            except LiteralError as failure:
                end = self.end_of(name, start)
                if end is None:
                    raise
                self.skipped.append((failure.args[0], self.current))
                value, reader.classes, reader.at = b"", [], end
            self.found.append(Setting(CALL, name, value, reader.classes, []))
            if not reader.eat(", "):
                need("]")
                return

    def end_of(self, name: str, start: int) -> int | None:
        """Where a parameter ends that is no literal, if it need not be understood."""
        size = leaf_end(self.text[start:])
        if size is None or counts(self.class_id, CALL, name) != "not":
            return None
        is_end = self.text.startswith(")", start + size)
        has_next = _NEXT.search(self.text[start : start + size])
        return start + size + 1 if is_end and not has_next else None

    def counting(self) -> list[Setting]:
        """Those that count."""
        kept = []
        for one in self.found:
            how = counts(self.class_id, one.place, one.name)
            if how == "whole" and one.obstacles:
                raise Bypass(worst(one.obstacles), shown(one.place, one.name))
            if how != "not":
                kept.append(one if how == "whole" else one._replace(value=TRUE, classes=[]))
        return kept


def llm_string(text: str) -> list[Setting] | None:
    """The settings that count, in order; None for a text that stands for itself."""
    settings = Settings(text)
    try:
        settings.read()
    except DepthError as failure:
        raise Bypass("too_deep", settings.current) from failure
    except FormError as failure:
        if has_address(text):
            raise Bypass("address", None) from failure
        if text.startswith(('{"', "[(")) and ("<class '" in text or '"not_implemented"' in text):
            raise Bypass("unknown_repr", None) from failure
        return None
    return settings.counting()


# Keys.


def framed(*parts: tuple[int, bytes]) -> bytes:
    sizes = [bytes([kind]) + len(part).to_bytes(8, "little") + part for kind, part in parts]
    return bytes([VERSION]) + b"".join(sizes)


def keyed(secret: bytes) -> bytes:
    return blake3(secret, derive_key_context=SECRET_CONTEXT).digest()


def key(
    prompt_text: str,
    llm_text: str,
    namespace: str,
    *,
    secret: bytes | None = None,
    schemas: Mapping[str, bytes] | None = None,
    supplement: bytes | None = None,
    is_text: bool = False,
    objects: bool = False,
) -> bytes:
    """The key of a request.

    Raises:
        Bypass: It must go past the cache.
    """
    settings, digests = llm_string(llm_text), b""
    messages: bytes | None = None
    if settings is not None and supplement is None:
        values = {(one.place, one.name): one.value for one in settings}
        if is_thin(values):
            raise Bypass("thin_text", "_type")
    if not is_text:
        messages = prompt(prompt_text, objects=objects)
    llm_part = (0, data_of(llm_text))
    if settings is not None:
        encodings = (bytes([it.place]) + leaf(STR, it.name) + it.value for it in settings)
        llm_part = (1, b"".join(encodings))
        for setting in settings:
            for name in sorted(setting.classes, key=data_of):
                if name not in (schemas or {}):
                    raise Bypass("unknown_class", shown(setting.place, setting.name))
                digests += (schemas or {})[name]
    prompt_part = (0, data_of(prompt_text)) if messages is None else (1, messages)
    parts = [(0, data_of(namespace)), llm_part, prompt_part, (0, digests), (0, supplement or b"")]
    frame = framed(*parts)
    if secret is None:
        return blake3(frame, derive_key_context=KEY_CONTEXT).digest()
    return blake3(frame, key=keyed(secret)).digest()


def label(text: str, secret: bytes | None) -> bytes:
    """The label of a namespace or an llm_string."""
    if secret is None:
        return blake3(data_of(text), derive_key_context=LABEL_CONTEXT).digest(length=16)
    return blake3(LABEL_CONTEXT.encode() + data_of(text), key=keyed(secret)).digest(length=16)
