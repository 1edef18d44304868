"""Classes of models: what a key calls them, and which of their fields count."""

from __future__ import annotations

import enum
import functools
import hashlib
import importlib
import types
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from llmemo._core import Rows
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.introspection.class_behaviour import Behaviour
from llmemo.introspection.type_signature import mro_of, name_of, vars_of
from llmemo.keys.ignored_fields import IGNORED, LANGCHAIN_FIELDS, RUN_FIELDS
from llmemo.keys.model_state import Uses
from llmemo.keys.stand_ins import kind_of
from llmemo.keys.values import describer, found_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langchain_core.language_models import BaseLanguageModel

try:
    # Since Python 3.14, a class has no annotations until they are asked for.
    annotationlib: Any = importlib.import_module("annotationlib")
except ImportError:
    annotationlib = None

CLIENT = object()
"""Stands in for a field's default: the field holds a client of a provider's SDK."""

UNSET = object()
"""The default of a required field."""


class Place(enum.IntEnum):
    """What an entry of a description is about (docs/keys.md). Entries are sorted by place first."""

    CLASS = 3
    """The class of the model."""
    FIELD = 4
    """A field of the model; written by `rust/python/keys/describer.rs`, as clients are."""
    CLIENT = 5
    """A client, and where it sends requests."""
    OPTION = 6
    """A parameter of the call that the text does not tell."""
    OBJECT = 7
    """An object in the prompt."""
    NODE = 8
    """A node of a graph: there is no model."""
    EMBEDDING = 9
    """What is embedded of a text, and by which model: no request of a model has such an entry."""


class ExtraSettings(NamedTuple):
    """What counts of a class of models, and is no field with a plain place in `rows`."""

    clients: tuple[str, ...] = ()
    """Fields of users' classes that are named like clients, and may hold anything."""
    private: tuple[str, ...] = ()
    """Private attributes of users' classes that their code reads, and does not change."""
    consumed: tuple[str, ...] = ()
    """Fields that are used up while the model answers."""


class ModelClass(NamedTuple):
    """What there is to know about a class of models."""

    official: str | None
    """Its name, if it belongs to langchain-core or to a package that integrates a provider."""
    rows: Rows
    """The fields that count, for a description."""
    clients: tuple[str, ...]
    """The fields, and what is kept beside them, that hold clients."""
    lazy_clients: tuple[str, ...]
    """Clients that are made at the first call and kept beside the fields."""
    state: frozenset[str]
    """The fields that hold state."""
    extra: ExtraSettings
    """The settings that `rows` does not read."""
    is_believed: bool
    """Whether it is a user's class that says itself what identifies a model, by overriding
    `_identifying_params`: fields that cannot be told do not count then."""
    entry: bytes
    """The entry of the class in a description."""
    fields: object
    """The class's fields when this was made."""


CLASSES_MAX = 512
"""Number of classes that are remembered. Weak references do not bound it: what is known of a class
has its fields, and a field may name the class."""

_classes: dict[int, tuple[weakref.ref[type], ModelClass]] = {}
"""By the address of the class. Not a `WeakKeyDictionary`, which takes a microsecond."""

# Its name before Pydantic 2.10.
FIELDS = "__pydantic_fields__" if hasattr(BaseModel, "__pydantic_fields__") else "model_fields"


