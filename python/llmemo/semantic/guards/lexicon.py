"""The words of a language, loaded from the data files beside this package."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llmemo.errors import ConfigurationError
from llmemo.semantic.guards.morphology import stemmer, swapped
from llmemo.semantic.guards.phrases import Phrases

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

WORDS = Path(__file__).parent.parent / "words"


class Mark(NamedTuple):
    """What a word means to a guard."""

    guard: str
    slot: str
    value: str
    is_strong: bool
    """Whether a question without the word differs too. A weak mark only conflicts with another."""


class Lexicon(NamedTuple):
    """The words of one language, in the form that the guards look them up."""

    base: Callable[[str], str]
    marks: Phrases[tuple[Mark, ...]]
    names: Phrases[str]
    """Known names in lower case, with the one of their forms that stands for all."""
    exact: dict[str, str]
    """Names that count in this case only: `US`, not `us`."""
    capital_only: frozenset[str]
    greetings: Phrases[bool]
    openers: Phrases[bool]
    """The value says whether a pause has to follow."""
    closings: Phrases[bool]
    """In reverse order of words."""
    fillers: frozenset[str]
    contractions: dict[str, tuple[str, ...]]
    numbers: dict[str, int]
    ordinals: dict[str, int]
    scales: dict[str, int]
    symbols: dict[str, str]
    short_units: dict[str, str]
    attached_only: frozenset[str]
    either: dict[str, frozenset[str]]
    """Units with two meanings: a pound is money or a weight."""
    particles: dict[str, str]
    particle_verbs: frozenset[str]
    negation: Phrases[str]
    """The values are `hard`, `cues`, `neutral` or `idioms`."""
    question_words: Phrases[str]
    cues: dict[str, frozenset[str]]
    seekers: frozenset[str]
    auxiliaries: frozenset[str]
    pronouns: dict[str, str]
    possessives: frozenset[str]
    relations: dict[str, str]
    prepositions: dict[str, str]
    phrasal: dict[str, dict[str, str]]
    """Labels of prepositions of two words, by the first and the second."""
    preferring: frozenset[str]
    """Verbs after which `to` is `than`."""
    verbs: frozenset[str]
    determiners: frozenset[str]
    function: frozenset[str]
    capital_names: frozenset[str]
    """Function words that are names with a capital: `Will`."""
    abbreviations: frozenset[str]
    """Words whose full stop ends no sentence."""
    relative: dict[str, str]
    """Words that move a day or a month: `next Friday`."""
    coordinators: frozenset[str]
    symmetric: frozenset[str]
    """Words of questions in which two things may change places: `difference`."""
    prefixes: dict[str, tuple[str, ...]]
    suffixes: dict[str, tuple[str, ...]]
    lemmas: frozenset[str]
    """Words that are no names."""
    usual: frozenset[str]
    """Their bases."""


@functools.cache
def languages() -> tuple[str, ...]:
    """The languages that have a data file."""
    return tuple(sorted(path.stem for path in WORDS.glob("*.json")))


@functools.cache
def lexicon(language: str) -> Lexicon:
    """The words of a language.

    Raises:
        ConfigurationError: There is no data file for the language.
    """
    if language not in languages():
        known = ", ".join(languages())
        raise ConfigurationError(f"no words for language {language!r}: give one of {known}")
    data = json.loads((WORDS / f"{language}.json").read_text("utf-8"))
    lemmas = (WORDS / f"{language}_usual.txt").read_text("utf-8").split()
    return _compiled(data, lemmas)


def _compiled(data: dict[str, Any], lemmas: Collection[str]) -> Lexicon:
    base = stemmer(data["irregular"], data["invariant"])
    names, exact = _names(data)
    question = data["question"]
    particles = dict(data["particles"])
    return Lexicon(
        base=base,
        marks=_marks(data, base),
        names=names,
        exact=exact,
        capital_only=frozenset(data["capital_only"]),
        greetings=_phrases(data["greetings"]),
        openers=_phrases(data["greetings"] + data["openers"]),
        closings=_phrases(data["closings"], step=-1),
        fillers=frozenset(data["fillers"]),
        contractions={word: tuple(full.split()) for word, full in data["contractions"].items()},
        numbers=data["numbers"],
        ordinals=data["ordinals"],
        scales=data["scales"],
        symbols=data["symbols"],
        short_units=data["short_units"],
        attached_only=frozenset(data["attached_only"]),
        either={unit: frozenset(meanings) for unit, meanings in data["either"].items()},
        particle_verbs=frozenset(map(base, particles.pop("verbs"))),
        particles=particles,
        negation=_kinds(data["negation"], base),
        question_words=_questions(question),
        cues={
            name: frozenset(map(base, words.split())) for name, words in question["cues"].items()
        },
        seekers=frozenset(map(base, question["seekers"].split())),
        auxiliaries=frozenset(data["auxiliaries"]),
        pronouns=data["pronouns"],
        possessives=frozenset(data["possessives"]),
        relations={
            base(word): group.partition("|")[0]
            for group in data["relations"]
            for word in group.split("|")
        },
        prepositions=data["prepositions"],
        phrasal=data["phrasal"],
        preferring=frozenset(map(base, data["preferring"])),
        verbs=frozenset(map(base, data["verbs"].split())),
        determiners=frozenset(data["determiners"]),
        function=frozenset(data["function"].split()),
        symmetric=frozenset(map(base, data["symmetric"])),
        capital_names=frozenset(data["capital_names"]),
        abbreviations=frozenset(data["abbreviations"]),
        relative=data["relative"],
        coordinators=frozenset(data["coordinators"]),
        prefixes=swapped((one, other) for one, other in data["prefixes"]),
        suffixes=swapped((one, other) for one, other in data["suffixes"]),
        lemmas=frozenset(lemmas),
        usual=frozenset(map(base, lemmas)),
    )


def _marks(data: dict[str, Any], base: Callable[[str], str]) -> Phrases[tuple[Mark, ...]]:
    found: dict[tuple[str, ...], list[Mark]] = {}
    for words, mark in _listed(data):
        entry = found.setdefault(tuple(base(word) for word in words.split()), [])
        if mark not in entry:
            entry.append(mark)
    return Phrases((words, tuple(entry)) for words, entry in found.items())


def _listed(data: dict[str, Any]) -> Iterator[tuple[str, Mark]]:
    for slot, entry in data["slots"].items():
        for synonyms in entry["values"]:
            words = synonyms.split("|")
            yield from ((w, Mark(entry["guard"], slot, words[0], entry["strong"])) for w in words)
    for axis in data["opposites"]:
        for side in axis.split(" / "):
            words = side.split("|")
            yield from ((w, Mark("polarity", axis, words[0], is_strong=False)) for w in words)


def _names(data: dict[str, Any]) -> tuple[Phrases[str], dict[str, str]]:
    groups = [synonyms.split("|") for synonyms in data["aliases"]]
    groups += [[name] for name in data["names"].split()]
    pairs = [(word, group[0]) for group in groups for word in group]
    exact = {word: name for word, name in pairs if word.isupper()}
    return Phrases((tuple(w.split()), name) for w, name in pairs if not w.isupper()), exact


def _phrases(texts: list[str], step: int = 1) -> Phrases[bool]:
    split = ((text.rstrip(","), text.endswith(",")) for text in texts)
    return Phrases((tuple(words.split()[::step]), needs_pause) for words, needs_pause in split)


def _kinds(data: dict[str, list[str]], base: Callable[[str], str]) -> Phrases[str]:
    return Phrases(
        (tuple(base(word) for word in text.split()), kind)
        for kind, texts in data.items()
        for text in texts
    )


def _questions(data: dict[str, Any]) -> Phrases[str]:
    named = {**data["words"], **data["phrases"]}
    return Phrases((tuple(words.split()), name) for words, name in named.items())
