"""Where two requests differ, told from their outlines alone (`rust/request/outline.rs`)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from llmemo._core import OUTLINE_DIGEST, fold_digests

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Self

TAIL = 8
"""Messages that have a digest of their own in the outline of a stored request: the last ones."""


class Difference(NamedTuple):
    """One part in which two requests differ."""

    kind: str
    """`setting`, `message`, `earlier` (a message before the one at `at`), `messages` (their number)
    or `prompt`."""
    setting: bytes = b""
    """Digest of the setting's name."""
    at: int = 0
    """Index of a message, from 0; of `messages`, how many the other request has."""


class Outline(NamedTuple):
    """An outline, read."""

    settings: tuple[tuple[bytes, bytes], ...]
    """Digests of name and value."""
    messages: int
    """Number of messages; 0 if the prompt is something else."""
    earlier: int
    """Fold of the messages' digests that are not in `last`."""
    last: tuple[bytes, ...]
    """Digests of the last messages, or that of the prompt."""

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Any bytes give an outline: one that is damaged is unlike any other."""
        size = int.from_bytes(data[:2], "little")
        digests = _digests(data[2 : 2 + 2 * OUTLINE_DIGEST * size])
        rest = data[2 + 2 * OUTLINE_DIGEST * size :]
        return cls(
            settings=tuple(zip(digests[::2], digests[1::2], strict=False)),
            messages=int.from_bytes(rest[:4], "little"),
            earlier=int.from_bytes(rest[4:8], "little"),
            last=tuple(_digests(rest[8:])),
        )

    def differences(self, other: Outline) -> list[Difference]:
        """What differs from another request. This one's outline has all of its messages."""
        return [*self._settings(other), *self._prompts(other)]

    def _settings(self, other: Outline) -> Iterable[Difference]:
        mine, others = _by_name(self.settings), _by_name(other.settings)
        for name in {**mine, **others}:
            if mine.get(name) != others.get(name):
                yield Difference("setting", setting=name)

    def _prompts(self, other: Outline) -> Iterable[Difference]:
        if not (self.messages and other.messages):
            if self.messages != other.messages or self.last != other.last:
                yield Difference("prompt")
            return
        hidden = other.messages - len(other.last)
        if fold_digests(b"".join(self.last[:hidden])) != other.earlier:
            yield Difference("earlier", at=hidden)
        for index in range(hidden, min(self.messages, other.messages)):
            if self.last[index] != other.last[index - hidden]:
                yield Difference("message", at=index)
        if self.messages != other.messages:
            yield Difference("messages", at=other.messages)


def _digests(data: bytes) -> list[bytes]:
    size = OUTLINE_DIGEST
    return [data[at : at + size] for at in range(0, len(data), size)]


def _by_name(settings: Iterable[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]]:
    """A name may occur twice: for the model, and for the call."""
    found = defaultdict(list)
    for name, value in settings:
        found[name].append(value)
    return dict(found)
