"""Digests of the schemas of classes that an `llm_string` names.

`with_structured_output(Answer, method="json_schema")` puts `<class '__main__.Answer'>` into the
`llm_string`: a name that may be another class's tomorrow, or already is. The class itself is among
the invocation parameters of the open model run (`model_runs`). No class is imported by its name.

No schema is remembered, since it may depend on anything (docstrings, mutable settings, a database):
each lookup computes it again, as each request of a client does.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import weakref
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, TypeAdapter
from typing_extensions import is_typeddict

from llmemo.concurrency.interrupts import is_interrupt
from llmemo.introspection.type_signature import is_foreign, mro_of, name_of, text_of, vars_of
from llmemo.langchain.model_runs import Run, open_runs

if TYPE_CHECKING:
    from collections.abc import Iterator


DEPTH_MAX = 32
"""Deepest nesting of parameters that are searched for classes."""

_OTHER_FORMS = (
    "alias", "validation_alias", "serialization_alias", "serialization", "computed_fields",
)  # fmt: skip
"""Parts of a schema for which the other modes, or `by_alias=False`, say more than the usual one."""

_MODEL_SCHEMA = BaseModel.model_json_schema.__func__  # type: ignore[attr-defined]

_digests: weakref.WeakKeyDictionary[Run, dict[int, bytes | None]] = weakref.WeakKeyDictionary()
"""The first digests of the classes of each run, by their ids: its parameters keep them alive."""


def schemas() -> dict[str, bytes]:
    """Digests (32 bytes) of the schemas of the classes in the current run's parameters, by name."""
    runs = open_runs()
    if not runs:
        return {}
    named: dict[str, dict[int, type]] = {}
    for cls in _classes(runs[-1].parameters, DEPTH_MAX):
        name = re.fullmatch(r"<class '(.+)'>", repr(cls))
        if name is not None:
            named.setdefault(name[1], {})[id(cls)] = cls
    # Of two classes of one name it is not known which is meant where.
    digests = {
        name: _steady(next(iter(classes.values())), runs[-1])
        for name, classes in named.items()
        if len(classes) == 1
    }
    return {name: digest for name, digest in digests.items() if digest is not None}


def run_classes() -> Iterator[type]:
    """The classes in the current run's parameters; some may come more than once."""
    runs = open_runs()
    yield from _classes(runs[-1].parameters if runs else None, DEPTH_MAX)


def digest_of(cls: type) -> bytes | None:
    """The digest (32 bytes) of everything that a client may send of a class, as of now.

    None if the class has no schema: a request that names it bypasses the cache.
    """
    try:
        # The order of properties stays: a model may be shown them in this order.
        text = json.dumps(["{}.{}".format(*name_of(cls)), _docs(cls), *_forms(cls)])
    except Exception as error:  # no schema, for any reason: the request is bypassed
        if is_interrupt(error):
            raise
        return None
    return hashlib.blake2b(text.encode(), digest_size=32).digest()


def _classes(value: Any, depth: int) -> Iterator[type]:
    if isinstance(value, type):
        yield value
    elif depth and isinstance(value, dict):
        for key, member in value.items():
            yield from _classes(key, depth - 1)
            yield from _classes(member, depth - 1)
    elif depth and isinstance(value, (list, tuple, set, frozenset)):
        for member in value:
            yield from _classes(member, depth - 1)


def _steady(cls: type, run: Run) -> bytes | None:
    """The digest of a class; None if it has changed since the run first asked for it.

    The client made its request in between, and may have sent either schema.
    """
    digest = digest_of(cls)
    first = _digests.setdefault(run, {}).setdefault(id(cls), digest)
    return digest if digest == first else None


def _docs(cls: type) -> list[str]:
    """The docstrings of a class and its bases: some clients send them beside the schema."""
    bases = (vars_of(base).get("__doc__") for base in mro_of(cls) if not is_foreign(base))
    return [inspect.cleandoc(text) for text in bases if isinstance(text, str)]


def _forms(cls: type) -> Iterator[Any]:
    """A class as clients send it.

    Raises:
        Exception: It has no schema.
    """
    # The class's own method comes first: the clients of OpenAI, Anthropic and Google call it.
    schema = getattr(cls, "model_json_schema", None)
    if schema is not None:
        yield schema()
        if getattr(schema, "__func__", None) is not _MODEL_SCHEMA:
            # An overridden method may leave out what other clients see.
            yield _adapted(cls)
        elif _has_other_forms(vars_of(cls).get("__pydantic_core_schema__")):
            yield TypeAdapter(cls).json_schema(mode="serialization", by_alias=False)
    elif any(name_of(base) == ("pydantic.v1.main", "BaseModel") for base in mro_of(cls)):
        yield cls.schema()  # type: ignore[attr-defined]
    else:
        adapted = _adapted(cls)
        if adapted is None and not is_typeddict(cls):
            msg = "no schema"
            raise TypeError(msg)
        yield adapted
        # LangChain reads descriptions from `Annotated`, where Pydantic ignores them.
        yield _annotations(cls)


def _adapted(cls: type) -> Any:
    try:
        return TypeAdapter(cls).json_schema()
    except Exception as error:  # there is no schema
        if is_interrupt(error):
            raise
        return None


def _has_other_forms(schema: Any) -> bool:
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if any(part.get(name) for name in _OTHER_FORMS):
                return True
            waiting += (it for name, it in part.items() if name != "metadata")
        elif isinstance(part, (list, tuple)):
            waiting += part
    return False


def _annotations(cls: type) -> list[Any]:
    """The annotations of a class, of its bases, and of the classes that they name."""
    reached: list[type] = [cls]
    described: list[Any] = []
    for each in reached:
        inner: list[type] = []
        for base in mro_of(each):
            if not is_foreign(base):
                members = inspect.get_annotations(base).items()
                described.append([[name, text_of(it, inner)] for name, it in members])
        described.append([text_of(getattr(each, "__total__", None), inner), *_docs(each)])
        known = set(map(id, reached))
        reached += {id(it): it for it in inner if id(it) not in known}.values()
    return described
