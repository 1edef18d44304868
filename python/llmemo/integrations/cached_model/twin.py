"""The plain model beside a cached one: of the class that was given, with the very same state.

A cached model asks the model by it. So what a model's methods call of their own goes past the
cache, and is looked up once: `_generate` may stream, `_astream` may run `_stream` in threads. And
what describes models for keys sees the class that the user knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

SLOT = "__llmemo_twin__"
"""The attribute of a cached model that has its twin, once it was asked for."""

STATE = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
"""What a Pydantic object is made of."""


def twin_of(model: BaseChatModel, plain: type[BaseChatModel]) -> BaseChatModel:
    """The plain model that shares its state with a cached one; always the same."""
    twin: BaseChatModel | None = getattr(model, SLOT, None)
    # Pydantic may put another dict in the place, when it validates an assignment.
    if twin is None or twin.__dict__ is not model.__dict__:
        twin = plain.__new__(plain)
        share(model, twin)
        object.__setattr__(model, SLOT, twin)
    return twin


def share(source: Any, target: Any) -> None:
    """Give an object the state of another one: not a copy of it."""
    for name in STATE:
        object.__setattr__(target, name, getattr(source, name))
