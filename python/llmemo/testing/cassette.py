"""The file of a cassette: one JSON object a line, in an order that only its requests decide.

    {"tests": […], "request": {…}, "answer": […]}

The key of a line is not kept: it is computed from the request, so that a line answers what it says
and nothing else, whatever was edited by hand.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llmemo._core import RequestBypassed
from llmemo.errors import CassetteError
from llmemo.testing.file_lock import locked
from llmemo.testing.json_text import written
from llmemo.testing.recorded_answer import ClassMissingError, NotReadableError
from llmemo.testing.recorded_request import RecordedRequest
from llmemo.testing.recorded_stream import from_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmemo._core import Memory


class Line(NamedTuple):
    """One recorded answer."""

    request: RecordedRequest
    parts: dict[str, Any]
    """Request and answer, as the file has them."""
    value: bytes | None
    """The answer, in llmemo's value format; None as long as a class in it is not loaded."""
    tests: tuple[str, ...] = ()
    """Tests that were given it, as `file::test` relative to the folder of the cassette."""
    number: int = 0
    """Number of the line in its file, from 1; 0 if it is new."""

    def text(self) -> str:
        """The line as the file has it."""
        return written({"tests": list(self.tests), **self.parts})

    def order(self) -> tuple[str, str]:
        """Where it belongs: conversations stay together, and a change of the model moves none."""
        request = self.request
        return written([request.prompt, request.namespace]), written([self.parts["request"]])


Lines = dict[bytes, Line]
"""The lines of a cassette by the keys of their requests."""


def read(path: Path, memory: Memory) -> Lines:
    """The lines of a cassette; none if there is no file.

    Args:
        path: Of the file.
        memory: Computes keys.

    Raises:
        CassetteError: The file, or a line of it, cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        msg = f"the cassette {path} cannot be read: {error.strerror}"
        raise CassetteError(msg) from error
    lines: Lines = {}
    for number, each in enumerate(data.split(b"\n"), 1):
        if each.strip():
            try:
                key, line = _parsed(each, number, memory)
            except _UnusableLineError as trouble:
                msg = f"{path}, line {number}: {trouble}"
                raise CassetteError(msg) from trouble.__cause__
            if key in lines:
                msg = f"{path}, line {number}: the same request as line {lines[key].number}"
                raise CassetteError(msg)
            lines[key] = line
    return lines


class _UnusableLineError(Exception):
    """What is wrong with a line."""


def _parsed(data: bytes, number: int, memory: Memory) -> tuple[bytes, Line]:
    try:
        parts = json.loads(data)
    except (ValueError, RecursionError) as error:
        msg = f"this is no JSON ({error})"
        raise _UnusableLineError(msg) from error
    if not (isinstance(parts, dict) and {"request", "answer"} <= set(parts)):
        msg = 'a line is an object with "request" and "answer"'
        raise _UnusableLineError(msg)
    tests = parts.pop("tests", [])
    if not (isinstance(tests, list) and all(isinstance(each, str) for each in tests)):
        msg = '"tests" is no list of names'
        raise _UnusableLineError(msg)
    try:
        request = RecordedRequest.from_json(parts["request"])
        key = request.key(memory)
    except (ValueError, AttributeError, RequestBypassed) as error:
        msg = 'its "request" cannot be read'
        raise _UnusableLineError(msg) from error
    try:
        value = _value(parts["answer"], key)
    except NotReadableError as error:
        msg = f'its "answer" cannot be read ({error}): record it again'
        raise _UnusableLineError(msg) from error
    return key, Line(request, parts, value, tuple(tests), number)


def _value(answer: Any, key: bytes) -> bytes | None:
    with contextlib.suppress(ClassMissingError):
        return from_json(answer, key)
    return None


def completed(line: Line, key: bytes) -> Line:
    """The line with its answer, if the classes in that are loaded by now."""
    return line._replace(value=_value(line.parts["answer"], key))


def change(path: Path, memory: Memory, edit: Callable[[Lines], Mapping[bytes, Line]]) -> None:
    """Write a cassette again, all of it or nothing, while no other process does.

    Args:
        path: Of the file, which is made with its folders if need be.
        memory: Computes keys.
        edit: Is given the lines as they are now, and returns those that are to be there.

    Raises:
        CassetteError: The file cannot be read or written.
    """
    path = Path(os.path.realpath(path))
    try:
        with locked(path):
            before = read(path, memory)
            lines = sorted(edit(dict(before)).values(), key=Line.order)
            text = "".join(f"{line.text()}\n" for line in lines)
            if before or lines:
                _replace(path, text.encode())
    except OSError as error:
        msg = f"the cassette {path} cannot be written: {error.strerror}"
        raise CassetteError(msg) from error


def _replace(path: Path, data: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == data:
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Only one process is here at a time. Its mode is what the umask leaves, as of any new file.
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, new)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
