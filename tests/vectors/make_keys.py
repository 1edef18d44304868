"""Writes keys.json: requests as LangChain makes them, and their keys by the oracle.

    .venv/bin/python tests/vectors/make_keys.py

Needs langchain-openai. The same packages give the same file, byte for byte.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core import messages as lc
from langchain_core.caches import BaseCache
from langchain_core.language_models import (
    FakeListChatModel,
    FakeListLLM,
    GenericFakeChatModel,
)
from langchain_core.load import dumps
from langchain_core.outputs import ChatGeneration, Generation
from langchain_openai import AzureChatOpenAI, ChatOpenAI, OpenAI
from pydantic import BaseModel, SecretStr
from typing_extensions import override

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import texts  # noqa: E402
from seen import objects, seen  # noqa: E402
from settings import tables, tails, thin  # noqa: E402
from support import oracle  # noqa: E402
from texts import PLAIN  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    Request = tuple[str, str, dict[str, Any]]  # prompt, llm_string, and what else there is

UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
USAGE: Any = {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}
CALLS = [
    {"name": "add", "args": {"a": 1, "b": 2.0}, "id": "call_1"},
    {"name": "search", "args": {"q": "é", "id": f"lc_{UUID}"}, "id": f"toolu_{UUID}"},
]
CONTENTS: list[Any] = [
    "",
    "Hello!",
    " Hello!",
    "é",
    "e\u0301",
    "🦀 \u202e\0\n",
    "lone \ud800 half",
    "---[('stop', None)]",
    "<X object at 0x7f00>",
    ["Hello!"],
    [],
    [{"type": "text", "text": "Hello!"}],
    [{"type": "text", "text": "Hello!", "id": f"lc_{UUID}"}],
    [{"type": "text", "text": "Hello!", "id": "msg_1"}, "and"],
    [{"type": "text", "text": "x", "annotations": [{"type": "citation", "url": "u"}]}],
    [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}],
    [{"type": "image", "base64": "AAAA", "mime_type": "image/png", "id": f"lc_{UUID}"}],
    [{"type": "reasoning", "reasoning": "so", "id": "rs_1"}, {"type": "text", "text": "x"}],
    [{"type": "thinking", "thinking": "so", "signature": "c2ln"}],
    [{"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1, "id": f"lc_{UUID}"}}],
    [{"type": "non_standard", "value": {"n": 2**70, "x": float("nan"), "t": True, "f": 1.0}}],
]
FIELDS: list[dict[str, Any]] = [
    {},
    {"id": "lc_run--1"},
    {"name": "ann"},
    {"additional_kwargs": {"usage_metadata": 1, "id": "x", "order": {"b": 1, "a": 2}}},
    {"response_metadata": {"id": "resp_1", "model_provider": "openai"}},
]
AI_FIELDS: list[dict[str, Any]] = [
    {"usage_metadata": USAGE},
    {"usage_metadata": {**USAGE, "total_cost": 0}},
    {"tool_calls": CALLS},
    {"tool_calls": CALLS[::-1]},
    {"tool_calls": CALLS, "usage_metadata": USAGE, "id": "run-1"},
    {"response_metadata": {"llmemo": {"hit": True, "age": 1.5}}},
    {"response_metadata": {"llmemo": 1, "id": "resp_1", "inner": {"llmemo": 1}}},
    {"invalid_tool_calls": [{"name": "f", "args": "{", "id": "1", "error": None}]},
]
TOOL_FIELDS: list[dict[str, Any]] = [
    {"artifact": {"rows": [1, 2]}},
    {"artifact": object},
    {"status": "error"},
    {"name": "add", "artifact": "x"},
]
NEEDS: dict[str, dict[str, Any]] = {
    "Tool": {"tool_call_id": "call_1"},
    "Function": {"name": "f"},
    "Chat": {"role": "critic"},
}


class Recorder(BaseCache):
    """Writes down what it is asked for, and has an answer at once."""

    asked: list[tuple[str, str]]

    @override
    def lookup(self, prompt: str, llm_string: str) -> Any:
        self.asked.append((prompt, llm_string))
        is_chat = prompt.startswith('[{"lc"')
        message = lc.AIMessage('{"city": "Oslo", "degrees": 12.5}')
        return [ChatGeneration(message=message) if is_chat else Generation(text="ok")]

    @override
    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        raise NotImplementedError

    @override
    def clear(self, **kwargs: Any) -> None:
        raise NotImplementedError

    def __init__(self) -> None:
        self.asked = []


class Report(BaseModel):
    """A weather report."""

    city: str
    degrees: float


def add(a: int, b: int) -> int:
    """Add é, "it's"."""
    return a + b


def search(q: str, limit: int = 3) -> str:
    """Search."""
    return q * limit


def messages() -> Iterator[Request]:
    """Every class and chunk class, with the fields that it takes."""
    for name, end in itertools.product(
        ["AI", "Human", "System", "Tool", "Function", "Chat"], ["", "Chunk"]
    ):
        kind = getattr(lc, f"{name}Message{end}")
        more = {"AI": AI_FIELDS, "Tool": TOOL_FIELDS}.get(name, [])
        for content in CONTENTS:
            yield made([kind(content=content, **NEEDS.get(name, {}))]), PLAIN, {}
        for fields, content in itertools.product([*FIELDS, *more], ["Hello!", CONTENTS[12]]):
            yield made([kind(content=content, **{**NEEDS.get(name, {}), **fields})]), PLAIN, {}
    for position in (None, "last"):
        pieces: list[Any] = [{"name": "add", "args": '{"a": 1}', "id": "call_1", "index": 0}]
        chunk = lc.AIMessageChunk(content="", tool_call_chunks=pieces, chunk_position=position)
        yield made([chunk]), PLAIN, {}
    whole = lc.AIMessageChunk(content="Hel") + lc.AIMessageChunk(
        content="lo!", usage_metadata=USAGE
    )
    yield made([whole]), PLAIN, {}
    yield made([lc.RemoveMessage("x")]), PLAIN, {}


def made(history: list[Any]) -> str:
    """What LangChain asks a cache for: `dumps`, without the ids of the messages."""
    return dumps([message.model_copy(update={"id": None}) for message in history])


def conversations() -> Iterator[Request]:
    turns: list[Any] = [
        lc.SystemMessage("Be brief."),
        lc.HumanMessage("1 + 2?"),
        lc.AIMessage("", tool_calls=CALLS[:1], usage_metadata=USAGE, id="run-1"),
        lc.ToolMessage("3", tool_call_id="call_1", artifact=[3], name="add"),
        lc.AIMessage("3.", usage_metadata={**USAGE, "total_cost": 0}),
        lc.HumanMessage("Sure?"),
    ]
    for size in range(1, 7):
        yield made(turns[:size]), PLAIN, {}
        yield made(turns[size - 1 :: -1]), PLAIN, {}
        yield made(turns[:size] * 2), PLAIN, {}
        text = made(turns[:size])
        yield json.dumps(json.loads(text), indent=1), PLAIN, {}
        yield json.dumps(json.loads(text), ensure_ascii=False, sort_keys=True), PLAIN, {}
    for size, seed in ((2, 5), (3, 8), (4, 11)):
        rng = random.Random(seed)
        for _ in range(12):
            yield made(rng.choices(turns, k=size)), PLAIN, {}


def models() -> Iterator[Request]:
    """What LangChain's own path asks for, for many models, settings and calls."""
    key, recorder = SecretStr("unused"), Recorder()

    def chat(**settings: Any) -> Any:
        return ChatOpenAI(model="gpt-4o-mini", api_key=key, cache=recorder, **settings)

    settings: list[dict[str, Any]] = [{}, *texts.CHAT_SETTINGS]
    for each in settings:
        chat(**each).invoke("Hi")
    for call in texts.CALL_SETTINGS:
        chat(temperature=0).bind(**call).invoke("Hi")
    for tools in ([add], [add, search], [search, add], [Report]):
        for more in ({}, {"tool_choice": "auto"}, {"parallel_tool_calls": False}, {"strict": True}):
            chat().bind_tools(tools, **more).invoke("Hi")
    for method in ("function_calling", "json_mode"):
        for strict in ({}, {"include_raw": True}):
            chat().with_structured_output(Report, method=method, **strict).invoke("Hi")
    azure: dict[str, Any] = {
        "api_version": "v",
        "azure_endpoint": "https://x",
        "azure_deployment": "d",
    }
    for each in ({}, {"max_retries": 5}, {"timeout": 9.0}, {"temperature": 1.0}, {"name": "n"}):
        AzureChatOpenAI(api_key=key, cache=recorder, **azure, **each).invoke("Hi")
    for each in [{}, *texts.COMPLETION_SETTINGS]:
        llm = OpenAI(api_key=key, cache=recorder, **each)
        llm.invoke("Once upon a time")
        llm.bind(temperature=1.0).invoke("Once upon a time")
        llm.invoke("Once", stop=["\n"])
    for responses in (["a"], ["a", "b"], ["it's", '"'], ["é\n\0"], ["\ud800"]):
        FakeListLLM(responses=responses, cache=recorder).invoke("Hi")
        FakeListChatModel(responses=responses, cache=recorder).invoke("Hi", stop=["x"])
    generic = GenericFakeChatModel(messages=iter([]), cache=recorder)
    for call in texts.CALL_SETTINGS:
        generic.bind(**call).invoke("Hi")
    generic.bind(tools={"set": {3}, "frozen": frozenset({"x"}), "b": b"\xff'"}).invoke("Hi")
    for prompt, llm_string in recorder.asked:
        yield prompt, llm_string, {}


