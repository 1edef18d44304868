"""A loopback server that keeps every request and answers as each provider would, briefly."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

Body = dict[str, Any]

ORIGIN = "x-sweep-origin"
"""Header with the scheme and host that a request was meant for."""


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    method: str
    url: str
    headers: dict[str, str]
    body: Any


def _openai(body: Body) -> Body:
    message = {"role": "assistant", "content": "four"}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": body.get("model", "m"),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def _completions(body: Body) -> Body:
    count = body.get("n", 1) * (len(body["prompt"]) if isinstance(body["prompt"], list) else 1)
    choices = [{"index": at, "text": "four", "finish_reason": "stop"} for at in range(count)]
    return _openai(body) | {"object": "text_completion", "choices": choices}


def _responses(body: Body) -> Body:
    text = {"type": "output_text", "text": "four", "annotations": []}
    message = {"id": "m", "type": "message", "role": "assistant", "status": "completed"}
    whole: Body = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed"}
    whole |= {"model": body.get("model", "m"), "parallel_tool_calls": True, "tool_choice": "auto"}
    return whole | {"tools": [], "output": [message | {"content": [text]}]}


def _anthropic(body: Body) -> Body:
    whole: Body = {"id": "msg_1", "type": "message", "role": "assistant", "stop_reason": "end_turn"}
    whole |= {"model": body.get("model", "m"), "content": [{"type": "text", "text": "four"}]}
    return whole | {"usage": {"input_tokens": 1, "output_tokens": 1}}


def _gemini(body: Body) -> Body:
    content = {"role": "model", "parts": [{"text": "four"}]}
    return {"candidates": [{"content": content, "finishReason": "STOP", "index": 0}]}


def _ollama(body: Body) -> Body:
    message = {"role": "assistant", "content": "four"}
    done: Body = {"model": body.get("model", "m"), "done": True, "done_reason": "stop"}
    return done | {"message": message, "response": "four", "created_at": "2026-01-01T00:00:00Z"}


def _converse(body: Body) -> Body:
    message = {"role": "assistant", "content": [{"text": "four"}]}
    usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
    return {"output": {"message": message}, "stopReason": "end_turn", "usage": usage} | {
        "metrics": {"latencyMs": 1}
    }


def _bedrock(body: Body) -> Body:
    # Of Anthropic, Mistral and Meta; the path need not say which.
    return _anthropic(body) | {"outputs": [{"text": "four"}], "generation": "four"}


def _sagemaker(body: Body) -> Body:
    return {"generated_text": "four", "choices": [{"message": {"content": "four"}}]}


# By what the path holds; the first that fits.
ANSWERS: list[tuple[str, Callable[[Body], Body]]] = [
    ("/api/tags", lambda body: {"models": [{"model": "llama-a"}]}),
    ("generateContent", _gemini),
    ("/api/", _ollama),
    ("/converse", _converse),
    ("/invocations", _sagemaker),
    ("/responses", _responses),
    ("/messages", _anthropic),
    ("/invoke", _bedrock),
    ("/chat/completions", _openai),
    ("/completions", _completions),
    ("", _openai),
]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Loopback

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._take(b"")

    def do_POST(self) -> None:
        if self.headers.get("transfer-encoding") == "chunked":
            raw = b""
            while size := int(self.rfile.readline(), 16):
                raw += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        self._take(raw)

    def _take(self, raw: bytes) -> None:
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = raw.decode(errors="replace")
        headers = {name.lower(): value for name, value in self.headers.items()}
        url = headers.pop(ORIGIN, f"http://{self.headers.get('host')}") + self.path
        self.server.requests.append(Request(self.command, url, headers, body))
        answer = next(answer for part, answer in ANSWERS if part in self.path)
        status, out = 200, json.dumps(answer(body if isinstance(body, dict) else {})).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)


class Loopback(ThreadingHTTPServer):
    """The server; `requests` has what arrived, in order."""

    daemon_threads = True

    def __init__(self) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[Request] = []
        self.host = f"127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that has hung up."""

    def __enter__(self) -> Self:
        """Serve in a thread."""
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop, and free the port."""
        self.shutdown()
        self.server_close()
