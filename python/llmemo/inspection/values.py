"""Stored values in clear, as plain data: nothing that they name is imported or run."""

from __future__ import annotations

import base64
import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from llmemo._core import ValueDamaged, ValueUnknown, take_apart, unpack_question
from llmemo.codec.encryption import is_encrypted
from llmemo.codec.envelope import Envelope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmemo.inspection.entries import Stored

VECTOR = "vector"

VECTOR_WIDTHS = {"f": 4, "d": 8, "b": 1, "h": 2, "i": 4, "q": 8}
"""Names of what a stored vector is kept under, and bytes of a number: see `codec.vectors`."""

NODE_FIELDS = ({"value"}, {"writes"})
"""What the result of a graph's node is kept under: see `integrations.nodes`."""

RECORDED, FOR_STREAMS = 1, 2
"""Flags in byte `FLAGS` of a value: see docs/values.md."""
FLAGS = 5

COMPRESSED = b"llmz"

KINDS = ("answer", "stream", VECTOR, "node")
"""What an entry may be: a stream is an answer whose chunks are kept, too."""


class Opened(NamedTuple):
    """A value in clear."""

    generations: list[Any]
    """Plain data; what was an object is a `Made`."""
    flags: int
    is_compressed: bool
    is_encrypted: bool

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        info = _only_info(self.generations)
        if info is not None and info.keys() in NODE_FIELDS:
            return "node"
        if info is not None and _is_vector(info):
            return VECTOR
        return "stream" if self.flags & RECORDED else "answer"


class Made(NamedTuple):
    """What stands for an object: nothing of its class is needed."""

    name: str
    """Of the class, with its module."""
    state: Any


class ValueReader:
    """Opens stored values, with the keys of the environment if it names any."""

    def __init__(self) -> None:
        """Take the keys from `LLMEMO_ENCRYPTION_KEY`.

        Raises:
            ConfigurationError: A key cannot work, or the package cryptography is missing.
        """
        self._envelope = Envelope(None, is_needed=True)

    @property
    def has_keys(self) -> bool:
        """Whether the environment names encryption keys."""
        return self._envelope.is_encrypting

    def open(self, stored: Stored) -> Opened:
        """The value in clear.

        Raises:
            ValueUnknown: It is encrypted by a key that is not given, or of a newer llmemo.
            ValueDamaged: It is damaged; its only argument is the reason.
        """
        key, value = stored.entry.key, stored.value
        if stored.is_damaged:
            raise ValueDamaged("row")
        inner = self._envelope.decrypted(value, key)
        plain = self._envelope.open(value, key)
        generations = take_apart(plain, key, Made)
        return Opened(generations, plain[FLAGS], inner.startswith(COMPRESSED), is_encrypted(value))

    def request(self, stored: Stored) -> tuple[str, str] | None:
        """Namespace and prompt, if the store keeps requests; None if not, or unreadable here.

        The llm_string between them stays out: it may hold tokens (`default_headers`).
        """
        if stored.request is None:
            return None
        text = self._envelope.open_request(stored.request, stored.entry.key)
        try:
            namespace, _, prompt = json.loads(text or b"")
        except (ValueError, TypeError):
            return None
        return str(namespace), str(prompt)

    def question(self, stored: Stored) -> str | None:
        """The question that semantic lookups find it by; None if there is none to read.

        Raises:
            ValueDamaged: As `open`.
        """
        if stored.question is None:
            return None
        key = stored.entry.key
        return unpack_question(self._envelope.open_question(stored.question, key), key)[1]


def reason_of(error: ValueDamaged) -> tuple[str, bool]:
    """Why a value cannot be read, and whether that is damage: another process might read it."""
    return str(error.args[0]), not isinstance(error, ValueUnknown)


def plain(value: Any) -> Any:
    """What JSON can say of it: objects as `{"class", "state"}`, bytes as `{"base64"}`."""
    if isinstance(value, Made):
        return {"class": value.name, "state": plain(value.state)}
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def fields_of(value: Any) -> dict[str, Any]:
    """The fields of an object, whatever its class; none of anything else."""
    if not isinstance(value, Made):
        return {}
    # Of another class than LangChain's own, the state begins with them.
    state = value.state[0] if isinstance(value.state, tuple) and value.state else value.state
    return state if isinstance(state, dict) else {}


def _is_vector(info: dict[str, Any]) -> bool:
    """Whether this is what `codec.vectors` makes: a model may name its own things like that."""
    if len(info) != 1:
        return False
    ((code, raw),) = info.items()
    width = VECTOR_WIDTHS.get(code)
    return width is not None and type(raw) is bytes and len(raw) > 0 and len(raw) % width == 0


def _only_info(generations: Sequence[Any]) -> dict[str, Any] | None:
    """The `generation_info` of an answer that is nothing else."""
    if len(generations) != 1:
        return None
    fields = fields_of(generations[0])
    info = fields.get("generation_info")
    if fields.get("text") or "message" in fields or not isinstance(info, dict):
        return None
    return info
