"""The name of a certificate: which embedder and which judge it speaks of.

A certificate holds for one embedder, one judge and one promise. When one of them changes, its name
changes, and the checks begin again. So what is left out here has to be what no vector and no
verdict depends on; what is told without need costs some checks.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import hashlib
import itertools
import json
import re
import types
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from llmemo.introspection.type_signature import mro_of, vars_of
from llmemo.keys.stand_ins import kind_of
from llmemo.semantic.judges import LLMJudge, same_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from llmemo.semantic.settings import Semantic

DEPTH_MAX = 4
"""Embeddings within embeddings, lists within lists: what is nested deeper is left out."""

SMALL = 64
"""Items of a list or dict that is still a setting. A larger one is data."""

_SECRET = re.compile(
    "secret|password|passwd|credential|authorization|cookie"
    "|(?:access|account|api|auth|client|encryption|private|service|signing|ssh|subscription)"
    "_?key(?:_?id)?$"
    "|(?:access|api|auth|bearer|hf|hub|refresh|session|(?:^|_)(?:ad|id))_?token$"
    "|^(?:key|token)$",
    re.IGNORECASE,
)
"""Names of what signs a request in. Another key makes the same vectors. Not of settings that end in
`key` or `token` otherwise: a `model_key`, a `pad_token`."""

_TRANSPORT = {
    "batch_size", "cache_folder", "callbacks", "chunk_size", "max_concurrency", "max_retries",
    "request_timeout", "retry_max_seconds", "retry_min_seconds", "show_progress",
    "show_progress_bar", "timeout", "verbose",
}  # fmt: skip
"""Names of how requests are sent, and how many texts in each."""


class _LeftOut:
    """Stands for a value that cannot be told."""


_LEFT_OUT = _LeftOut()


def identity(semantic: Semantic) -> bytes:
    """A digest that names a certificate: of embedder, judge, and promise. 16 bytes.

    It is the same in every process. Secrets are left out, and so is what is no plain value.
    """
    told = [
        _of_object(semantic.embeddings, DEPTH_MAX),
        _of_judge(semantic.judge),
        _of_function(semantic.question, DEPTH_MAX),
        [float(semantic.max_error), float(semantic.confidence), float(semantic.min_score)],
    ]
    text = json.dumps(told, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16, person=b"llmemo semantic").digest()


def identity_of_vectors(semantic: Semantic) -> bytes:
    """A digest that names an embedder, and what finds its questions, as `identity` does.

    Vectors of two are never compared. What one function leaves out of a question may be what
    another answer hangs on.
    """
    told = [
        _of_object(semantic.embeddings, DEPTH_MAX),
        _of_function(semantic.question, DEPTH_MAX),
    ]
    text = json.dumps(told, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16, person=b"llmemo embedder").digest()


def _of_object(value: object, depth: int) -> list[Any]:
    """The class of an object, and its settings."""
    return [kind_of(type(value)), _of_settings(dict(_settings(value)), depth)]


def _settings(value: object) -> Iterator[tuple[str, object]]:
    """The attributes of an object, by way of no code of its class."""
    members = [vars_of(base) for base in reversed(mro_of(type(value)))]
    for name, member in itertools.chain.from_iterable(each.items() for each in members):
        if type(member) is types.MemberDescriptorType:  # of `__slots__`
            yield name, getattr(value, name, _LEFT_OUT)
        elif not isinstance(value, BaseModel) and not name.startswith("__"):
            yield name, member
    with contextlib.suppress(AttributeError):  # it has slots only
        yield from dict(object.__getattribute__(value, "__dict__")).items()
    if isinstance(value, BaseModel):
        yield from (value.__pydantic_extra__ or {}).items()


def _of_settings(settings: dict[Any, object], depth: int) -> dict[str, Any]:
    told = {
        name: _of_value(value, depth - 1)
        for name, value in settings.items()
        if isinstance(name, str) and not _SECRET.search(name) and name not in _TRANSPORT
    }
    # None: not set. A client may take its place at the first call.
    return {name: value for name, value in told.items() if value not in (None, _LEFT_OUT)}


def _of_value(value: object, depth: int) -> Any:
    """A value as JSON has it, `_LEFT_OUT` if it is not plain. Embeddings are told as a whole."""
    found: Any = _LEFT_OUT
    if isinstance(value, enum.Enum):
        found = value.name
    elif value is None or isinstance(value, (str, float)):
        found = value
    elif isinstance(value, int):
        found = value if abs(value) < 1 << 64 else _LEFT_OUT
    elif depth <= 0 or isinstance(value, type):
        pass
    elif isinstance(value, dict):
        found = _of_settings(value, depth) if len(value) <= SMALL else _LEFT_OUT
    elif isinstance(value, (list, tuple)):
        if len(value) <= SMALL:
            items = (_of_value(item, depth - 1) for item in value)
            found = [item for item in items if item is not _LEFT_OUT]
    elif _is_embeddings(value):
        found = _of_object(value, depth)
    return found


def _is_embeddings(value: object) -> bool:
    return any("embed_documents" in vars_of(base) for base in mro_of(type(value)))


def _of_judge(judge: Callable[..., Any] | None) -> Any:
    judged: Any = same_answer if judge is None else judge
    if isinstance(judged, LLMJudge):
        return [kind_of(type(judged)), judged.prompt, _of_model(judged.model)]
    return _of_function(judged, DEPTH_MAX)


def _of_function(it: Any, depth: int) -> Any:
    """What a function does: its code, and the plain values and functions that it has hold of."""
    found: Any = None
    if it is None or depth <= 0:
        pass
    elif isinstance(it, functools.partial):
        values = [*it.args, *itertools.chain.from_iterable(it.keywords.items())]
        found = [_of_function(it.func, depth - 1), _of_held(values, depth)]
    elif isinstance(it, types.MethodType):
        found = [_of_function(it.__func__, depth - 1), _of_object(it.__self__, depth)]
    elif isinstance(it, types.FunctionType):
        held = [*(it.__defaults__ or ()), *(it.__kwdefaults__ or {}).values()]
        for cell in it.__closure__ or ():
            with contextlib.suppress(ValueError):  # not set yet
                held.append(cell.cell_contents)
        found = [f"{it.__module__}.{it.__qualname__}", _of_code(it.__code__)]
        found.append(_of_held(held, depth))
    elif isinstance(getattr(it, "__qualname__", None), str):  # in C, or a class
        found = f"{getattr(it, '__module__', '')}.{it.__qualname__}"
    else:
        call = next(
            (vars_of(base)["__call__"] for base in mro_of(type(it)) if "__call__" in vars_of(base)),
            None,
        )
        found = [_of_object(it, depth), _of_function(call, depth - 1)]
    return found


def _of_held(values: Iterable[object], depth: int) -> list[Any]:
    told = [
        _of_function(it, depth - 1) if callable(it) else _of_value(it, depth - 1) for it in values
    ]
    return [None if it is _LEFT_OUT else it for it in told]


def _of_code(code: types.CodeType) -> list[Any]:
    """Bytecode, the names in it, and its constants. The same for the same Python and source."""
    constants = [
        _of_code(it)
        if isinstance(it, types.CodeType)
        else sorted(map(repr, it))  # the order of a set changes
        if isinstance(it, frozenset)
        else repr(it)
        for it in code.co_consts
    ]
    return [code.co_code.hex(), [*code.co_names, *code.co_varnames, *code.co_freevars], constants]


def _of_model(model: object) -> list[Any]:
    """The class of a model, and its name. Of one with bound arguments the model inside."""
    inner = getattr(model, "bound", model)
    name = getattr(inner, "model_name", None) or getattr(inner, "model", None)
    return [kind_of(type(inner)), name if isinstance(name, str) else None]
