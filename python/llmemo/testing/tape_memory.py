"""The memory tier of a cassette: requests are named without their secrets, answers go to the tape.

It stands in for `Memory`. Requests are found as they are written, secrets included. But their keys
are those of the requests without secrets: for memory, such a request is another form of the same.
So the answers of a cassette are found by key, whatever the API key of the day is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmemo.errors import CacheMiss
from llmemo.testing.cassette import completed
from llmemo.testing.recorded_request import RecordedRequest
from llmemo.testing.redaction import Redaction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmemo._core import Memory
    from llmemo.keys.request import Request
    from llmemo.testing.cassette import Line
    from llmemo.testing.tape import Tape

UNASKED = "\0cassette "
"""Begins the name of a model in an entry that comes from a file. No text of LangChain's does: each
request is then named by its key first, and the tape knows that it was asked."""

ALIKE = (
    "two requests of this test differ only in what a cassette leaves out (headers, API keys,"
    ' tokens): tell them apart, by `options(namespace="…")` around one of them'
)


class TapeMemory:
    """A `Memory` whose answers are those of a cassette."""

    def __init__(self, memory: Memory, tape: Tape) -> None:
        """Fill `memory` with the answers that the tape may serve."""
        self._memory, self._tape = memory, tape
        for key, line in tape.lines.items():
            self._fill(key, line)

    def _fill(self, key: bytes, line: Line) -> None:
        if line.value is not None:
            name, request = UNASKED + key.hex(), line.request
            self._memory.put(request.prompt, name, request.namespace, key, line.value)

    def _fill_late(self, key: bytes) -> None:
        """Fill in an answer whose class was not loaded before: maybe it is the current run's."""
        line = self._tape.lines.get(key)
        if line is not None and line.value is None:
            self._fill(key, completed(line, key))

    def __getattr__(self, name: str) -> Any:
        """What a cassette does not change."""
        return getattr(self._memory, name)

    # Names.

    def seek(
        self, request: Request, namespace: str, schemas: Mapping[str, bytes] | None = None
    ) -> tuple[bytes, int | None]:
        """As of `Memory`, for the request without its secrets."""
        redacted = self._redacted(request, namespace, schemas)
        key = redacted.key(self._memory)
        self._note(key, redacted, request, schemas)
        self._fill_late(key)
        return self._memory.seek(redacted.asked(), namespace, redacted.schemas())

    def key(
        self, request: Request, namespace: str, schemas: Mapping[str, bytes] | None = None
    ) -> bytes:
        """As of `Memory`, for the request without its secrets."""
        return self.seek(request, namespace, schemas)[0]

    def describe(
        self,
        request: Request,
        namespace: str,
        schemas: Mapping[str, bytes] | None = None,
        *,
        tail: int,
    ) -> tuple[bytes, bytes, bytes]:
        """As of `Memory`, for the request without its secrets."""
        redacted = self._redacted(request, namespace, schemas)
        asked, digests = redacted.asked(), redacted.schemas()
        found = self._memory.describe(asked, namespace, digests, tail=tail)
        self._note(found[0], redacted, request, schemas)
        return found

    def _redacted(
        self, request: Request, namespace: str, schemas: Mapping[str, bytes] | None
    ) -> RecordedRequest:
        redaction = Redaction()
        redacted = RecordedRequest.of(request, namespace, schemas, redaction)
        self._tape.redaction.secrets |= redaction.secrets
        return redacted

    def _note(
        self,
        key: bytes,
        redacted: RecordedRequest,
        request: Request,
        schemas: Mapping[str, bytes] | None,
    ) -> None:
        whole = self._memory.key(request, redacted.namespace, schemas)
        if not self._tape.asked(key, redacted, whole):
            self._tape.refuse(ALIKE)
            raise CacheMiss(ALIKE)

    # Entries.

    def put(
        self,
        prompt: str,
        llm_string: str,
        namespace: str,
        key: bytes,
        value: bytes,
        *,
        created: float | None = None,
        worth: tuple[int, int, float] | None = None,
        **_: Any,
    ) -> bool:
        """Keep an answer, and give it to the tape. No answer of a cassette expires."""
        self._tape.record(key, value)
        return self._memory.put(
            prompt, llm_string, namespace, key, value, created=created, worth=worth
        )

    def remove(self, key: bytes) -> bool:  # noqa: ARG002 (as of `Memory`)
        """Nothing: a request has the same answer all the time, recorded or replayed."""
        return False

    def invalidate(self, *_: Any) -> int:
        """Nothing, as `remove`."""
        return 0

    def clear(self) -> None:
        """Nothing, as `remove`."""
