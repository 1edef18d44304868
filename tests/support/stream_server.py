"""A provider on 127.0.0.1 that streams chunk by chunk, in the words of three services' interfaces.

What it says is a function of the request, but for the stream settings: a `Turn`. It differs between
requests, and is the same each time, ids and all. So an uncached model, a cached one that is cold
and one that is warm can be compared to the last field.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import socketserver
import sys
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from support import wire_anthropic, wire_openai

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    Json = dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """What the provider says, whatever its words for that."""

    text: str = ""
    thinking: str = ""
    calls: tuple[tuple[str, Json], ...] = ()
    """Names and arguments of tools, called in parallel."""
    fails_at: int | None = None
    """Number of the chunk in whose place there is an error."""
    hangs_up_at: int | None = None
    """Number of the chunk before which the connection is closed."""
    ends_at: int | None = None
    """Number of the chunk before which it ends, as if it were whole."""
    mark: str = "0"
    """Of the request: part of all ids."""
    finish: str = ""
    """Why it ended, if not for the usual reason: as OpenAI says it."""
    error: tuple[int, str] | None = None
    """The status and the kind of an error, in the place of an answer."""

    @property
    def words(self) -> list[str]:
        """The text in the pieces of a stream."""
        return re.findall(r"\s*\S+", self.text)

    @property
    def thoughts(self) -> list[str]:
        """The thinking in such pieces."""
        return re.findall(r"\s*\S+", self.thinking)

    def call_id(self, index: int) -> str:
        """The id of a tool call."""
        return f"call_{self.mark}_{index}"


@dataclass(frozen=True)
class Ask:
    """What it was asked, whatever the words for that."""

    text: str
    """The last message of the user's."""
    results: tuple[str, ...]
    """What tools have returned since then."""
    tools: tuple[str, ...]
    body: Json = field(repr=False)


def turn_of(ask: Ask) -> Turn:
    """What it says unless a test says otherwise: it calls the tools once, all of them, or talks."""
    if ask.tools and not ask.results:
        calls = tuple((name, {"city": "Oslo"}) for name in ask.tools)
        return Turn("Let me see.", calls=calls)
    return Turn(f"You said {ask.text!r}. {' '.join(ask.results)}".strip())


def _text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content)
    return content or ""


def ask_of(body: Json) -> Ask:
    """A request of any of the three interfaces."""
    text, results = "", list[str]()
    for message in body.get("messages") or _items(body["input"]):
        parts = message.get("content")
        given = parts if isinstance(parts, list) else []
        told = [_text(part["content"]) for part in given if part.get("type") == "tool_result"]
        if message.get("type") == "function_call_output":
            results.append(_text(message["output"]))
        elif message.get("role") == "tool":
            results.append(_text(parts))
        elif told:
            results += told
        elif message.get("role") == "user":
            text, results = _text(parts), []
    tools = [(tool.get("function") or tool)["name"] for tool in body.get("tools", [])]
    return Ask(text, tuple(results), tuple(tools), body)


def _items(given: Any) -> list[Json]:
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


def mark_of(body: Json) -> str:
    """Part of all ids in the answer to a request."""
    kept = {name: it for name, it in body.items() if not name.startswith("stream")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: StreamServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.callers[self.headers.get("x-caller", "")] += 1
        turn = self.server.turn_for(body)
        # No connection outlives its request: a client's would outlive its event loop.
        self.close_connection = True
        made: Any
        if self.path.endswith("/messages"):
            made = wire_anthropic.events if body.get("stream") else wire_anthropic.message
        elif self.path.endswith("/responses"):
            made = wire_openai.response_events if body.get("stream") else wire_openai.response
        else:
            made = wire_openai.chunks if body.get("stream") else wire_openai.completion
        if turn.error is not None:
            status, kind = turn.error
            error = {"message": "no", "type": kind, "code": kind}
            self._send({"type": "error", "error": error}, status)
        elif body.get("stream"):
            self._stream(made(turn, body), turn)
        else:
            self._whole(made(turn, body), 500 if turn.fails_at is not None else 200)

    def _head(self, status: int, kind: str, *more: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (("content-type", kind), ("connection", "close"), *more):
            self.send_header(name, value)
        self.end_headers()

    def _whole(self, answer: Json, status: int) -> None:
        self._send(answer if status == 200 else wire_openai.ERROR, status)

    def _send(self, answer: Json, status: int) -> None:
        data = json.dumps(answer).encode()
        self._head(status, "application/json", ("content-length", str(len(data))))
        self.wfile.write(data)

    def _stream(self, events: list[str], turn: Turn) -> None:
        self._head(200, "text/event-stream", ("transfer-encoding", "chunked"))
        for number, event in enumerate(events):
            self.server.before(number)
            if number == turn.hangs_up_at:
                return
            text = event
            if number == turn.fails_at:
                is_anthropic = self.path.endswith("/messages")
                text = wire_anthropic.ERROR if is_anthropic else wire_openai.ERROR_EVENT
            if number == turn.ends_at:
                break
            data = text.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.server.sent.append(number)
            if number == turn.fails_at:
                break
        self.wfile.write(b"0\r\n\r\n")

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The same at any time: clients tell of it where they fail."""
        return "Mon, 30 Nov 2026 00:00:00 GMT"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


class StreamServer(ThreadingHTTPServer):
    """The server, as a context manager. `turn`: what it says to what; a test may change it."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, turn: Callable[[Ask], Turn] = turn_of) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.turn = turn
        self.bodies: list[Json] = []
        self.sent: list[int] = []
        """Numbers of the chunks that were sent, over all streams."""
        self.callers: Counter[str] = Counter()
        """How many requests came with each value of the header `x-caller`."""
        self.gate: Callable[[int], None] = lambda number: None
        """Called before each chunk, with its number: it may wait."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def requests(self) -> int:
        """How many there were."""
        return len(self.bodies)

    def turn_for(self, body: Json) -> Turn:
        """Note a request; returns what to say."""
        self.bodies.append(body)
        return replace(self.turn(ask_of(body)), mark=mark_of(body))

    def before(self, number: int) -> None:
        """Wait until a chunk may be sent."""
        self.gate(number)

    def reset(self) -> None:
        """As at the start."""
        self.turn, self.gate = turn_of, lambda number: None
        self.bodies.clear()
        self.sent.clear()
        self.callers.clear()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def server_bind(self) -> None:  # HTTPServer's would ask a resolver for the host's full name
        socketserver.TCPServer.server_bind(self)

    def shutdown_request(self, request: Any) -> None:
        with suppress(OSError):
            request.shutdown(socket.SHUT_WR)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that hangs up
            super().handle_error(request, client_address)
