"""Programs that make classes, names and models as they go: nothing grows with their number."""

from __future__ import annotations

import gc
import logging
import sys
import types
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation
from pydantic import create_model
from support.scripted import Scripted

from llmemo import LLMCache, options, worth_keeping
from llmemo.keys import model_class
from llmemo.telemetry.stats import OTHER, REASONS_MAX, Tally

if TYPE_CHECKING:
    from collections.abc import Callable

MANY = 600


def reply(it: object, **said: Any) -> list[Generation]:
    message = AIMessage("x", additional_kwargs={"parsed": it})
    return [ChatGeneration(message=message, generation_info=said or None)]


def of_a_new_class(cache: LLMCache, number: int) -> None:
    cache.update("p", "m", reply(type(f"Answer{number}", (), {})()))


def raising(generations: Any) -> bool:
    """An `admit` that raises an error of the name in the answer, if there is one."""
    if generations[0].text.startswith("Error"):
        raise type(generations[0].text, (Exception,), {})
    return worth_keeping(generations)


def by_a_new_error(cache: LLMCache, number: int) -> None:
    cache.update("p", "m", [Generation(text=f"Error{number}")])


def stopped_for_a_new_reason(cache: LLMCache, number: int) -> None:
    cache.update("p", "m", [Generation(text="x", generation_info={"finish_reason": f"r{number}"})])


def with_a_new_parameter(cache: LLMCache, number: int) -> None:
    cache.lookup("p", f"[('tool{number}', <object at 0x7f0000000000>)]")


def in_a_new_namespace(cache: LLMCache, number: int) -> None:
    with options(namespace=f"tenant {number}"):
        cache.update("p", "m", reply(None, finish_reason="length"))


@pytest.mark.parametrize(
    ("step", "group", "reason"),
    [
        (of_a_new_class, "skipped", "unsupported_type"),
        (by_a_new_error, "errors", "admit"),
        (stopped_for_a_new_reason, "skipped", "unknown_reason"),
        (with_a_new_parameter, "bypassed", "address"),
        (in_a_new_namespace, "skipped", "truncated"),
    ],
)
def test_reasons_and_log_lines_are_few(
    step: Callable[[LLMCache, int], None],
    group: str,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = LLMCache(admit=raising if step is by_a_new_error else worth_keeping)
    with caplog.at_level(logging.DEBUG, "llmemo"):
        for number in range(100):
            step(cache, number)
    stats = cache.stats()
    assert getattr(stats, group)[reason] == 100
    reasons = [*stats.bypassed, *stats.skipped, *stats.errors]
    assert len([it for it in caplog.records if it.name == "llmemo"]) == len(reasons) <= 2


def test_reasons_from_outside_would_be_counted_as_one(caplog: pytest.LogCaptureFixture) -> None:
    tally = Tally()
    for number in range(10 * REASONS_MAX):
        tally.note("errors", f"reason {number}", "x")
        tally.count("bypassed", f"reason {number}")
    for group in ("errors", "bypassed"):
        counts = tally.snapshot()[2][group]
        assert len(counts) == REASONS_MAX + 1
        assert counts[OTHER] == 9 * REASONS_MAX
    assert len(caplog.records) == REASONS_MAX + 1


def answers_of_a_class(cache: LLMCache, number: int) -> type:
    made = create_model(f"Answer{number}", x=(int, 1))
    cache.update(f"p{number}", "m", reply(made()))
    cache.lookup(f"p{number}", "m")
    return made


def bound_classes(cache: LLMCache, number: int) -> type:
    made = create_model(f"Answer{number}", x=(int, 1))
    Scripted(act=str.upper, cache=cache).bind(schema=made, value=made()).invoke("p")
    return made


def models_that_name_themselves(cache: LLMCache, number: int) -> type:
    space: dict[str, Any] = {"Scripted": Scripted, "__name__": "made"}
    exec("class Made(Scripted):\n    other: 'Made | None' = None\nMade.model_rebuild()\n", space)
    space["Made"](act=str.upper, cache=cache).invoke("p")
    made: type = space["Made"]
    return made


class WithClient(Scripted):
    client: Any = None


def clients_in_one_place(cache: LLMCache, number: int) -> type:
    # As in a notebook whose cell is run again: the name leads to the class, for a while.
    made = type("Client", (), {"__module__": "clients_made"})
    sys.modules["clients_made"].Client = made  # type: ignore[attr-defined]
    WithClient(act=str.upper, cache=cache, client=made()).invoke("p")
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "number", "bound"),
    [
        (answers_of_a_class, MANY // 4, 10),
        (bound_classes, MANY // 4, 10),
        (models_that_name_themselves, 60, 20 + 10),
        (clients_in_one_place, MANY, 256 + 10),
    ],
)
def test_classes_that_are_let_go_of_go(
    step: Callable[[LLMCache, int], type],
    number: int,
    bound: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "clients_made", types.ModuleType("clients_made"))
    monkeypatch.setattr(model_class, "CLASSES_MAX", 20)
    monkeypatch.setattr(model_class, "_classes", {})
    cache = LLMCache(max_entries=10)
    alive = weakref.WeakSet[type]()
    for each in range(number):
        alive.add(step(cache, each))
    gc.collect()
    assert len(alive) <= bound
