"""What holds for the guards whatever the texts."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.doubles import ROUNDS

from llmemo.semantic.guards import refusal
from llmemo.semantic.guards.decision import GUARDS
from llmemo.semantic.guards.extraction import READ_MAX, features

FRAGMENTS = [
    "from",
    "to",
    "Paris",
    "Rome",
    "not",
    "5",
    "km",
    "$3",
    "n't",
    "'s",
    "hi",
    "thanks",
    "I",
]
FRAGMENTS += ["second", "turn", "on", "off", "first", "and", "hundred", "May", "next", "who", "was"]
FRAGMENTS += ["by", "my", "boss", "7pm", "a.m.", "2FA", "x_y", '"q"', "`c`", "#1", "½", "°C", "US"]
FRAGMENTS += ["?", ",", "...", "-", "--", "``` ", "II", "C++", "non-", "un", "safe", "vs", "30-day"]

texts = st.text(max_size=80) | st.lists(st.sampled_from(FRAGMENTS), max_size=12).map(" ".join)

REPEATED = [
    "((((",
    "a b c d ",
    "Paris to Rome not 5 km ",
    "\"'`",
    "1",
    "1 ",
    "'",
    "-",
    "a-b/",
    "A ",
]
REPEATED += ["a.", "don't ", "please ", "thanks ", "turn on ", "my boss ", "one hundred and ", "? "]
REPEATED += [
    "hello ",
    "from A to B, ",
    "日本語",
    "``` ",
    "1,000",
    "a@",
    "http://",
    "½",
    "a(",
    "\ud800 ",
]

SIZE = 20_000
SECONDS = 0.05


@settings(max_examples=200 * ROUNDS, deadline=None)
@given(texts)
@example("")
@example("\ud800")
@example("thanks")
def test_a_question_is_never_refused_for_itself(text: str) -> None:
    assert refusal(text, text) is None
    # Spaces do not count, but this does not take the way out for equal texts.
    assert refusal(text, text + " ") is None


@settings(max_examples=200 * ROUNDS, deadline=None)
@given(texts, texts)
@example("pounds", "£5 lb")
def test_the_order_of_the_questions_does_not_matter(one: str, other: str) -> None:
    found, back = refusal(one, other), refusal(other, one)
    assert (found and found.guard) == (back and back.guard)
    assert found is None or (found.guard in dict(GUARDS) and found.reason)


@settings(max_examples=100 * ROUNDS, deadline=None)
@given(texts, st.sampled_from(["Hi, ", "Hello there! ", "Please tell me: ", "um "]))
def test_politeness_before_a_question_does_not_matter(text: str, greeting: str) -> None:
    question = f"what does {text.lower()} mean?"
    assert refusal(greeting + question, question) is None


@pytest.mark.parametrize("piece", REPEATED)
def test_long_texts_take_linear_time(piece: str) -> None:
    text = piece * (SIZE // len(piece))
    features("x", "en")

    def taken() -> float:
        start = time.perf_counter()
        features.__wrapped__(text, "en")
        return time.perf_counter() - start

    # The best of some: the machine may be busy.
    assert min(taken() for _ in range(5)) < SECONDS
    assert refusal(text, text + " 1") is not None


def test_the_end_of_a_long_text_counts_exactly() -> None:
    start = "word " * READ_MAX
    found = refusal(start + "one end", start + "other end")
    assert found is not None
    assert found.guard == "identifiers"
