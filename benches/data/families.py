"""Families of questions: templates and words, and the wordings that are made of them.

The files in `questions/` hold one domain each, and its families of questions:

    [name]
    slot kind: value | value
    - wording with a {slot}
    - another wording that asks the same with the same {slot}

A value may have grammatical forms, separated by `/`: {slot} is the first, {slot1} the second. A
form may have synonyms, separated by `~`: one of them is drawn. `= other` shares the values of the
slot `other`. The two differ in every question, and are exchanged in pairs of the kind `roles`.

Everything here depends on these files alone: the same on every machine and every Python.
"""

from __future__ import annotations

import functools
import itertools
import random
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent

RESTYLED = 3
"""Wordings of an intent that repeat another one's template, in another style."""

_PLACE = re.compile(r"\{([a-z]+)(\d?)\}")

_CONTRACTIONS = (
    ("What is ", "What's "),
    ("How is ", "How's "),
    ("When is ", "When's "),
    ("I would ", "I'd "),
    ("I am ", "I'm "),
    ("It's ", "It is "),
    ("What's ", "What is "),
    ("I'd ", "I would "),
    (" am I ", " I am "),
)
_GREETINGS = ("Hi, {}", "Hello! {}", "Quick question: {}", "Hey there, {}")
_THANKS = ("{} Thanks!", "{} Thank you.", "{} Thanks in advance")


@dataclass(frozen=True)
class Slot:
    """A place in a question that decides its answer.

    Attributes:
        name: Its name in the wordings.
        kind: The trap that another value makes.
        values: For each value its forms, for each form its synonyms.
        like: The slot whose values these are, or None.
    """

    name: str
    kind: str
    values: tuple[tuple[tuple[str, ...], ...], ...]
    like: str | None = None


class Wording(NamedTuple):
    """A text, and the index of the template that it was made of."""

    text: str
    template: int


@dataclass(frozen=True)
class Family:
    """Questions that differ in their slots only."""

    domain: str
    name: str
    slots: tuple[Slot, ...]
    templates: tuple[str, ...]

    @functools.cached_property
    def intents(self) -> tuple[Intent, ...]:
        """Every choice of values, without those that give two slots the same one."""
        places = {slot.name: at for at, slot in enumerate(self.slots)}
        twins = [(places[slot.like], at) for at, slot in enumerate(self.slots) if slot.like]
        choices = itertools.product(*(range(len(slot.values)) for slot in self.slots))
        return tuple(
            Intent(self, chosen)
            for chosen in choices
            if all(chosen[one] != chosen[other] for one, other in twins)
        )


@dataclass(frozen=True)
class Intent:
    """A family with the index of a value for each slot: what one answer is right for."""

    family: Family = field(repr=False)
    chosen: tuple[int, ...]

    @property
    def answer(self) -> str:
        """The text that answers this intent, and no other."""
        slots = zip(self.family.slots, self.chosen, strict=True)
        told = ", ".join(f"{slot.name}={slot.values[value][0][0]}" for slot, value in slots)
        return f"{self.family.domain}/{self.family.name}: {told}"

    @functools.cached_property
    def wordings(self) -> tuple[Wording, ...]:
        """Texts that all ask this: each template, and some of them in another style."""
        rng = random.Random(self.answer)
        count = len(self.family.templates)
        wordings: list[Wording] = []
        for template in [*range(count), *rng.sample(range(count), RESTYLED)]:
            text = self.worded(template, rng)
            if all(text != other.text for other in wordings):
                wordings.append(Wording(text, template))
        return tuple(wordings)

    def worded(self, template: int, rng: random.Random) -> str:
        """A text of one template, in synonyms and a style that `rng` draws."""
        places = {slot.name: at for at, slot in enumerate(self.family.slots)}

        def fill(match: re.Match[str]) -> str:
            at = places[match[1]]
            forms = self.family.slots[at].values[self.chosen[at]]
            return rng.choice(forms[int(match[2] or 0)])

        return styled(_PLACE.sub(fill, self.family.templates[template]), rng)

    @functools.cached_property
    def siblings(self) -> tuple[tuple[str, Intent], ...]:
        """Intents that differ in one slot, or have two slots exchanged; each with its kind."""
        known = set(self.family.intents)
        shared = {slot.like for slot in self.family.slots if slot.like}
        found = []
        for at, slot in enumerate(self.family.slots):
            # The kind of such a slot is that of the exchange.
            kind = "name" if slot.like or slot.name in shared else slot.kind
            for value in range(len(slot.values)):
                other = Intent(self.family, (*self.chosen[:at], value, *self.chosen[at + 1 :]))
                if other != self and other in known:
                    found.append((kind, other))
        return (*found, *(("roles", other) for other in self._exchanged()))

    def _exchanged(self) -> Iterator[Intent]:
        places = {slot.name: at for at, slot in enumerate(self.family.slots)}
        for at, slot in enumerate(self.family.slots):
            if slot.like:
                chosen, one = list(self.chosen), places[slot.like]
                chosen[one], chosen[at] = chosen[at], chosen[one]
                yield Intent(self.family, tuple(chosen))


def styled(text: str, rng: random.Random) -> str:
    """`text` as one of many people would type it: politely, in a hurry, or as it is."""
    text = text[0].upper() + text[1:]
    drawn = rng.random()
    if drawn < 0.2:
        return text.lower().rstrip("?")
    if drawn < 0.32:
        return rng.choice(_GREETINGS).format(text)
    if drawn < 0.4:
        return rng.choice(_THANKS).format(text if text.endswith("?") else f"{text}.")
    if drawn < 0.6:
        for long, short in _CONTRACTIONS:
            if long in text:
                return text.replace(long, short, 1)
    return text


def parse(domain: str, text: str) -> Iterator[Family]:
    """Read the families of one domain.

    Raises:
        ValueError: A wording leaves a slot out, or names a form that a value does not have.
    """
    for block in text.strip().split("\n\n"):
        head, *lines = block.splitlines()
        slots: dict[str, Slot] = {}
        for line in lines:
            if not line.startswith("- "):
                slot = _slot(line, slots)
                slots[slot.name] = slot
        templates = tuple(line[2:] for line in lines if line.startswith("- "))
        family = Family(domain, head.strip("[]"), tuple(slots.values()), templates)
        _check(family)
        yield family


def _slot(line: str, known: dict[str, Slot]) -> Slot:
    head, _, tail = line.partition(": ")
    name, kind = head.split()
    if tail.startswith("= "):
        like = tail[2:]
        return Slot(name, kind, known[like].values, like)
    values = (value.strip().split("/") for value in tail.split("|"))
    return Slot(name, kind, tuple(tuple(tuple(f.split("~")) for f in forms) for forms in values))


def _check(family: Family) -> None:
    forms = {slot.name: min(map(len, slot.values)) for slot in family.slots}
    for template in family.templates:
        used = {name: int(form or 0) for name, form in _PLACE.findall(template)}
        if used.keys() != forms.keys() or any(used[name] >= forms[name] for name in used):
            raise ValueError(f"[{family.name}] {template!r} needs each of {forms} once or more")


@functools.cache
def families() -> tuple[Family, ...]:
    """Every family of every domain, in the order of the files."""
    files = sorted((HERE / "questions").glob("*.txt"))
    return tuple(
        family for file in files for family in parse(file.stem, file.read_text(encoding="utf-8"))
    )
