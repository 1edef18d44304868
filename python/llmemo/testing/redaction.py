"""What a cassette leaves out: API keys, tokens, the values of headers.

Settings are judged by their names, since a setting says what it is for. A prompt and an answer are
the user's own text: they lose only the values of secrets that are known from the model.
"""

from __future__ import annotations

import ast
import json
import re
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

if TYPE_CHECKING:
    from collections.abc import Iterable

    Json = Any

LEFT_OUT = "(left out)"
"""Stands for what a cassette does not keep."""

SECRETIVE = frozenset({
    "apikey", "auth", "authorization", "bearer", "cookie", "cookies", "credential", "credentials",
    "jwt", "key", "passphrase", "passwd", "password", "secret", "sig", "signature", "token",
})  # fmt: skip
"""Words in the names of settings whose texts are left out."""

HARMLESS_HEADERS = frozenset({
    "accept", "anthropic-beta", "anthropic-version", "content-type", "openai-beta", "user-agent",
})  # fmt: skip
"""Headers that are kept: they say what is asked, and are no secret on any account."""

SCHEMA_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
SCHEMA_WORDS = frozenset({"$ref", "allOf", "anyOf", "const", "enum", "oneOf"})

SHORTEST = 12
"""Fewest characters of a secret that is looked for in prompts and answers. A shorter one is a
placeholder (`test`, `unused`), and a word of other texts."""

WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
SCHEME = re.compile(r"(?:Bearer|Basic|Token|ApiKey)\s+(\S+)", re.IGNORECASE)
WELL_KNOWN = re.compile(r"\b(?:sk|pk|rk|gsk|xai|hf|ghp|AIza)[-_]?[\w-]{16,}")
"""API keys by their usual beginnings."""
IN_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)|(?<=[?&])([\w-]+)=([^&#\s]+)")

CLASS = re.compile(r"<class '[^']*'>")
STRING = re.compile(r"""b?'(?P<single>(?:[^'\\]|\\.)*)'|b?"(?P<double>(?:[^"\\]|\\.)*)\"""")
NAMED = re.compile(
    r"""(?P<start>(?P<quote>['"])(?P<name>[\w.-]+)(?P=quote)(?:: |, ))"""
    rf"""(?P<value>{STRING.pattern}|\{{[^{{}}]*\}}|\[[^\[\]]*\])"""
)
"""In the text of Python literals, a name and its value, unless that nests deeper."""
SCHEMA = re.compile(
    r"""['"]type['"]: ['"](?:array|boolean|integer|null|number|object|string)['"]"""
    r"""|['"](?:\$ref|allOf|anyOf|const|enum|oneOf)['"]: """
)


class Redaction:
    """Leaves secrets out, and remembers those that it has seen, for texts where no name tells."""

    def __init__(self) -> None:
        """No secret is known."""
        self.secrets: set[str] = set()
        """Secrets that must not be in any text of a cassette."""

    def learn(self, model: object) -> None:
        """Remember the secrets of a model: what LangChain marks as one."""
        self._walk(getattr(model, "__dict__", {}), 4)

    def _walk(self, value: object, depth: int) -> None:
        if isinstance(value, SecretStr):
            self._remember(value.get_secret_value())
        elif depth and isinstance(value, dict):
            for each in value.values():
                self._walk(each, depth - 1)
        elif depth and isinstance(value, list | tuple):
            for each in value:
                self._walk(each, depth - 1)

    def _remember(self, secret: str) -> None:
        scheme = SCHEME.fullmatch(secret)
        secret = scheme[1] if scheme else secret
        if len(secret) >= SHORTEST and not re.search(r"\s", secret):
            self.secrets.add(secret)

    # Settings.

    def llm_string(self, text: str) -> str:
        """LangChain's description of a model and a call, without secrets."""
        head, tail = split(text)
        if head is not None:
            clean = self.settings(head)
            # Exactly as it was, if nothing is left out: the form of a head may count.
            beginning = text if clean == head else f"{json.dumps(clean, sort_keys=True)}---{tail}"
            text = beginning.removesuffix(tail)
        else:
            text = ""
        return text + self._tail(tail)

    def _tail(self, tail: str) -> str:
        classes: list[str] = []

        def stand_in(found: re.Match[str]) -> str:
            classes.append(found[0])
            return repr(f"\0class {len(classes) - 1}\0")

        try:
            pairs = ast.literal_eval(CLASS.sub(stand_in, tail))
            clean = [(name, self._value(value, name)) for name, value in pairs]
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return self._unparsed(tail)
        if clean == pairs:
            return tail
        return re.sub(r"'\\x00class (\d+)\\x00'", lambda found: classes[int(found[1])], repr(clean))

    def _unparsed(self, text: str) -> str:
        """A list of settings that holds more than literals."""
        return self.text(STRING.sub(self._literal, NAMED.sub(_named, text)))

    def _literal(self, found: re.Match[str]) -> str:
        """A quoted text that no name calls secret."""
        inner = found["single"] if found["double"] is None else found["double"]
        clean = self._string(inner)
        return found[0] if clean == inner else found[0].replace(inner, clean)

    def entries(self, parts: list[list[Json]]) -> list[list[Json]]:
        """The entries of a supplement (`description_text.to_json`) without secrets."""
        return [[place, name, self._value(value, name)] for place, name, value in parts]

    def settings(self, value: Json) -> Json:
        """Settings as JSON, without secrets."""
        return self._value(value, "")

    def _value(self, value: Json, name: str) -> Json:
        if is_headers(name):
            return self._headers(value)
        if is_secretive(name):
            return self._secret(value)
        if isinstance(value, str):
            return self._string(value)
        if isinstance(value, dict):
            return self._dict(value)
        if isinstance(value, list | tuple):
            return type(value)([self._value(each, "") for each in value])
        return value

    def _dict(self, value: dict[Any, Json]) -> Json:
        if set(value) == {"$18"}:  # a kind of object: its name, then names and values
            return {"$18": self._alternating(value["$18"])}
        return {name: self._value(inner, str(name)) for name, inner in value.items()}

    def _alternating(self, members: list[Json]) -> list[Json]:
        names = ["", "", *members[1:]]
        return [
            self._value(each, name if at % 2 == 0 and isinstance(name, str) else "")
            for at, (each, name) in enumerate(zip(members, names, strict=False))
        ]

    def _headers(self, value: Json) -> Json:
        if isinstance(value, dict) and not set(value) & {"$12", "$13", "$14"}:
            return {
                name: inner if str(name).lower() in HARMLESS_HEADERS else self._header(name, inner)
                for name, inner in value.items()
            }
        return LEFT_OUT if value else value

    def _header(self, name: object, value: Json) -> Json:
        if is_secretive(str(name)):
            return self._secret(value)
        if isinstance(value, str):
            self._string(value)  # it may be a secret all the same
        return LEFT_OUT

    def _secret(self, value: Json) -> Json:
        """What a name says is secret: all texts in it, but for a schema and a reference."""
        if isinstance(value, str | bytes):
            if isinstance(value, str):
                self._remember(value)
            return LEFT_OUT if value else value
        if isinstance(value, list | tuple):
            return type(value)([self._secret(each) for each in value])
        if not isinstance(value, dict) or (value.get("type") == "secret" and "lc" in value):
            return value
        if is_schema(value):
            return self._dict(value)
        return {name: self._secret(inner) for name, inner in value.items()}

    def _string(self, text: str) -> str:
        if SCHEME.fullmatch(text):
            self._remember(text)
            return LEFT_OUT
        for found in WELL_KNOWN.findall(text):
            self._remember(found)
        return self.text(IN_URL.sub(_url_part, WELL_KNOWN.sub(LEFT_OUT, text)))

    # The user's own texts.

    def text(self, text: str) -> str:
        """A text without the secrets that are known."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, LEFT_OUT)
        return text

    def answer(self, value: Json, name: str = "") -> Json:
        """An answer as JSON, without known secrets and without the secret headers of a response."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            if is_headers(name):
                value = {
                    each: LEFT_OUT if is_secretive(str(each)) else inner
                    for each, inner in value.items()
                }
            return {each: self.answer(inner, str(each)) for each, inner in value.items()}
        if isinstance(value, list):
            return [self.answer(each) for each in value]
        return value

    def held_by(self, texts: Iterable[str]) -> bool:
        """Whether one of the texts, which are JSON, still has a known secret."""
        written = [json.dumps(secret)[1:-1] for secret in self.secrets]
        return any(secret in text for text in texts for secret in (*written, *self.secrets))


def split(llm_string: str) -> tuple[Json | None, str]:
    """The head of an `llm_string`, if it has one, and what follows it."""
    if llm_string.startswith("{"):
        try:
            head, end = json.JSONDecoder().raw_decode(llm_string)
        except (ValueError, RecursionError):
            return None, llm_string
        if llm_string.startswith("---", end):
            return head, llm_string[end + 3 :]
    return None, llm_string


def is_secretive(name: str) -> bool:
    """Whether the name of a setting says that it is secret."""
    return any(word.lower() in SECRETIVE for word in WORD.findall(name))


def is_headers(name: str) -> bool:
    """Whether it is the name of a dict of headers."""
    words = [word.lower() for word in WORD.findall(name)]
    return bool(words) and words[-1] in {"header", "headers"}


def is_schema(value: dict[Any, Any]) -> bool:
    """Whether a dict is a JSON schema: a tool may have a parameter named `token`."""
    kind = value.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    is_typed = all(isinstance(each, str) and each in SCHEMA_TYPES for each in kinds)
    return is_typed or not SCHEMA_WORDS.isdisjoint(value)


def _named(found: re.Match[str]) -> str:
    """A name and its value, without the texts in that if the name says that it is secret."""
    name, value = found["name"], found["value"]
    if not is_headers(name) and (not is_secretive(name) or SCHEMA.search(value)):
        # There may be names in the value.
        return found["start"] + (NAMED.sub(_named, value) if value[0] in "[{" else value)

    def left_out(text: re.Match[str]) -> str:
        is_name = value.startswith(": ", text.end())
        return text[0] if is_name else repr(LEFT_OUT)

    return found["start"] + STRING.sub(left_out, value)


def _url_part(found: re.Match[str]) -> str:
    if found[1] is None:
        return LEFT_OUT
    return f"{found[1]}={LEFT_OUT}" if is_secretive(found[1]) else found[0]
