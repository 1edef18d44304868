"""What the guards refuse, and what they let through."""

from __future__ import annotations

import subprocess
import sys

import pytest

from llmemo.errors import ConfigurationError
from llmemo.semantic.guards import Refusal, refusal

REFUSED = {
    "numbers": [
        ("Can I take 2 tablets?", "Can I take 3 tablets?"),
        ("Can I take two tablets?", "Can I take 3 tablets?"),
        ("Is 1,000 enough?", "Is 100 enough?"),
        ("What is 2.5 plus one?", "What is 2.6 plus one?"),
        ("A table for twenty five people", "A table for twenty six people"),
        ("Who was the fourth king?", "Who was the fifth king?"),
        ("Can I take 2 pills in 4 hours?", "Can I take 4 pills in 2 hours?"),
        ("How many miles is 5 kilometres?", "How many kilometres is 5 miles?"),
        ("Is room 12 free?", "Is the room free?"),
        ("Who won World War II?", "Who won World War III?"),
        ("Is it 20% off?", "Is it 30% off?"),
        ("The train at 9:15", "The train at 9:45"),
        ("Is 5k a lot?", "Is 50k a lot?"),
        ("Convert 100 USD to GBP", "Convert 100 GBP to USD"),
    ],
    "time": [
        ("Are you open on Monday?", "Are you open on Tuesday?"),
        ("are you open on mon?", "are you open on tue?"),
        ("What happened yesterday?", "What happened today?"),
        ("Is it warm in May?", "Is it warm in June?"),
        ("Meet at 7am", "Meet at 7pm"),
        ("What did I spend last week?", "What did I spend last month?"),
        ("Are you open next Friday?", "Are you open this Friday?"),
        ("What should I do before the exam?", "What should I do after the exam?"),
        ("What is the daily limit?", "What is the weekly limit?"),
        ("Set a timeout of 30 ms", "Set a timeout of 30 minutes"),
        ("Set a timeout of 30 milliseconds", "Set a timeout of 30 seconds"),
    ],
    "units": [
        ("How far is it in km?", "How far is it in miles?"),
        ("Does 5kg fit?", "Does 5lb fit?"),
        ("Is 20 °C warm?", "Is 20 °F warm?"),
        ("What is $50 worth?", "What is £50 worth?"),
        ("Pay 50 USD", "Pay 50 euros"),
    ],
    "identifiers": [
        ("Show main.py", "Show test.py"),
        ("Open https://example.com/a", "Open https://example.com/b"),
        ("Write to a@example.com", "Write to b@example.com"),
        ("What does max_size do?", "What does min_size do?"),
        ("Where is INV-2024-001?", "Where is INV-2024-002?"),
        ("Upgrade to v1.2.3", "Upgrade to v1.2.4"),
        ("Is C++ hard?", "Is C# hard?"),
        ("What does x == y do?", "What does x != y do?"),
    ],
    "quotes": [
        ('What does "lol" mean?', 'What does "rofl" mean?'),
        ('What does "table" mean?', 'What does "chair" mean?'),
        ("What does `len(x)` do?", "What does `max(x)` do?"),
        ("Fix ```a = b```", "Fix ```a = c```"),
    ],
    "names": [
        ("How do I install Vantor?", "How do I install Quill?"),
        ("what is the weather in tampere?", "what is the weather in bergen?"),
        ("What is the weather in Paris?", "What is the weather?"),
        ("Do you take Apple Pay?", "Do you take Google Pay?"),
        ("Is the NHS free?", "Is the BBC free?"),
        ("Call Dr. Grey", "Call Dr. House"),
        ("Mark is late, what now?", "Grace is late, what now?"),
    ],
    "negation": [
        ("Which plans include roaming?", "Which plans don't include roaming?"),
        ("Which plans include roaming?", "Which plans don’t include roaming?"),  # noqa: RUF001
        ("which plans include roaming", "which plans dont include roaming"),
        ("Can I enter with a visa?", "Can I enter without a visa?"),
        ("What should I eat?", "What should I avoid to eat?"),
        ("Is it working?", "Is it never working?"),
        ("Is it allowed to park?", "Is it not allowed to park?"),
        ("Foods with gluten", "Gluten-free foods"),
        ("Is tea cheap and wine not good?", "Is tea not cheap and wine good?"),
    ],
    "polarity": [
        ("How do I turn on alerts?", "How do I turn off alerts?"),
        ("Turn the light on in the hall", "Turn the light off in the hall"),
        ("How do I enable alerts?", "How do I disable alerts?"),
        ("Is it safe to swim?", "Is it unsafe to swim?"),
        ("Is the shop open?", "Is the shop closed?"),
        ("Should I buy shares?", "Should I sell shares?"),
        ("How do I install it?", "How can I uninstall it?"),
        ("Is the fee refundable?", "Is the fee non-refundable?"),
        ("What do underloaded ships do?", "What do overloaded ships do?"),
        ("Why do cats like boxes?", "Why do cats dislike boxes?"),
        ("Is it in stock?", "Is it out of stock?"),
        ("Is it harmless?", "Is it harm?"),
        ("Undo the merge and keep my work", "Undo the merge and discard my work"),
        ("How do I change the front tyre?", "How do I change the back tyre?"),
        ("What is a left join?", "What is an inner join?"),
        ("Sort a list in increasing order", "Sort a list in descending order"),
        ("Print it in upper case", "Print it in lowercase"),
        ("Is too much iron bad?", "Is too little iron bad?"),
        ("Make the soup milder", "Make the soup spicier"),
        ("Is tea hotter than soup?", "Is tea colder than soup?"),
        ("Can a baby eat honey?", "Can a child eat honey?"),
        ("Unblock my prepaid card", "Unblock my credit card"),
        ("Draw my state pension", "Draw my company pension"),
    ],
    "quantities": [
        ("What is the most I can pay?", "What is the least I can pay?"),
        ("What is the first step?", "What is the last step?"),
        ("Are all seats free?", "Are some seats free?"),
        ("Which is the best bank?", "Which is the worst bank?"),
        ("Is Mars bigger than Venus?", "Is Mars smaller than Venus?"),
    ],
    "roles": [
        ("How do I get from Paris to Rome?", "How do I get from Rome to Paris?"),
        ("How do I get from Paris to Rome?", "To Paris from Rome: how do I get there?"),
        ("Convert PDF to Word", "Convert Word to PDF"),
        ("Is Rome older than Paris?", "Is Paris older than Rome?"),
        ("Did Alice beat Bob?", "Did Bob beat Alice?"),
        ("Did Alice hire Bob?", "Was Alice hired by Bob?"),
        ("Is Alice Bob's boss?", "Is Bob Alice's boss?"),
        ("Is Alice the aunt of Bob?", "Is Bob Alice's aunt?"),
        ("Is Go older than Rust?", "Is Rust older than Go?"),
        ("Who taught Plato?", "Who was taught by Plato?"),
        ("Move files from inbox to archive", "Move files to inbox from archive"),
        ("Do cats often chase mice?", "Do mice often chase cats?"),
        ("Do cats prefer fish to chicken?", "Do cats want chicken instead of fish?"),
        ("Compared with Oslo, is Rome hotter?", "Is Oslo hotter than Rome?"),
        ("Compared with Oslo, is Rome hotter?", "Compared with Rome, is Oslo hotter?"),
        ("How do I convert XML to YAML?", "How do I make XML out of YAML?"),
        ("Is tea preferable to coffee?", "Is coffee better than tea?"),
    ],
    "person": [
        ("What is my name?", "What is your name?"),
        ("Do I need a visa?", "Does my boss need a visa?"),
        ("What is his salary?", "What is her salary?"),
        ("Can I travel?", "Can he travel?"),
    ],
    "question_word": [
        ("Who founded the club?", "When was the club founded?"),
        ("Where is the station?", "Why is the station there?"),
        ("How many cups are there?", "How long are the cups?"),
        ("What is a loan?", "Who is a loan for?"),
    ],
}

