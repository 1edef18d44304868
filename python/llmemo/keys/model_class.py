"""Classes of models: what they are called in a key, and which of their fields count."""

from __future__ import annotations

import functools
import hashlib
import types
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic_core import PydanticUndefined

from llmemo.annotations import mro_of, name_of, vars_of
from llmemo.keys.immaterial import CLIENTS, IMMATERIAL, LANGCHAIN
from llmemo.keys.model_state import state_fields
from llmemo.keys.values import describer, found_at, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.language_models import BaseLanguageModel

CLIENT = object()
"""In the place of a field's default: the field holds a client of a provider's."""

CLASS, FIELD, CLIENT_PLACE, OPTION, OBJECT = 3, 4, 5, 6, 7
"""Places of entries (docs/keys.md), which are sorted by them first. Fields and clients are written by
`rust/python/describe.rs`."""

UNSET = object()
"""The default of a field that has none."""


class ModelClass(NamedTuple):
    """What there is to know of a class of models."""

    name: str
    """Of the class, and of those that it inherits from, up to one of a package of LangChain's."""
    official: str | None
    """Its name, if it is itself of a package of LangChain's."""
    rows: dict[str, object]
    """The default of each field that counts, by the field's name."""
    is_believed: bool
    """Whether it is a user's, and says itself what identifies a model (`_identifying_params`)."""
    entry: bytes
    """Of the class, for a description."""
    fields: object
    """The fields that the class had when this was made."""


_classes: weakref.WeakKeyDictionary[type, ModelClass] = weakref.WeakKeyDictionary()


def model_class(model: BaseLanguageModel[Any]) -> ModelClass:
    """What there is to know of the class of a model."""
    cls = type(model)
    known = _classes.get(cls)
    # A class may be given other fields in place (`model_rebuild`).
    if known is None or known.fields is not cls.__pydantic_fields__:
        known = _classes[cls] = _inspect(model)
    return known


def is_official(cls: type) -> bool:
    """Whether a class is of langchain-core, or of a package that integrates a provider."""
    return str(name_of(cls)[0]).startswith("langchain_")


def official_name(cls: type) -> str:
    """The name of such a class: its package's, since modules within one move."""
    module, qualname = name_of(cls)
    return f"{str(module).partition('.')[0]}.{qualname}"


def _inspect(model: BaseLanguageModel[Any]) -> ModelClass:
    cls = type(model)
    own = list(_own_classes(cls))
    base = next(it for it in mro_of(cls) if is_official(it))
    names = [official_name(it) for it in mro_of(cls) if is_official(it)]
    immaterial = LANGCHAIN | _secrets_of(model)
    immaterial |= state_fields(own or ([base] if ".fake" in name_of(base)[0] else []))
    for name in names:
        immaterial |= IMMATERIAL.get(name, frozenset())
    rows: dict[str, object] = {}
    for name, field in cls.__pydantic_fields__.items():
        if name in immaterial:
            continue
        if _is_client(name):
            rows[name] = CLIENT
        elif not field.exclude or not _is_of(name, own):
            rows[name] = default_of(field)
    for name in (*cls.__private_attributes__, *(CLIENTS.get(names[0], ()))):
        if _is_client(name):
            rows[name] = CLIENT
    name = " ".join([*map(_name_of, own), official_name(base)])
    return ModelClass(
        name=name,
        official=None if own else official_name(base),
        rows=rows,
        is_believed=any("_identifying_params" in vars_of(it) for it in own),
        entry=describer.options(CLASS, {"class": name}),
        fields=cls.__pydantic_fields__,
    )


def _own_classes(cls: type) -> Iterator[type]:
    """The class and those it inherits from that are of no package of LangChain's, nor of Python's."""
    for base in mro_of(cls):
        module = str(name_of(base)[0]).partition(".")[0]
        if not is_official(base) and module not in {"builtins", "abc", "typing", "pydantic"}:
            yield base


def _is_of(name: str, classes: list[type]) -> bool:
    return any(name in vars_of(it).get("__annotations__", {}) for it in classes)


def _is_client(name: str) -> bool:
    return name.endswith("client") or name == "session"


def _secrets_of(model: BaseLanguageModel[Any]) -> set[str]:
    """API keys, whatever they are given as: keys do not tell them apart (`docs/keys.md`)."""
    try:
        return set(model.lc_secrets)
    except Exception:  # noqa: BLE001 (a property of a user's class)
        return set()


def default_of(field: Any) -> object:
    """A field's default; None if a function makes one, as LangChain takes it."""
    if field.default_factory in {dict, list, set, tuple}:
        return field.default_factory()
    if field.default_factory is not None:
        return None
    return UNSET if field.default is PydanticUndefined else field.default


# Names.


def _name_of(cls: type) -> str:
    """The name of a user's class; with a digest of its code, unless the name leads to it.

    Classes that a function makes have one name, and so may those of two scripts.
    """
    module, qualname = name_of(cls)
    if module != "__main__" and found_at(str(module), qualname) is cls:
        return kind_of(cls)
    digest = hashlib.blake2b(digest_size=16)
    for name, member in sorted(vars_of(cls).items(), key=lambda it: it[0]):
        for function in _functions_of(member):
            digest.update(f"{name}:{_text_of(function)};".encode(errors="surrogatepass"))
    return f"{kind_of(cls)}#{digest.hexdigest()}"


def _functions_of(member: Any) -> Iterator[types.FunctionType]:
    if isinstance(member, property):
        candidates: tuple[Any, ...] = (member.fget, member.fset)
    elif isinstance(member, functools.cached_property):
        candidates = (member.func,)
    else:
        candidates = (getattr(member, "__func__", member),)
    yield from (it for it in candidates if isinstance(it, types.FunctionType))


def _text_of(function: types.FunctionType) -> str:
    """What a function does, as text: its code, and the plain values that it closes over."""
    held = [_plain(_content(cell)) for cell in function.__closure__ or ()]
    defaults = [_plain(it) for it in function.__defaults__ or ()]
    keywords = {name: _plain(it) for name, it in (function.__kwdefaults__ or {}).items()}
    return repr((_code_text(function.__code__), held, defaults, keywords))


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None  # not filled yet


def _code_text(code: types.CodeType) -> str:
    constants = [
        _code_text(it) if isinstance(it, types.CodeType) else _plain(it) for it in code.co_consts
    ]
    return repr((code.co_code, code.co_names, code.co_varnames, constants))


def _plain(value: Any) -> str:
    if isinstance(value, (frozenset, set)):
        return repr(sorted(map(_plain, value)))
    if isinstance(value, (tuple, list)):
        return repr([_plain(it) for it in value])
    if isinstance(value, (type(None), bool, int, float, complex, str, bytes)):
        return repr(value)
    if isinstance(value, types.FunctionType):
        return f"{value.__qualname__} {_code_text(value.__code__)}"
    return kind_of(value if isinstance(value, type) else type(value))

