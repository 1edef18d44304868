"""Pairs of questions that swap a name, a number, a direction, a unit, a day or a negation."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence


class Pair(NamedTuple):
    """Two questions, and what differs."""

    kind: str
    asked: str
    stored: str


PEOPLE = ["Anna", "Benedict", "Priya", "Tomasz", "Ingrid", "Kwame", "Yuki", "Rosalind", "Dmitri"]
PEOPLE += ["Farah", "Leopold", "Saoirse", "Mateo", "Zanele", "Ulrich", "Grace", "Mark", "Will"]
CITIES = ["Paris", "Lisbon", "Ulm", "Reading", "Tampere", "Graz", "Cork", "Nice", "Osaka", "Bergen"]
CITIES += ["Chengdu", "Windhoek", "Split", "Bath", "Recife", "Galway", "Perth", "Mobile"]
PRODUCTS = [
    "Photoshop",
    "Word",
    "Blender",
    "Teams",
    "Excel",
    "Notion",
    "Figma",
    "Obsidian",
    "Slack",
]
PRODUCTS += ["Confluence", "Trello", "Apex", "Vantor", "Keynote", "Asana", "Linear", "Quill"]
FIRMS = [
    "Barclays",
    "Monzo",
    "Northwind",
    "Acme",
    "Globex",
    "Shell",
    "Orange",
    "Fidelity",
    "Halden",
]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
SPOKEN = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve"]
DIGITS = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7"}
DIGITS |= {"eight": "8", "nine": "9", "ten": "10", "twelve": "12"}
AMOUNTS = ["15", "40", "250", "1,000", "3.5", "75", "12", "600", "2024", "90"]
UNITS = [("kilometres", "miles"), ("kg", "lb"), ("grams", "ounces"), ("Celsius", "Fahrenheit")]
UNITS += [("litres", "gallons"), ("euros", "dollars"), ("metres", "feet"), ("cm", "inches")]
UNITS += [
    ("hours", "days"),
    ("weeks", "months"),
    ("MB", "GB"),
    ("USD", "GBP"),
    ("minutes", "hours"),
]
ACTIONS = ["cancel the order", "reset the router", "wash the jumper", "freeze the soup"]
ACTIONS += ["share the invoice", "water the cactus", "update the firmware", "sign the lease"]

NAMED = [
    ["What is {}'s phone number?", "Which phone number does {} have?", "How can I call {}?"],
    ["What is the weather like in {} in winter?", "How is the winter weather in {}?"],
    ["How do I install {} on my laptop?", "What are the steps to install {} on a laptop?"],
    ["Is {} open to new customers?", "Does {} take new customers?"],
    ["When was {} founded?", "In which year was {} founded?"],
    ["Who is the head of {} at the moment?", "Who currently leads {}?"],
    ["{} keeps crashing, what can I do?", "What should I do if {} crashes all the time?"],
    ["Send the report to {}", "Please mail the report to {}"],
]
NUMBERED = [
    ["Can I take {} tablets at once?", "Is it fine to take {} tablets at the same time?"],
    ["What is {} percent of my salary?", "How much is {} percent of my salary?"],
    ["How do I book a table for {} people?", "How can I reserve a table for {}?"],
    ["What does error {} mean?", "What is the meaning of error {}?"],
    [
        "How do I split a bill between {} friends?",
        "What is the way to split a bill for {} friends?",
    ],
    ["Can I return an item after {} days?", "Is a return possible after {} days?"],
    ["Which phones cost less than {} euros?", "What phones can I get under {} euros?"],
]
DIRECTED = [
    ["How do I travel from {} to {}?", "What is the way to get from {} to {}?"],
    ["How long is the flight from {} to {}?", "How long does it take to fly from {} to {}?"],
    ["Is there a direct train from {} to {}?", "Are there direct trains from {} to {}?"],
    ["Is {} older than {}?", "Is it true that {} is older than {}?"],
    ["Did {} beat {} in the final?", "Was it {} that beat {} in the final?"],
]
CONVERTED = [
    ["How do I convert {} files to {}?", "What is the way to turn {} files into {} files?"],
    ["How can I migrate from {} to {}?", "How do I move my data from {} to {}?"],
    ["How do I replace {} with {}?", "What is needed to replace {} with {}?"],
]
REVERSED = ["How do I get to {1} from {0}?", "To {1} from {0}: how do I travel?"]
MEASURED = [
    ["How far is it in {}?", "What is the distance in {}?"],
    ["What is 20 {} worth?", "How much is 20 {} worth?"],
    ["How long does it take in {}?", "What is the duration in {}?"],
    ["Can I give the size in {}?", "Is it possible to enter the size in {}?"],
    ["What is the limit in {}?", "Which limit in {} is there?"],
]
DATED = [
    ["Are you open on {}?", "Is the shop open on {}?"],
    ["What time does the bank close on {}?", "When does the bank shut on {}?"],
    ["Can I book a haircut for {}?", "Is a haircut on {} possible?"],
    ["Is there a bus on {} evening?", "Do buses run on {} evenings?"],
    ["What is on the menu {}?", "Which dishes are on the menu on {}?"],
]
NEGATED = [
    [
        "Which plans include roaming?",
        "Which plans do not include roaming?",
        "Which plans come without roaming?",
    ],
    ["Can I {}?", "Can't I {}?", "Is it true that I can never {}?"],
    ["Should I {} today?", "Should I not {} today?", "Should I avoid it today to {}?"],
    [
        "Why does it work when I {}?",
        "Why doesn't it work when I {}?",
        "Why does it never work when I {}?",
    ],
    ["What happens if I {}?", "What happens if I don't {}?", "What happens if I fail to {}?"],
    ["How do I turn on alerts?", "How do I turn off alerts?", "How can I switch off alerts?"],
    [
        "How do I enable backups?",
        "How do I disable backups?",
        "What is the way to disable backups?",
    ],
    ["Is it safe to {}?", "Is it unsafe to {}?", "Is it dangerous to {}?"],
    ["Is it legal to {}?", "Is it illegal to {}?", "Is it against the law, so illegal, to {}?"],
    ["Do I need a permit to {}?", "Can I {} without a permit?", "Do I need no permit to {}?"],
]


def swaps(random: random.Random, count: int) -> list[Pair]:
    """Pairs with different answers, each kind as often as the others."""
    makers = [_name, _number, _direction, _unit, _day, _negation]
    return [makers[at % len(makers)](random) for at in range(count)]


def _two(random: random.Random, wordings: Sequence[str]) -> tuple[str, str]:
    """The same wording twice, or two of them."""
    first = random.choice(wordings)
    return first, random.choice([first, random.choice(wordings)])


def _written(random: random.Random, text: str) -> str:
    """As some people write: in lower case, without the question mark."""
    return random.choice([text, text, text, text.rstrip("?")])


def _name(random: random.Random) -> Pair:
    one, other = random.sample(random.choice([PEOPLE, CITIES, PRODUCTS, FIRMS]), 2)
    first, second = _two(random, random.choice(NAMED))
    return Pair("name", _written(random, first.format(one)), second.format(other))


def _number(random: random.Random) -> Pair:
    words = random.choice([SPOKEN, AMOUNTS, list(DIGITS.values())])
    one, other = random.sample(words, 2)
    if random.random() < 0.3:
        other = DIGITS.get(other, other)
    first, second = _two(random, random.choice(NUMBERED))
    return Pair("number", _written(random, first.format(one)), second.format(other))


def _direction(random: random.Random) -> Pair:
    templates, words = random.choice(
        [(DIRECTED, CITIES), (DIRECTED, PEOPLE), (CONVERTED, PRODUCTS)]
    )
    one, other = random.sample(words, 2)
    wordings = random.choice(templates)
    first, second = _two(random, wordings)
    if wordings is DIRECTED[0] and random.random() < 0.5:
        second = random.choice(REVERSED)
    return Pair("direction", _written(random, first.format(one, other)), second.format(other, one))


def _unit(random: random.Random) -> Pair:
    one, other = random.sample(random.choice(UNITS), 2)
    first, second = _two(random, random.choice(MEASURED))
    return Pair("unit", _written(random, first.format(one)), second.format(other))


def _day(random: random.Random) -> Pair:
    words = random.choice(
        [DAYS, ["today", "tomorrow", "yesterday"], ["March", "June", "May", "April"]]
    )
    one, other = random.sample(words, 2)
    first, second = _two(random, random.choice(DATED))
    asked = _written(random, first.format(one))
    return Pair("day", random.choice([asked, asked, asked.lower()]), second.format(other))


def _negation(random: random.Random) -> Pair:
    plain, *opposites = random.choice(NEGATED)
    action = random.choice(ACTIONS)
    pair = [plain.format(action), random.choice(opposites).format(action)]
    random.shuffle(pair)
    return Pair("negation", _written(random, pair[0]), pair[1])
