"""Reads the lines of an export: strictly, within bounds, and executing nothing.

A line that is damaged is counted and left out. A text that is no export is refused.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode
from collections import Counter
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias

from llmemo._core import ValueDamaged
from llmemo.codec.integrity import check_question, check_stored
from llmemo.errors import ConfigurationError, StoreError
from llmemo.exporting.lines import (
    FORMAT,
    NAMESPACES_MAX,
    SUM,
    SUM_BYTES,
    VERSION,
    Kinds,
    number_of,
    sum_of,
    sums_of,
)
from llmemo.stores.records import Record, StoredQuestion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINE_BYTES_MAX = 128 * 2**20
"""The longest line. An answer takes at most 64 MiB, and a third more in base64."""

HEADER_BYTES_MAX = 2**16
"""The longest first line: what is longer is no export, and may have no end."""

SMALL_BYTES_MAX = 2**20
"""The longest outline, sealed question or state."""

KEY_BYTES, LABEL_BYTES, PARTITION_BYTES = 32, 16, 32

_TAIL = len(SUM) + 2 * SUM_BYTES + len(b'"}')


class State(NamedTuple):
    """A named state: see `VectorStore.state`."""

    name: bytes
    state: bytes


class End(NamedTuple):
    """What the last line counts."""

    answers: int
    states: int
    sums: str | None
    """The sum of their checksums. None: it was not told."""


Item: TypeAlias = "Record | State | End"


class LineRefused(Exception):  # noqa: N818 (as ValueRefused)
    """A line that is not imported. Its argument: the reason."""


class LineReader:
    """An export, line after line."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        """Read the header.

        Args:
            stream: The export. Only `readline` is called.
            name: Of the file, for errors.

        Raises:
            ConfigurationError: It is no export, or one of a newer version.
            StoreError: Its header is damaged.
            OSError: It cannot be read.
        """
        self._stream = stream
        self.position = 0
        """Bytes read so far."""
        self.refused: Counter[str] = Counter()
        """Lines that were left out, by reason."""
        self._read = 0
        """Whole lines of answers and states."""
        self._sums = 0
        """The sum of their checksums."""
        self._end: End | None = None
        self.kinds = self._header(name)

    def _header(self, name: str) -> Kinds:
        line = self._stream.readline(HEADER_BYTES_MAX)
        self.position += len(line)
        if line == b"":
            msg = f"{name} is empty: it is no export of llmemo"
            raise ConfigurationError(msg)
        try:
            found = json.loads(line)
            is_ours = found["format"] == FORMAT
            version = found["version"]
        except (ValueError, TypeError, KeyError, RecursionError):
            is_ours, version = False, None
        if not is_ours or type(version) is not int:
            msg = f"{name} is no export of llmemo: name a file that `llmemo export` has written"
            raise ConfigurationError(msg)
        if version > VERSION:
            msg = f"{name} is an export of a newer llmemo (version {version}): upgrade llmemo"
            raise ConfigurationError(msg)
        try:
            fields = _fields(line)
            return Kinds(
                frozenset(_digest(it, LABEL_BYTES) for it in fields["namespaces"][:NAMESPACES_MAX]),
                frozenset(bool(it) for it in fields["encrypted"]),
            )
        except (LineRefused, KeyError, TypeError, ValueError):
            msg = f"the first line of {name} is damaged: export the answers once more"
            raise StoreError(msg) from None

    def __iter__(self) -> Iterator[Record | State]:
        """What can be imported, line after line."""
        while (line := self._line()) != b"":
            try:
                item = self._item(line)
            except LineRefused as refusal:
                self.refused[str(refusal)] += 1
                continue
            if isinstance(item, End):
                self._end = item
            else:
                self._read += 1
                self._sums += number_of(line or b"")
                yield item

    def _item(self, line: bytes | None) -> Item:
        if line is None:
            raise LineRefused("too_long")
        if self._end is not None:
            raise LineRefused("after_the_end")
        fields = _fields(line)
        try:
            parse = _KINDS[fields["kind"]]
        except (KeyError, TypeError):
            raise LineRefused("not_an_entry") from None
        return parse(fields)

    @property
    def missing(self) -> int | None:
        """Least number of lines that the end line counts and that are missing.

        None: there is no end.
        """
        end = self._end
        if end is None:
            return None
        lost = end.answers + end.states - self._read - self.refused.total()
        # One that is there twice makes up for the count of another, and not for its checksum.
        is_another = not self.refused and end.sums not in (None, sums_of(self._sums))
        return max(int(is_another), lost)

    def _line(self) -> bytes | None:
        """The next line; empty at the end, None if it is too long."""
        line = self._stream.readline(LINE_BYTES_MAX)
        self.position += len(line)
        if len(line) < LINE_BYTES_MAX or line.endswith(b"\n"):
            return line
        while (rest := self._stream.readline(2**20)) and not rest.endswith(b"\n"):
            self.position += len(rest)
        self.position += len(rest)
        return None


def _fields(line: bytes) -> dict[str, Any]:
    """The fields of a line that is whole.

    Raises:
        LineRefused: It is not.
    """
    if not line.endswith(b"\n"):
        raise LineRefused("cut_off")
    text = line.rstrip(b"\r\n")
    body, tail = text[:-_TAIL], text[-_TAIL:]
    if tail != b"".join((SUM, sum_of(body), b'"}')):
        raise LineRefused("checksum")
    try:
        found = json.loads(body + b"}")
    except (ValueError, RecursionError):
        raise LineRefused("not_an_entry") from None
    if type(found) is not dict:
        raise LineRefused("not_an_entry")
    return found


def _answer(fields: dict[str, Any]) -> Record:
    try:
        record = Record(
            _digest(fields["key"], KEY_BYTES),
            _bytes(fields["value"], LINE_BYTES_MAX),
            _digest(fields["namespace"], LABEL_BYTES),
            _digest(fields["llm"], LABEL_BYTES),
            _seconds(fields["created"]),
            None if fields["expires"] is None else _seconds(fields["expires"]),
            _bytes(fields["outline"], SMALL_BYTES_MAX),
            _bytes(fields["request"], LINE_BYTES_MAX) if "request" in fields else None,
            _question(fields["question"]) if "question" in fields else None,
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        raise LineRefused("not_an_entry") from None
    try:
        check_stored(record.value, record.key)
        if record.question is not None:
            check_question(record.question.sealed, record.key)
    except ValueDamaged as damage:
        raise LineRefused(f"value_{damage}") from None
    return record


def _question(fields: dict[str, Any]) -> StoredQuestion:
    partition = _digest(fields["partition"], PARTITION_BYTES)
    return StoredQuestion(partition, _bytes(fields["sealed"], SMALL_BYTES_MAX))


def _state(fields: dict[str, Any]) -> State:
    try:
        name = _bytes(fields["name"], SMALL_BYTES_MAX)
        return State(name, _bytes(fields["state"], SMALL_BYTES_MAX))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise LineRefused("not_an_entry") from None


def _end(fields: dict[str, Any]) -> End:
    end = End(fields.get("answers", -1), fields.get("states", -1), fields.get("sums"))
    if any(type(count) is not int or count < 0 for count in end[:2]):
        raise LineRefused("not_an_entry")
    return end


_KINDS: dict[str, Callable[[dict[str, Any]], Item]] = {
    "answer": _answer,
    "state": _state,
    "end": _end,
}
"""What reads a line, by its kind."""


def _digest(text: str, size: int) -> bytes:
    found = bytes.fromhex(text)
    if len(found) != size:
        raise ValueError
    return found


def _bytes(text: str, most: int) -> bytes:
    found = b64decode(text, validate=True)
    if type(text) is not str or len(found) > most:
        raise ValueError
    return found


def _seconds(number: float) -> float:
    if type(number) not in (int, float) or not math.isfinite(number):
        raise ValueError
    return float(number)
