"""Pairs of questions with the same answer: politeness, contractions, plurals, other words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.question_swaps import Pair

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

QUESTIONS = [
    "How do I change my delivery address?",
    "What is the return policy for shoes?",
    "Can I get a refund for a damaged item?",
    "Why is my internet connection so slow?",
    "How do I reset the password of my account?",
    "Where can I find my invoice?",
    "What documents do I need for a mortgage?",
    "How long does the delivery of a parcel take?",
    "How much does a monthly ticket cost?",
    "What should I do if I lost my card?",
    "How do I cancel a hotel booking in Lisbon?",
    "Is breakfast included in the price of the room?",
    "When does the library open on Saturday?",
    "How can I improve my English pronunciation?",
    "What is the best way to learn Python?",
    "How do I export 20 contacts to a file?",
    "What's the difference between a virus and a worm?",
    "I can't open the attachment, what should I do?",
    "Who do I contact about a broken lift?",
    "Which plants do well in the shade?",
]
SYNONYMS = [("change", "update"), ("find", "get"), ("cost", "cost me"), ("take", "usually take")]
SYNONYMS += [
    ("What should I do", "What can I do"),
    ("best way", "right way"),
    ("cancel", "call off"),
]
SYNONYMS += [
    ("included", "part of"),
    ("improve", "better"),
    ("lost", "have lost"),
    ("slow", "sluggish"),
]
SYNONYMS += [
    ("need", "require"),
    ("broken", "defective"),
    ("open", "start opening"),
    ("do well", "thrive"),
]
PREFIXES = [
    "Hi, ",
    "Hello! ",
    "Hi there, ",
    "Good morning, ",
    "Please tell me: ",
    "Quick question: ",
]
PREFIXES += ["Could you tell me, ", "Hey team, ", "Hello Sandra, ", "I was wondering, ", "um so "]
SUFFIXES = [" Thanks!", " Thank you very much.", " Many thanks", " Please help.", " Cheers"]
SUFFIXES += [" Thanks in advance", " please", ""]
LONG = [
    ("What's", "What is"),
    ("can't", "cannot"),
    ("How do I", "How can I"),
    ("How can I", "How do I"),
]
LONG += [("How do I", "What is the way to"), ("Can I", "Is it possible to"), ("How do I", "How to")]
LONG += [("Which", "What"), ("Where can I", "Where do I"), ("I can't", "I am not able to")]
PLURALS = [
    ("a parcel", "parcels"),
    ("a hotel booking", "hotel bookings"),
    ("my invoice", "my invoices"),
]
PLURALS += [
    ("a damaged item", "damaged items"),
    ("20 contacts", "twenty contacts"),
    ("shoes", "a shoe"),
]
PLURALS += [("a mortgage", "mortgages"), ("a monthly ticket", "monthly tickets"), ("file", "files")]
PLURALS += [
    ("a broken lift", "broken lifts"),
    ("documents", "document"),
    ("connection", "connections"),
]


def _replacing(options: Sequence[tuple[str, str]]) -> Callable[[random.Random, str], str]:
    def change(random: random.Random, text: str) -> str:
        fitting = [pair for pair in options if pair[0] in text]
        return text.replace(*random.choice(fitting), 1) if fitting else text

    return change


def _polite(random: random.Random, text: str) -> str:
    prefix = random.choice(PREFIXES)
    return prefix + text[0].lower() + text[1:] + random.choice(SUFFIXES)


def _thanked(random: random.Random, text: str) -> str:
    return text + random.choice(SUFFIXES)


def _plain(random: random.Random, text: str) -> str:
    return random.choice([text.lower(), text.rstrip("?"), text.lower().rstrip("?"), text + "?"])


def _moved(random: random.Random, text: str) -> str:
    """The last phrase with a preposition goes to the front."""
    for preposition in (" for ", " of ", " in ", " on ", " about "):
        start, _, end = text.rstrip("?").rpartition(preposition)
        if start:
            return f"{preposition.strip().capitalize()} {end}, {start[0].lower()}{start[1:]}?"
    return text


CHANGES: list[Callable[[random.Random, str], str]]
CHANGES = [_polite, _thanked, _plain, _moved, *map(_replacing, (SYNONYMS, LONG, PLURALS))]


def _varied(random: random.Random, at: int) -> Pair:
    text = random.choice(QUESTIONS)
    change = CHANGES[at % len(CHANGES)]
    changed = change(random, text)
    while changed == text:
        text = random.choice(QUESTIONS)
        changed = change(random, text)
    if random.random() < 0.2:
        changed = _thanked(random, changed)
    return Pair(getattr(change, "__name__", "replaced"), text, changed)


def variations(random: random.Random, count: int) -> list[Pair]:
    """Pairs with the same answer."""
    return [_varied(random, at) for at in range(count)]
