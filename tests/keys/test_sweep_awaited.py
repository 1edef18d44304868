"""A call that is awaited has the request and the key of one that is not."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("support.sweep.rows", exc_type=ModuleNotFoundError)

from support.sweep.fields import Case, cases
from support.sweep.rows import ROWS
from support.sweep.seeing import Seen, asee, fresh, see

if TYPE_CHECKING:
    from support.sweep.server import Loopback

pytest_plugins = ["support.sweep.fixtures"]
# Deprecated classes and settings are swept too, and say so.
pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]

# A field of each class that changes the request.
TRIED = ("temperature", "top_p", "endpoint_name", "instructions", "content_handler")
BESIDE: dict[str, dict[str, Any]] = {"BedrockLLM": {"streaming": True}}


async def _both_ways(server: Loopback, case: Case, settings: dict[str, Any]) -> Seen:
    model = case.row.cls(**settings | BESIDE.get(case.row.name, {}), cache=fresh())
    awaited = await asee(server, lambda: case.row.aask(model))
    model.cache = fresh()
    assert awaited == see(server, lambda: case.row.ask(model))
    return awaited


@pytest.mark.anyio
@pytest.mark.parametrize("name", ROWS)
async def test_awaited(name: str, providers: Loopback) -> None:
    case = next(case for field in TRIED for case in cases(name) if case.field == field)
    before = await _both_ways(providers, case, case.settings)
    after = await _both_ways(providers, case, case.set(case.value))
    assert before.key
    assert after.key
    assert len({before.request, after.request}) == 2
    collides = before.key == after.key
    assert not collides


OWN = ("async_client", "async_client_kwargs", "http_async_client")
EACH = [(name, field) for name in ROWS for field in OWN if field in ROWS[name].cls.model_fields]
# Made anew by the constructor; and for the chat API, which is not asked.
UNUSED = {("AnthropicLLM", "async_client"), ("_ChatOpenAICodex", "async_client")}


@pytest.mark.anyio
@pytest.mark.parametrize(("name", "field"), [each for each in EACH if each not in UNUSED])
async def test_a_client_for_awaited_calls(name: str, field: str, providers: Loopback) -> None:
    row = ROWS[name]
    (case,) = (case for case in cases(name) if case.field == field)
    seen = []
    for settings in (case.settings, case.set(case.value)):
        model = row.cls(**settings, cache=fresh())
        seen.append(await asee(providers, functools.partial(row.aask, model)))
    before, after = seen
    assert len({before.request, after.request}) == 2
    assert before.key
    collides = before.key == after.key
    assert not collides