def classes() -> Iterator[Request]:
    digests = {"m.A": bytes(range(32)), "m.B": bytes(32), "int": b"\xff" * 32}
    for text in texts.WITH_CLASSES:
        yield "Hi", text, {"schemas": digests}
        yield "Hi", text, {"schemas": {"m.A": digests["m.B"]}}
        yield "Hi", text, {}
        yield texts.message('"content": ' + texts.OBJECT % '"T(1)"'), text, {}


def variants() -> Iterator[Request]:
    """Forms and near misses of literals, heads, prompts; and texts that are nothing of the kind."""
    for text in texts.REPRS:
        yield "Hi", f"[('p', {text}), ('stop', None)]", {}
    for text in texts.HEAD_VALUES:
        yield "Hi", texts.head(text), {}
    for text in (*texts.LLM_STRINGS, *tables(), *tails()):
        yield "Hi", text, {}
    for text in (*texts.PROMPTS, *texts.OPAQUE):
        yield text, PLAIN, {}
    for text in texts.OPAQUE:
        yield "Hi", text, {}


def parts() -> Iterator[Request]:
    for text in texts.SPLIT:
        for i, j in itertools.combinations_with_replacement(range(0, len(text) + 1, 2), 2):
            yield text[j:], text[i:j], {"namespace": text[:i]}
    for secret in (b"s", b"\0", b"secret" * 30):
        for namespace, request in itertools.product(["", "tenant", "\ud800"], ["p", "", "\0"]):
            yield request, "l", {"namespace": namespace, "secret": secret}
            yield made([lc.HumanMessage(request)]), PLAIN, {"secret": secret}


