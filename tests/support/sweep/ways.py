"""The ways in which a field comes to have a value."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import ConfigurableField

from support.sweep.fields import plain_copy
from support.sweep.seeing import Seen, fresh, see

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.sweep.fields import Case
    from support.sweep.server import Loopback


class Sweeper:
    """Makes models, sets fields and looks; each thing once."""

    def __init__(self, server: Loopback) -> None:
        """All requests go to `server`."""
        self.server = server
        self._known: dict[tuple[str, str, str], Seen | Exception] = {}
        self._models: dict[tuple[str, str, bool], Any] = {}

    def _look(self, case: Case, model: Any) -> Seen:
        return see(self.server, lambda: case.row.ask(model))

    def _make(self, case: Case, settings: dict[str, Any]) -> Any:
        return case.row.cls(**settings, cache=fresh())

    def seen(self, case: Case, way: str) -> Seen:
        """What is sent, and under which key, once the field was set in a way.

        Raises:
            Exception: As the model said.
        """
        key = case.row.name, "" if way == "default" and not case.beside else case.field, way
        if key not in self._known:
            try:
                self._known[key] = WAYS[way](self, case)
            except Exception as error:  # noqa: BLE001 (told to each who asks)
                self._known[key] = error
        known = self._known[key]
        if isinstance(known, Exception):
            raise known
        return known

    def default(self, case: Case) -> Seen:
        """Left as it is."""
        return self._look(case, self._make(case, case.settings))

    def constructor(self, case: Case) -> Seen:
        """Given to the constructor."""
        return self._look(case, self._make(case, case.set(case.value)))

    def afterwards(self, case: Case) -> Seen:
        """The same, where the model that it is compared with was asked just before."""
        self.default(case)
        model = self._make(case, case.set(case.value))
        return see(self.server, lambda: case.row.ask(model))

    def alias(self, case: Case) -> Seen:
        """The same, by its other name."""
        return self._look(case, self._make(case, case.set(case.value, by_alias=True)))

    def assigned(self, case: Case) -> Seen:
        """Assigned to a model that was not called yet."""
        model = self._uncalled(case).model_copy(update={"cache": fresh()})
        setattr(model, case.field, plain_copy(case.value))
        return self._look(case, model)

    def assigned_later(self, case: Case) -> Seen:
        """Assigned after a call: LangChain keeps what it wrote then."""
        model = self._uncalled(case).model_copy(update={"cache": fresh()})
        self._look(case, model)
        model.cache = fresh()
        setattr(model, case.field, plain_copy(case.value))
        return self._look(case, model)

    def copied(self, case: Case) -> Seen:
        """Set on a copy."""
        return self._look(case, self._copy(case, self._uncalled(case)))

    def copied_later(self, case: Case) -> Seen:
        """Set on a copy of a model that was called."""
        return self._look(case, self._copy(case, self._called(case)))

    def configured(self, case: Case) -> Seen:
        """Set by the configuration of a call."""
        model = self._make(case, case.settings)
        chosen = model.configurable_fields(**{case.field: ConfigurableField(id="chosen")})
        config = {"configurable": {"chosen": plain_copy(case.value)}}
        return self._look(case, chosen.with_config(config))

    def changed(self, case: Case) -> Seen:
        """Given to the constructor as `changed_within` leaves it."""
        value = plain_copy(case.value)
        _change(value)
        return self._look(case, self._make(case, case.set(value)))

    def changed_within(self, case: Case) -> Seen:
        """Changed in place, after a call: the dict or list is the same object."""
        model = self._make(case, case.set(case.value))
        self._look(case, model)
        model.cache = fresh()
        _change(getattr(model, case.field))
        return self._look(case, model)

    def together(self, cases: list[Case], way: str) -> Seen:
        """What is sent once several fields were set in one of the ways of `TOGETHER`."""
        first = cases[0]
        values = {case.field: plain_copy(case.value) for case in cases}
        if way.startswith("copied"):
            model = self._called(first) if way.endswith("later") else self._uncalled(first)
            return self._look(first, model.model_copy(update=values | {"cache": fresh()}))
        model = self._uncalled(first).model_copy(update={"cache": fresh()})
        if way.endswith("later"):
            self._look(first, model)
            model.cache = fresh()
        for name, value in values.items():
            setattr(model, name, value)
        return self._look(first, model)

    # Models take long to make. These two are only copied from.
    def _uncalled(self, case: Case) -> Any:
        key = case.row.name, case.field if case.beside else "", False
        if key not in self._models:
            self._models[key] = self._make(case, case.settings)
        return self._models[key]

    def _called(self, case: Case) -> Any:
        key = case.row.name, case.field if case.beside else "", True
        if key not in self._models:
            self._models[key] = self._make(case, case.settings)
            self._look(case, self._models[key])
        return self._models[key]

    def _copy(self, case: Case, model: Any) -> Any:
        return model.model_copy(update={case.field: plain_copy(case.value), "cache": fresh()})


def _change(value: Any) -> None:
    """Change the first thing in nested dicts and lists."""
    if not value:
        value["added"] = "changed"
        return
    at = next(iter(value)) if isinstance(value, dict) else 0
    if isinstance(value[at], (dict, list)):
        _change(value[at])
    elif isinstance(value[at], bool) or value[at] is None:
        value[at] = not value[at]
    elif isinstance(value[at], (int, float)):
        value[at] += 1
    elif isinstance(value[at], Enum):
        kind: Any = type(value[at])
        value[at] = list(kind)[-1]
    elif type(value[at]) is str:
        value[at] += "-changed"
    else:
        value.append(value[at])


TOGETHER = {"assigned", "assigned later", "copied", "copied later"}
"""Ways in which several fields can be set at once."""

WAYS: dict[str, Callable[[Sweeper, Case], Seen]] = {
    "default": Sweeper.default,
    "constructor": Sweeper.constructor,
    "afterwards": Sweeper.afterwards,
    "alias": Sweeper.alias,
    "assigned": Sweeper.assigned,
    "assigned later": Sweeper.assigned_later,
    "copied": Sweeper.copied,
    "copied later": Sweeper.copied_later,
    "configured": Sweeper.configured,
    "changed": Sweeper.changed,
    "changed within": Sweeper.changed_within,
}
