"""What a model says of itself: every setting that counts, and which of them its text leaves out.

LangChain's `llm_string` is not the request. For models that LangChain cannot serialise it is little
more than a type. It is stale once a field was changed after the first call, because LangChain keeps
`_serialized`. It does not name endpoints that come from the environment. The model knows all three.
"""

from __future__ import annotations

import copy
import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.load import dumpd

from llmemo._core import Snapshot, Snapshots, entries
from llmemo.concurrency.bounded_dict import note
from llmemo.keys.caller import ASKING, CHAT
from llmemo.keys.endpoints import is_usual
from llmemo.keys.extra_settings import extra_entries
from llmemo.keys.memory_name import suffix_of
from llmemo.keys.model_class import FIELDS, ModelClass, Place, default_of, model_class
from llmemo.keys.self_describing import PARAMETER_OF
from llmemo.keys.values import add_kind, describer, plain_describer
from llmemo.langchain.model_classes import is_chat_model, is_model
from llmemo.langchain.traced_runs import quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.language_models import BaseChatModel, BaseLanguageModel


_NO_PARAMETERS = "[('stop', None)]"
"""How an `llm_string` ends for a call without options."""


SUPPLEMENTS_MAX = 256
"""Supplements that are remembered, the last ones."""

SUPPLEMENT_MAX = 16 * 1024
"""Longest of them, in bytes."""

_supplements: dict[str, bytes] = {}
"""By their marks: memory has the marks alone, and explanations tell the settings."""


class Verdict(NamedTuple):
    """What to make of the text of a model with a certain description."""

    description: bytes
    """All settings that count, as entries."""
    head: str | None
    """The text up to the parameters of the call; None for a text that has no such part."""
    shown: tuple[str, ...]
    """The beginnings of a fresh text: `head`, and the same as LangChain writes it."""
    supplement: bytes
    """The entries that count and are not in the text."""
    mark: str
    """Stands for the supplement in memory; empty if that is empty."""

    @property
    def suffix(self) -> str:
        """What follows the text of the model in what memory knows a request by."""
        return suffix_of(self.mark)

    def shows(self, llm_string: str) -> str | None:
        """A text as LangChain would write it now; None if it is stale."""
        if self.head is None:
            return llm_string
        for head in self.shown:
            if llm_string.startswith(head):
                return llm_string if head is self.head else self.head + llm_string[len(head) :]
        return None


snapshots = Snapshots(FIELDS, ASKING, CHAT, quiet)
"""Models as they were read. `Memory` has it, too: each hit asks it."""

verdict_before: Callable[[object], Verdict | None] = snapshots.find
"""The verdict on a model that has not changed since it was given; None if it has, or is none."""


def verdict_of(model: BaseLanguageModel[Any]) -> Verdict:
    """What to make of the text of a model.

    Raises:
        RequestBypassed: A setting cannot be told.
    """
    verdict = verdict_before(model)
    if verdict is None:
        known = model_class(model)
        snapshot, extra = _read(model, known)
        # For each model, not for each description: its text may hold what does not count, too.
        verdict = _judge(model, known, snapshot.description + extra)
        # No snapshot has the extra settings.
        if not (extra or known.extra.private or known.extra.consumed):
            snapshots.keep(model, known.fields, snapshot, verdict, verdict)
    return verdict


def description_of(model: BaseLanguageModel[Any]) -> bytes:
    """All settings of a model that count, as entries (docs/keys.md).

    Raises:
        RequestBypassed: A setting cannot be told.
    """
    snapshot, extra = _read(model, model_class(model))
    return snapshot.description + extra


# A model may be a value of another model's field.
add_kind(is_model, lambda model: ("language model", description_of(model)))


def _read(model: BaseLanguageModel[Any], known: ModelClass) -> tuple[Snapshot, bytes]:
    if known.lazy_clients:
        _make_clients(model, known)
    writer = plain_describer if known.is_believed else describer
    skips_untold = known.is_believed
    snapshot = known.rows.read(model, writer, known.entry, skips_untold=skips_untold)
    return snapshot, extra_entries(model, known.extra, writer, skips_untold=skips_untold)


def mark_of(supplement: bytes) -> str:
    """A short text that stands for a supplement; empty for an empty one."""
    if not supplement:
        return ""
    mark = hashlib.blake2b(supplement, digest_size=16).hexdigest()
    if len(supplement) <= SUPPLEMENT_MAX and mark not in _supplements:
        note(_supplements, mark, supplement, SUPPLEMENTS_MAX)
    return mark


