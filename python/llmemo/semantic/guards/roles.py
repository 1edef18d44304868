"""Guard of roles: what goes from where to where, and who does what to whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.semantic.guards.features import Roles
from llmemo.semantic.guards.tokens import is_function

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmemo.semantic.guards.features import Features
    from llmemo.semantic.guards.lexicon import Lexicon
    from llmemo.semantic.guards.tokens import Token

AMBIGUOUS = "?"
POSSESSIVE = "of"
OPPOSED = frozenset({frozenset({"from", "to"})})
"""Labels that exclude each other: one word is enough to tell."""


def roles(found: Sequence[Token], words: Lexicon) -> Roles:
    """The place of each content word."""
    labels: dict[str, str] = {}
    sequence: list[str] = []
    coordinated: set[str] = set()
    phrase: list[str] = []
    label, is_joined, after = "", False, 0
    for at, token in enumerate(found):
        lower = token.lower
        if at < after:
            continue  # it belongs to a phrase
        governor, size = _governor(found, at, words)
        if lower in words.coordinators:
            is_joined = True
            coordinated.update(phrase)
        elif governor is not None:
            label, is_joined, phrase, after = governor, False, [], at + size
        elif is_function(token, words):
            if lower not in words.determiners:
                label, is_joined, phrase = "", False, []
        elif token.kind == "word":
            base = token.base
            sequence.append(base)
            phrase.append(base)
            if is_joined:
                coordinated.add(base)
            own = POSSESSIVE if token.is_owner else label
            if labels.setdefault(base, own) != own:
                labels[base] = AMBIGUOUS
        if token.has_pause:
            label = ""
    has_clauses = any(token.has_pause for token in found[:-1])
    return Roles(labels, tuple(sequence), frozenset(coordinated), has_clauses)


def _governor(found: Sequence[Token], at: int, words: Lexicon) -> tuple[str | None, int]:
    """The label of what follows a preposition, and how many tokens that is: `instead of` is two."""
    lower = found[at].lower
    if at + 1 < len(found) and lower in words.phrasal:
        label = words.phrasal[lower].get(found[at + 1].lower)
        if label is not None:
            return label, 2
    if lower not in words.prepositions or _is_infinitive(found, at, words):
        return None, 1
    if lower == "to" and any(token.base in words.preferring for token in found[:at]):
        return words.prepositions["than"], 1
    return words.prepositions[lower], 1


def roles_differ(asked: Features, stored: Features) -> str | None:
    """Whether two things have exchanged their roles."""
    mine, its = asked.roles, stored.roles
    if mine.sequence == its.sequence and mine.labels == its.labels:
        return None
    symmetric = asked.lexicon.symmetric
    if not (symmetric.isdisjoint(mine.sequence) or symmetric.isdisjoint(its.sequence)):
        return None
    seen: dict[tuple[str, str], str] = {}
    for word, label in mine.labels.items():
        other = its.labels.get(word, label)
        if label == other or AMBIGUOUS in (label, other):
            continue
        if frozenset({label, other}) in OPPOSED:
            return f"{label} {asked.texts[word]} was {other} {asked.texts[word]}"
        partner = seen.get((other, label))
        if partner is not None:
            return _exchange(partner, word, asked)
        seen.setdefault((label, other), word)
    return _order_differs(asked, stored) or _agent_differs(asked, stored)


def _exchange(one: str, other: str, asked: Features) -> str:
    return f"{asked.texts[one]} and {asked.texts[other]} are exchanged"


def _order_differs(asked: Features, stored: Features) -> str | None:
    """Whether two things without a preposition have exchanged their places."""
    mine, its = asked.roles, stored.roles
    moved = None if mine.has_clauses or its.has_clauses else _exchanged_words(asked, stored)
    moved = moved or _exchanged(_bare_names(asked, stored), _bare_names(stored, asked), 1)
    if moved is None:
        return None
    for word in moved:
        if mine.labels[word] or its.labels[word]:
            return None
        if word in mine.coordinated and word in its.coordinated:
            return None
    return _exchange(*moved, asked)


def _agent_differs(asked: Features, stored: Features) -> str | None:
    """Whether who acts is acted upon in the other: `did A hire B` and `was A hired by B`."""
    for active, passive in ((asked, stored), (stored, asked)):
        labels, others = active.roles.labels, passive.roles.labels
        subject = ""
        for name in _bare_names(active, passive):
            if asked.question == stored.question == "who" and others[name] == "by" != labels[name]:
                return f"{active.texts[name]} was by {active.texts[name]}"
            if labels[name] or others[name] not in {"", "by"}:
                continue
            if subject and others[name] == "by":
                return _exchange(subject, name, active)
            subject = subject or (name if not others[name] else "")
    return None


def _bare_names(one: Features, other: Features) -> tuple[str, ...]:
    """The names that both questions have, in the order of one."""
    labels, others = one.roles.labels, other.roles.labels
    return tuple(name for name in one.names.order if name in labels and name in others)


def _exchanged_words(asked: Features, stored: Features) -> tuple[str, str] | None:
    """The two words that have exchanged their places around others; verbs do in clauses."""
    moved = _exchanged(asked.roles.sequence, stored.roles.sequence, 2)
    return moved if moved and asked.lexicon.verbs.isdisjoint(moved) else None


def _exchanged(mine: tuple[str, ...], its: tuple[str, ...], reach: int) -> tuple[str, str] | None:
    """The two words, `reach` apart, that have exchanged their places while all others stayed."""
    if len(mine) != len(its) or mine == its:
        return None
    places = [at for at, (one, other) in enumerate(zip(mine, its, strict=True)) if one != other]
    if len(places) != 2:
        return None
    first, second = places
    if second - first < reach or (mine[first], mine[second]) != (its[second], its[first]):
        return None
    return mine[first], mine[second]


def _is_infinitive(found: Sequence[Token], at: int, words: Lexicon) -> bool:
    """Whether this `to` begins `to transfer` and not `to Rome`."""
    if found[at].lower != "to" or at + 1 == len(found):
        return False
    after = found[at + 1]
    is_verb = after.base in words.verbs or after.lower in words.auxiliaries
    if not is_verb or not after.text.islower():
        return False
    # "from home to work"
    return not any(token.lower == "from" for token in found[max(0, at - 4) : at])