def vectors() -> Iterator[dict[str, Any]]:
    for group in (messages, conversations, models, classes, variants, objects, seen, thin, parts):
        for prompt, llm_string, rest in group():
            namespace = rest.get("namespace", "")
            row: dict[str, Any] = {
                "group": group.__name__,
                "prompt": prompt,
                "llm_string": llm_string,
            }
            given = {name: it for name, it in rest.items() if name != "namespace"}
            try:
                result: dict[str, Any] = {
                    "key": oracle.key(prompt, llm_string, namespace, **given).hex()
                }
            except oracle.Bypass as bypass:
                result = {"bypass": bypass.args}
            for name in ("secret", "supplement"):
                if name in given:
                    given[name] = given[name].hex()
            if "schemas" in given:
                given["schemas"] = {name: it.hex() for name, it in given["schemas"].items()}
            yield {**row, "namespace": namespace, **given, **result}


def main() -> None:
    rows = list({json.dumps(row): None for row in vectors()})
    text = "[\n" + ",\n".join(rows) + "\n]\n"
    # Two halves of a pair, side by side in a str, would come back as one character.
    if [json.dumps(row) for row in json.loads(text)] != rows:
        raise ValueError("a text does not survive JSON")
    (HERE / "keys.json").write_text(text, "ascii")


if __name__ == "__main__":
    main()
