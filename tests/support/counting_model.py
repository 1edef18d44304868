"""A chat model that counts its calls, and answers each with another text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import Runnable


class CountingModel(BaseChatModel):
    """`calls` has an item for each call, also of its copies."""

    temperature: float = 0.0
    calls: list[int] = Field(default_factory=list)

    @property
    @override
    def _llm_type(self) -> str:
        return "counting"

    @property
    @override
    def _identifying_params(self) -> dict[str, Any]:
        return {"temperature": self.temperature}

    @override
    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.calls.append(len(messages))
        message = AIMessage(f"answer {len(self.calls)}")
        return ChatResult(generations=[ChatGeneration(message=message)])

    @override
    def bind_tools(  # type: ignore[override]
        self, tools: Sequence[Callable[..., Any]], **kwargs: Any
    ) -> Runnable[Any, AIMessage]:
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)
