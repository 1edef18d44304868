"""The examples of docs/testing.md are recorded, and then replayed without a provider."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytest.importorskip("langchain_openai")

from support import TESTS
from support.inner_runs import keep_imports
from support.providers import Provider, chat_completion

pytest_plugins = ["pytester"]
pytestmark = [pytest.mark.clients, pytest.mark.slow]

PAGE = (TESTS.parent / "docs" / "testing.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(autouse=True)
def imports_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_imports(monkeypatch)


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) == 2


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_recorded_and_replayed(
    example: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(body: Any, number: int) -> Any:
        return chat_completion("Paris", number)

    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("OPENAI_API_KEY", "a key")
    pytester.makepyfile(test_page=example)
    arguments = ("-p", "pytest_llmemo", "-p", "anyio", "-W", "error", "--strict-markers")
    with Provider(answer) as provider:
        monkeypatch.setenv("OPENAI_API_BASE", provider.url)
        first = pytester.runpytest_inprocess(*arguments).parseoutcomes()
        assert list(first) == ["passed"]
        sent = len(provider.bodies)
        assert sent == first["passed"]
    assert pytester.runpytest_inprocess("--llmemo=replay", *arguments).parseoutcomes() == first


def test_the_words_of_a_failure_are_those_of_the_page(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("OPENAI_API_KEY", "a key")
    with Provider(lambda body, number: chat_completion("Paris", number)) as provider:
        monkeypatch.setenv("OPENAI_API_BASE", provider.url)
        pytester.makepyfile(test_page=EXAMPLES[0])
        pytester.runpytest_inprocess("-p", "pytest_llmemo").assert_outcomes(passed=1)
        pytester.makepyfile(test_page=EXAMPLES[0].replace("capital of", "capitol of"))
        result = pytester.runpytest_inprocess("-p", "pytest_llmemo", "--llmemo=replay")
    result.assert_outcomes(failed=1)
    _, _, told = PAGE.partition("```text\n")
    for line in told.partition("```")[0].splitlines():
        result.stdout.fnmatch_lines([f"*{line.replace('tests/capitals.jsonl', '*')}"])
