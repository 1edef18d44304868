"""The client matrix: one row for each way in which people call a model.

`test_clients.py` runs the rows in its own process; as a program this module runs them in a second
process, on cache files that the first one filled:

    python clients.py URL ROW=DATABASE…
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import ssl
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain.agents import create_agent
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.outputs import Generation, LLMResult
from langchain_openai import ChatOpenAI, OpenAI
from openai import DefaultAsyncHttpxClient, DefaultHttpxClient
from pydantic import BaseModel, SecretStr

from llmemo import LLMCache
from support import TESTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from langchain_core.caches import BaseCache

# Nothing here speaks TLS, and each client would read the list of authorities anew: 20 ms.
_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Report(BaseModel):
    """A weather report, as structured output."""

    city: str
    degrees: float


def get_weather(city: str) -> str:
    """Look up the current weather in a city."""
    return f"12.5 degrees Celsius in {city}"


def convert_temperature(celsius: float) -> str:
    """Convert a temperature from Celsius to Fahrenheit."""
    return f"{celsius * 9 / 5 + 32:.1f} degrees Fahrenheit"


_REPORT = "Report the weather: Oslo has 12.5 degrees."
_JSON_REPORT = f"{_REPORT} Answer in JSON that follows {json.dumps(Report.model_json_schema())}"
_CITIES = ["Name a river in Oslo.", "Name a river in Paris.", "Name a river in Rome."]


@dataclass(frozen=True)
class Row:
    """A way to call a model, and the requests that it sends without a cache."""

    name: str
    call: Callable[[Any], Any]  # of a model; may return an awaitable
    requests: int = 1
    model: Callable[..., Any] = ChatOpenAI
    options: dict[str, Any] = field(default_factory=dict)

    def run(self, cache: BaseCache | None, url: str) -> Any:
        """Call the model from a plain thread; an async call gets an event loop of its own."""
        # Our own clients, so that every connection is closed when the row ends: LangChain's are
        # global, and their connections outlive the event loop that they belong to.
        with DefaultHttpxClient(verify=_TLS, trust_env=False) as http:
            async_http = DefaultAsyncHttpxClient(verify=_TLS, trust_env=False)
            result = self.call(self.build(cache, url, http, async_http))
            if not inspect.isawaitable(result):
                return result  # nothing has been opened that async_http would have to close

            async def finish() -> Any:
                async with async_http:
                    return await result

            return asyncio.run(finish())

    def build(self, cache: BaseCache | None, url: str, http: Any, async_http: Any) -> Any:
        """The row's model; without a cache it uses the global one."""
        return self.model(
            model="some-model",
            base_url=url,
            api_key=SecretStr("unused"),
            max_retries=0,  # a request more would be the client's, not the cache's
            cache=cache,
            openai_proxy=None,  # nor is this the environment's affair
            http_client=http,
            http_async_client=async_http,
            **self.options,
        )


def _agent(model: Any) -> Any:
    """The last message of an agent's run; the others have ids that are new each time."""
    agent = create_agent(model, [get_weather, convert_temperature])
    question = "What is the weather in Oslo, and what is its temperature, 12.5, here?"
    return agent.invoke({"messages": [HumanMessage(question)]})["messages"][-1]


ROWS = {
    row.name: row
    for row in (
        Row("plain", lambda model: model.invoke("Why is the sky blue?")),
        Row("ainvoke", lambda model: model.ainvoke("Why is the sea blue?")),
        Row(
            "bind_tools",
            lambda model: model.bind_tools(
                [get_weather, convert_temperature], parallel_tool_calls=True
            ).invoke("What is the weather in Oslo, and what is its temperature, 12.5, here?"),
        ),
        Row(
            "function_calling",
            lambda model: model.with_structured_output(Report, method="function_calling").invoke(
                _REPORT
            ),
        ),
        Row(
            "json_mode",
            lambda model: model.with_structured_output(Report, method="json_mode").invoke(
                _JSON_REPORT
            ),
        ),
        Row(
            "json_schema",
            lambda model: model.with_structured_output(Report, method="json_schema").invoke(
                _REPORT
            ),
        ),
        Row("create_agent", _agent, requests=3),
        Row("batch", lambda model: model.batch(_CITIES), requests=3),
        Row("abatch", lambda model: model.abatch(_CITIES), requests=3),
        Row(
            "n=2",
            lambda model: model.generate([[HumanMessage("Toss a coin.")]]),
            options={"n": 2},
        ),
        Row("completion", lambda model: model.invoke("Once upon a time"), model=OpenAI),
        Row(
            "completion n=2",
            lambda model: model.generate(["Once upon", "a time"]),
            model=OpenAI,
            options={"n": 2, "best_of": 2},
        ),
    )
}


def comparable(value: Any) -> Any:
    """What must be equal between a call and its hits, as JSON."""
    if isinstance(value, LLMResult):  # beside the generations it has the run's own ids and costs
        return comparable(value.generations)
    if isinstance(value, list):
        return [comparable(each) for each in value]
    if not isinstance(value, BaseModel):
        return value
    fields = value.model_dump(mode="json")
    if isinstance(value, BaseMessage):
        if isinstance(fields.get("usage_metadata"), dict):
            fields["usage_metadata"].pop("total_cost", None)  # LangChain writes it into each hit
        if str(value.id).startswith("lc_run-"):
            fields["id"] = "lc_run-"  # the rest is new each time
    if isinstance(value, Generation) and "message" in fields:
        fields["message"] = comparable(value.message)  # type: ignore[attr-defined]
    return {"class": type(value).__name__, **fields}


# What a second process tells of its cache.
COUNTS = ("store_hits", "misses", "updates", "bypassed", "skipped", "errors")


def main(url: str, *pairs: str) -> None:
    """Run rows on cache files (`name=path`); print their results and what their caches counted."""
    told = {}
    for pair in pairs:
        name, _, database = pair.rpartition("=")
        with LLMCache(database, store_timeout=60) as cache:
            result = comparable(ROWS[name].run(cache, url))
            stats = cache.stats()
        counts = {name: getattr(stats, name) for name in COUNTS}
        told[name] = {"result": result, "stats": counts}
    json.dump(told, sys.stdout)


def in_another_process(url: str, databases: Mapping[str, Path]) -> dict[str, Any]:
    """What `main` prints, by row."""
    pairs = [f"{name}={database}" for name, database in databases.items()]
    # Warnings are errors there too: a resource left open would be told on stderr.
    command = [sys.executable, "-W", "error", "-m", "support.clients", url, *pairs]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, cwd=TESTS
    )
    assert (done.returncode, done.stderr) == (0, "")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


if __name__ == "__main__":
    # By its own name, so that a class of this module is called the same in both processes.
    importlib.import_module("support.clients").main(*sys.argv[1:])
