"""Guards of negation, question word and person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.semantic.guards.features import Negation, Persons

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmemo.semantic.guards.features import Features
    from llmemo.semantic.guards.lexicon import Lexicon
    from llmemo.semantic.guards.tokens import Token

YES_NO = "yes or no"
GENERAL = frozenset({"", "what", "which", "how is", YES_NO})
"""Question words that say little about the kind of answer."""

SIMILAR = frozenset(
    {
        frozenset({"when", "how long"}),
        frozenset({"how much", "how many"}),
        frozenset({"how tall", "how big"}),
        frozenset({"how is", "how"}),
        frozenset({"how much", "how long"}),
        frozenset({"how fast", "how long"}),
    }
)


def negation(found: Sequence[Token], bases: Sequence[str], words: Lexicon) -> Negation:
    """The negations of a question, without idioms as `or not`."""
    least = at = 0
    neutral: set[str] = set()
    scopes: set[str] = set()
    while at < len(bases):
        match = words.negation.at(bases, at) if bases[at] in words.negation.firsts else None
        if match is None:
            at += 1
            continue
        size, kind = match
        at += size
        least += kind in {"hard", "cues"}
        if kind == "neutral":
            neutral.add(bases[at - size])
        if kind == "hard":
            after = (t.base for t in found[at : at + 4] if t.lower not in words.function)
            scopes.add(next(after, ""))
    return Negation(least, frozenset(neutral), frozenset(scopes))


def negation_differs(asked: Features, stored: Features) -> str | None:
    """Whether one question negates and the other does not, or negates something else."""
    mine, its = asked.negation, stored.negation
    if mine == its:
        return None
    if mine.least > its.least + len(its.neutral - mine.neutral):
        return "the negation is new"
    if its.least > mine.least + len(mine.neutral - its.neutral):
        return "the negation is missing"
    if mine.scopes != its.scopes and sorted(asked.content) == sorted(stored.content):
        return "the negation is elsewhere"
    return None


def question(found: Sequence[Token], lowers: Sequence[str], words: Lexicon) -> str:
    """The question word of a question, `yes or no`, or an empty text for a command."""
    if lowers and lowers[0] in words.auxiliaries:
        return YES_NO
    for at, word in enumerate(lowers):
        match = words.question_words.at(lowers, at)
        if match is None:
            if word in words.auxiliaries and at and found[at - 1].has_pause:
                return YES_NO
            continue
        size, name = match
        after = lowers[at + size] if at + size < len(lowers) else ""
        if name == "how" and size == 1 and at == 0 and after not in words.auxiliaries:
            return "how is"  # "how safe": a degree, as in "is it safe"
        if after in words.auxiliaries or (at == 0 and not _is_clause(name, after, words)):
            return name
        if at and (found[at - 1].has_pause or all(w in words.prepositions for w in lowers[:at])):
            return name
    return ""


def question_words_differ(asked: Features, stored: Features) -> str | None:
    """Whether the questions ask for another kind of thing: a time, a place, a reason."""
    mine, its = asked.question, stored.question
    if mine == its or not mine or not its:
        return None
    if _is_compatible(mine, its, asked, stored):
        return None
    return f"{mine!r} was {its!r}"


def persons(found: Sequence[Token], words: Lexicon) -> Persons:
    """Whom a question is about."""
    possessed: set[tuple[str, str]] = set()
    pronouns: set[str] = set()
    relations: set[str] = set()
    mentioned: set[str] = set()
    for at, token in enumerate(found):
        relation = words.relations.get(token.base)
        if relation:
            mentioned.add(relation)
        person = words.pronouns.get(token.lower)
        if not person:
            continue
        if token.lower not in words.possessives:
            pronouns.add(person)
            continue
        nouns = [t.base for t in found[at + 1 : at + 4] if t.lower not in words.function]
        possessed.update((noun, person) for noun in nouns[:1])
        is_object = at > 0 and found[at - 1].lower in words.prepositions
        if not is_object:
            relations.update(words.relations[n] for n in nouns[:2] if n in words.relations)
    return Persons(
        frozenset(possessed), frozenset(pronouns), frozenset(relations), frozenset(mentioned)
    )


def persons_differ(asked: Features, stored: Features) -> str | None:
    """Whether the questions are about another person."""
    mine, its = asked.persons, stored.persons
    if mine == its:
        return None
    for new, old, word in ((mine, its, "is new"), (its, mine, "is missing")):
        alone = new.relations - old.mentioned
        if alone:
            return f"{min(alone)!r} {word}"
    owners = dict(sorted(its.possessed))
    for noun, person in sorted(mine.possessed - its.possessed):
        owner = owners.get(noun, person)
        if owner == person or {owner, person} == {"I", "we"}:
            continue
        # "How do you delete your account" means anybody, as "how do I delete my account" does.
        if not (person in mine.pronouns and owner in its.pronouns and "you" in {owner, person}):
            return f"the {asked.texts[noun]} of {person!r} was of {owner!r}"
    ours = mine.pronouns | {person for _, person in mine.possessed}
    theirs = its.pronouns | {person for _, person in its.possessed}
    return _pronouns_differ(ours - theirs, theirs - ours)


def _pronouns_differ(extra: frozenset[str], missing: frozenset[str]) -> str | None:
    others = frozenset({"he", "she"})
    own = frozenset({"I", "we", "they"})
    for one, other in ((extra, missing), (missing, extra)):
        third = one & others
        if third and other & (own | others):
            return f"{', '.join(sorted(extra))} was {', '.join(sorted(missing))}"
    return None


def _is_clause(name: str, after: str, words: Lexicon) -> bool:
    """Whether `when I restart, ...` begins a clause and no question."""
    return name in {"when", "where"} and (after in words.pronouns or after in words.determiners)


def _is_compatible(mine: str, its: str, asked: Features, stored: Features) -> bool:
    if mine in GENERAL and its in GENERAL:
        return True
    if frozenset({mine, its}) in SIMILAR:
        return True
    if mine in GENERAL or its in GENERAL:
        sharp, general = (its, asked) if mine in GENERAL else (mine, stored)
        return not general.lexicon.cues.get(sharp, frozenset()).isdisjoint(general.bases)
    if {mine, its} == {"how", "where"}:
        seekers = asked.lexicon.seekers
        return not (seekers.isdisjoint(asked.bases) or seekers.isdisjoint(stored.bases))
    return False
