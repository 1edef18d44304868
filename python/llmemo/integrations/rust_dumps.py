"""LangChain's `dumps` of messages in Rust, where it gives the very same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.messages import HumanMessage

from llmemo._core import Dumps
from llmemo.integrations.sample_messages import samples

if TYPE_CHECKING:
    from collections.abc import Callable

USER = "langchain_core.language_models.chat_models"
"""The module that serialises messages for a cache. Importing it takes longer than importing
llmemo, so it is imported when it is needed."""


def trial(own: Callable[..., str]) -> Dumps | None:
    """A Rust function in the place of `own`, if it gives the same for every kind of message."""
    try:
        escapes = "__lc_escaped__" in own([HumanMessage("", additional_kwargs={"lc": 1})])
        candidate = Dumps(own, escapes=escapes)
        is_same = all(candidate([sample]) == own([sample]) for sample in samples())
    except Exception:  # noqa: BLE001 (whatever another version does)
        return None
    return Dumps(own, escapes=escapes) if is_same and not candidate.fallbacks else None
