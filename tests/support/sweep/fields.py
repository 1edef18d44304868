"""The fields of a row's class, with a value for each."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from support.sweep.rows import ROWS, Row
from support.sweep.special import BESIDE, BESIDE_OF_CLASS, LEFT_OUT, OF_CLASS, VALUES, Made
from support.sweep.values import NOTHING, another


@dataclass(frozen=True)
class Case:
    """A field, a value that it does not have by itself, and what is set beside it."""

    row: Row
    field: str
    value: Any
    beside: dict[str, Any]
    alias: str | None

    @property
    def settings(self) -> dict[str, Any]:
        """Those of the model that it is compared with."""
        return {
            name: plain_copy(value) for name, value in (self.row.settings | self.beside).items()
        }

    def set(self, value: Any, *, by_alias: bool = False) -> dict[str, Any]:
        """The settings with another value, under either name."""
        names = {self.field, self.alias}
        others = {name: each for name, each in self.settings.items() if name not in names}
        by_alias = by_alias or not self.row.cls.model_config.get("populate_by_name")
        return others | {self.alias if by_alias and self.alias else self.field: plain_copy(value)}


def plain_copy(value: Any) -> Any:
    """A value whose dicts and lists are its own: constructors change what they are given."""
    if type(value) is dict:
        return {name: plain_copy(each) for name, each in value.items()}
    return [plain_copy(each) for each in value] if type(value) is list else value


def _made(value: Any) -> Any:
    return value.by() if isinstance(value, Made) else value


def _value(row: Row, name: str) -> Any:
    if (row.name, name) in OF_CLASS:
        return OF_CLASS[row.name, name]
    if name in VALUES:
        return VALUES[name]
    field = row.cls.model_fields[name]
    given = row.settings.get(name, row.settings.get(field.alias or "", NOTHING))
    default = field.get_default(call_default_factory=False) if given is NOTHING else given
    return another(field.annotation, default)


@functools.cache
def cases(name: str) -> list[Case]:
    """All fields of a class but those left out. To be called where the sweep runs."""
    row = ROWS[name]
    found = []
    for name, field in row.cls.model_fields.items():
        if name not in LEFT_OUT:
            beside = BESIDE_OF_CLASS.get((row.name, name), BESIDE.get(name, {}))
            made = {each: _made(value) for each, value in beside.items()}
            found.append(Case(row, name, _made(_value(row, name)), made, field.alias))
    return found
