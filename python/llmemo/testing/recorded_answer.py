"""An answer as JSON, and back: as readable as is possible without loss.

A generation is written as its class and the fields that were set. What JSON has no form for is
tagged (`{"$bytes": "…"}`). An instance of a Pydantic class of the user's (`with_structured_output`)
names its class, which is never imported for it. What has no readable form at all is kept in
llmemo's own value format, beside a summary.
"""

from __future__ import annotations

import base64
import json
import math
from typing import TYPE_CHECKING, Any

import langchain_core.messages
import langchain_core.outputs
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, Generation
from pydantic import BaseModel

from llmemo._core import ValueDamaged, ValueRefused, ValueUnknown, decode, encode
from llmemo.codec.classes import MODEL, Classes, record_of
from llmemo.testing.json_text import written

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo.testing.redaction import Redaction

Json = Any

MARK = "$"


class NotReadableError(ValueError):
    """There is no readable form; or what was read is no answer."""


class ClassMissingError(NotReadableError):
    """It holds an instance of a class that is not loaded, or not the same: it may be later."""


def to_json(value: bytes, key: bytes, redaction: Redaction) -> Json:
    """An answer in the value format as JSON, without secrets.

    Raises:
        NotReadableError: It holds a secret, and has no readable form without.
    """
    generations = decode(value, key)
    try:
        plain = [model_json(generation) for generation in generations]
        clean = redaction.answer(plain)
        # As it is read from the file: JSON joins two halves of a character, for example.
        again = from_json(json.loads(written(clean)), key)
    except (NotReadableError, ValueError, RecursionError):
        clean = again = None
    # Encoded again, since one answer may have two encodings (objects that are the same, or equal).
    if again is not None and (clean != plain or again == encode(generations, key)):
        return clean
    if redaction.held_by([repr(generations), value.decode("latin-1")]):
        msg = "it holds a secret"
        raise NotReadableError(msg)
    return {
        "summary": [redaction.text(generation.text)[:200] for generation in generations],
        "encoded": base64.b64encode(value).decode(),
    }


def from_json(answer: Json, key: bytes) -> bytes:
    """The answer of a line in the value format.

    Raises:
        ClassMissingError: A class of the user's is not here.
        NotReadableError: It is none, or an encoded answer of another request.
    """
    try:
        if isinstance(answer, dict):
            value = base64.b64decode(answer["encoded"], validate=True)
            decode(value, key)
            return value
        return encode([built(each, Generation) for each in answer], key)
    except NotReadableError:
        raise
    except ValueUnknown as error:
        raise ClassMissingError(str(error.args[0])) from error
    except (ValueDamaged, ValueRefused) as error:
        reason = str(error.args[0])
        raise NotReadableError(reason) from error
    except Exception as error:  # a class of LangChain's may refuse a value in any way
        raise NotReadableError(type(error).__name__) from error


def _classes() -> dict[str, type[BaseModel]]:
    return {
        name: found
        for module in (langchain_core.messages, langchain_core.outputs)
        for name in module.__all__
        if isinstance(found := getattr(module, name), type)
        and issubclass(found, BaseMessage | Generation)
    }


def model_json(value: BaseModel) -> Json:
    """A message or a generation as JSON.

    Raises:
        NotReadableError: It is of a class that is not LangChain's.
    """
    name = type(value).__name__
    if _classes().get(name) is not type(value):
        raise NotReadableError(name)
    unset = {"text"} if isinstance(value, ChatGeneration) else set()
    held = {**value.__dict__, **(value.__pydantic_extra__ or {})}
    fields = {
        field: model_json(held[field]) if _is_message(field, held[field]) else _plain(held[field])
        for field in held
        if field in value.model_fields_set and field not in unset
    }
    return {name: fields}


def _is_message(field: str, value: object) -> bool:
    """Whether it is the message of a generation, which is written without a tag."""
    return field == "message" and isinstance(value, BaseMessage)


def _plain(value: Any) -> Json:
    kind = type(value)
    if value is None or kind in {bool, int, str} or (kind is float and math.isfinite(value)):
        return value
    if kind is list:
        return [_plain(each) for each in value]
    if kind is dict and all(type(name) is str and not name.startswith(MARK) for name in value):
        return {name: _plain(each) for name, each in value.items()}
    if kind in _TAGGED:
        tag, write = _TAGGED[kind]
        return {tag: write(value)}
    if isinstance(value, BaseMessage | Generation):
        return {"$object": model_json(value)}
    if isinstance(value, BaseModel):
        return {"$instance": _instance(value)}
    raise NotReadableError(kind.__name__)


def _instance(value: BaseModel) -> Json:
    record = record_of(type(value))
    if record is None or record.kind != MODEL:
        raise NotReadableError(type(value).__name__)
    module, name, digest = record.name
    fields = {
        name: _plain(each)
        for name, each in value.__dict__.items()
        if name in value.model_fields_set
    }
    return {"class": [module, name], "digest": digest.hex(), "fields": fields}


def _built_instance(parts: Json) -> BaseModel:
    module, name = parts["class"]
    cls = Classes().find(MODEL, module, name, bytes.fromhex(parts["digest"]))
    built: BaseModel = cls(**{field: _value(each) for field, each in parts["fields"].items()})
    return built


_TAGGED: dict[type, tuple[str, Callable[[Any], Json]]] = {
    float: ("$float", repr),
    bytes: ("$bytes", lambda value: base64.b64encode(value).decode()),
    tuple: ("$tuple", lambda value: [_plain(each) for each in value]),
    dict: ("$dict", lambda value: [[_plain(name), _plain(it)] for name, it in value.items()]),
}
"""What JSON has no form for."""


def built(parts: Json, kind: type) -> Any:
    """What `model_json` was given, of this class.

    Raises:
        NotReadableError: It is of another class.
    """
    ((name, fields),) = parts.items()
    cls = _classes().get(name)
    if cls is None or not issubclass(cls, kind):
        raise NotReadableError(name)
    own = {"message"} if issubclass(cls, ChatGeneration) else set()
    return cls(
        **{
            field: built(each, BaseMessage) if field in own else _value(each)
            for field, each in fields.items()
        }
    )


def _value(value: Json) -> Any:
    if isinstance(value, list):
        return [_value(each) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((name, inner),) = value.items()
        if name in _TAGS:
            return _TAGS[name](inner)
    return {name: _value(each) for name, each in value.items()}


_TAGS: dict[str, Callable[[Json], Any]] = {
    "$float": float,
    "$bytes": lambda inner: base64.b64decode(inner, validate=True),
    "$tuple": lambda inner: tuple(_value(each) for each in inner),
    "$dict": lambda inner: {_value(name): _value(each) for name, each in inner},
    "$instance": _built_instance,
    "$object": lambda inner: built(inner, BaseModel),
}
