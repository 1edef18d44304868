"""An answer that comes back belongs to its caller alone, and works like any other."""

from __future__ import annotations

import copy
import itertools
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumps
from langchain_core.outputs import ChatGeneration, Generation
from pydantic import ValidationError
from support.exact import difference, mutable_parts, vandalise
from support.strategies import answers, examples, messages

from llmemo._core import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import BaseMessage

    from llmemo import LLMCache

    MakeCache = Callable[..., LLMCache]

KEY = bytes(range(32))


@pytest.mark.slow
def test_nothing_that_is_done_to_an_answer_reaches_a_later_hit(make_cache: MakeCache) -> None:
    cache, numbers = make_cache(fresh_ids=False, admit=None), itertools.count()

    @examples(25)
    @given(answers)
    def check(stored: list[Generation]) -> None:
        prompt, before = str(next(numbers)), copy.deepcopy(stored)
        cache.update(prompt, "l", stored)
        first, second = cache.lookup(prompt, "l"), cache.lookup(prompt, "l")
        for one, other in itertools.combinations((stored, first, second), 2):
            ids = {id(part) for part in mutable_parts(one)}
            assert not ids & {id(part) for part in mutable_parts(other)}, "shared by two"
        for victim in (stored, first):
            assert vandalise(victim) > 3
            assert difference(second, before) is None
            assert difference(cache.lookup(prompt, "l"), before) is None

    check()


@pytest.mark.slow
def test_what_langchain_does_to_a_hit_stays_with_that_hit(make_cache: MakeCache) -> None:
    cache, numbers = make_cache(fresh_ids=False, admit=None), itertools.count()

    @examples(15)
    @given(answers)
    def check(answer: list[Generation]) -> None:
        prompt, before = str(next(numbers)), copy.deepcopy(answer)
        cache.update(prompt, "l", answer)
        for _ in range(2):
            hit = cache.lookup(prompt, "l")
            assert difference(hit, before) is None
            try:
                BaseChatModel._convert_cached_generations(None, hit)  # type: ignore[arg-type]
            except ValidationError:
                # A bare generation whose text is no text that a message could have.
                assert any(not isinstance(g, ChatGeneration) for g in answer)

    check()


# Use.


def outcome(use: Callable[[Any], object], subject: object) -> object:
    """What comes of it; of an exception its class: Pydantic names what it happened to meet."""
    try:
        return use(subject)
    except Exception as error:  # noqa: BLE001
        return type(error).__name__


def written(write: Callable[[Any], str]) -> Callable[[Any], object]:
    """The characters of what is written: sets need not come back in their order."""
    return lambda it: sorted(write(it))


def assigned(it: Any) -> object:
    it.id = "new"
    return it


USES: dict[str, Callable[[Any], object]] = {
    "pickle": lambda it: pickle.loads(pickle.dumps(it)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda it: it.model_copy(deep=True),
    "model_dump": lambda it: it.model_dump(warnings=False),
    "exclude_unset": lambda it: it.model_dump(warnings=False, exclude_unset=True),
    "model_dump_json": written(lambda it: it.model_dump_json(warnings=False)),
    "dumps": written(dumps),
    "repr": written(repr),
    "equality": lambda it: it == copy.copy(it),
    "fields set": lambda it: it.model_fields_set,
    "extra": lambda it: it.model_extra,
    "text": lambda it: it.text,
    "addition": lambda it: it + it,
    "attribute": lambda it: it.missing,
    # The last one: what went in is written into too.
    "assignment": assigned,
}


@pytest.mark.slow
@examples(30)
@given(answers, st.lists(messages(), min_size=1, max_size=2))
def test_what_comes_back_works_like_what_went_in(
    answer: list[Generation], chat: list[BaseMessage]
) -> None:
    answer += [ChatGeneration.model_construct(message=message) for message in chat]
    value = encode(answer, KEY)
    for name, use in USES.items():
        for one, other in zip(answer, decode(value, KEY), strict=True):
            assert difference(outcome(use, one), outcome(use, other)) is None, name
            if isinstance(one, ChatGeneration) and isinstance(other, ChatGeneration):
                found = difference(outcome(use, one.message), outcome(use, other.message))
                assert found is None, name
