"""A question to a model: what `_generate`, `_stream` and their like are called with."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeAlias

from llmemo.integrations.cached_model.chunks import CHUNKS, Chunks

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage

    from llmemo.integrations.cached_model.events import Events

Form: TypeAlias = "Chunks | Events"
"""What a stream consists of."""


class Question:
    """What a model is asked, and how."""

    __slots__ = ("form", "messages", "model", "options", "run_manager", "stop", "traced")

    def __init__(  # noqa: PLR0917 (as LangChain gives them)
        self,
        model: BaseChatModel,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: Any,
        options: dict[str, Any],
        form: Form = CHUNKS,
    ) -> None:
        """Arguments as for `_generate`. `model`: the plain one; `form`: of a stream."""
        self.traced = run_manager
        """The run that traces show, which LangChain may not have given on."""
        self.form = form
        self.model = model
        self.messages = messages
        self.stop = stop
        self.run_manager = run_manager
        self.options = options

    def ask(self, method: str) -> Any:
        """Call a method of the plain model: `_generate`, `_stream` and their like."""
        run = self.run_manager
        # As LangChain does: a stream's run is given on to whatever takes options.
        is_told = run is not None if "stream" in method else _takes_run(type(self.model), method)
        known = {"run_manager": run} if is_told else {}
        return getattr(self.model, method)(self.messages, stop=self.stop, **known, **self.options)

    def ask_untold(self, method: str) -> Any:
        """As `ask`. The run is not told of tokens: each reader tells its own."""
        return getattr(self.model, method)(self.messages, stop=self.stop, **self.options)


@functools.lru_cache(maxsize=512)
def _takes_run(cls: type, method: str) -> bool:
    """Whether a method wants to know the run."""
    parameters = inspect.signature(getattr(cls, method)).parameters
    return "run_manager" in parameters
