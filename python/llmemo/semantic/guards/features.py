"""What the guards compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from llmemo.semantic.guards.lexicon import Lexicon, Mark


class Numbers(NamedTuple):
    """The numbers of a question."""

    values: tuple[str, ...]
    """In order. A lone `one` is not among them: it is mostly a pronoun."""
    counted: frozenset[tuple[str, str]]
    """Each number with the word that follows it."""
    has_one: bool


class Names(NamedTuple):
    """The names of a question, as pairs of what is compared and what is printed."""

    certain: dict[str, str]
    """Names by their capital or by the list of names."""
    unusual: dict[str, str]
    """Words in lower case that the language's list does not have."""
    leading: str
    """A usual word that begins the question: `Mark` may be a name there."""
    order: tuple[str, ...]
    """The first words of the certain ones in order, each once."""
    acronyms: frozenset[str]
    initials: str
    """First letters of the content words, to tell what an acronym stands for."""
    spelled: tuple[str, ...]
    """The words whose first letters these are."""


class Negation(NamedTuple):
    """How often a question negates."""

    least: int
    """Words that always negate: `not`, `never`, `avoid`."""
    neutral: frozenset[str]
    """Words that may stand for a negation: `cancel`, `remove`."""
    scopes: frozenset[str]
    """The content word after each negation."""


class Persons(NamedTuple):
    """Whom a question is about."""

    possessed: frozenset[tuple[str, str]]
    """Pairs of a content word and the person it belongs to."""
    pronouns: frozenset[str]
    """Persons of the pronouns that are no possessives."""
    relations: frozenset[str]
    """People that belong to somebody: the boss in `my boss`."""
    mentioned: frozenset[str]
    """All people of this kind that are mentioned."""


class Roles(NamedTuple):
    """The place of each content word in a question."""

    labels: dict[str, str]
    """By content word: the preposition that governs it, or an empty text."""
    sequence: tuple[str, ...]
    """The content words in order."""
    coordinated: frozenset[str]
    """Words beside `and`, `or` and `versus`: their order means nothing."""
    has_clauses: bool
    """Whether there is a pause inside."""


class Features(NamedTuple):
    """What the guards read of one question."""

    lexicon: Lexicon
    words: frozenset[str]
    """Words in lower case, their bases, and each two neighbours in one."""
    bases: frozenset[str]
    texts: dict[str, str]
    """By base: the word as it was written."""
    content: tuple[str, ...]
    """Bases of the words that are no function words, in order."""
    countable: frozenset[str]
    """The same words, with the full names of units."""
    marks: dict[str, frozenset[Mark]]
    """By guard: what the words mean by the lists."""
    particles: frozenset[str]
    numbers: Numbers
    identifiers: frozenset[str]
    rest: str
    """The text after `READ_MAX` characters."""
    operators: tuple[str, ...]
    quotes: frozenset[str]
    names: Names
    negation: Negation
    roles: Roles
    persons: Persons
    question: str
    """The question word, `yes or no`, or an empty text."""
