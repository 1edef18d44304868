"""The lines of a cassette: answers and requests as text, and what is left out of them."""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, Generation
from pydantic import BaseModel, SecretStr
from support.exact import difference
from support.strategies import answers, examples, hard_texts, messages

from llmemo import CacheMiss, LLMCache
from llmemo._core import ValueUnknown, decode, encode
from llmemo.codec.classes import Classes
from llmemo.keys import description_text
from llmemo.keys.description_text import UnreadableError
from llmemo.keys.request import Request
from llmemo.keys.values import plain_describer
from llmemo.testing import cassette, recorded_answer
from llmemo.testing.json_text import written
from llmemo.testing.recorded_answer import ClassMissingError, NotReadableError
from llmemo.testing.recorded_request import RecordedRequest
from llmemo.testing.redaction import LEFT_OUT, Redaction
from llmemo.testing.tape import Tape
from llmemo.testing.tape_cache import TapeCache

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from langchain_core.messages import BaseMessage

KEY = bytes(range(32))
MEMORY = LLMCache()._tiers.memory
HEAD = {"id": ["langchain", "chat_models", "openai", "ChatOpenAI"], "lc": 1, "type": "constructor"}


class Report(BaseModel):
    city: str
    degrees: float = 0.5


def recorded(answer: Sequence[Generation]) -> Any:
    """The answer of a line, as it is read from its file."""
    line = written(recorded_answer.to_json(encode(answer, KEY), KEY, Redaction()))
    assert "\n" not in line
    line.encode()  # a file is UTF-8
    return json.loads(line)


# Answers.


@given(answers)
@pytest.mark.slow
@examples(100)
def test_any_answer_comes_back_as_it_was(answer: list[Generation]) -> None:
    found = decode(recorded_answer.from_json(recorded(answer), KEY), KEY)
    assert difference(found, decode(encode(answer, KEY), KEY)) is None


READABLE: dict[str, Any] = {
    "tool calls": {
        "content": "",
        "tool_calls": [{"name": "f", "args": {"a": 1.0, "b": [None]}, "id": "call_1"}],
    },
    "usage": {
        "content": "x",
        "usage_metadata": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        "response_metadata": {"logprobs": {"content": [{"token": "x", "bytes": [1], "p": -0.0}]}},
    },
    "bytes": {"content": "x", "additional_kwargs": {"audio": b"\0\xff"}},
    "floats": {"content": "x", "additional_kwargs": {"a": [float("inf"), float("-inf"), 5e-324]}},
    "tuples": {"content": "x", "additional_kwargs": {"a": (1, (2,)), "b": {1: 2, "$float": 3}}},
    "content blocks": {"content": [{"type": "text", "text": "é\ud800\u2028"}, "y"]},
    "an instance": {"content": "x", "additional_kwargs": {"parsed": Report(city="Oslo")}},
}


@pytest.mark.parametrize("name", READABLE)
def test_usual_answers_are_readable(name: str) -> None:
    answer = [ChatGeneration(message=AIMessage(**READABLE[name]), generation_info={"i": 0})]
    line = recorded(answer)
    assert isinstance(line, list)
    assert list(line[0]["ChatGeneration"]["message"]) == ["AIMessage"]
    found = decode(recorded_answer.from_json(line, KEY), KEY)
    assert difference(found, decode(encode(answer, KEY), KEY)) is None


def test_what_has_no_readable_form_has_a_summary() -> None:
    answer = [Generation(text="Hello", generation_info={"at": {1, 2}})]
    line = recorded(answer)
    assert line["summary"] == ["Hello"]
    found = decode(recorded_answer.from_json(line, KEY), KEY)
    assert difference(found, answer) is None
    with pytest.raises(NotReadableError, match="key"):
        recorded_answer.from_json(line, bytes(32))


def test_an_instance_waits_for_its_class() -> None:
    line = recorded([Generation(text="", generation_info={"parsed": Report(city="Oslo")})])
    line[0]["Generation"]["generation_info"]["parsed"]["$instance"]["digest"] = "00" * 32
    with pytest.raises(ClassMissingError):
        recorded_answer.from_json(line, KEY)


def test_an_answer_is_served_once_its_class_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, texts = tmp_path / "one.jsonl", ("Why?", "[('model', 'm')]")
    answer = [Generation(text="", generation_info={"parsed": Report(city="Oslo")})]
    with TapeCache(Tape(path, "record", "t", {})) as cache:
        assert cache.lookup(*texts) is None
        cache.update(*texts, answer)
        cache._tape.commit(MEMORY, ())

    def missing(*_: object) -> None:
        raise ValueUnknown("unknown_class")

    with monkeypatch.context() as patch:
        patch.setattr(Classes, "find", missing)
        known = cassette.read(path, MEMORY)
        assert [line.value for line in known.values()] == [None]
        cache = TapeCache(Tape(path, "replay", "t", known))
        with pytest.raises(CacheMiss, match="line 1: the answer .* class .* is not loaded"):
            cache.lookup(*texts)
    with TapeCache(Tape(path, "replay", "t", known)) as cache:
        assert cache.lookup(*texts) == answer


