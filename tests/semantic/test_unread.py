"""Texts that an embedder does not read to the end, and differences that it does not see."""

from __future__ import annotations

import pytest
from support.minilm import MiniLM, _tokenizer
from support.near import certify, keep, look, near_cache, semantic, told

from llmemo.semantic.unread import is_too_long, objection, tokens_of

LONG = {
    "English": "How do I cancel a subscription that my late father has paid for by direct debit? ",
    "German": "Wo reiche ich meine Krankenversicherungsbescheinigung beim Bundesamt nach? ",
    "French": "Comment résilier mon abonnement avant la fin de la période d'engagement ? ",
    "Russian": "Как отменить подписку, если договор уже подписан и срок ещё не истёк? ",
    "Chinese": "今天北京的天气怎么样如何申请退款和取消订单",
    "Korean": "비밀번호를 어떻게 변경하나요 ",
    "Arabic": "كيف ألغي اشتراكي في الخدمة قبل نهاية الشهر؟ ",
    "accents": "é ü ñ ö ",
    "identifiers": "3f2a9c1e-77ab-4c2d-9e1f-0a1b2c3d4e5f ",
    "code": "def f(x): return [y**2 for y in x if y%2==0]; ",
}


def tokens_in(text: str) -> int:
    tokenizer = _tokenizer()
    tokenizer.no_truncation()
    try:
        return len(tokenizer.encode(text).ids)
    finally:
        tokenizer.enable_truncation(256)


@pytest.mark.parametrize("kind", LONG)
def test_what_is_compared_is_read_to_its_end(kind: str) -> None:
    text = ""
    while not is_too_long(text + LONG[kind]):
        text += LONG[kind]
    assert text
    assert tokens_in(text) <= 256
    # 1,000 characters would be cut off, or are just what English has room for.
    assert kind == "English" or tokens_in((text * 1000)[:1000]) > 256


def test_english_has_room() -> None:
    assert not is_too_long((LONG["English"] * 20)[:500])
    assert is_too_long("a " * 501)


@pytest.mark.parametrize("unit", ["he she ", "a,", "1 to "])
def test_texts_of_very_many_words_are_not_compared(unit: str) -> None:
    """Guards take 15 ms for some that were crafted, on an event loop; 4 ms for 160 words."""
    assert not is_too_long(unit * 80)
    assert is_too_long(unit * 81)


def test_tokens_are_counted_rather_too_many() -> None:
    for text in LONG.values():
        assert tokens_of(text) >= 0.95 * (tokens_in(text) - 2)
    assert tokens_of("") == 0


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        ("ค่าส่งเท่าไหร่", "คืนเงินเท่าไหร่"),
        ("schon", "schön"),
        (LONG["English"] * 20 + "or open", LONG["English"] * 20 + "or shut"),
    ],
)
def test_a_difference_with_equal_vectors_is_not_seen(asked: str, stored: str) -> None:
    against = objection(asked, stored, 1.0)
    assert against is not None
    assert objection(asked, stored, 0.99) is None or against.guard != "unread"


@pytest.mark.parametrize("stored", ["where is Rome", "Where  is Rome?!", "Where is Rome"])
def test_another_notation_is_no_difference(stored: str) -> None:
    assert objection("Where is Rome?", stored, 1.0) is None


@pytest.mark.slow
def test_a_script_that_the_embedder_does_not_know_is_not_served() -> None:
    with near_cache(semantic=semantic(MiniLM())) as cache:
        certify(cache)
        keep(cache, "ค่าส่งเท่าไหร่", answer="50 baht")
        assert look(cache, "คืนเงินเท่าไหร่") is None
        assert told(cache).abstained["guard_unread"] == 1
