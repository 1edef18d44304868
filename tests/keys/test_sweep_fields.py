"""Every field of every provider's model: where it changes the request, it changes the key.

The request is what arrives at a server, and the key what `track` says. See `sweep/`.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest
from support.slices import some

pytest.importorskip("support.sweep.rows", exc_type=ModuleNotFoundError)

from support.sweep import checks
from support.sweep.exceptions import INERT, INERT_IN, REFUSED
from support.sweep.fields import cases
from support.sweep.rows import FOUND, LEFT_OUT, ROWS, SETTINGS
from support.sweep.seeing import fresh, see
from support.sweep.values import NOTHING
from support.sweep.ways import WAYS

if TYPE_CHECKING:
    from support.sweep.server import Loopback
    from support.sweep.ways import Sweeper

pytest_plugins = ["support.sweep.fixtures"]
# Deprecated classes and settings are swept too, and say so.
pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]

every_class = pytest.mark.parametrize("name", ROWS)
LATER = [way for way in WAYS if way not in {"default", "constructor", "afterwards", "changed"}]
# Of the classes each is gone through in one or two of these ways a day, and each way in four.
BY_DAY = some([(way, name) for name in ROWS for way in LATER], 6)


def test_every_class_has_a_row() -> None:
    assert set(FOUND) == set(SETTINGS) | set(LEFT_OUT)


@every_class
def test_every_field_has_a_value(name: str, providers: Loopback) -> None:
    assert [case.field for case in cases(name) if case.value is NOTHING] == []


@every_class
def test_a_request_is_the_same_each_time(name: str, providers: Loopback) -> None:
    row = ROWS[name]
    models = [row.cls(**cases(name)[0].settings, cache=fresh()) for _ in range(2)]
    first, second = (see(providers, functools.partial(row.ask, model)) for model in models)
    assert first == second
    assert first.key


@every_class
def test_a_field_of_the_constructor(name: str, sweeper: Sweeper) -> None:
    faults = checks.constructor(sweeper, name)
    assert not faults, checks.report(faults)


@pytest.mark.parametrize("name", some(list(ROWS), 4))
def test_a_key_has_no_history(name: str, sweeper: Sweeper) -> None:
    faults = checks.history(sweeper, name)
    assert not faults, checks.report(faults)


@pytest.mark.parametrize(("way", "name"), BY_DAY)
def test_a_field_set_otherwise(way: str, name: str, sweeper: Sweeper) -> None:
    faults = checks.later(sweeper, name, way)
    assert not faults, checks.report(faults)


@every_class
def test_a_refused_field(name: str, sweeper: Sweeper) -> None:
    faults = checks.refused(sweeper, name)
    assert not faults, checks.report(faults)


def test_the_tables_name_fields_that_there_are() -> None:
    fields = {name: set(FOUND[name].model_fields) for name in ROWS}
    everything = set().union(*fields.values())
    assert set(INERT) <= everything
    for table in (INERT_IN, REFUSED):
        assert [at for at in table if at[1] not in fields[at[0]]] == []
