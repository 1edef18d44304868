"""The fields of a row's class, with a value for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweep.special import BESIDE, BESIDE_OF_CLASS, LEFT_OUT, OF_CLASS, VALUES
from sweep.values import NOTHING, another

if TYPE_CHECKING:
    from sweep.rows import Row


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
        return {**self.row.settings, **self.beside}

    def set(self, value: Any, *, by_alias: bool = False) -> dict[str, Any]:
        """The settings with another value, under either name."""
        names = {self.field, self.alias}
        others = {name: each for name, each in self.settings.items() if name not in names}
        name = self.alias if by_alias and self.alias else self.field
        return {**others, name: value}


def _value(row: Row, name: str) -> Any:
    if (row.name, name) in OF_CLASS:
        return OF_CLASS[row.name, name]
    if name in VALUES:
        return VALUES[name]
    field = row.cls.model_fields[name]
    given = row.settings.get(name, row.settings.get(field.alias or "", NOTHING))
    default = field.get_default(call_default_factory=False) if given is NOTHING else given
    return another(field.annotation, default)


def cases(row: Row) -> list[Case]:
    """All fields of a class but those left out."""
    return [
        Case(
            row,
            name,
            _value(row, name),
            BESIDE_OF_CLASS.get((row.name, name), BESIDE.get(name, {})),
            field.alias,
        )
        for name, field in row.cls.model_fields.items()
        if name not in LEFT_OUT
    ]
