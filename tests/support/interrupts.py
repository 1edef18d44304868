"""Exceptions that come between two instructions of the library, as a signal handler's do."""

from __future__ import annotations

import ctypes
import dis
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

import llmemo

if TYPE_CHECKING:
    from types import FrameType

OWN = str(Path(llmemo.__file__).parent)

_trip = ctypes.PyDLL(None).PyErr_SetInterrupt
"""Has Python handle a SIGINT as soon as it looks for signals: there, and nowhere else. As a trace
function, it is one in C: in one in Python the signal would be handled right away."""
_trip.argtypes = [ctypes.py_object] * 3
_trip.restype = None


AWAITING = {
    "GET_AWAITABLE", "JUMP_BACKWARD_NO_INTERRUPT", "RESUME", "RETURN_GENERATOR", "SEND",
    "YIELD_FROM", "YIELD_VALUE",
}  # fmt: skip
"""Where Python takes care not to look for signals, so that what is awaited gets them first."""


class SoftTimeLimit(Exception):  # noqa: N818 (as Celery's)
    """What some handlers raise: an `Exception`."""


def _is_own(frame: FrameType | None) -> bool:
    return frame is not None and frame.f_code.co_filename.startswith(OWN)


def _is_end(frame: FrameType) -> bool:
    """Whether a call of the library is at its very end: it could as well be its caller's turn."""
    step = dis.opname[frame.f_code.co_code[frame.f_lasti]]
    return step.startswith("RETURN") and not _is_own(frame.f_back)


class Interrupts:
    """Raises something at the n-th instruction of the library's code in this thread.

    `is_signal`: by a signal, which Python sees to at its next convenience: after a call, at the
    beginning of a function, or of a loop's next turn. Otherwise right there, which is more than can
    happen: nothing may depend on where Python looks.

    A context manager: `count` says afterwards how many instructions there were, and `was_raised`
    whether they were so many; what was raised is `error`, with its traceback.
    """

    def __init__(self, at: int, kind: type[BaseException], *, is_signal: bool) -> None:
        self.at, self.kind, self.is_signal = at, kind, is_signal
        self.count = 0
        self.was_raised = False
        self.is_own = False
        """Whether it was raised in the library's code: not after the call's last instruction."""
        self.where = ""
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        self._handler = signal.signal(signal.SIGINT, self._handle)
        self._tracer = sys.gettrace()
        # Python keeps it only for as long as it is set, and may be in it when it is not.
        self._kept = self._called
        sys.settrace(self._kept)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        sys.settrace(self._tracer)
        signal.signal(signal.SIGINT, self._handler)
        self.error = error
        return isinstance(error, self.kind)

    def _called(self, frame: FrameType, event: str, arg: object) -> Any:
        if not _is_own(frame):
            return None
        frame.f_trace_opcodes = True
        return self._step

    def _step(self, frame: FrameType, event: str, arg: object) -> Any:
        if event != "opcode":
            return self._step
        self.count += 1
        if self.count != self.at:
            return self._step
        if self.is_signal:
            return _trip
        if dis.opname[frame.f_code.co_code[frame.f_lasti]] in AWAITING:
            self.at += 1
            return self._step
        self._raise(frame)
        return None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        assert frame is not None
        self._raise(frame)

    def _raise(self, frame: FrameType) -> None:
        sys.settrace(None)
        self.was_raised = True
        self.is_own = _is_own(frame) and not _is_end(frame)
        self.where = f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"
        raise self.kind
