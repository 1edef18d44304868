"""Where traces go: LangSmith's and Langfuse's ingestion on 127.0.0.1, OpenTelemetry in memory.

Each backend is fed by its own client, and reads from what it was sent what its server would count:
tokens, and the cost at `PRICE`, unless it was sent a cost.
"""

from __future__ import annotations

import gzip
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PRICE = 2
"""Of a token."""


INGESTION = {
    "use_multipart_endpoint": False,
    "size_limit": 100,
    "size_limit_bytes": 2**20,
    "scale_up_qsize_trigger": 1000,
    "scale_up_nthreads_limit": 1,
    "scale_down_nempty_limit": 4,
}
"""What LangSmith's server says of itself: its client then sends runs as JSON."""


@dataclass
class Traced:
    """A run of a model, as a backend shows it."""

    facts: dict[str, Any]
    """What is told of the lookup, by its name without `llmemo`."""
    tokens: int
    """What the backend counts."""
    cost: float
    tags: list[str] = field(default_factory=list)
    answer: str = ""
    """All that it has of the answer."""


class _Ingestion(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._reply({"batch_ingest_config": INGESTION})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.bodies.append((self.path, body))  # type: ignore[attr-defined]
        self._reply({})

    def _reply(self, reply: Any) -> None:
        body = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Server:
    """An HTTP server that keeps what is posted to it."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Ingestion)
        self._server.daemon_threads = True
        self.bodies: list[tuple[str, bytes]] = []
        self._server.bodies = self.bodies  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class LangSmith:
    """LangChain's own tracer, over a client with a background thread."""

    def __init__(self) -> None:
        from langchain_core.tracers import LangChainTracer
        from langsmith import Client

        self._server = Server()
        self._client = Client(api_url=self._server.url, api_key="key")
        self.handlers: list[Any] = [LangChainTracer(client=self._client, project_name="tests")]

    def runs(self) -> list[Traced]:
        self._client.flush()
        runs: dict[str, dict[str, Any]] = {}
        for _, body in self._server.bodies:
            sent = json.loads(body)
            for run in [*sent.get("post", ()), *sent.get("patch", ())]:
                told = {name: value for name, value in run.items() if value is not None}
                runs.setdefault(run["id"], {}).update(told)
        models = [run for run in runs.values() if run["run_type"] == "llm"]
        return [_of_langsmith(run) for run in sorted(models, key=lambda it: it["dotted_order"])]

    def close(self) -> None:
        self._client.close()
        self._server.close()


def _of_langsmith(run: dict[str, Any]) -> Traced:
    metadata = run["extra"]["metadata"]
    # langchain-core 1.0 leaves it in the answer.
    message = run["outputs"]["generations"][0][0].get("message", {})
    usage = metadata.get("usage_metadata") or message["kwargs"]["usage_metadata"]
    tokens = usage.get("total_tokens", 0)
    return Traced(
        _without_prefix(metadata, "llmemo_"),
        tokens,
        usage.get("total_cost", tokens * PRICE),
        run["tags"],
        json.dumps(run["outputs"]),
    )


class Langfuse:
    """Langfuse's handler and client, which sends spans as protobuf."""

    def __init__(self) -> None:
        from langfuse import Langfuse as Client
        from langfuse.langchain import CallbackHandler
        from opentelemetry.sdk.trace import TracerProvider

        self._server = Server()
        # Its client is one for each key, for as long as the process lives.
        key = f"pk-{self._server.url}"
        self._client = Client(
            public_key=key,
            secret_key="sk",
            base_url=self._server.url,
            tracer_provider=TracerProvider(shutdown_on_exit=False),
        )
        self.handlers: list[Any] = [CallbackHandler(public_key=key)]

    def runs(self) -> list[Traced]:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        self._client.flush()
        spans = []
        for path, body in self._server.bodies:
            if path.endswith("/v1/traces"):
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        spans += scope.spans
        spans.sort(key=lambda span: span.start_time_unix_nano)
        attributes = [{it.key: it.value.string_value for it in span.attributes} for span in spans]
        generations = (
            it for it in attributes if it.get("langfuse.observation.type") == "generation"
        )
        return [_of_langfuse(each) for each in generations]

    def close(self) -> None:
        self._client.shutdown()
        self._server.close()


def _of_langfuse(sent: dict[str, Any]) -> Traced:
    told = _without_prefix(sent, "langfuse.observation.")
    metadata = _without_prefix(told, "metadata.llmemo_")
    usage = json.loads(told.get("usage_details", "{}"))
    cost = json.loads(told.get("cost_details", "{}"))
    tokens = usage.get("total", 0)
    return Traced(
        {name: json.loads(value) for name, value in metadata.items()},
        tokens,
        cost.get("total", tokens * PRICE),
        answer=told.get("output", ""),
    )


class _Spans:
    """Spans of an instrumentation of LangChain that stay in this process."""

    model = ("", "")
    """An attribute that spans of models have, and its value."""
    total = ""

    def __init__(self) -> None:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self._exporter = InMemorySpanExporter()
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        # As its instrumentation puts it into every run: that cannot be undone in one process.
        self.handlers: list[Any] = [self._handler()]

    def _handler(self) -> Any:
        raise NotImplementedError

    def runs(self) -> list[Traced]:
        spans = sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
        attributes = [dict(span.attributes or {}) for span in spans]
        name, value = self.model
        return [self._of(each) for each in attributes if each.get(name) == value]

    def _of(self, sent: dict[str, Any]) -> Traced:
        tokens = sent.get(self.total, 0)
        facts = _without_prefix(sent, "llmemo.")
        return Traced(facts, tokens, tokens * PRICE, answer=str(sent))

    def close(self) -> None:
        self._provider.shutdown()


class OpenInference(_Spans):
    """Arize's instrumentation."""

    model = "openinference.span.kind", "LLM"
    total = "llm.token_count.total"

    def _handler(self) -> Any:
        from openinference.instrumentation import OITracer, TraceConfig
        from openinference.instrumentation.langchain._tracer import OpenInferenceTracer

        tracer: Any = OITracer(self._provider.get_tracer("tests"), config=TraceConfig())
        return OpenInferenceTracer(tracer, False)


class OpenLLMetry(_Spans):
    """Traceloop's instrumentation. It also counts tokens in a metric."""

    model = "gen_ai.operation.name", "chat"
    total = "gen_ai.usage.total_tokens"

    def _handler(self) -> Any:
        from opentelemetry.instrumentation.langchain.callback_handler import (
            TraceloopCallbackHandler,
        )
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader

        self._reader = InMemoryMetricReader()
        self._meters = MeterProvider([self._reader], shutdown_on_exit=False)
        meter = self._meters.get_meter("tests")
        duration = meter.create_histogram("gen_ai.client.operation.duration")
        tokens = meter.create_histogram("gen_ai.client.token.usage")
        return TraceloopCallbackHandler(self._provider.get_tracer("tests"), duration, tokens)

    def tokens_in_metrics(self) -> int:
        data = self._reader.get_metrics_data()
        metrics = [
            metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        usage = [it.data.data_points for it in metrics if it.name == "gen_ai.client.token.usage"]
        return sum(point.sum for points in usage for point in points)  # type: ignore[union-attr,misc]

    def close(self) -> None:
        super().close()
        self._meters.shutdown()


def _without_prefix(sent: dict[str, Any], prefix: str) -> dict[str, Any]:
    found = ((name, value) for name, value in sent.items() if name.startswith(prefix))
    return {name[len(prefix) :]: value for name, value in found}


Backend = LangSmith | Langfuse | OpenInference | OpenLLMetry

NEEDED = {
    LangSmith: "langsmith",
    Langfuse: "langfuse.langchain",
    OpenInference: "openinference.instrumentation.langchain",
    OpenLLMetry: "opentelemetry.instrumentation.langchain",
}
"""The module that each backend's client is in."""


def begun(kind: type[Backend]) -> Iterator[Backend]:
    """A backend, until it is not needed any more."""
    backend = kind()
    try:
        yield backend
    finally:
        backend.close()