@pytest.mark.parametrize(
    "line",
    [
        "text",
        [],
        [{}],
        [{"Path": {}}],
        [{"AIMessage": {"content": ""}}],
        [{"Generation": {"text": 1}}],
        [{"ChatGeneration": {"message": {"Generation": {"text": ""}}}}],
        {"encoded": "?"},
        {"encoded": ""},
    ],
    ids=str,
)
def test_what_is_no_answer_is_refused(line: Any) -> None:
    with pytest.raises(NotReadableError):
        recorded_answer.from_json(line, KEY)


# Requests.


def request(prompt: str, llm_string: str, namespace: str = "", **told: Any) -> RecordedRequest:
    asked = Request(prompt, llm_string, plain_describer.options(6, told))
    return RecordedRequest.of(asked, namespace, None, Redaction())


def llm(call: Sequence[tuple[str, Any]] = (("stop", None),), **arguments: Any) -> str:
    return f"{json.dumps({**HEAD, 'kwargs': arguments}, sort_keys=True)}---{list(call)}"


def trip(given: RecordedRequest) -> Any:
    """The request of a line that is read from its file, which has the same key."""
    parts = json.loads(written(given.to_json(MEMORY)))
    assert RecordedRequest.from_json(parts).key(MEMORY) == given.key(MEMORY)
    return parts


@given(st.lists(messages(), max_size=4), hard_texts, hard_texts)
@pytest.mark.slow
@examples(100)
def test_any_request_keeps_its_key(chat: list[BaseMessage], text: str, namespace: str) -> None:
    try:
        prompt = dumps(chat)
    except (TypeError, ValueError, UnicodeError):
        return
    for each in (prompt, text):
        for llm_string in (llm(model_name=text), str([("a", text), ("stop", None)]), text):
            given = request(each, llm_string, namespace, x=text)
            try:
                given.key(MEMORY)
            except Exception:  # noqa: BLE001 (it has none: an object is in it)
                continue
            if not has_halves(namespace) and not has_halves(text):
                trip(given)


def has_halves(text: str) -> bool:
    """Whether two lone surrogates in a text would be one character in JSON."""
    return len(json.loads(json.dumps(text))) < len(text)


def test_a_request_that_json_would_change_is_refused() -> None:
    with pytest.raises(UnreadableError):
        request("\ud83d\ude00", llm()).to_json(MEMORY)


def test_a_request_is_readable() -> None:
    chat = [
        SystemMessage("Be brief."),
        HumanMessage([{"type": "text", "text": "Why?"}], name="Ada"),
        AIMessage(
            "",
            id="lc_run-1",
            tool_calls=[{"name": "f", "args": {"x": 1}, "id": "1"}],
            usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        ),
        ToolMessage("5", tool_call_id="1", artifact=[1]),
    ]
    call = [("stop", ["."]), ("tools", [{"type": "function", "strict": True}])]
    parts = trip(request(dumps(chat), llm(call, temperature=0.5), "tenant", num_ctx=2**70, a=(1,)))
    assert parts["model"] == {**HEAD, "kwargs": {"temperature": 0.5}}
    assert parts["call"] == dict(call)
    assert parts["namespace"] == "tenant"
    assert parts["beside"] == [
        ["option", "a", {"$13": [1]}],
        ["option", "num_ctx", {"$4": hex(2**70)}],
    ]
    first, second, third, fourth = parts["messages"]
    assert first["SystemMessage"]["content"] == "Be brief."
    assert second["HumanMessage"]["name"] == "Ada"
    assert {"id", "usage_metadata", "type"}.isdisjoint(third["AIMessage"])
    assert "artifact" not in fourth["ToolMessage"]


@pytest.mark.parametrize(
    ("prompt", "llm_string"),
    [
        ("Once upon a time", "[('_type', 'x'), ('n', nan)]"),
        ("[1]", "a name of my own"),
        (dumps([HumanMessage("x")]).replace('"x"', "1e5"), llm()),
        (dumps([HumanMessage("x")]), llm([("x", (1, b"2"))])),
        (dumps([HumanMessage("x")]) + " ", llm().replace("{", "{ ")),
    ],
)
def test_a_form_that_would_have_another_key_is_not_taken(prompt: str, llm_string: str) -> None:
    trip(request(prompt, llm_string))


@given(st.dictionaries(hard_texts, hard_texts | st.integers() | st.floats() | st.binary()))
@pytest.mark.slow
@examples(100)
def test_a_supplement_comes_back_byte_for_byte(told: dict[str, Any]) -> None:
    nested = [(1, None, True, {2: 3}, {"$5": 1}, frozenset({4}))]
    told = {name: it for name, it in told.items() if not has_halves(name + str(it))}
    supplement = plain_describer.options(4, {"a": nested, **told})
    parts = json.loads(written(description_text.to_json(supplement)))
    assert description_text.from_json(parts) == supplement