ALLOWED = [
    ("Do cats prefer fish to chicken?", "Do cats want fish instead of chicken?"),
    ("Compared with Oslo, is Rome hotter?", "Is Rome hotter than Oslo?"),
    ("How do I convert XML to YAML?", "How do I make YAML out of XML?"),
    ("Is tea preferable to coffee?", "Is tea better than coffee?"),
    ("Which wine is French?", "Which wine is from France?"),
    ("How do I cancel my order?", "how do i cancel my order"),
    ("How do I cancel my order?", "HOW DO I CANCEL MY ORDER"),
    ("Do you accept Apple Pay?", "Do You Accept Apple Pay?"),
    ("How do I cancel my order?", "Hi Anna, how can I cancel my order? Many thanks!"),
    ("How do I cancel my order?", "Could you please tell me how I cancel my order?"),
    ("How do I cancel my order?", "What is the way to cancel my order?"),
    ("How do I cancel my order?", "How do you cancel an order?"),
    ("How do I cancel my order?", "How do I cancel my order? 🙂"),
    ("What's the price?", "What is the price?"),
    ("I can't log in, what should I do?", "I cannot log in. What should I do?"),
    ("I am unable to log in", "I'm not able to log in"),
    ("Is this true or not?", "Is this true?"),
    ("Can I take three pills?", "Can I take 3 pills?"),
    ("Can I take 1,000 pills?", "Can I take 1000 pills?"),
    ("Is 2 million a lot?", "Is two million a lot?"),
    ("What is the 2nd step?", "What is the second step?"),
    ("Which one is best?", "Which is best?"),
    ("Meet at 7pm", "Meet at 7:00 p.m."),
    ("Are you open on Mondays?", "Are you open on Monday?"),
    ("How much is £50 in dollars?", "How much are fifty pounds in USD?"),
    ("How do I get from Paris to Rome?", "How do I get to Rome from Paris?"),
    ("Which is better, tea or coffee?", "Which is better, coffee or tea?"),
    ("What is the difference between a virus and a worm?", "How do worms and viruses differ?"),
    ("Did Alice hire Bob?", "Was Bob hired by Alice?"),
    ("In a spreadsheet, how do I merge cells?", "How do I merge cells in a spreadsheet?"),
    ("Does the UK have a king?", "Does the United Kingdom have a king?"),
    ("What is machine learning?", "What is ML?"),
    ("What is the capital of France?", "What's France's capital?"),
    ("What is covid-19?", "What is Covid 19?"),
    ('What does "lol" mean?', "What does lol mean?"),
    ("Who is the CEO of PayPal?", "who is the ceo of pay pal"),
    ("Is there Wi-Fi?", "is there wifi?"),
    ("I'm trying to send an e-mail", "I am trying to send an email"),
    ("When does it open?", "What time does it open?"),
    ("Do I need electricity?", "do i need electricty"),
    ("The fee for adults?", "The fee for children under supervision?"),
]


