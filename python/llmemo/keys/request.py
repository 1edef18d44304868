"""A request: the two texts that LangChain gives a cache, and what the model adds to them."""

from __future__ import annotations

import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from llmemo._core import RequestBypassed, entries, settings
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.keys.caller import caller_of, is_hidden
from llmemo.keys.memory_name import TEXT, memory_name
from llmemo.keys.model_class import Place
from llmemo.keys.model_description import mark_of, verdict_of
from llmemo.keys.objects_in_messages import objects_in
from llmemo.keys.values import plain_describer
from llmemo.langchain.model_classes import is_chat_model

if TYPE_CHECKING:
    from types import FrameType

    from llmemo.keys.caller import Caller

UNKNOWN_VALUE = "unknown_value"
"""Why a request has no key if a setting of its model cannot be told."""

HIDDEN_MODEL = "hidden_model"
"""Why a request has no key if another cache makes it, for a model that cannot be seen."""

MISSES_MAX = 8
"""Number of misses that a context remembers until their updates: models may call models."""


class Request(NamedTuple):
    """What is asked, of which model, and how."""

    prompt: str
    llm_string: str
    """LangChain's description of the model and the call, corrected where it was stale."""
    supplement: bytes | None = None
    """What counts and is not in the texts; None if the model was not seen."""
    mark: str = ""
    """A short name of the supplement, for memory; empty if the supplement is empty."""
    is_text: bool = False
    """Whether the prompt is a completion model's, which is sent it as it is."""
    objects: bool = False
    """Whether the supplement tells what the objects in the prompt hold."""
    caller: Caller | None = None
    """The call that asks, if it was seen."""
    description: bytes = b""
    """All settings of the model that count."""
    head: str = ""
    """The beginning of the text, before the parameters of the call."""
    given: str = ""
    """The text as LangChain gave it."""
    bypass: RequestBypassed | None = None
    """Why the request has no key, if the model showed that."""
    changes: str = ""
    """Names of the settings that changed while the model answered."""
    is_node: bool = False
    """Whether a node of a graph answers it: admission is about the answers of models."""

    def name(self, schemas: dict[str, bytes] | None = None) -> str:
        """What memory knows the model and the call by.

        Args:
            schemas: Digests of the classes in the text, if it names any.
        """
        mark = self.mark
        if self.is_text and self.prompt.lstrip()[:1] == "[":
            mark += TEXT  # the same text, read as messages, is another request
        if not mark and schemas is None:
            return self.llm_string
        return memory_name(self.llm_string, schemas, mark)

    def resolved(self, bypass: RequestBypassed) -> Request | None:
        """The same request, with the object that was the obstacle described in the supplement.

        None if the object was not seen, or cannot be told.
        """
        if self.caller is None:
            return None
        reason, parameter = bypass.args
        if reason == "unknown_class" and parameter in self.caller.options:
            return None  # `schemas` saw it, and could not tell it
        try:
            if parameter == "messages":
                return self._with_objects(self.caller)
            return self._with_parameters(self.caller)
        except RequestBypassed:
            return None

    def supplemented(self, place: Place, values: dict[str, Any]) -> Request:
        """The same request with these values told in the supplement.

        Raises:
            RequestBypassed: A value cannot be told.
        """
        supplement = (self.supplement or b"") + plain_describer.options(place, values)
        return self._replace(supplement=supplement, mark=mark_of(supplement))

    def _with_objects(self, caller: Caller) -> Request | None:
        if self.objects or caller.messages is None:
            return None
        told = {"messages": list(objects_in(caller.messages))}
        return self.supplemented(Place.OBJECT, told)._replace(objects=True)

    def _with_parameters(self, caller: Caller) -> Request | None:
        """Describe the parameters of the call that are no literals in the supplement.

        Classes among them are told as they are now, by the digests of their schemas.
        """
        parameters = _parameters(caller)
        objects = {name: it for name, it in parameters.items() if not _is_literal(it)}
        if not objects:
            return None
        plain = {name: it for name, it in parameters.items() if name not in objects}
        text = self.head + str(sorted(plain.items()))
        return self.supplemented(Place.OPTION, objects)._replace(llm_string=text)


def asked(frame: FrameType, prompt: str, llm_string: str) -> Request:
    """The request that is asked from this frame."""
    caller = caller_of(frame, prompt, llm_string)
    if caller is not None:
        return seen(caller, prompt, llm_string)
    return _unseen(frame, prompt, llm_string)


def _unseen(frame: FrameType, prompt: str, llm_string: str) -> Request:
    if is_hidden(frame, llm_string):
        return Request(prompt, llm_string, bypass=RequestBypassed(HIDDEN_MODEL, "_type"))
    return Request(prompt, llm_string)


