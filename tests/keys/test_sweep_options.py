"""Every option of a call: where it changes a provider's request, it changes the key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("support.sweep.rows", exc_type=ModuleNotFoundError)

from support.sweep.exceptions import OPTIONS_APART
from support.sweep.options import OPTIONS, WAITING
from support.sweep.rows import ROWS, Row
from support.sweep.seeing import Seen, fresh, see

if TYPE_CHECKING:
    from support.sweep.server import Loopback

pytest_plugins = ["support.sweep.fixtures"]
# Deprecated classes and settings are swept too, and say so.
pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]

every_class = pytest.mark.parametrize("name", ROWS)


def _look(server: Loopback, row: Row, model: Any, /, **options: Any) -> Seen:
    model.cache = fresh()
    return see(server, lambda: row.ask(model, **options))


def _bound(server: Loopback, row: Row, model: Any, /, **options: Any) -> Seen:
    model.cache = fresh()
    return see(server, lambda: model.bind(**row.options | options).invoke(row.asked))


def test_every_class_has_options() -> None:
    assert set(OPTIONS) == set(ROWS)


@every_class
def test_an_option(name: str, providers: Loopback) -> None:
    row, faults = ROWS[name], []
    model = row.cls(**row.settings)
    plain = _look(providers, row, model)
    requests = {plain.key: ("a plain call", plain.request)}
    for option, value in OPTIONS[name].items():
        given = {option.split(":")[0]: value}
        invoked = _look(providers, row, model, **given)
        if invoked.request == plain.request:
            faults.append(f"{name}.{option}: changes no request")
        if invoked.key is None:
            faults.append(f"{name}.{option}: no key ({invoked.reason})")
            continue
        whose, request = requests.setdefault(invoked.key, (option, invoked.request))
        if request != invoked.request:
            faults.append(f"{name}.{option}: COLLISION with {whose}")
        if _bound(providers, row, model, **given) != invoked:
            faults.append(f"{name}.{option}: bound, it is another call")
    assert not faults, "\n".join(faults)


@every_class
def test_an_option_that_waits(name: str, providers: Loopback) -> None:
    row = ROWS[name]
    model = row.cls(**row.settings)
    plain = _look(providers, row, model)
    for option, value in WAITING.get(name, {}).items():
        seen = _look(providers, row, model, **{option: value})
        assert seen.request == plain.request
        assert (seen.key == plain.key) is ((name, option) not in OPTIONS_APART), option
