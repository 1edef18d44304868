"""Why a request missed: the nearest entries, and what differs, in words where texts are at hand."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.caches import BaseCache
from langchain_core.language_models import FakeListChatModel
from langchain_core.load import dumps
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from pydantic import BaseModel, create_model
from support.doubles import LIMIT, FakeStore, answer, patience

from llmemo import CacheClosedError, Explanation, LLMCache, SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from llmemo.stores import Record

CHAT: list[BaseMessage] = [
    SystemMessage("You are helpful."),
    HumanMessage("What is the weather?"),
    AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Rome"}, "id": "call_1"}]),
    ToolMessage("Sunny, 20 degrees, and a light wind from the west.", tool_call_id="call_1"),
]
MODEL: dict[str, Any] = {"model": "small", "temperature": 0.0, "tools": [{"name": "weather"}] * 9}


def llm(**changes: Any) -> str:
    settings = {**MODEL, **changes}
    return str(sorted((name, value) for name, value in settings.items() if value is not ...))


def headed(**arguments: Any) -> str:
    head = {"id": ["app", "Chat"], "kwargs": arguments, "lc": 1, "type": "constructor"}
    return json.dumps(head, sort_keys=True) + "---[('stop', None)]"


def changed(index: int, message: BaseMessage) -> list[BaseMessage]:
    return [*CHAT[:index], message, *CHAT[index + 1 :]]


def keep(cache: LLMCache, messages: Sequence[BaseMessage] = CHAT, llm_string: str = "") -> None:
    cache.update(dumps(messages), llm_string or llm(), answer("kept"))


def first(explanation: Explanation) -> tuple[str, ...]:
    assert explanation.outcome == "miss", explanation
    return explanation.nearest[0].differences


IN_WORDS = [
    (CHAT, llm(temperature=0.2), "temperature: 0.2 was 0.0"),
    (CHAT, llm(temperature=0), "temperature: 0 was 0.0"),
    (CHAT, llm(model="large"), "model: 'large' was 'small'"),
    (CHAT, llm(stop=["."]), "stop: ['.'], was not set"),
    (CHAT, llm(temperature=...), "temperature: not set, was 0.0"),
    (CHAT, llm(tools=[{"name": "weather"}] * 8), "tools: differs from character 168"),
    (CHAT, llm(max_tokens=5), "max_tokens: 5, was not set"),
    (
        changed(3, ToolMessage(f"{CHAT[3].content!s:.40}north.", tool_call_id="call_1")),
        llm(),
        "message 4 (tool): content differs from character 41",
    ),
    (
        changed(3, ToolMessage(CHAT[3].content, tool_call_id="call_2")),
        llm(),
        "message 4 (tool): tool_call_id differs from character 6",
    ),
    (
        changed(2, AIMessage("", tool_calls=[{"name": "weather", "args": {}, "id": "call_1"}])),
        llm(),
        "message 3 (ai): tool_calls[0].args.city is gone",
    ),
    (changed(1, HumanMessage(["What?"])), llm(), "message 2 (human): content differs"),
    (changed(1, HumanMessage(CHAT[1].content, name="Ann")), llm(), "message 2 (human): name "),
    (changed(0, HumanMessage("You are helpful.")), llm(), "message 1: human was system"),
    ([*CHAT, HumanMessage("Thanks")], llm(), "number of messages: 5 was 4"),
    (CHAT[:2], llm(), "number of messages: 2 was 4"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("messages", "llm_string", "words"), IN_WORDS)
def test_what_differs_is_told_in_words_where_the_texts_are_at_hand(
    messages: list[BaseMessage], llm_string: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "cache.db"
    with LLMCache(SQLiteStore(path, store_requests=True)) as cache:
        keep(cache)
        in_memory = cache.explain(dumps(messages), llm_string)
        assert in_memory.nearest[0].tier == "memory"
        assert len(first(in_memory)) == 1
        assert words in first(in_memory)[0]
        assert words in str(in_memory)
    with LLMCache(SQLiteStore(path, store_requests=True)) as cache:
        again = cache.explain(dumps(messages), llm_string)
        assert again.nearest[0].tier == "store"
        assert first(again) == first(in_memory)


@pytest.mark.parametrize(
    ("messages", "llm_string", "names"),
    [
        (CHAT, llm(temperature=0.2), ("temperature",)),
        (CHAT, llm(temperature=...), ("temperature",)),
        (CHAT, llm(house_rule=1), ("house_rule",)),
        (CHAT, llm(tools=[], model="large"), ("model", "tools")),
        (changed(3, ToolMessage("Rain", tool_call_id="call_1")), llm(), ("message 4 (tool)",)),
        ([*CHAT, HumanMessage("Thanks")], llm(), ("number of messages: 5 was 4",)),
    ],
)
def test_without_texts_the_parts_that_differ_are_named(
    messages: list[BaseMessage], llm_string: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "cache.db"
    with LLMCache(path) as cache:
        keep(cache)
    with LLMCache(path) as cache:
        assert first(cache.explain(dumps(messages), llm_string)) == names
        before = cache.stats()
        assert cache.explain(dumps(messages), llm_string) == cache.explain(
            dumps(messages), llm_string
        )
        assert cache.stats() == before, "explaining counts nothing"


def test_a_setting_that_only_another_request_has_may_have_no_name(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "cache.db") as cache:
        keep(cache, llm_string=llm(house_rule=1))
    with LLMCache(tmp_path / "cache.db") as cache:
        assert first(cache.explain(dumps(CHAT), llm())) == ("another setting",)


def test_what_only_another_request_has_is_told_if_its_text_is_at_hand() -> None:
    cache = LLMCache()
    keep(cache, llm_string=llm(house_rule=1))
    assert first(cache.explain(dumps(CHAT), llm())) == ("house_rule: not set, was 1",)


class Explaining(BaseCache):
    """Asks for an explanation where LangChain looks an answer up, and then looks it up."""

    def __init__(self, cache: LLMCache) -> None:
        self.cache = cache
        self.told: list[Explanation] = []

    def lookup(self, prompt: str, llm_string: str) -> Any:
        self.told.append(self.cache.explain(prompt, llm_string))
        return self.cache.lookup(prompt, llm_string)

    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        self.cache.update(prompt, llm_string, return_val)

    def clear(self, **kwargs: Any) -> None:
        self.cache.clear()


def test_a_class_that_was_defined_anew() -> None:
    def schema(**fields: Any) -> type[BaseModel]:
        made: type[BaseModel] = create_model("Answer", __module__="somewhere", **fields)
        return made

    cache = Explaining(LLMCache())
    model = FakeListChatModel(responses=["1", "2", "3"], cache=cache)
    for cls, seed in ((int, 1), (int, 1), (int, 2), (str, 1)):
        model.bind(response_format=schema(x=(cls, 1)), seed=seed).invoke("Hello")
    none, hit, same, other = cache.told
    assert first(same) == ("seed: 2 was 1",)
    assert (none.outcome, none.nearest, hit.outcome) == ("miss", (), "hit")
    assert first(other) == ("response_format: the schema of a class in it differs",)


def test_only_the_last_messages_have_a_name_after_a_restart(tmp_path: Path) -> None:
    long = [HumanMessage(str(turn)) for turn in range(20)]
    with LLMCache(tmp_path / "cache.db") as cache:
        keep(cache, long)
    with LLMCache(tmp_path / "cache.db") as cache:
        early, late = list(long), list(long)
        early[3], late[15] = HumanMessage("x"), HumanMessage("x")
        assert first(cache.explain(dumps(early), llm())) == ("a message before message 13",)
        assert first(cache.explain(dumps(late), llm())) == ("message 16 (human)",)
        assert first(cache.explain(dumps(long[:5]), llm()))[-1] == "number of messages: 5 was 20"


def test_what_does_not_count_is_never_told(make_cache: Callable[..., LLMCache]) -> None:
    cache = make_cache()
    keep(cache)
    used = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    seen = CHAT[2].model_copy(update={"usage_metadata": used, "id": "run-1"})
    explanation = cache.explain(dumps(changed(2, seen)), llm())
    assert explanation.outcome == "hit"
    other = json.loads(dumps(changed(2, seen)))
    other[2]["kwargs"] = {"artifact": 1, **dict(reversed(other[2]["kwargs"].items())), "name": "B"}
    (told,) = first(cache.explain(json.dumps(other), llm()))
    assert told in ("message 3 (ai)", "message 3 (ai): name is new")


def test_the_nearest_entries_come_first_and_there_are_three(
    make_cache: Callable[..., LLMCache],
) -> None:
    cache = make_cache()
    keep(cache)
    for temperature in (0.1, 0.2, 0.3, 0.4):
        keep(cache, changed(1, HumanMessage("Else?")), llm(temperature=temperature))
    found = cache.explain(dumps(CHAT), llm(temperature=0.2, model="large")).nearest
    names = [[text.split(":")[0] for text in one.differences] for one in found]
    assert names == [
        ["model", "message 2 (human)"],
        ["model", "temperature"],
        ["model", "temperature", "message 2 (human)"],
    ]
    assert all(one.tier == "memory" or (one.created or 0) > 1e9 for one in found)


def test_a_plain_prompt(make_cache: Callable[..., LLMCache]) -> None:
    cache = make_cache()
    cache.update("What is 2 + 2?", "my model", answer("4"))
    told = cache.explain("What is 2 + 3?", "my model")
    assert "prompt" in first(told)[0]
    if told.nearest[0].tier == "memory":
        assert first(told) == ("prompt: differs from character 13",)
        assert first(cache.explain("What is 2 + 2?", "my modem")) == (
            "llm_string: my modem was my model",
        )
        assert "is no list of messages" in str(cache.explain(dumps(CHAT), "my model"))


def test_values_that_may_hold_secrets_are_not_quoted() -> None:
    cache = LLMCache()
    keep(cache, llm_string=headed(default_headers={"Authorization": "Bearer hush"}, base="a"))
    told = cache.explain(
        dumps(CHAT), headed(default_headers={"Authorization": "Bearer psst"}, base="b")
    )
    assert first(told) == ('base: "b" was "a"', "default_headers: differs")
    assert "hush" not in str(told)
    assert "psst" not in str(told)


def test_a_hit_and_where(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "cache.db") as cache:
        keep(cache)
        told = cache.explain(dumps(CHAT), llm())
        assert (told.outcome, told.reason, told.nearest) == ("hit", "in memory", ())
        key = told.key
    with LLMCache(tmp_path / "cache.db") as cache:
        told = cache.explain(dumps(CHAT), llm())
        assert (told.outcome, told.reason, told.key) == ("hit", "in the store", key)


def test_an_answer_that_expired(make_cache: Callable[..., LLMCache]) -> None:
    now = [1_000.0]
    cache = make_cache(ttl=10, clock=lambda: now[0])
    keep(cache)
    now[0] += 30
    told = cache.explain(dumps(CHAT), llm())
    assert told.outcome == "miss"
    if cache.stats().updates and "expired" not in told.reason:
        assert told.nearest[0].tier == "memory"
    else:
        assert told.reason == "its answer expired 20 s ago"


def test_an_empty_cache_and_an_empty_namespace(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "cache.db", namespace="a") as cache:
        keep(cache)
    with LLMCache(tmp_path / "cache.db", namespace="b") as cache:
        told = cache.explain(dumps(CHAT), llm())
    assert told == Explanation("miss", "nothing is kept for this namespace", told.key)


def test_why_a_request_is_bypassed(make_cache: Callable[..., LLMCache]) -> None:
    cache = make_cache()
    told = cache.explain(dumps(CHAT), llm(tools=[object()]))
    assert (told.outcome, told.parameter, told.key) == ("bypass", "tools", None)
    assert "'tools' holds an object whose text is its address" in str(told)
    assert cache.explain(b"bytes", llm()).outcome == "bypass"  # type: ignore[call-overload]
    assert cache.stats().bypassed == {}


@pytest.mark.anyio
async def test_from_a_coroutine(make_cache: Callable[..., LLMCache]) -> None:
    cache = make_cache()
    await cache.aupdate(dumps(CHAT), llm(), answer("kept"))
    told = await cache.aexplain(dumps(CHAT), llm(temperature=0.2))
    assert first(told)[0].startswith("temperature")


def test_a_closed_cache_explains_nothing(make_cache: Callable[..., LLMCache]) -> None:
    cache = make_cache()
    cache.close()
    with pytest.raises(CacheClosedError):
        cache.explain(dumps(CHAT), llm())


def test_trouble_of_the_store_is_part_of_the_explanation() -> None:
    def fail(method: str) -> None:
        if method in ("get", "recent"):
            msg = "the disk is gone"
            raise OSError(msg)

    with LLMCache(FakeStore(fail)) as cache:
        keep(cache)
        told = cache.explain(dumps(CHAT), llm(temperature=0.2))
        assert told.reason == "the store failed to read: OSError: the disk is gone"
        assert first(told) == ("temperature: 0.2 was 0.0",)


def test_a_store_is_closed_only_after_it_has_listed_its_records() -> None:
    listing, go = threading.Event(), threading.Event()

    class Slow(FakeStore):
        async def recent(self, limit: int) -> list[Record]:
            listing.set()
            await asyncio.to_thread(go.wait, patience())
            self.asked.append(("listed", 0))
            return []

    store = Slow()
    cache = LLMCache(store, max_bytes=0)
    keep(cache)
    told: list[Explanation] = []
    asking = threading.Thread(
        target=lambda: told.append(cache.explain(dumps(CHAT), llm(temperature=0.5)))
    )
    asking.start()
    assert listing.wait(patience())
    closing = threading.Thread(target=cache.close)
    closing.start()
    go.set()
    asking.join(patience())
    closing.join(patience())
    assert told[0].outcome == "miss"
    assert [name for name, _ in store.asked][-2:] == ["listed", "close"]


@pytest.mark.parametrize("outline", [b"\xff", b"\0" * 9, bytes(range(200)), b"\xff" * 3_000])
@pytest.mark.parametrize("request_", [None, b"", b"{", b"[1, 2, 3]", b"[" * 100_000, b"\xff"])
def test_a_damaged_record_is_a_poor_neighbour(outline: bytes, request_: bytes | None) -> None:
    class Odd(FakeStore):
        async def recent(self, limit: int) -> list[Record]:
            (sound,) = self.records.values()
            return [sound._replace(key=b"k" * 32, outline=outline, request=request_)]

    with LLMCache(Odd(), max_bytes=0) as cache:
        keep(cache)
        told = cache.explain(dumps(CHAT), llm(temperature=0.5))
        assert told.outcome == "miss"
        assert str(told)


@pytest.mark.slow
def test_hostile_texts_are_told_by_name(make_cache: Callable[..., LLMCache]) -> None:
    cache = make_cache()
    deep = json.loads(dumps(CHAT))
    deep[0]["kwargs"]["x"] = 0
    text = json.dumps(deep)
    nested = text.replace('"x": 0', '"x": ' + "[" * 250 + "]" * 250)
    other = text.replace('"x": 0', '"x": ' + "[" * 249 + "]" * 249)
    for prompt in (nested, "[" * 100_000, "\ud800", '[{"lc": 1}]', "null"):
        cache.update(prompt, llm(), answer("kept"))
    for prompt in (other, "[" * 99_999, "\udfff", "{}", "[]", '[{"id": [], "kwargs": 1}]'):
        assert cache.explain(prompt, llm()).nearest


def test_no_text_of_a_request_is_stored_unless_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "llmemo")
    for store_requests in (False, True):
        path = tmp_path / f"{store_requests}.db"
        with LLMCache(SQLiteStore(path, store_requests=store_requests)) as cache:
            keep(cache, [HumanMessage("xyzzy-prompt")], llm(xyzzy_name="xyzzy-value"))
            cache.explain(dumps(CHAT), llm(xyzzy_name="xyzzy-other"))
            held = b"".join(file.read_bytes() for file in tmp_path.glob(f"{path.name}*"))
        assert (b"xyzzy" in held) is store_requests
    assert "xyzzy" not in caplog.text


def test_a_store_that_lists_nothing_is_said_so() -> None:
    store = FakeStore()
    store.lists_recent = False
    with LLMCache(store, max_bytes=0, store_timeout=LIMIT) as cache:
        cache.update("p", "m", answer("p"))
        found = cache.explain("q", "m")
        assert (found.outcome, found.nearest) == ("miss", ())
        assert "lists no entries" in found.reason
        assert "nothing is kept" not in found.reason
        assert store.sizes("recent") == []
        assert cache.explain("p", "m").reason == "in the store"
