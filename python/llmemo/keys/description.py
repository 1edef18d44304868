"""What a model says of itself: all settings that count, and what of them its text leaves out.

LangChain's `llm_string` is not the request. Of models that it cannot serialise it is little more than a
type; it is stale once a field was changed after the first call (`_serialized` is kept); and it is
silent about endpoints that come from the environment. The model has all of that.
"""

from __future__ import annotations

import copy
import hashlib
import json
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumpd

from llmemo._core import entries
from llmemo.keys.endpoints import is_usual
from llmemo.keys.model_class import (
    CLASS,
    CLIENT,
    CLIENT_PLACE,
    FIELD,
    ModelClass,
    default_of,
    model_class,
)
from llmemo.keys.told import TOLD
from llmemo.keys.values import describer, plain_describer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.language_models import BaseLanguageModel

VERDICTS_MAX = 256
"""Models of other settings that are remembered."""


class Verdict(NamedTuple):
    """What becomes of the text of a model of certain settings."""

    head: str | None
    """What its text begins with, up to the parameters of the call; None if it has no such part."""
    shown: tuple[str, ...]
    """The same as LangChain writes it, if it is fresh."""
    supplement: bytes
    """What counts and is not in the text: entries."""
    mark: str
    """Stands for the supplement; empty if that is."""


_verdicts: OrderedDict[bytes, Verdict] = OrderedDict()
_lock = threading.Lock()


def description_of(model: BaseLanguageModel[Any]) -> bytes:
    """All settings of a model that count: entries.

    Raises:
        RequestBypassed: One cannot be told.
    """
    known = model_class(model)
    writer = plain_describer if known.is_believed else describer
    return writer.model(model, known.rows, CLIENT, known.entry, skips_untold=known.is_believed)


def verdict_of(model: BaseLanguageModel[Any], description: bytes) -> Verdict:
    """What becomes of the text of a model of this description."""
    verdict = _verdicts.get(description)
    if verdict is None:
        verdict = _judge(model, model_class(model), description)
        with _lock:
            _verdicts[description] = verdict
            while len(_verdicts) > VERDICTS_MAX:
                _verdicts.popitem(last=False)
    return verdict


def _judge(model: BaseLanguageModel[Any], known: ModelClass, description: bytes) -> Verdict:
    head = None
    shown: tuple[str, ...] = ()
    told: set[str] = set()
    if isinstance(model, BaseChatModel) and model.is_lc_serializable():
        head, fresh, told = _head_of(model)
        shown = (head, fresh)
    elif known.official in TOLD:
        told = _told_by_parameters(model, TOLD[known.official])
    is_whole = known.official is not None and (head is not None or known.official in TOLD)
    are_usual = is_whole and is_usual(model, str(known.official), _clients(model, known))
    kept = [
        whole
        for place, name, whole in entries(description)
        if not (
            (place == CLASS and is_whole)
            or (place == FIELD and name in told)
            or (place == CLIENT_PLACE and are_usual)
        )
    ]
    supplement = b"".join(kept)
    return Verdict(head, shown, supplement, mark_of(supplement))


def mark_of(supplement: bytes) -> str:
    """A short text that stands for a supplement; none for none."""
    return hashlib.blake2b(supplement, digest_size=16).hexdigest() if supplement else ""


def _clients(model: Any, known: ModelClass) -> Iterator[Any]:
    held = {**(model.__pydantic_private__ or {}), **model.__dict__}
    for name, default in known.rows.items():
        if default is CLIENT and held.get(name) is not None:
            yield held[name]


def _told_by_parameters(model: Any, fields: dict[str, str]) -> set[str]:
    """The fields that a text without a head tells, by the names of its parameters."""
    parameters = model._identifying_params  # noqa: SLF001 (what LangChain makes the text of)
    own = type(model).__pydantic_fields__
    held = model.__dict__
    told = {
        name for name, parameter in fields.items()
        if name in held and parameter in parameters and _is_same(parameters[parameter], held[name])
    }
    # Of a class whose text is known, what is as it always is need not be told.
    return told | {
        name for name, it in held.items() if name in own and _is_same(it, default_of(own[name]))
    }


def _is_same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and repr(one) == repr(other)


def _head_of(model: BaseChatModel) -> tuple[str, str, set[str]]:
    """How the text of a model begins: what of it counts, all that LangChain writes, what it tells.

    Fields of which LangChain leaves out some, or has only a name, are taken out of the text, for the
    description has them. (`_cleanup_llm_representation` drops what stands under the key "graph", say.)
    """
    fresh = copy.copy(model)
    fresh.__dict__.pop("_serialized", None)
    text = fresh._get_llm_string(stop=None)  # noqa: SLF001 (LangChain's own, of this version)
    head = text.removesuffix(_NO_PARAMETERS)
    parsed = json.loads(head.removesuffix("---"))
    said, whole = parsed["kwargs"], dumpd(fresh)["kwargs"]
    told = {name for name, it in said.items() if whole.get(name) == it and not _has_object(it)}
    if len(told) == len(said):
        return head, head, told
    parsed["kwargs"] = {name: said[name] for name in told}
    return f"{json.dumps(parsed, sort_keys=True)}---", head, told


_NO_PARAMETERS = "[('stop', None)]"


def _has_object(value: Any) -> bool:
    if isinstance(value, dict):
        if value.get("type") == "not_implemented" and "lc" in value:
            return True
        return any(map(_has_object, value.values()))
    return isinstance(value, list) and any(map(_has_object, value))
