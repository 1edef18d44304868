"""The frame of LangChain's that asks a cache, and the model in it.

A cache is told two texts. The call comes from LangChain's own code, whose `self` is the model: for
chat models the frame that calls `lookup` or awaits `alookup`, for completion models the one above
it, which also has the options of the call. Seen on langchain-core 1.0 to 1.8, sync and async. A
frame counts only if it holds the very text objects that were given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.caches import BaseCache

from llmemo.langchain.model_classes import is_chat_model, is_completion_model

if TYPE_CHECKING:
    from types import FrameType

    from langchain_core.language_models import BaseLanguageModel

CHAT = frozenset({"_generate_with_cache", "_agenerate_with_cache"})
"""Methods of `BaseChatModel` that ask a cache and tell it."""

COMPLETION = frozenset({"get_prompts", "aget_prompts", "update_cache", "aupdate_cache"})
"""Functions that `BaseLLM.generate` and `agenerate` ask and tell a cache by."""

PASSING = frozenset({"lookup", "alookup", "update", "aupdate"})
"""Methods of a cache of the user's that stands between LangChain and this one."""

RUNNING = CHAT | {"stream", "astream", "_iter_v2_events", "_aiter_v2_events"}
"""Methods of `BaseChatModel` that call the model for a run."""

THREAD = "run"
"""The function of `concurrent.futures.thread` that runs what was given to a thread."""

ASKING = CHAT | COMPLETION | PASSING | {THREAD}
"""Names of the functions from which LangChain asks, directly or not."""


class Caller(NamedTuple):
    """The call that asks, as far as LangChain's frame tells."""

    model: BaseLanguageModel[Any]
    options: dict[str, Any]
    """Of the call: what was bound, or given to `invoke`."""
    stop: Any
    messages: list[Any] | None
    """What a chat model is asked; None of a completion model."""
    parameters: dict[str, Any] | None
    """What the text of a completion model was made of, where that is at hand."""
    run: Any = None
    """The manager of the call's run; None if none has begun: completion models ask before."""


def caller_of(frame: FrameType | None, prompt: str, llm_string: str) -> Caller | None:
    """The call that asks from this frame; None if that is not LangChain."""
    while frame is not None and frame.f_code.co_name in PASSING:
        frame = frame.f_back
    if frame is None:
        return None
    name = frame.f_code.co_name
    if name in CHAT:
        return _chat(frame.f_locals, prompt, llm_string)
    return _completion(frame, prompt, llm_string) if name in COMPLETION else None


def run_of(frame: FrameType) -> Any:
    """The manager of the run for which LangChain calls a model's own method from this frame.

    It does not give it on to `_stream`. None if that is not LangChain.
    """
    if frame.f_code.co_name not in RUNNING:
        return None
    return frame.f_locals.get("run_manager")


def is_hidden(frame: FrameType, llm_string: str) -> bool:
    """Whether another cache asks, from another thread or with another text: the model is not seen.

    Only where the text is a model's own list of settings, and it is not known how thin that is.
    """
    if "('_type', " not in llm_string:
        return False
    if frame.f_code.co_name == THREAD:
        return str(frame.f_globals.get("__name__")).startswith("concurrent.futures")
    return frame.f_code.co_name in PASSING and isinstance(frame.f_locals.get("self"), BaseCache)


def _chat(held: dict[str, Any], prompt: str, llm_string: str) -> Caller | None:
    model = held.get("self")
    is_it = held.get("llm_string") is llm_string and held.get("prompt") is prompt
    if not is_it or not is_chat_model(model):
        return None
    run = held.get("run_manager")
    return Caller(model, held["kwargs"], held["stop"], held["messages"], None, run)


def _completion(frame: FrameType, prompt: str, llm_string: str) -> Caller | None:
    held = frame.f_locals
    if held.get("llm_string") is not llm_string or held.get("prompt") is not prompt:
        return None
    above = frame.f_back
    if above is None or above.f_code.co_name not in {"generate", "agenerate"}:
        return None
    outer = above.f_locals
    model = outer.get("self")
    if not is_completion_model(model):
        return None
    return Caller(model, outer["kwargs"], outer["stop"], None, held.get("params"))