def model_class(model: BaseLanguageModel[Any]) -> ModelClass:
    """What there is to know about the class of a model."""
    cls = type(model)
    reference, known = _classes.get(id(cls), (None, None))
    # `model_rebuild` may give a class other fields in place.
    is_it = reference is not None and reference() is cls
    if known is None or not is_it or known.fields is not getattr(cls, FIELDS):
        known = _inspect(model)
        address = id(cls)
        if len(_classes) >= CLASSES_MAX:
            # At once, since other threads may add one meanwhile.
            for oldest in list(_classes)[: CLASSES_MAX // 8]:
                _classes.pop(oldest, None)
        reference = weakref.ref(cls, lambda _: _classes.pop(address, None))
        _classes[address] = (reference, known)
    return known


def is_official(cls: type) -> bool:
    """Whether a class belongs to langchain-core or to a package that integrates a provider."""
    return str(name_of(cls)[0]).startswith("langchain_")


def official_name(cls: type) -> str:
    """The name of such a class: with its package only, because modules move within one."""
    module, qualname = name_of(cls)
    return f"{str(module).partition('.')[0]}.{qualname}"


def default_of(field: Any) -> object:
    """A field's default; None if a function makes it, as LangChain takes it."""
    if field.default_factory in {dict, list, set, tuple}:
        return field.default_factory()
    if field.default_factory is not None:
        return None
    return UNSET if field.default is PydanticUndefined else field.default


def _inspect(model: BaseLanguageModel[Any]) -> ModelClass:
    cls = type(model)
    own = list(_own_classes(cls))
    officials = [it for it in mro_of(cls) if is_official(it)]
    lazy_clients = tuple(dict.fromkeys(_lazy_clients(cls)))
    name = " ".join([*map(_own_name, own), official_name(officials[0])])
    # LangChain's fakes count their calls in a field, as users' fakes do.
    read = own + [it for it in officials if ".fake" in str(name_of(it)[0])]
    uses = Uses(read)
    extra = _extra_settings(cls, own, read, uses)
    state = {it for it in uses.state() if _is_of(it, read)}  # others' fields are read by others
    if len(read) > len(own):
        # A fake of LangChain's is given its answers by the user's class that calls it.
        state |= {it for it, how in Uses(own).how.items() if "written" in how and "read" not in how}
    extra = extra._replace(consumed=tuple(it for it in extra.consumed if it not in state))
    skipped = state | {*extra.clients, *extra.private, *extra.consumed}
    rows = {name: it for name, it in _rows(model, own, officials) if name not in skipped}
    rows |= dict.fromkeys([*extra.clients, *lazy_clients], CLIENT)
    return ModelClass(
        official=None if own else official_name(officials[0]),
        rows=Rows(rows, CLIENT),
        clients=tuple(field for field, default in rows.items() if default is CLIENT),
        lazy_clients=lazy_clients,
        state=frozenset(state | {*extra.consumed}),
        extra=extra,
        is_believed=any("_identifying_params" in vars_of(it) for it in own),
        entry=describer.options(Place.CLASS, {"class": name}),
        fields=getattr(cls, FIELDS),
    )


def _rows(
    model: BaseLanguageModel[Any], own: list[type], officials: list[type]
) -> Iterator[tuple[str, object]]:
    cls = type(model)
    ignored = LANGCHAIN_FIELDS | _secrets_of(model)
    for base in officials:
        ignored |= IGNORED.get(official_name(base), frozenset())
    # What a user's class declares itself is what this class says it is.
    ignored -= {name for name in ignored - RUN_FIELDS if _is_of(name, own)}
    for name, field in cls.model_fields.items():
        if name in ignored:
            continue
        if _is_client(name):
            yield name, CLIENT
        elif not (field.exclude and _is_of(name, own)):
            yield name, default_of(field)
    yield from ((name, CLIENT) for name in cls.__private_attributes__ if _is_client(name))


def _extra_settings(
    cls: type[BaseModel], own: list[type], read: list[type], uses: Uses
) -> ExtraSettings:
    fields, private = cls.model_fields, cls.__private_attributes__
    used_up = {name for name in uses.consumed() if name in fields and _is_of(name, read)}
    used_up |= _iterators(cls)
    ours = [
        name
        for name in (*fields, *private)
        if _is_of(name, own) and not (name in fields and fields[name].exclude)
    ]
    known = uses.only_read()
    return ExtraSettings(
        clients=tuple(name for name in ours if _is_client(name)),
        private=tuple(it for it in ours if it in private and it in known and not _is_client(it)),
        consumed=tuple(name for name in fields if name in used_up),
    )


def _iterators(cls: type[BaseModel]) -> set[str]:
    return {name for name, it in cls.model_fields.items() if "Iterator[" in repr(it.annotation)}


def _own_classes(cls: type) -> Iterator[type]:
    """The class and its bases, without LangChain's, Pydantic's and the standard library's."""
    for base in mro_of(cls):
        module = str(name_of(base)[0]).partition(".")[0]
        if not is_official(base) and module not in {"builtins", "abc", "typing", "pydantic"}:
            yield base


def _is_of(name: str, classes: list[type]) -> bool:
    return any(
        name in _annotations(it) or name in vars_of(it).get("__private_attributes__", {})
        for it in classes
    )


def _annotations(cls: type) -> Mapping[str, object]:
    """What the body of a class annotates, its bases left out."""
    if annotationlib is None:
        early: Mapping[str, object] = vars_of(cls).get("__annotations__", {})
        return early
    late: Mapping[str, object] = annotationlib.get_annotations(
        cls, format=annotationlib.Format.FORWARDREF
    )
    return late


def _is_client(name: str) -> bool:
    return name.endswith("client") or name == "session"


def _lazy_clients(cls: type) -> Iterator[str]:
    for base in mro_of(cls):
        for name, member in vars_of(base).items():
            if isinstance(member, functools.cached_property) and _is_client(name):
                yield name


def _secrets_of(model: BaseLanguageModel[Any]) -> set[str]:
    """The fields for API keys, which keys do not tell apart, whatever they hold (docs/keys.md).

    Not all that LangChain hides is an API key: the `mcp_servers` of `ChatAnthropic` are settings.
    """
    fields = type(model).model_fields
    try:
        hidden = set(model.lc_secrets)
    except Exception as error:  # a property of a user's class
        if is_interrupt(error):
            raise
        return set()
    return {name for name in hidden if name in fields and "Secret" in repr(fields[name].annotation)}


def _own_name(cls: type) -> str:
    """The name of a user's class, with a digest of its code unless the name leads to the class.

    All classes that one function makes have the same name, and so may classes of two scripts.
    """
    module, qualname = name_of(cls)
    if module != "__main__" and found_at(str(module), qualname) is cls:
        return kind_of(cls)
    behaviour = Behaviour(cls)
    digest = hashlib.blake2b(digest_size=16)
    for name, member in sorted(vars_of(cls).items(), key=lambda it: it[0]):
        for function in _functions_of(member):
            text = f"{name}:{behaviour.of(function)};"
            digest.update(text.encode(errors="surrogatepass"))
    return f"{kind_of(cls)}#{digest.hexdigest()}"


def _functions_of(member: Any) -> Iterator[types.FunctionType]:
    if isinstance(member, property):
        candidates: tuple[Any, ...] = (member.fget, member.fset)
    elif isinstance(member, functools.cached_property):
        candidates = (member.func,)
    else:
        candidates = (getattr(member, "__func__", member),)
    yield from (it for it in candidates if isinstance(it, types.FunctionType))
