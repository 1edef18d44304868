"""One call of a model: the request that reached the server, and the key that the cache made."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmemo import LLMCache, track

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from llmemo.telemetry.tracking import Tracker
    from support.sweep.server import Loopback, Request

# What signs a request, says who sent it, or is another one each time.
UNSTABLE = {
    "accept-encoding",
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "api-key",
    "authorization",
    "connection",
    "content-length",
    "host",
    "user-agent",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
    "x-api-key",
    "x-goog-api-client",
    "x-goog-api-key",
    "x-server-timeout",  # how long Google's client waits
}
UNSTABLE_PREFIXES = ("x-stainless-",)
LISTING = "/api/tags"  # a constructor of Ollama's asks which models there are


@dataclass(frozen=True)
class Seen:
    """A request, and its key; without a key, why there is none."""

    request: str
    key: str | None
    reason: str | None = None

    @property
    def name(self) -> str:
        """Both, short."""
        digest = hashlib.sha256(self.request.encode()).hexdigest()[:8]
        return f"request {digest}, key {self.key[:8] if self.key else f'none ({self.reason})'}"


class NotSentError(AssertionError):
    """The call did not reach the server."""


def written(request: Request) -> str:
    """The part of a request that an answer can depend on."""
    headers = {
        name: value
        for name, value in request.headers.items()
        if name not in UNSTABLE and not name.startswith(UNSTABLE_PREFIXES)
    }
    return json.dumps([request.method, request.url, headers, request.body], sort_keys=True)


def see(server: Loopback, call: Callable[[], object]) -> Seen:
    """Call, and say what was sent and under which key it was looked for."""
    server.requests.clear()
    error: Exception | None = None
    with track() as tracker:
        try:
            call()
        except Exception as raised:  # noqa: BLE001 (an answer that is not understood is no matter)
            error = raised
    return _seen(server, tracker, error)


async def asee(server: Loopback, call: Callable[[], Awaitable[object]]) -> Seen:
    """The same, of a call that is awaited."""
    server.requests.clear()
    error: Exception | None = None
    with track() as tracker:
        try:
            await call()
        except Exception as raised:  # noqa: BLE001 (as above)
            error = raised
    return _seen(server, tracker, error)


def _seen(server: Loopback, tracker: Tracker, error: Exception | None) -> Seen:
    requests = [each for each in server.requests if not each.url.endswith(LISTING)]
    if len(requests) != 1 or len(tracker.events) != 1:
        sent = [each.url for each in requests]
        raise NotSentError(f"{len(tracker.events)} lookups, sent {sent}: {error!r}") from error
    event = tracker.events[0]
    return Seen(written(requests[0]), event.key, event.reason)


def fresh() -> LLMCache:
    """A cache that knows nothing, so that each call reaches the server."""
    return LLMCache(max_bytes=2**20)


def shown(value: Any) -> str:
    """A value for a report."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
