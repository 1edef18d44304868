"""The codec by itself, beside what LangChain and Python have for the same."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.load import dumps, loads

from benches.rivals import DEEPCOPY, LANGCHAIN, MEMORY, SUBJECT, Rival
from benches.workload import answer, same
from llmemo._core import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from benches.conftest import Measure

KEY = bytes(32)
CALLS = 64

# What is kept of an answer, and what makes a fresh one of it.
ENCODE: dict[str, Callable[[Any], Any]] = {
    SUBJECT: lambda generations: encode(generations, KEY),
    LANGCHAIN.name: dumps,
    DEEPCOPY.name: lambda generations: generations,
}
DECODE: dict[str, Callable[[Any], Any]] = {
    SUBJECT: lambda value: decode(value, KEY),
    LANGCHAIN.name: loads,
    DEEPCOPY.name: copy.deepcopy,
}


@pytest.mark.parametrize("rival", [MEMORY[0], LANGCHAIN, DEEPCOPY], ids=str)
@pytest.mark.benchmark(group="decode, 1 KB answer")
@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
def test_decode(measure: Measure, rival: Rival) -> None:
    kept, decoder = (
        [ENCODE[rival.name](answer(index)) for index in range(CALLS)],
        DECODE[rival.name],
    )

    def run(kept: list[Any]) -> int:
        return sum(len(decoder(it)) for it in kept)

    measure(rival, run, lambda: kept, operations=CALLS, rounds=4)
    assert all(same(decoder(it), index) for index, it in enumerate(kept))


@pytest.mark.parametrize("rival", [MEMORY[0], LANGCHAIN], ids=str)
@pytest.mark.benchmark(group="encode, 1 KB answer")
def test_encode(measure: Measure, rival: Rival) -> None:
    answers, encoder = [answer(index) for index in range(CALLS)], ENCODE[rival.name]

    def run(answers: list[Any]) -> int:
        return sum(len(encoder(it)) > 0 for it in answers)

    measure(rival, run, lambda: answers, operations=CALLS, rounds=4)