def cases() -> list[object]:
    return [
        pytest.param(guard, *pair, id=f"{guard}: {pair[1]}")
        for guard, pairs in REFUSED.items()
        for pair in pairs
    ]


@pytest.mark.parametrize(("guard", "asked", "stored"), cases())
def test_another_question_is_refused_either_way(guard: str, asked: str, stored: str) -> None:
    found, back = refusal(asked, stored), refusal(stored, asked)
    assert found is not None
    assert back is not None
    assert (found.guard, back.guard) == (guard, guard)


@pytest.mark.parametrize(("asked", "stored"), ALLOWED[:-1])
def test_the_same_question_is_allowed_either_way(asked: str, stored: str) -> None:
    assert (refusal(asked, stored), refusal(stored, asked)) == (None, None)


@pytest.mark.parametrize(
    ("asked", "stored", "reason"),
    [
        ("Buy 3 cups", "Buy 4 cups", "number 3 was 4"),
        ("Buy 3 cups", "Buy cups", "number 3 is new"),
        ("Buy cups", "Buy 3 cups", "number 3 is missing"),
        ("Turn off the fan", "Turn on the fan", "'off' was 'on'"),
        ("Is Rome nice?", "Is Paris nice?", "name Rome was Paris"),
        ("Fly from Rome", "Fly to Rome", "from Rome was to Rome"),
    ],
)
def test_the_reason_says_what_was_asked_and_what_was_stored(
    asked: str, stored: str, reason: str
) -> None:
    found = refusal(asked, stored)
    assert found is not None
    assert found.reason == reason


def test_a_refusal_is_a_pair_of_guard_and_reason() -> None:
    assert refusal("Buy 3 cups", "Buy 4 cups") == Refusal("numbers", "number 3 was 4")


def test_scope_nouns_in_lower_case_are_left_to_the_certificate() -> None:
    assert refusal("What is the fee for nonprofits?", "What is the fee for students?") is None


def test_a_language_without_words_is_refused_with_those_that_have() -> None:
    with pytest.raises(ConfigurationError, match="'xx': give one of en"):
        refusal("a", "b", language="xx")


def test_words_are_loaded_at_the_first_question_only() -> None:
    program = (
        "from llmemo.semantic.guards import refusal\n"
        "from llmemo.semantic.guards.lexicon import lexicon\n"
        "assert lexicon.cache_info().currsize == 0\n"
        "refusal('a', 'b')\n"
        "assert lexicon.cache_info().currsize == 1\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
