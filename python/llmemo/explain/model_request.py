"""The request that `model.invoke(input)` asks a cache for, without calling the model.

Read off `BaseChatModel.generate` and `BaseLLM.generate` of langchain-core 1.0 to 1.8, up to where
they ask: no callback manager is made, so no handler and no tracer is told of it, and no rate
limiter is asked. The rest is what a lookup does with the model that it finds in the calling frame.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.load import dumps

from llmemo.keys.caller import Caller
from llmemo.keys.request import request_of, seen
from llmemo.langchain.model_classes import is_chat_model, is_completion_model, is_model
from llmemo.langchain.model_runs import begin_own
from llmemo.langchain.only_mode import CACHING

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable, RunnableConfig

    from llmemo.keys.request import Request

USAGE = (
    "give explain(model, input), as model.invoke(input) takes them, or explain(prompt, llm_string)"
)

FOR_TRACES = ("ls_structured_output_format", "structured_output_format")
"""Options of a call that LangChain takes out before it asks a cache."""

LATE = ("langchain.chat_models.base", "langchain_classic.chat_models.base")
"""Modules of `init_chat_model`, which may make a model at each call."""

DEEPEST = 64
"""Most runnables around a model."""


class Question(NamedTuple):
    """What a model is asked, and how."""

    model: Any
    input: Any
    options: dict[str, Any]


def is_runnable(value: object) -> bool:
    """Whether it may have a model in it."""
    return callable(getattr(value, "invoke", None)) and not isinstance(value, type)


def request_to(runnable: Runnable[Any, Any], given: object) -> Request:
    """The request of a model, of what is bound to it, or of the model in a chain.

    To be called in a context of its own: it leaves a run open there.

    Raises:
        TypeError: There is no model in it, or its input cannot be known; or no input of a model.
    """
    model, given, options = _model_in(runnable, given)
    stop = options.pop("stop", None)
    try:
        prompt = model._convert_input(given)  # noqa: SLF001 (as `invoke` of LangChain does)
    except (TypeError, ValueError, NotImplementedError) as error:
        msg = f"an input of type {type(given).__name__} is not for a model ({error}): {USAGE}"
        raise TypeError(msg) from error
    if is_chat_model(model):
        return _chat(model, prompt.to_messages(), stop, options)
    return _completion(model, prompt.to_string(), stop, options)


def _chat(model: Any, messages: list[Any], stop: Any, options: dict[str, Any]) -> Request:
    from langchain_core.language_models._utils import _normalize_messages  # noqa: PLC0415

    caching = getattr(type(model), CACHING, None)
    if caching is not None:
        model = caching.plain_of(model)
    options = {name: it for name, it in options.items() if name not in FOR_TRACES}
    # The classes among the parameters are looked for in the innermost run.
    begin_own(model._get_invocation_params(stop=stop, **options))  # noqa: SLF001
    messages = _normalize_messages(messages)
    text = dumps(
        [
            it if getattr(it, "id", None) is None else it.model_copy(update={"id": None})
            for it in messages
        ]
    )
    return request_of(Caller(model, options, stop, messages, None), text)


def _completion(model: Any, prompt: str, stop: Any, options: dict[str, Any]) -> Request:
    # langchain-core 1.4 renamed it.
    tell = getattr(model, "_dict_for_compat", None) or model.dict
    parameters = {**tell(), "stop": stop}
    begin_own(parameters)
    caller = Caller(model, options, stop, None, parameters)
    return seen(caller, prompt, str(sorted(parameters.items())))


def _model_in(runnable: Any, given: Any) -> Question:
    """The model that a runnable asks first, its input, and the options that are bound to it.

    Raises:
        TypeError: There is none, or something before it would have to run.
    """
    options: dict[str, Any] = {}
    config: RunnableConfig | None = None
    for _ in range(DEEPEST):
        if is_chat_model(runnable) or is_completion_model(runnable):
            return Question(runnable, given, options)
        runnable, given, more, config = _next(runnable, given, config)
        options = {**more, **options}
    raise _no_model(runnable)


def _next(
    runnable: Any, given: Any, config: RunnableConfig | None
) -> tuple[Any, Any, dict[str, Any], RunnableConfig | None]:
    """What a runnable gives its input to, with what it adds."""
    from langchain_core.runnables import (  # noqa: PLC0415 (takes long)
        RunnableParallel,
        RunnableSequence,
        RunnableWithFallbacks,
    )
    from langchain_core.runnables.base import RunnableBindingBase  # noqa: PLC0415
    from langchain_core.runnables.configurable import DynamicRunnable  # noqa: PLC0415

    if isinstance(runnable, RunnableBindingBase):
        merged = runnable._merge_configs(config)  # noqa: SLF001
        return runnable.bound, given, dict(runnable.kwargs), merged
    if isinstance(runnable, DynamicRunnable):
        return (*_prepared(runnable, given, config),)
    if isinstance(runnable, RunnableSequence):
        return *_first_in(runnable.steps, given), {}, config
    if isinstance(runnable, RunnableWithFallbacks):
        return runnable.runnable, given, {}, config
    if isinstance(runnable, RunnableParallel):
        steps = list(runnable.steps__.values())
        if len(steps) == 1:
            return steps[0], given, {}, config
    late = (getattr(sys.modules.get(it), "_ConfigurableModel", ()) for it in LATE)
    if any(isinstance(runnable, it) for it in late):
        return runnable._model(config), given, {}, config  # noqa: SLF001
    raise _no_model(runnable)


def _prepared(
    runnable: Any, given: Any, config: RunnableConfig | None
) -> tuple[Any, Any, dict[str, Any], RunnableConfig | None]:
    chosen, merged = runnable.prepare(config)
    return chosen, given, {}, merged


def _first_in(steps: list[Any], given: Any) -> tuple[Any, Any]:
    """The first step that is no prompt, and its input."""
    from langchain_core.prompts import BasePromptTemplate  # noqa: PLC0415 (takes long)

    for step in steps:
        if not isinstance(step, BasePromptTemplate):
            return step, given
        given = step._format_prompt_with_error_handling(given)  # noqa: SLF001
    raise _no_model(steps[-1])


def _no_model(runnable: object) -> TypeError:
    name = type(runnable).__name__
    if is_model(runnable):
        return TypeError(f"{name} is a model that asks no cache: {USAGE}")
    return TypeError(
        f"explain cannot tell what {name} asks a model without running it: {USAGE}; or run it"
        " within track(), and call explain() of the events"
    )
