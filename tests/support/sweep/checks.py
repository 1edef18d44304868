"""What is wrong with the keys of a class: requests that share one, and requests that have two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.sweep.apart import APART
from support.sweep.exceptions import FAILS, INERT, INERT_IN, REFUSED
from support.sweep.fields import cases
from support.sweep.seeing import shown
from support.sweep.values import NOTHING
from support.sweep.ways import TOGETHER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.sweep.fields import Case
    from support.sweep.seeing import Seen
    from support.sweep.ways import Sweeper

CONTAINERS = (dict, list)


class Faults(list[str]):
    """Lines for a report, made while a class is gone through in one way."""

    def __init__(self, name: str, way: str) -> None:
        """Nothing is wrong yet."""
        super().__init__()
        self.name, self.way = name, way
        self._requests: dict[str, tuple[str, str]] = {}
        self._excused: set[str] = set()

    def add(self, what: str, about: str) -> None:
        """Report one."""
        self.append(f"  {self.name}.{what} ({self.way}): {about}")

    def collisions(self, what: str, seen: Iterable[tuple[str, Seen]]) -> None:
        """Report requests that have another's key."""
        for how, each in seen:
            if each.key is None:
                continue
            request, whose = self._requests.setdefault(each.key, (each.request, f"{what} {how}"))
            if request != each.request:
                self.add(what, f"COLLISION: {how}, it has the key of {whose}, another request")

    def apart(self, what: str, about: str) -> None:
        """Report a key that differs needlessly, unless there is a reason."""
        if (self.name, what, self.way) in APART:
            self._excused.add(what)
        else:
            self.add(what, f"needless miss: {about}")

    def obsolete(self) -> None:
        """Report the exceptions that are none any more."""
        for name, what, way in APART:
            if (name, way) == (self.name, self.way) and what not in self._excused:
                self.add(what, "obsolete in APART: same request, same key; or another request")


def _valued(name: str, way: str) -> list[Case]:
    """The fields that this way can be tried with."""
    found = [case for case in cases(name) if case.value is not NOTHING]
    if way == "alias":
        found = [case for case in found if case.alias]
    if way == "changed within":
        found = [case for case in found if isinstance(case.value, CONTAINERS)]
    return [case for case in found if (name, case.field) not in REFUSED]


def history(sweeper: Sweeper, name: str) -> list[str]:
    """Fields whose key depends on which model was asked before."""
    return [
        f"  {name}.{case.field}: another key after another model"
        for case in _valued(name, "constructor")
        if case.field in INERT and _has_history(sweeper, case)
    ]


def _has_history(sweeper: Sweeper, case: Case) -> bool:
    return sweeper.seen(case, "constructor") != sweeper.seen(case, "afterwards")


def constructor(sweeper: Sweeper, name: str) -> list[str]:
    """Go through the fields of a class."""
    faults = Faults(name, "constructor")
    for case in _valued(name, "constructor"):
        before, after = sweeper.seen(case, "default"), sweeper.seen(case, "constructor")
        faults.collisions(case.field, [("by default", before), ("set", after)])
        if before.key is None:
            faults.add(case.field, f"the model as it is has no key ({before.reason})")
        elif before.request != after.request:
            if (name, case.field) in INERT_IN:
                faults.add(case.field, "obsolete in INERT_IN: the request does change")
        elif case.field not in INERT and (name, case.field) not in INERT_IN:
            faults.add(case.field, f"{shown(case.value)} changes no request: too weak a value?")
        if before.request == after.request and before.key != after.key:
            faults.apart(case.field, after.name)
    faults.obsolete()
    return faults


def _is_quiet(sweeper: Sweeper, case: Case) -> bool:
    if case.beside:
        return False
    return sweeper.seen(case, "default") == sweeper.seen(case, "constructor")


def later(sweeper: Sweeper, name: str, way: str) -> list[str]:
    """Go through the fields of a class, set in another way."""
    faults = Faults(name, way)
    alone = _valued(name, way)
    # Most fields that change nothing still do not when all are set at once, which saves time.
    quiet = [case for case in alone if way in TOGETHER and _is_quiet(sweeper, case)]
    if quiet and sweeper.together(quiet, way) == sweeper.seen(quiet[0], "default"):
        alone = [case for case in alone if case not in quiet]
    for case in alone:
        ways = ["default", "constructor", *(["changed"] if way == "changed within" else [])]
        try:
            known = [(each, sweeper.seen(case, each)) for each in ways]
            after = sweeper.seen(case, way)
        except Exception as error:  # noqa: BLE001 (as the model said)
            if not FAILS.get((name, way)) and (name, case.field, way) not in FAILS:
                faults.add(case.field, f"fails: {error!r:.300}")
            continue
        if (name, case.field, way) in FAILS:
            faults.add(case.field, "obsolete in FAILS")
        faults.collisions(case.field, [*known, (way, after)])
        keys = {each.key for _, each in known if each.request == after.request}
        if keys and after.key not in keys:
            faults.apart(case.field, after.name)
    faults.obsolete()
    return faults


def refused(sweeper: Sweeper, name: str) -> list[str]:
    """Fields that are said to be refused, and are not."""
    found = []
    for case in cases(name):
        if (name, case.field) in REFUSED:
            try:
                sweeper.seen(case, "default")
                sweeper.seen(case, "constructor")
            except Exception:  # noqa: BLE001 (as the table says)
                continue
            found.append(f"  {name}.{case.field}: obsolete in REFUSED")
    return found


def report(faults: list[str]) -> str:
    """All of them, for an assertion."""
    return "\n".join([f"{len(faults)} faults:", *faults])
