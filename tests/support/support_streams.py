"""Questions to a customer service, of another make than `question_streams`: to check on those.

An intent is a task of a shop's, a bank's or an airline's customers, and a detail of it. Texts are
combined from an opening, a way to ask for such a task, and an ending, each drawn for itself. The
answer is the intent. Traps are intents that differ in one word: the task, or the detail.
"""

from __future__ import annotations

import itertools
import random

from support.question_streams import Request

TASKS = {
    # task: details, and ways to name the task; `{}` is the detail
    "cancel": "order,booking,subscription,gym membership|cancel my {}|get my {} cancelled",
    "track": "parcel,refund,luggage,application|track my {}|check the status of my {}",
    "return": "shoes,laptop,jacket,headphones|return my {}|send my {} back",
    "change": "email address,phone number,delivery address,surname|change my {}|update my {}",
    "download": "invoice,contract,bank statement,boarding pass|download my {}|get a pdf of my {}",
    "block": "credit card,debit card,sim card,account|block my {}|have my {} blocked",
    "unblock": "credit card,debit card,sim card,account|unblock my {}|have my {} unblocked",
    "renew": "passport,licence,library card,domain|renew my {}|extend my {}",
    "turn on": "notifications,dark mode,auto-renewal,location sharing|turn on {}|switch {} on",
    "turn off": "notifications,dark mode,auto-renewal,location sharing|turn off {}|switch {} off",
    "report": "stolen bike,broken window,water leak,lost wallet|report a {}|tell you about a {}",
    "upgrade": "seat,plan,room,storage|upgrade my {}|get a better {}",
}

ASKING = (
    "How do I {}?",
    "How can I {}?",
    "What do I have to do to {}?",
    "I want to {}.",
    "I need to {}, how does that work?",
    "Is there a way to {}?",
    "Where can I {}?",
    "Can you help me {}?",
    "What are the steps to {}?",
    "I'd like to {} please.",
)

FACTS = {
    # fact: details, and whole questions
    "hours": "Leeds,Hull,York,Derby"
    "|When does the {} store open?|What are the opening hours in {}?"
    "|At what time does your shop in {} open?|Opening times of the {} branch?",
    "weight": "10,15,23,32"
    "|Can I check in a bag of {} kg?|Is a {} kg suitcase allowed?"
    "|May my luggage weigh {} kilos?|Does a bag with {} kg cost extra?",
    "day": "Monday,Friday,Saturday,Sunday"
    "|Do you deliver on {}?|Is there a delivery on {}s?"
    "|Can my parcel come on a {}?|Will I get deliveries on {}?",
    "fee": "students,adults,seniors,families"
    "|What is the yearly fee for {}?|How much do {} pay a year?"
    "|What does it cost {} per year?|Annual price for {}?",
    "transfer": "Spain to Chile,Chile to Spain,Spain to Japan,Japan to Chile"
    "|How long does a transfer from {} take?|How many days until money sent from {} arrives?"
    "|Duration of a payment from {}?|When will a transfer from {} be there?",
}

OPENINGS = ("", "", "", "", "Hi, ", "Hello! ", "Hi there, ", "Good morning, ", "Quick question: ")
ENDINGS = ("", "", "", "", " Thanks!", " Thank you", " Thanks in advance.", " Please help.")


def texts() -> dict[str, list[str]]:
    """All questions by their answer, without openings and endings."""
    found: dict[str, list[str]] = {}
    for task, line in TASKS.items():
        details, *ways = line.split("|")
        for detail in details.split(","):
            pairs = itertools.product(ASKING, [way.format(detail) for way in ways])
            found[f"{task}: {detail}"] = [asking.format(named) for asking, named in pairs]
    for fact, line in FACTS.items():
        details, *questions = line.split("|")
        for detail in details.split(","):
            found[f"{fact}: {detail}"] = [question.format(detail) for question in questions]
    return found


def support_stream(seed: int, requests: int = 1200, exponent: float = 0.9) -> list[Request]:
    """Requests of intents that are drawn by a Zipf law. The same seed gives the same stream."""
    rng = random.Random(seed)
    known = texts()
    ranked = list(known)
    rng.shuffle(ranked)
    weights = [rank**-exponent for rank in range(1, len(ranked) + 1)]
    drawn = rng.choices(ranked, weights, k=requests)
    return [Request(_styled(rng.choice(known[answer]), rng), answer) for answer in drawn]


def _styled(text: str, rng: random.Random) -> str:
    opening = rng.choice(OPENINGS)
    if opening.endswith((", ", ": ")) and not text.startswith(("I ", "I'")):
        text = text[0].lower() + text[1:]
    whole = f"{opening}{text}{rng.choice(ENDINGS)}"
    return whole.lower().rstrip("?.!") if rng.random() < 0.25 else whole
