"""A hit is another message than the one that was stored: what LangChain named is renamed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation
from support import TESTS
from support.exact import difference
from support.strategies import answers, examples

from llmemo import LLMCache
from llmemo._core import ValueDamaged, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeCache = Callable[..., LLMCache]

KEY = bytes(32)
OLD = "019ac5a3-2f0b-7d20-9c53-9b5a3c2f7e11"
UUID = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"

OWN = [f"lc_run--{OLD}", f"lc_run--{OLD}-0", f"run-{OLD}", f"run-{OLD}-12", f"run--{OLD}-0"]
"""As langchain-core 1.x, 0.3 and 0.1 write them: when it streams, and when it does not."""

OTHERS = [None, "", "r", "run", "run_abc", "chatcmpl-1", "msg_run-1", "resp_1", "Run-1", OLD]
OTHERS += [f"lc_{OLD}", "lc_run_1", "\ud800run-1", "run-\ud800", "х-run-1"]  # noqa: RUF001


def said(*ids: str | None, kind: Any = AIMessage) -> list[Generation]:
    """An answer of several messages with these ids."""
    generation = ChatGenerationChunk if issubclass(kind, AIMessageChunk) else ChatGeneration
    return [generation(message=kind(content=f"{at}", id=it)) for at, it in enumerate(ids)]


def ids(found: list[Generation] | None) -> list[Any]:
    return [generation.message.id for generation in found or []]  # type: ignore[attr-defined]


def hit(*old: str | None, **settings: Any) -> list[Any]:
    """The ids of another hit."""
    return ids(decode(encode(said(*old, **settings), KEY), KEY, fresh_ids=True))


@pytest.mark.slow
@pytest.mark.parametrize("old", OWN)
def test_every_hit_has_an_id_of_its_own_of_the_same_form(make_cache: MakeCache, old: str) -> None:
    form = re.escape(old).replace(re.escape(OLD), UUID)
    caches = [make_cache(), make_cache()]
    caches[0].update("p", "l", said(old))
    if caches[1].lookup("p", "l") is None:
        del caches[1]  # it has no store
    seen = {old}
    for cache in caches:
        for _ in range(100):
            [new] = ids(cache.lookup("p", "l"))
            assert re.fullmatch(form, new), new
            seen.add(new)
    assert len(seen) == 1 + 100 * len(caches)


@pytest.mark.parametrize("rest", ["", "-", "1", "-1-0", "x" * 100, OLD[:-1], f"{OLD}-{'0' * 99}"])
def test_an_id_of_langchain_that_has_no_uuid_gets_one(rest: str) -> None:
    for prefix in ("lc_run-", "run-"):
        [new] = hit(prefix + rest)
        assert re.fullmatch(f"{prefix}-?{UUID}", new), new


@pytest.mark.slow
@pytest.mark.parametrize("old", OTHERS)
def test_an_id_that_langchain_did_not_make_stays(make_cache: MakeCache, old: str | None) -> None:
    cache = make_cache()
    cache.update("p", "l", said(old))
    for _ in range(3):
        assert ids(cache.lookup("p", "l")) == [old]


def test_ids_that_were_equal_stay_equal() -> None:
    one, two = OWN[0], f"lc_run--{OLD[::-1]}"
    new = hit(one, one, "chatcmpl-1", two, one, None, kind=AIMessageChunk)
    assert new[0] == new[1] == new[4] != new[3]
    assert (new[2], new[5]) == ("chatcmpl-1", None)
    # Those of one call differ in their number alone.
    first, second = hit(f"{one}-0", f"{one}-1")
    assert (first[-2:], second[-2:], first[:-2]) == ("-0", "-1", second[:-2])


def test_chunks_of_a_hit_add_up_to_one_message() -> None:
    found = decode(encode(said(OWN[0], OWN[0], kind=AIMessageChunk), KEY), KEY, fresh_ids=True)
    message: Any = found[0].message + found[1].message  # type: ignore[attr-defined]
    assert (message.content, message.id) == ("01", ids(found)[0])
    assert message.id != OWN[0]


def test_nothing_but_the_id_is_new(tmp_path: Path) -> None:
    own = OWN[1]
    call = {"name": own, "args": {"id": own}, "id": own}
    answer = [
        Generation(text=own, generation_info={"id": own, "message": HumanMessage("x", id=own)}),
        ChatGeneration(
            message=AIMessage(
                [{"type": "text", "text": f"{own}!", "id": own}],
                id=own,
                name=own,
                tool_calls=[call],
                response_metadata={"id": own},
                additional_kwargs={
                    "id": own,
                    "parsed": [ToolMessage("x", tool_call_id=own, id=own)],
                },
            )
        ),
    ]
    with LLMCache(tmp_path / "c.db") as cache:
        cache.update("p", "l", answer)
        for _ in range(3):
            found: Any = cache.lookup("p", "l")
            assert found[1].message.id != own
            found[1].message.id = own
            assert difference(found, answer) is None
    with LLMCache(tmp_path / "c.db", fresh_ids=False) as cache:
        for _ in range(3):
            assert difference(cache.lookup("p", "l"), answer) is None


@pytest.mark.slow
@examples(50)
@given(answers, st.sampled_from([*OWN, *OTHERS, "run-", "lc_run--1"]))
def test_any_answer_keeps_all_but_its_ids(answer: list[Generation], old: str | None) -> None:
    messages = [g.message for g in answer if isinstance(g, ChatGeneration)]
    for message in messages:
        message.id = old
    found = decode(encode(answer, KEY), KEY, fresh_ids=True)
    renewed = {g.message.id for g in found if isinstance(g, ChatGeneration)}
    is_own = old is not None and old.startswith(("run-", "lc_run-"))
    if is_own and "\ud800" not in str(old):
        assert old not in renewed
    else:
        assert renewed <= {old}
    assert len(renewed) <= 1
    for generation in found:
        if isinstance(generation, ChatGeneration):
            generation.message.id = old
    assert difference(found, answer) is None


def test_an_id_that_is_no_text_is_still_refused() -> None:
    value = encode(said("run-abc"), KEY)
    for damage in (b"run-\xffbc", b"run-a\0\xff", b"run-\xed\xa0\x80"[:7]):
        # With a checksum that fits, so that it is the text that is looked at.
        from support.payloads import sealed

        with pytest.raises(ValueDamaged):
            decode(sealed(value[44:-8].replace(b"run-abc", damage), KEY), KEY, fresh_ids=True)


# Processes.

PROGRAM = f"""
import sys
sys.path[:0] = {[str(TESTS), str(Path(__file__).parent)]!r}
from test_fresh_ids import some_ids
print(*some_ids(), sep="\\n")
"""


def some_ids() -> list[str]:
    return [new for _ in range(100) for new in hit(OWN[0])]


def test_two_processes_never_agree_on_an_id() -> None:
    command = [sys.executable, "-c", PROGRAM]
    printed = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in "ab"]
    assert len({*printed[0].stdout.split(), *printed[1].stdout.split(), *some_ids()}) == 300


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_and_its_parent_never_agree_on_an_id() -> None:
    some_ids()
    children = []
    for _ in range(3):
        read, write = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.write(write, json.dumps(some_ids()).encode())
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            children.append(json.load(pipe))
        os.waitpid(child, 0)
    assert len({new for each in [*children, some_ids()] for new in each}) == 400


def test_threads_never_agree_on_an_id() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        found = [new for each in pool.map(lambda _: some_ids(), range(16)) for new in each]
    assert len(set(found)) == 1600


# As LangChain uses it.


class Talker(GenericFakeChatModel):
    """Says what is asked, and counts how often it is."""

    asked: list[str] = []  # noqa: RUF012 (Pydantic copies it)
    messages: Any = None

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
        self.asked.append(messages[-1].text)
        self.messages = iter([AIMessage(f"You said: {messages[-1].text}")])
        return super()._generate(messages, *args, **kwargs)


def test_what_the_installed_langchain_names_is_renamed(make_cache: MakeCache) -> None:
    model = Talker(cache=make_cache())
    replies = [model.invoke("Hello") for _ in range(4)]
    assert model.asked == ["Hello"]
    assert {reply.content for reply in replies} == {"You said: Hello"}
    assert len({reply.id for reply in replies}) == 4
    for reply in replies:
        assert re.fullmatch("lc_run--[0-9a-f-]{36}-0", str(reply.id)), reply.id


def turns(graph: Any, thread: str, count: int) -> list[BaseMessage]:
    config = {"configurable": {"thread_id": thread}}
    for turn in range(count):
        # A user says the same thing more than once, as users do.
        graph.invoke({"messages": [HumanMessage(f"Message {turn % 5}")]}, config)
    messages: list[BaseMessage] = graph.get_state(config).values["messages"]
    return messages


def chat_loop(model: Any) -> Any:
    """The loop of LangGraph's tutorials; it sends the last message only."""
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import START, MessagesState, StateGraph

    def chat(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"][-1:])]}

    builder = StateGraph(MessagesState)
    builder.add_node("chat", chat)
    builder.add_edge(START, "chat")
    return builder.compile(checkpointer=InMemorySaver())


def agent(model: Any) -> Any:
    from langchain.agents import create_agent
    from langgraph.checkpoint.memory import InMemorySaver

    return create_agent(model, [], checkpointer=InMemorySaver())


@pytest.mark.clients
@pytest.mark.parametrize("make_graph", [chat_loop, agent])
def test_a_chat_keeps_every_reply(make_cache: MakeCache, make_graph: Callable[[Any], Any]) -> None:
    model = Talker(cache=make_cache())
    graph = make_graph(model)
    for thread in ("cold", "warm", "warmer"):
        cold = len(model.asked)
        messages = turns(graph, thread, 20)
        assert [type(message) for message in messages] == [HumanMessage, AIMessage] * 20
        for question, reply in zip(messages[::2], messages[1::2], strict=True):
            assert reply.content == f"You said: {question.content}"
        assert len({message.id for message in messages}) == 40
        if thread != "cold":
            assert len(model.asked) == cold, "the cache was cold"


@pytest.mark.clients
def test_without_fresh_ids_a_chat_loses_replies(make_cache: MakeCache) -> None:
    messages = turns(chat_loop(Talker(cache=make_cache(fresh_ids=False))), "one", 20)
    assert len(messages) == 20 + 5
