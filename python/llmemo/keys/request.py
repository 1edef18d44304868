"""A request: the two texts that LangChain gives a cache, and what the model that asks says beside them."""

from __future__ import annotations

import secrets
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.language_models import BaseChatModel

from llmemo._core import RequestBypassed, entries, settings
from llmemo.keys.description import Verdict, description_of, mark_of, verdict_of
from llmemo.keys.messages import objects_in
from llmemo.keys.model_class import CLIENT_PLACE, OBJECT, OPTION
from llmemo.keys.values import plain_describer

if TYPE_CHECKING:
    from llmemo.keys.caller import Caller

MARK = f"\0{secrets.token_hex(16)}"
"""Sets what memory knows a request by apart from any text that somebody could send."""

UNTOLD = "unknown_value"
"""Why a model whose settings cannot be told has no key."""


class Request(NamedTuple):
    """What is asked, of whom, and how."""

    prompt: str
    llm_string: str
    """LangChain's description of the model and the call; made again where that was stale."""
    supplement: bytes | None = None
    """What counts and is not in it; None if nobody saw the model."""
    mark: str = ""
    """Stands for the supplement in memory; empty if that is."""
    is_text: bool = False
    """Whether the prompt is a completion model's, which is sent it as it is."""
    objects: bool = False
    """Whether the supplement tells what the objects in the prompt hold."""
    changes: str = ""
    """Settings of the model that were changed while it answered."""
    bypass: RequestBypassed | None = None
    """Why it has no key, if the model showed that."""
    caller: Caller | None = None
    """Who asks."""
    description: bytes = b""
    """All settings of the model that count."""
    head: str = ""
    """What the text begins with, before the parameters of the call."""

    def name(self, schemas: dict[str, bytes] | None = None) -> str:
        """By what memory knows the model and the call; `schemas`: of the classes in the text."""
        mark = self.mark
        if self.is_text and self.prompt.lstrip()[:1] == "[":
            mark += "t"  # the same text as a list of messages is another request
        if not mark and schemas is None:
            return self.llm_string
        known = "" if schemas is None else sorted(schemas.items())
        return f"{self.llm_string}{MARK}{known}{MARK}{mark}"

    def resolved(self, bypass: RequestBypassed) -> Request | None:
        """The same request without the obstacle: what stands in the text as an object is told.

        None if nobody saw the object, or it cannot be told.
        """
        if self.caller is None or self.bypass is not None:
            return None
        _, parameter = bypass.args
        try:
            if parameter == "messages":
                return self._with_objects(self.caller)
            return self._with_options(self.caller)
        except RequestBypassed:
            return None

    def _with_objects(self, caller: Caller) -> Request | None:
        if self.objects or caller.messages is None:
            return None
        told = plain_describer.options(OBJECT, {"messages": list(objects_in(caller.messages))})
        return self._beside(told)._replace(objects=True)

    def _with_options(self, caller: Caller) -> Request | None:
        """With the parameters of the call that are no literals told beside the text."""
        parameters = _parameters(caller)
        if parameters is None:
            return None
        objects = {name: it for name, it in parameters.items() if not _is_literal(it)}
        if not objects:
            return None
        plain = {name: it for name, it in parameters.items() if name not in objects}
        text = self.head + str(sorted(plain.items()))
        if text == self.llm_string:
            return None
        return self._beside(plain_describer.options(OPTION, objects))._replace(llm_string=text)

    def _beside(self, told: bytes) -> Request:
        supplement = (self.supplement or b"") + told
        return self._replace(supplement=supplement, mark=mark_of(supplement))


def seen(caller: Caller, prompt: str, llm_string: str) -> Request:
    """The request of a caller that was seen."""
    is_text = caller.messages is None
    try:
        description = description_of(caller.model)
        verdict = verdict_of(caller.model, description)
        text = _fresh(verdict, caller, llm_string)
    except RequestBypassed as bypass:
        return Request(prompt, llm_string, b"", is_text=is_text, bypass=bypass)
    except Exception:  # noqa: BLE001 (models are users' classes, too)
        bypass = RequestBypassed(UNTOLD, type(caller.model).__name__)
        return Request(prompt, llm_string, b"", is_text=is_text, bypass=bypass)
    request = Request(
        prompt, text, verdict.supplement, verdict.mark, is_text,
        caller=caller, description=description, head=verdict.head or "",
    )  # fmt: skip
    if is_text and caller.options:
        # The text of a completion model has its own settings only.
        try:
            return request._beside(plain_describer.options(OPTION, caller.options))
        except RequestBypassed as bypass:
            return request._replace(bypass=bypass)
    return request


def _fresh(verdict: Verdict, caller: Caller, llm_string: str) -> str:
    """The text as LangChain would make it now."""
    if verdict.head is None:
        return llm_string
    for head in verdict.shown:
        if llm_string.startswith(head):
            tail = llm_string[len(head) :]
            return llm_string if head == verdict.head else verdict.head + tail
    parameters = {**caller.options, "stop": caller.stop}
    return verdict.head + str(sorted(parameters.items()))


def _parameters(caller: Caller) -> dict[str, Any] | None:
    """What the end of a text is made of: as LangChain does, in `_get_llm_string` and `generate`."""
    model, options = caller.model, caller.options
    if caller.parameters is not None:
        return caller.parameters
    if not isinstance(model, BaseChatModel):
        return {**_settings_of(model), "stop": caller.stop}
    if model.is_lc_serializable():
        return {**options, "stop": caller.stop}
    own = model._get_invocation_params(stop=caller.stop, **options)  # noqa: SLF001
    return {**own, **options}


def _settings_of(model: Any) -> dict[str, Any]:
    return {**model._identifying_params, "_type": model._llm_type}  # noqa: SLF001


def _is_literal(value: Any) -> bool:
    """Whether a text that holds this value says all of it."""
    try:
        settings(str([("value", value)]))
    except RequestBypassed:
        return False
    return True


# From a lookup to its update.


class Asked(NamedTuple):
    """What was looked up last in a context, and not found."""

    llm_string: str
    model: weakref.ref[Any]
    request: Request


_asked: ContextVar[Asked | None] = ContextVar("llmemo_asked", default=None)


def note(request: Request, llm_string: str) -> None:
    """A request was not found: its caller will ask the model."""
    if request.caller is not None:
        without = request._replace(caller=None)
        _asked.set(Asked(llm_string, weakref.ref(request.caller.model), without))


def answered(caller: Caller | None, prompt: str, llm_string: str) -> Request:
    """The request that is answered now: as it was looked up, if the model was changed since.

    Clients that were made in the meantime do not count: the first call makes some.
    """
    if caller is None:
        return Request(prompt, llm_string)
    request = seen(caller, prompt, llm_string)
    asked = _asked.get()
    if asked is None or asked.llm_string != llm_string or asked.model() is not caller.model:
        return request
    before = asked.request
    if before.description == request.description:
        return request
    old, new = (
        {(name, whole) for place, name, whole in entries(one.description) if place != CLIENT_PLACE}
        for one in (before, request)
    )
    if old == new:
        return before._replace(prompt=prompt, caller=caller)
    names = sorted({name for name, _ in old ^ new})
    return before._replace(prompt=prompt, changes=", ".join(names))