# What is left out.

TOKEN = "tok-0123456789"  # no real one


@pytest.mark.parametrize(
    "arguments",
    [
        {"default_headers": {"Authorization": f"Bearer {TOKEN}"}},
        {"default_headers": {"X-Anything": TOKEN}},
        {"model_kwargs": {"extra_headers": {"x": TOKEN}}},
        {"extra_body": {"api_key": TOKEN}},
        {"extra_body": {"auth": {"user": TOKEN, "pass": [TOKEN]}}},
        {"openai_api_base": f"https://{TOKEN}@example.com/v1"},
        {"openai_api_base": f"https://example.com/v1?api_key={TOKEN}&v=1"},
        {"metadata": [f"Bearer {TOKEN}", "sk-abcdefghijklmnopqrst"]},
        {"credentials": {"type": "service_account", "private_key": TOKEN}},
    ],
)
@pytest.mark.parametrize("place", ["head", "call", "beside", "no literal", "a completion's"])
def test_secrets_of_settings_are_left_out(place: str, arguments: dict[str, Any]) -> None:
    made: Any = {
        "head": lambda it: request("x", llm(**it)),
        "call": lambda it: request("x", llm(sorted(it.items()))),
        "beside": lambda it: request("x", llm(), **it),
        "no literal": lambda it: request(
            "x", llm()[:-1] + str([*it.items(), ("z", "<nan>")])[1:].replace("'<nan>'", "nan")
        ),
        "a completion's": lambda it: request("x", str(sorted(it.items()))),
    }[place]
    first = made(arguments)
    text = written(trip(first))
    assert TOKEN not in text
    assert "sk-abc" not in text
    other = json.loads(json.dumps(arguments).replace(TOKEN, "tok-another").replace("sk-a", "sk-b"))
    assert made(other).key(MEMORY) == first.key(MEMORY)


def test_what_is_no_secret_stays_and_counts() -> None:
    settings = {
        "max_tokens": 5,
        "stop_token_ids": [1, 2],
        "monkey": "banana",
        "openai_api_key": {"id": ["OPENAI_API_KEY"], "lc": 1, "type": "secret"},
        "default_headers": {"OpenAI-Beta": "a=1"},
        "default_query": {"api-version": "2026-01-01"},
    }
    schema = {"properties": {"token": {"type": "string", "description": "of the page"}}}
    call = [("tools", [{"function": {"name": "f", "parameters": schema}}])]
    parts = trip(request("x", llm(call, **settings)))
    assert parts["model"]["kwargs"] == settings
    assert parts["call"] == dict(call)


def test_a_class_in_a_call_is_kept() -> None:
    text = llm([("headers", {"a": TOKEN})])[:-1] + ", ('response_format', <class 'a.B'>)]"
    clean = Redaction().llm_string(text)
    assert TOKEN not in clean
    assert "('response_format', <class 'a.B'>)" in clean
    pairs = ast.literal_eval(clean.partition("---")[2].replace("<class 'a.B'>", "0"))
    assert pairs[0] == ("headers", {"a": LEFT_OUT})


class Model(BaseModel):
    api_key: SecretStr = SecretStr(TOKEN)
    nested: dict[str, Any] = {"a": [SecretStr("s" * 20)]}
    short: SecretStr = SecretStr("test")


def test_known_secrets_are_left_out_of_prompts_and_answers() -> None:
    redaction = Redaction()
    redaction.learn(Model())
    assert redaction.secrets == {TOKEN, "s" * 20}
    assert redaction.text(f"a test of {TOKEN}") == f"a test of {LEFT_OUT}"
    headers = {"set-cookie": "a=b", "x-request-id": "1", "x-api-key": "c"}
    message = AIMessage(f"It is {TOKEN}", response_metadata={"headers": headers, "token": "x"})
    value = encode([ChatGeneration(message=message)], KEY)
    line = recorded_answer.to_json(value, KEY, redaction)
    said = line[0]["ChatGeneration"]["message"]["AIMessage"]
    assert said["content"] == f"It is {LEFT_OUT}"
    kept = {"set-cookie": LEFT_OUT, "x-request-id": "1", "x-api-key": LEFT_OUT}
    assert said["response_metadata"] == {"headers": kept, "token": "x"}


def test_an_answer_that_cannot_be_written_without_its_secret_is_refused() -> None:
    redaction = Redaction()
    redaction.learn(Model())
    value = encode([Generation(text=TOKEN, generation_info={"a": {1}})], KEY)
    with pytest.raises(NotReadableError, match="secret"):
        recorded_answer.to_json(value, KEY, redaction)
