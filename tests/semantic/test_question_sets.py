"""The pairs of questions that ship, the streams that are drawn like them, and the bench of both."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.minilm import MiniLM
from support.question_streams import (
    EqualVectors,
    Precomputed,
    RandomVectors,
    Request,
    lookups,
    shares,
    stream,
)

from benches import semantic_pairs
from benches.data import make_question_pairs
from benches.data.families import Intent, families, parse
from benches.semantic_pairs import Counted, Fold, Pair, QuestionSet, Row, Subject

if TYPE_CHECKING:
    from collections.abc import Sequence

PAIRS = make_question_pairs.pairs()
INTENTS = [intent for family in families() for intent in family.intents]

TRAPS = {
    *("day", "direction", "name", "negation", "number", "place", "polarity", "product"),
    *("quantity", "roles", "scope", "unit", "verb"),
}


def normalised(text: str) -> str:
    return text.casefold().rstrip("?")


def test_the_file_is_what_the_script_writes() -> None:
    text = make_question_pairs.TARGET.read_text(encoding="utf-8")
    assert text == make_question_pairs.lines()
    assert len(text.encode()) < 400_000


def test_half_of_the_pairs_ask_the_same() -> None:
    assert len(PAIRS) >= 2_000
    same = sum(pair.same for pair in PAIRS)
    assert abs(same / len(PAIRS) - 0.5) < 0.02


def test_no_two_questions_meet_twice() -> None:
    met = Counter(frozenset((pair.asked, pair.stored)) for pair in PAIRS)
    assert max(met.values()) == 1
    assert min(map(len, met)) == 2


@pytest.mark.parametrize("kind", sorted(TRAPS))
def test_every_trap_comes_in_the_same_wording_and_in_another(kind: str) -> None:
    found = {pair.kind for pair in PAIRS}
    assert {kind, f"{kind}, reworded"} <= found


def test_there_are_no_other_kinds() -> None:
    kinds = {(pair.kind.partition(",")[0], pair.same) for pair in PAIRS}
    traps = {(kind, 0) for kind in TRAPS}
    assert kinds == traps | {("reworded", 1), ("restyled", 1), ("topic", 0)}


def test_no_text_asks_two_things() -> None:
    meant: dict[str, Intent] = {}
    for intent in INTENTS:
        for text, _ in intent.wordings:
            assert meant.setdefault(normalised(text), intent) == intent, text


def test_every_intent_has_wordings_and_an_answer_of_its_own() -> None:
    assert all(len({each.template for each in intent.wordings}) >= 4 for intent in INTENTS)
    assert len({intent.answer for intent in INTENTS}) == len(INTENTS)


def test_siblings_differ_in_one_slot_or_in_two_exchanged_ones() -> None:
    for intent in INTENTS:
        for kind, other in intent.siblings:
            differ = sum(a != b for a, b in zip(intent.chosen, other.chosen, strict=True))
            assert differ == (2 if kind == "roles" else 1)
            assert other in intent.family.intents


@pytest.mark.parametrize(
    "wording", ["- without any slot", "- a {thing2} form that there is not", "- {thing} {unknown}"]
)
def test_a_wording_needs_each_slot_in_a_form_that_there_is(wording: str) -> None:
    with pytest.raises(ValueError, match="needs each of"):
        list(parse("domain", f"[name]\nthing product: cat/cats | dog/dogs\n{wording}"))


def test_a_stream_is_its_seeds() -> None:
    assert stream(1, 300) == stream(1, 300)
    assert stream(1, 300) != stream(2, 300)


def test_a_question_has_one_answer_in_all_streams() -> None:
    answers: dict[str, str] = {}
    for seed in range(10):
        for question, answer in stream(seed):
            assert answers.setdefault(normalised(question), answer) == answer


def test_few_intents_are_asked_often() -> None:
    counts = Counter(answer for _, answer in stream(1)).most_common()
    assert counts[0][1] > 40
    assert sum(count for _, count in counts[:25]) > 400
    assert len(counts) > 180


def test_a_stream_has_intents_that_differ_in_one_slot() -> None:
    by_answer = {intent.answer: intent for intent in INTENTS}

    def near(traps: float) -> int:
        met = {by_answer[answer] for _, answer in stream(3, traps=traps)}
        return sum(any(other in met for _, other in intent.siblings) for intent in met)

    assert near(0.5) > near(0.2) > near(0)


def test_questions_without_a_style_of_their_own_repeat_more() -> None:
    fixed, fresh = ({each.question for each in stream(1, fresh=share)} for share in (0, 1))
    assert len(fixed) < 0.85 * len(fresh)


def test_all_answers_change() -> None:
    before, after = stream(1, 400), stream(1, 400, changes_after=150)
    assert before[:150] == after[:150]
    assert [each.question for each in before] == [each.question for each in after]
    assert not {each.answer for each in before} & {each.answer for each in after[150:]}


def test_every_answer_is_another() -> None:
    answers = [each.answer for each in stream(1, 400, distinct=True)]
    assert len(set(answers)) == len(answers)


def test_the_nearest_earlier_question_is_looked_up() -> None:
    asked = (("a", "1"), ("b", "2"), ("a", "3"), ("b", "2"), ("a", "3"))
    found = list(lookups([Request(*each) for each in asked], EqualVectors()))
    assert [each.repeat for each in found] == [False, False, True, True, True]
    assert [each.right for each in found] == [False, False, False, True, True]
    assert [round(each.score, 3) for each in found] == [-1, 1, 1, 1, 1]
    assert shares(found).wrong[0.95] == (1, 1)


@pytest.mark.parametrize(
    ("dimension", "near"), [pytest.param(4, True, id="few"), pytest.param(384, False, id="many")]
)
def test_random_vectors_are_near_in_few_dimensions_alone(dimension: int, near: bool) -> None:
    requests = stream(1, 200)
    vectors = RandomVectors(1, dimension)
    assert vectors.embed_query("a") == vectors.embed_documents(["a"])[0]
    scores = [each.score for each in lookups(requests, vectors) if not each.repeat]
    assert (max(scores) > 0.9) is near


def test_precomputed_vectors_are_the_models() -> None:
    vectors = Precomputed(["How are you?", "how are you"])
    expected = MiniLM().embed_query("how are you")
    assert np.allclose(vectors.embed_query("how are you"), expected, atol=1e-5)
    with pytest.raises(KeyError):
        vectors.embed_query("never told")


@pytest.mark.slow
def test_a_stream_looks_like_a_service() -> None:
    requests = stream(1, 400)
    found = shares(list(lookups(requests, Precomputed([each.question for each in requests]))))
    assert 0.05 < found.repeats < 0.5
    assert 0.2 < found.near < 0.6
    hits, wrong = (sum(column) for column in zip(*found.wrong.values(), strict=True))
    assert 0.05 < wrong / hits < 0.35


JUDGED = [(0.99, True), (0.97, False), (0.9, True), (0.9, True), (0.7, True), (0.5, False)]


def test_a_static_threshold_serves_what_reaches_it() -> None:
    assert semantic_pairs.static_hits(JUDGED, 0.9) == Counted(4, 1)
    assert semantic_pairs.static_hits(JUDGED, 0.9).error == 0.25
    assert semantic_pairs.static_hits(JUDGED, 1.0).error == 0
    assert semantic_pairs.redisvl_hits(JUDGED) == Counted(4, 1)


def test_the_best_static_threshold_serves_most_at_an_error() -> None:
    assert semantic_pairs.best_static(JUDGED, 0) == (0.99, Counted(1, 0))
    assert semantic_pairs.best_static(JUDGED, 0.2) == (0.7, Counted(5, 1))
    assert semantic_pairs.best_static([(0.9, True), (0.9, False)], 0) == (1.01, Counted(0, 0))


def test_gptcache_serves_from_a_cosine_of_six_tenths() -> None:
    pytest.importorskip("gptcache")
    for score, served in ((0.61, 1), (0.59, 0), (1.0, 1), (-1.0, 0)):
        assert semantic_pairs.gptcache_hits([(score, True)]).hits == served


def test_a_threshold_is_learnt_from_other_pairs_than_are_counted() -> None:
    one = [Pair("a", "b", 0.9, same=True), Pair("a", "no", 0.99, same=False)]
    other = [Pair("c", "d", 0.8, same=False)]
    learnt: list[list[tuple[float, bool]]] = []

    def choose(checks: Sequence[tuple[float, bool]]) -> float | None:
        learnt.append(list(checks))
        return 0.85 if checks[0][1] else None

    subject = Subject(lambda asked, stored: "refused" if stored == "no" else None, choose)
    folds = (Fold(one, other), Fold(other, one))
    assert semantic_pairs.subject_hits(folds, subject) == Counted(0, 0)
    assert learnt == [[(0.9, True)], [(0.8, False)]]
    same = (Fold(one, one),)
    assert semantic_pairs.subject_hits(same, subject) == Counted(1, 0)
    questions = QuestionSet("a set", same)
    pytest.importorskip("gptcache")
    rows = semantic_pairs.rows(questions, [subject])
    assert rows[0] == Row("llmemo", Counted(1, 0), (1.01, Counted(0, 0)))
    assert rows[0].ratio is None
    assert semantic_pairs.rows(questions) == rows[1:]
    assert semantic_pairs.table(questions, rows).row_count == len(rows)
    assert semantic_pairs.histogram(questions).row_count == 2
    assert "| llmemo | 1 | 0 | 0.0% | 0 | \N{EN DASH} |" in semantic_pairs.markdown(
        [(questions, rows)]
    )


def test_llmemo_is_measured_by_its_guards_and_by_what_is_certified() -> None:
    least, *_ = semantic_pairs.subjects()
    assert least.guard("Is the light on?", "Is the light off?") == "polarity"
    assert least.guard("Where is Rome?", "Where is Rome?") is None
    assert least.choose([(0.97, True)] * 226) is None
    assert least.choose([(0.97, True)] * 227) == 0.96
    assert least.choose([(0.97, False)] * 500) is None


def test_the_ratio_is_to_the_static_threshold_of_the_same_error() -> None:
    row = Row("llmemo", Counted(10, 1), (0.9, Counted(4, 0)))
    assert row.ratio == 2.5
    assert row.cells() == [
        "llmemo",
        "10",
        "1",
        "10.0%",
        "4 (from 0.900)",
        "2.50\N{MULTIPLICATION SIGN}",
    ]


def test_halves_are_all_pairs_and_share_none() -> None:
    pairs = [Pair(f"a{at}", "b", 0.9, same=True) for at in range(100)]
    folds = semantic_pairs.halves(pairs)
    assert sorted(itertools.chain(*(fold.counted for fold in folds))) == sorted(pairs)
    assert all(not set(fold.learnt) & set(fold.counted) for fold in folds)
    assert min(len(fold.counted) for fold in folds) > 25
