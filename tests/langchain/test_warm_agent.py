"""The second run of an agent makes no model call: in memory, in SQLite, in another process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from support import TESTS

from llmemo import LLMCache

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeCache = Callable[..., LLMCache]

agents = pytest.importorskip("langchain.agents")
pytestmark = pytest.mark.clients


def weather(city: str) -> str:
    """Weather of a city."""
    return f"rain in {city}"


def clock(city: str) -> str:
    """Time in a city."""
    return f"noon in {city}"


def called(name: str, number: int) -> AIMessage:
    return AIMessage(
        "",
        tool_calls=[{"name": name, "args": {"city": "Oslo"}, "id": f"call_{number}"}],
        usage_metadata={"input_tokens": 5, "output_tokens": 7, "total_tokens": 12},
    )


class ThreeCalls(GenericFakeChatModel):
    """Asks for two tools, one after the other, and answers; counts how often it is asked."""

    asked: list[int] = []  # noqa: RUF012 (Pydantic copies it)

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
        self.asked.append(1)
        script = [called("weather", 1), called("clock", 2), AIMessage("Rain at noon.")]
        step = sum(isinstance(message, AIMessage) for message in messages)
        self.messages = iter([script[step]])
        return super()._generate(messages, *args, **kwargs)


def run(cache: LLMCache) -> tuple[int, str]:
    """An agent's run: how often its model was asked, and what it said in the end."""
    model = ThreeCalls(messages=iter([]), cache=cache)
    agent = agents.create_agent(model, [weather, clock])
    result = agent.invoke({"messages": [HumanMessage("How is Oslo?")]})
    replies = [message for message in result["messages"] if isinstance(message, AIMessage)]
    assert len(replies) == 3
    return len(model.asked), str(replies[-1].content)


def test_run_two_is_warm(make_cache: MakeCache) -> None:
    cache = make_cache()
    assert run(cache) == (3, "Rain at noon.")
    for _ in range(3):
        assert run(cache) == (0, "Rain at noon.")
    assert cache.stats().bypassed == cache.stats().skipped == cache.stats().errors == {}


def test_another_process_is_warm(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    with LLMCache(path) as cache:
        assert run(cache)[0] == 3
    program = f"""
import sys
sys.path[:0] = {[str(TESTS), str(Path(__file__).parent)]!r}
import test_warm_agent
from llmemo import LLMCache
with LLMCache({str(path)!r}) as cache:
    print(test_warm_agent.run(cache))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert (result.stdout.strip(), result.returncode) == ("(0, 'Rain at noon.')", 0), result.stderr
