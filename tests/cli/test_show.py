"""`llmemo show` of answers that look like something else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.outputs import Generation
from support.commands import llmemo

from llmemo import LLMCache
from llmemo.inspection.values import Made, Opened

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("info", [{"q": 1}, {"d": 5}, {"i": "5"}, {"f": None}, {"b": b"abc"}])
def test_an_answer_whose_info_has_a_vectors_name(info: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with LLMCache(path) as cache:
        cache.update("p", "m", [Generation(text="hi there", generation_info=info)])
    [row] = llmemo("ls", path, "--json").lines
    assert row["kind"] == "answer"
    done = llmemo("show", path, row["key"])
    assert (done.code, done.err) == (0, "")
    assert "answer:\nhi there\n" in done.out
    assert "vector" not in done.out


@pytest.mark.parametrize("info", [{"q": 1}, {"d": 5}, {"q": b"odd"}])
def test_a_value_without_text_is_no_vector_either(info: dict[str, Any]) -> None:
    made = Made("langchain_core.outputs.Generation", {"text": "", "generation_info": info})
    opened = Opened([made], 0, is_compressed=False, is_encrypted=False)
    assert opened.kind == "answer"
