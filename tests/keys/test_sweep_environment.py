"""Every variable that a provider's package reads: where it changes the request, so does the key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("support.sweep.rows", exc_type=ModuleNotFoundError)

import boto3  # type: ignore[import-untyped]
from support.sweep.environment import (
    IGNORED,
    IGNORED_PREFIXES,
    SOURCES,
    VARIABLES,
    Variable,
    read_by,
)
from support.sweep.rows import ROWS
from support.sweep.seeing import Seen, fresh, see

if TYPE_CHECKING:
    from support.sweep.server import Loopback

pytest_plugins = ["support.sweep.fixtures"]
# Deprecated classes and settings are swept too, and say so.
pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]

EACH = [(variable, name) for variable in VARIABLES for name in variable.classes]


def _look(
    server: Loopback, variable: Variable, name: str, patch: pytest.MonkeyPatch, value: str | None
) -> Seen:
    row = ROWS[name]
    settings = {each: row.settings[each] for each in row.settings if each not in variable.without}
    with patch.context() as environment:
        environment.setattr(boto3, "DEFAULT_SESSION", None)  # it reads the environment once
        if value is not None:
            environment.setenv(variable.name, value)
        model = row.cls(**settings, cache=fresh())
        return see(server, lambda: row.ask(model))


@pytest.mark.parametrize(("variable", "name"), EACH, ids=[f"{v.name}-{name}" for v, name in EACH])
def test_a_variable(
    variable: Variable, name: str, providers: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = (
        _look(providers, variable, name, monkeypatch, value)
        for value in (variable.first, variable.value)
    )
    changed = before.request != after.request
    assert changed, "it changes no request: too weak a value?"
    assert before.key, before.reason
    collides = before.key == after.key
    assert not collides, "COLLISION: another request, the same key"


@pytest.mark.parametrize("source", SOURCES)
def test_no_variable_is_forgotten(source: str) -> None:
    known = {variable.name for variable in VARIABLES} | set(IGNORED)
    names = {name for name in read_by(source) if not name.startswith(IGNORED_PREFIXES)}
    assert names - known == set()


def test_no_variable_is_ignored_in_vain() -> None:
    everything = set().union(*(read_by(source) for source in SOURCES))
    assert set(IGNORED) <= everything
    swept = {variable.name for variable in VARIABLES}
    assert {name for name in swept - everything if not name.startswith("AWS_")} <= {
        "LANGCHAIN_CODEX_ORIGINATOR",
        "LANGSMITH_GATEWAY",
    }
