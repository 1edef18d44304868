"""Whether an object is a model of LangChain's, without importing LangChain's models.

They import `langsmith` and its HTTP clients, which takes longer than everything else that llmemo
imports. An object is an instance of a class only once the module of the class has been imported.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from typing_extensions import TypeIs

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel, BaseLanguageModel
    from langchain_core.language_models.llms import BaseLLM


def is_model(value: object) -> TypeIs[BaseLanguageModel[Any]]:
    """Whether it is a chat model, or a completion model."""
    return _is_instance(value, "langchain_core.language_models.base", "BaseLanguageModel")


def is_chat_model(value: object) -> TypeIs[BaseChatModel]:
    """Whether it is a chat model."""
    return _is_instance(value, "langchain_core.language_models.chat_models", "BaseChatModel")


def is_completion_model(value: object) -> TypeIs[BaseLLM]:
    """Whether it is a completion model."""
    return _is_instance(value, "langchain_core.language_models.llms", "BaseLLM")


def _is_instance(value: object, module: str, name: str) -> bool:
    # Looked up each time: the module may be imported later, and may have no such class until then.
    cls = getattr(sys.modules.get(module), name, None)
    return cls is not None and isinstance(value, cls)
