"""What the error of a model call says: of the request itself, or of the way to the provider.

There is no common class for "the provider refuses this content": OpenAI answers with status 400,
others raise errors of their own. So all errors count as refusals of the request that do not look
like trouble on the way.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from llmemo.concurrency.interrupts import is_interrupt
from llmemo.errors import LLMemoError

if TYPE_CHECKING:
    from collections.abc import Iterator

_OF_THE_REQUEST: Final = frozenset({400, 403, 413, 422, 451})
"""HTTP statuses that say something of what was sent. Others are of keys, limits and outages."""

_ON_THE_WAY: Final = re.compile(
    "auth|cancel|connect|exhausted|internal|interrupt|limit|network|overload|permission|protocol|"
    "proxy|quota|server_?error|throttl|timed_?out|timeout|too_?many|transport|unavailable",
    re.IGNORECASE,
)
"""Names of errors, and of their kinds as providers tell these, that say nothing of the request."""

_STATUS: Final = ("status_code", "http_status", "status", "code")

_KIND: Final = ("type", "code")


def refuses_request(error: BaseException) -> bool:
    """Whether an error of a model call says that the provider does not answer this request.

    Not a cancellation, a time-out, or trouble with connections, keys, limits and servers. An error
    that cannot be told apart does.
    """
    if not isinstance(error, Exception) or isinstance(error, (OSError, LLMemoError)):
        return False
    # A signal handler's error is not told apart: to look into the frames that it came through would
    # keep what they held alive (`frame.f_locals`). It counts as a refusal, or is called a limit.
    try:
        names = [cls.__name__ for cls in type(error).__mro__ if cls not in (object, BaseException)]
        if any(map(_ON_THE_WAY.search, [*names, *_kinds_of(error)])):
            return False
        status = _status_of(error)
    except Exception as trouble:  # an error's attributes may be anything
        if is_interrupt(trouble):
            raise
        return True
    return status is None or status in _OF_THE_REQUEST


def _kinds_of(error: Exception) -> Iterator[str]:
    """What a provider calls the kind of an error."""
    body = getattr(error, "body", None)
    told = body.get("error", body) if isinstance(body, dict) else None
    for name in _KIND:
        found = [getattr(error, name, None), told.get(name) if isinstance(told, dict) else None]
        yield from (each for each in found if isinstance(each, str))


def _status_of(error: Exception) -> int | None:
    """The HTTP status of an error; None if it has none. A stream may fail under a good one."""
    response = getattr(error, "response", None)
    found: list[Any] = [getattr(it, name, None) for it in (error, response) for name in _STATUS]
    if isinstance(response, dict):  # botocore's
        found.append((response.get("ResponseMetadata") or {}).get("HTTPStatusCode"))
    return next((int(it) for it in found if isinstance(it, int) and 300 <= it < 600), None)
