"""One test's use of a cassette: what it was given, what it has recorded, what it was refused."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal

from llmemo.errors import CassetteError
from llmemo.keys.description_text import UnreadableError
from llmemo.testing import cassette, recorded_stream
from llmemo.testing.cassette import Line
from llmemo.testing.recorded_answer import NotReadableError
from llmemo.testing.redaction import Redaction

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from llmemo._core import Memory
    from llmemo.testing.cassette import Lines
    from llmemo.testing.recorded_request import RecordedRequest

Mode = Literal["record", "replay", "refresh"]


class Tape:
    """What happens in one test. All methods are thread-safe."""

    def __init__(self, path: Path, mode: Mode, test: str, lines: Lines) -> None:
        """Begin.

        Args:
            path: Of the cassette.
            mode: "record" asks the model for what is missing, "replay" never, "refresh" for all.
            test: The test's name in the cassette.
            lines: The answers that may be served.
        """
        self.path, self.mode, self.test, self.lines = path, mode, test, lines
        self.redaction = Redaction()
        """Knows every secret of the models that the test has called."""
        self.refusals: list[str] = []
        """Why the test fails, whatever its code makes of the exceptions."""
        self._lock = threading.Lock()
        self._requests: dict[bytes, RecordedRequest] = {}
        self._whole: dict[bytes, bytes] = {}
        self._recorded: dict[bytes, bytes] = {}
        self._is_ended = False

    @property
    def is_replaying(self) -> bool:
        """Whether nothing may leave."""
        return self.mode == "replay"

    def asked(self, key: bytes, request: RecordedRequest, whole: bytes) -> bool:
        """Note that the test asks a request.

        Args:
            key: Of the request without its secrets.
            request: Without its secrets.
            whole: Its key with them.

        Returns:
            Whether no other request of this test differs from it in secrets alone.
        """
        with self._lock:
            self._requests.setdefault(key, request)
            return self._whole.setdefault(key, whole) == whole

    def request(self, key: bytes) -> RecordedRequest:
        """A request that was asked."""
        with self._lock:
            return self._requests[key]

    def record(self, key: bytes, value: bytes) -> None:
        """Keep what a model answered, until the test has passed."""
        with self._lock:
            if not (self._is_ended or self.is_replaying):
                self._recorded[key] = value

    def has_recorded(self, key: bytes) -> bool:
        """Whether a model's answer was kept."""
        with self._lock:
            return key in self._recorded

    def refuse(self, reason: str) -> None:
        """Note why the test fails."""
        with self._lock:
            if not self._is_ended and reason not in self.refusals:
                self.refusals.append(reason)

    def end(self) -> None:
        """What comes from now on, from a thread that is left, is for no test."""
        with self._lock:
            self._is_ended = True

    def commit(self, memory: Memory, gone: Collection[str]) -> Lines:
        """Write what a test that has passed was given. Returns what it has recorded.

        Args:
            memory: Computes keys.
            gone: Names of tests that there are no more: "refresh" drops what was theirs alone.

        Raises:
            CassetteError: The file cannot be written, or an answer would hold a secret.
        """
        self.end()
        if self.is_replaying:
            return {}
        new = {key: self._line(memory, key, value) for key, value in self._recorded.items()}

        def edit(lines: Lines) -> Lines:
            if self.mode == "refresh":
                left = {self.test, *gone}
                # A line that names no test was written by hand, and is left alone.
                lines = {
                    key: line._replace(tests=tuple(it for it in line.tests if it not in left))
                    for key, line in lines.items()
                    if not line.tests or set(line.tests) - left or key in self._requests
                }
            for key in self._requests:
                line = lines.get(key)
                is_first = line is None or self.mode == "refresh" or key in self.lines
                if key in new and is_first:
                    # Of two workers that record one request, the first one's answer stays.
                    line = new[key]._replace(tests=() if line is None else line.tests)
                line = line or self.lines.get(key)
                if line is not None:
                    tests = sorted({*line.tests, self.test})
                    lines[key] = line._replace(tests=tuple(tests))
            return lines

        cassette.change(self.path, memory, edit)
        return new

    def _line(self, memory: Memory, key: bytes, value: bytes) -> Line:
        request = self._requests[key]
        try:
            answer = recorded_stream.to_json(value, key, self.redaction)
            line = Line(request, {"request": request.to_json(memory), "answer": answer}, value)
            text = line.text()
        except (NotReadableError, UnreadableError, ValueError) as error:
            msg = f"an answer cannot be recorded in {self.path}: {error}"
            raise CassetteError(msg) from error
        if self.redaction.held_by([text]):
            # Not the text, nor where: this goes to a log.
            msg = (
                f"an answer was not recorded in {self.path}: the line would hold a secret of its"
                " model: keep keys out of prompts and of answers"
            )
            raise CassetteError(msg)
        return line
