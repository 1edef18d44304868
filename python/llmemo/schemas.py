"""What the classes hold that an `llm_string` names.

`with_structured_output(Answer, method="json_schema")` puts `<class '__main__.Answer'>` into the
`llm_string`: a name, under which another class may stand tomorrow, or already does. The class
itself is among the invocation parameters that LangChain tells its callbacks when a model starts, so
an inline handler keeps them, until the model ends, for the lookup and the update in between. A
class is never imported by its name.
"""

from __future__ import annotations

import hashlib
import json
import re
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.context import register_configure_hook
from pydantic import TypeAdapter
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from uuid import UUID

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import LLMResult

DEPTH_MAX = 32
"""Parameters nested deeper than this are not searched for classes."""

Runs = tuple[tuple["UUID", "Mapping[str, Any] | None"], ...]

_runs: ContextVar[Runs] = ContextVar("llmemo_runs", default=())
"""The model runs that are open in this context, the innermost last, with their parameters."""

_digests: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()


class RunWatch(BaseCallbackHandler):
    """Keeps the parameters of the runs that are open: within one, a model may call another."""

    run_inline = True
    ignore_chain = True
    ignore_agent = True
    ignore_retriever = True
    ignore_custom_event = True

    @override
    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        **kwargs: Any,
    ) -> None:
        _begin(run_id, kwargs)

    @override
    def on_llm_start(
        self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **kwargs: Any
    ) -> None:
        _begin(run_id, kwargs)

    @override
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        _end(run_id)

    @override
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        _end(run_id)


def _begin(run_id: UUID, told: dict[str, Any]) -> None:
    """Remember a run, with what a callback was told of it."""
    _runs.set((*_runs.get(), (run_id, told.get("invocation_params"))))


def _end(run_id: UUID) -> None:
    """Forget a run. What began within it has ended too; what began beside it stays."""
    _runs.set(tuple(run for run in _runs.get() if run[0] != run_id))


# By its default, so that every thread and context has it.
_watch: ContextVar[BaseCallbackHandler | None] = ContextVar(
    "llmemo_watch",
    default=RunWatch(),  # noqa: B039 (it holds nothing)
)
register_configure_hook(_watch, inheritable=True)


def schemas() -> dict[str, bytes]:
    """Digests (32 bytes) of the schemas of the classes in the current run's parameters, by name."""
    named: dict[str, set[type]] = {}
    for cls in run_classes():
        name = re.fullmatch(r"<class '(.+)'>", repr(cls))
        if name is not None:
            named.setdefault(name[1], set()).add(cls)
    # Of two classes of one name nobody can say which is meant where.
    digests = {name: _digest(*classes) for name, classes in named.items() if len(classes) == 1}
    return {name: digest for name, digest in digests.items() if digest is not None}


def run_classes() -> Iterator[type]:
    """The classes in the current run's parameters, some maybe more than once."""
    runs = _runs.get()
    yield from _classes(runs[-1][1] if runs else None, DEPTH_MAX)


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


def _digest(cls: type) -> bytes | None:
    digest = _digests.get(cls)
    if digest is None:
        try:
            schema = TypeAdapter(cls).json_schema()
        except Exception:  # noqa: BLE001 (no schema, for whatever reason: the request is bypassed)
            return None
        # The order of properties stays: a model may be shown them in this order.
        text = json.dumps([f"{cls.__module__}.{cls.__qualname__}", schema])
        digest = hashlib.blake2b(text.encode(), digest_size=32).digest()
        _digests[cls] = digest
    return digest