def seen(caller: Caller, prompt: str, llm_string: str) -> Request:
    """The request of a call whose model was seen."""
    is_text = caller.messages is None
    try:
        verdict = verdict_of(caller.model)
        text = verdict.shows(llm_string)
        if text is None:
            text = f"{verdict.head}{sorted({**caller.options, 'stop': caller.stop}.items())}"
        request = Request(
            prompt,
            text,
            verdict.supplement,
            verdict.mark,
            is_text,
            caller=caller,
            description=verdict.description,
            head=verdict.head or "",
            given=llm_string,
        )
        if is_text and caller.options:
            # The text of a completion model has the model's own settings only.
            request = request.supplemented(Place.OPTION, caller.options)
    except RequestBypassed as bypass:
        return Request(prompt, llm_string, b"", bypass=bypass)
    except Exception as error:  # the model may be a user's class
        if is_interrupt(error):
            raise
        refusal = RequestBypassed(UNKNOWN_VALUE, type(caller.model).__name__)
        return Request(prompt, llm_string, b"", bypass=refusal)
    return request


def request_of(caller: Caller, prompt: str) -> Request:
    """The request of a call whose model is at hand: as `seen`, without LangChain's text."""
    return seen(caller, prompt, _text_of(caller))


def _text_of(caller: Caller) -> str:
    """The text that LangChain would give a cache, or what `seen` takes for it."""
    try:
        head = verdict_of(caller.model).head
        if head is not None:
            return f"{head}{sorted({**caller.options, 'stop': caller.stop}.items())}"
        return caller.model._get_llm_string(stop=caller.stop, **caller.options)  # type: ignore[attr-defined,no-any-return] # noqa: SLF001
    except Exception as error:  # `seen` will say what it is
        if is_interrupt(error):
            raise
        return ""


def _parameters(caller: Caller) -> dict[str, Any]:
    """What the end of a text is made of, as `_get_llm_string` and `generate` of LangChain do."""
    model, options = caller.model, caller.options
    if not is_chat_model(model):
        if caller.parameters is not None:
            return caller.parameters
        own = {**model._identifying_params, "_type": model._llm_type}  # type: ignore[attr-defined] # noqa: SLF001
        return {**own, "stop": caller.stop}
    if model.is_lc_serializable():
        return {**options, "stop": caller.stop}
    return {**model._get_invocation_params(stop=caller.stop, **options), **options}  # noqa: SLF001


def _is_literal(value: Any) -> bool:
    """Whether a text with this value in it says all of the value."""
    text = str([("value", value)])
    try:
        settings(text)
    except RequestBypassed:
        return False
    return "<class '" not in text


# From a lookup to its update.


class Missed(NamedTuple):
    """A request that was not found: its caller asks the model now."""

    model: weakref.ref[Any]
    request: Request

    def is_of(self, caller: Caller, llm_string: str) -> bool:
        """Whether it is of this model and this text."""
        return self.request.given == llm_string and self.model() is caller.model


_missed: ContextVar[tuple[Missed, ...]] = ContextVar("llmemo_missed", default=())
"""The last misses of this context, one for each model and text, the newest first."""


def remember(request: Request) -> None:
    """Remember a request that was not found until its update."""
    caller = request.caller
    if caller is not None:
        others = (it for it in _missed.get() if not it.is_of(caller, request.given))
        kept = request._replace(prompt="", caller=None)
        _missed.set((Missed(weakref.ref(caller.model), kept), *others)[:MISSES_MAX])


def answered(frame: FrameType, prompt: str, llm_string: str) -> Request:
    """The request that an update answers.

    If the model changed since the lookup, this is the request that was looked up, with `changes`.
    Clients that were made since do not count: the first call makes some.
    """
    caller = caller_of(frame, prompt, llm_string)
    if caller is None:
        return _unseen(frame, prompt, llm_string)
    request = seen(caller, prompt, llm_string)
    missed = (it.request for it in _missed.get() if it.is_of(caller, llm_string))
    return unchanged(next(missed, request), request)


def unchanged(before: Request, request: Request) -> Request:
    """The request as it was when it was looked up, if its model has changed: with `changes`."""
    if before.description == request.description:
        return request
    old, new = (
        {(it.name, it.whole) for it in entries(one.description) if it.place != Place.CLIENT}
        for one in (before, request)
    )
    changes = ", ".join(sorted({name for name, _ in old ^ new}))
    return before._replace(prompt=request.prompt, caller=request.caller, changes=changes)