def supplement_of(mark: str) -> bytes | None:
    """The supplement of a mark, if it was among the last: for `explain`."""
    return _supplements.get(mark) if mark else b""


def _make_clients(model: BaseLanguageModel[Any], known: ModelClass) -> None:
    """Make the clients that a class makes at its first call: they read the environment, too.

    All of them, since a field may change before the next is made, which then sends elsewhere.
    """
    for name in known.lazy_clients:
        if name not in model.__dict__:
            getattr(model, name)


def _judge(model: BaseLanguageModel[Any], known: ModelClass, description: bytes) -> Verdict:
    parts = entries(description)
    head: str | None = None
    shown: tuple[str, ...] = ()
    told: set[str] = set()
    if is_chat_model(model) and model.is_lc_serializable():
        fields = {it.name for it in parts if it.place == Place.FIELD}
        head, shown, told = _head_of(model, known, fields)
    elif known.official in PARAMETER_OF:
        told = _told_by_parameters(model, PARAMETER_OF[known.official])
    is_whole = known.official is not None and (head is not None or known.official in PARAMETER_OF)
    are_usual = is_whole and is_usual(model, str(known.official), _clients(model, known))
    is_told: dict[Place, Callable[[str], bool]] = {
        Place.CLASS: lambda _: is_whole,
        Place.FIELD: lambda name: name in told,
        Place.CLIENT: lambda _: are_usual,
    }
    supplement = b"".join(it.whole for it in parts if not is_told[Place(it.place)](it.name))
    return Verdict(description, head, shown, supplement, mark_of(supplement))


def _clients(model: Any, known: ModelClass) -> Iterator[Any]:
    held = {**(model.__pydantic_private__ or {}), **model.__dict__}
    yield from (held[name] for name in known.clients if held.get(name) is not None)


def _told_by_parameters(model: Any, parameter_of: dict[str, str]) -> set[str]:
    """The fields that a text without a head tells, by the names of its parameters.

    A default need not be told: of these classes it is known what the text leaves out.
    """
    parameters, held = model._identifying_params, model.__dict__  # noqa: SLF001
    told = {
        name
        for name, parameter in parameter_of.items()
        if parameter in parameters and _is_same(parameters[parameter], held.get(name))
    }
    defaults = {name: default_of(field) for name, field in type(model).model_fields.items()}
    return told | {name for name, it in defaults.items() if _is_same(held.get(name), it)}


def _is_same(one: object, other: object) -> bool:
    return type(one) is type(other) and repr(one) == repr(other)


def _head_of(
    model: BaseChatModel, known: ModelClass, fields: set[str]
) -> tuple[str, tuple[str, ...], set[str]]:
    """How a fresh text of a model begins: what counts of it, its forms, and the fields it tells.

    A field of which LangChain writes only a part, or only a name, is taken out of the text, because
    the description has all of it. (`_cleanup_llm_representation` drops what stands under the key
    "graph", for example, and `lc_secrets` of `ChatAnthropic` hide its `mcp_servers`.) So is state.
    """
    fresh = copy.copy(model)
    fresh.__dict__.pop("_serialized", None)
    text = fresh._get_llm_string(stop=None)  # noqa: SLF001 (as this version of LangChain writes it)
    written = text.removesuffix(_NO_PARAMETERS)
    parsed = json.loads(written.removesuffix("---"))
    said, whole = parsed["kwargs"], dumpd(fresh)["kwargs"]
    told = {name for name, it in said.items() if whole.get(name) == it and not _has_object(it)}
    told -= {name for name in told & fields if _is_hidden(said[name])}
    dropped = (fields - told) | known.state
    if dropped.isdisjoint(said):
        return written, (written,), told
    parsed["kwargs"] = {name: it for name, it in said.items() if name not in dropped}
    head = f"{json.dumps(parsed, sort_keys=True)}---"
    return head, (written, head), told


def _is_hidden(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "secret"


def _has_object(value: Any) -> bool:
    if isinstance(value, dict):
        if value.get("type") == "not_implemented" and "lc" in value:
            return True
        return any(map(_has_object, value.values()))
    return isinstance(value, list) and any(map(_has_object, value))
