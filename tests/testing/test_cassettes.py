"""The pytest plugin: what a test records, what it is given, and what makes it fail."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("langchain_openai")

from langchain_core.globals import get_llm_cache
from support.inner_runs import keep_imports
from support.providers import Provider, chat_completion, completion

from llmemo.langchain.model_runs import guards

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Json = dict[str, Any]

pytest_plugins = ["pytester"]
pytestmark = [pytest.mark.clients]

BEGIN = """
import asyncio, os, threading
import pytest
from langchain_openai import ChatOpenAI, OpenAI
from llmemo import CacheMiss, options

def model(cls=ChatOpenAI, **settings):
    settings = {"api_key": "sk-0123456789-secret", "max_retries": 0, **settings}
    return cls(model="m", base_url=os.environ["LLMEMO_TEST_URL"], **settings)

def ask(text, **settings):
    return model(**settings).invoke(text)
"""


@pytest.fixture(autouse=True)
def imports_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_imports(monkeypatch)


def streamed(text: str, number: int) -> str:
    """What `/v1/chat/completions` streams, word by word."""
    base = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
    }
    deltas: list[Json] = [{"content": f"{word} "} for word in text.split()]
    choices: list[Json] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    events = [json.dumps({**base, "choices": [choice]}) for choice in choices]
    return "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"])


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    """Says which question it was asked, and counts."""

    def answer(body: Json, number: int) -> Json | str:
        if "prompt" in body:
            return completion(f"Answer {number}", number)
        question = body["messages"][-1]["content"]
        if body.get("stream"):
            return streamed(f"{question} {number}", number)
        if question == "Report.":
            return chat_completion('{"city": "Oslo", "town": "Rome"}', number)
        reason = "length" if question == "Be long." else "stop"
        return chat_completion(f"{question} {number}", number, finish_reason=reason)

    with Provider(answer) as provider:
        monkeypatch.setenv("LLMEMO_TEST_URL", provider.url)
        yield provider


@pytest.fixture
def run(pytester: pytest.Pytester, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `test_it.py` in a folder of its own. A text is its new content."""
    pytester.makeini("[pytest]\naddopts = -p pytest_llmemo -p no:cacheprovider")
    # The other plugins of this environment take a second.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(source: str | None, *arguments: str, **outcomes: int) -> pytest.RunResult:
        if source is not None:
            (pytester.path / "test_it.py").write_text(BEGIN + source, "utf-8")
        result = pytester.runpytest_inprocess("--strict-markers", *arguments)
        result.assert_outcomes(**outcomes)
        # Whatever happened: nothing is left behind.
        assert (get_llm_cache(), guards) == (None, [])
        return result

    return run


def lines(path: Path) -> list[Json]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def asked(path: Path) -> list[str]:
    """The last message of each recorded request."""
    return [next(iter(line["request"]["messages"][-1].values()))["content"] for line in lines(path)]


ONE = """
@pytest.mark.llmemo("one.jsonl")
def test_one():
    assert ask("Why?").content == "Why? 1"
"""


def test_the_second_run_sends_nothing(run: Any, provider: Provider, tmp_path: Path) -> None:
    run(ONE, passed=1)
    assert len(provider.bodies) == 1
    run(None, passed=1)
    run(None, "--llmemo=replay", passed=1)
    assert len(provider.bodies) == 1


def test_a_changed_prompt_fails_in_the_words_of_explain(
    run: Any, provider: Provider, pytester: pytest.Pytester
) -> None:
    run(ONE, passed=1)
    result = run(ONE.replace('ask("Why?")', 'ask("Whether?", temperature=0.5)'), failed=1)
    text = result.stdout.str()
    assert f"the cassette {pytester.path / 'one.jsonl'} has no answer to a request" in text
    assert "asked: ChatOpenAI, 1 message, the last: HumanMessage 'Whether?'" in text
    assert "nearest, line 1: " in text
    assert "temperature: 0.5, was not set" in text
    assert "message 1 (human): content differs from character 3" in text
    assert "--llmemo=record" in text
    assert len(provider.bodies) == 1


def test_a_setting_beside_the_text_is_told_by_its_name(run: Any, provider: Provider) -> None:
    source = """
@pytest.mark.llmemo("one.jsonl")
def test_one():
    model(OpenAI).invoke("Why?", extra_body={"top_k": 1})
"""
    run(source, passed=1)
    run(None, passed=1)
    result = run(source.replace('"top_k": 1', '"top_k": 2'), failed=1)
    result.stdout.fnmatch_lines(['*nearest, line 1: extra_body: {"top_k": 2} was {"top_k": 1}'])
    assert len(provider.bodies) == 1


def test_replay_without_a_cassette_fails(run: Any, provider: Provider) -> None:
    result = run(ONE, "--llmemo=replay", failed=1)
    result.stdout.fnmatch_lines(["*there is no cassette *one.jsonl*"])
    assert provider.bodies == []


def test_record_asks_for_what_is_missing_only(
    run: Any, provider: Provider, pytester: pytest.Pytester
) -> None:
    run(ONE, passed=1)
    run(ONE + "    ask('How?')\n", "--llmemo=record", passed=1)
    assert [body["messages"][-1]["content"] for body in provider.bodies] == ["Why?", "How?"]
    assert asked(pytester.path / "one.jsonl") == ["How?", "Why?"]
    run(None, passed=1)
    assert len(provider.bodies) == 2


SHARED = """
@pytest.mark.llmemo("shared.jsonl")
class TestShared:
    def test_a(self):
        ask("Who?")
        ask("Why?")

    def test_b(self):
        ask("Why?")
        ask("How?")
"""


def test_tests_share_a_cassette(run: Any, provider: Provider, pytester: pytest.Pytester) -> None:
    path = pytester.path / "shared.jsonl"
    run(SHARED, passed=2)
    assert len(provider.bodies) == 3
    a, b = ("test_it.py::TestShared::test_a", "test_it.py::TestShared::test_b")
    found = dict(zip(asked(path), (line["tests"] for line in lines(path)), strict=True))
    assert found == {"How?": [b], "Who?": [a], "Why?": [a, b]}
    run(None, passed=2)
    assert len(provider.bodies) == 3


def test_a_request_that_is_found_as_it_is_written_is_noted(
    run: Any, pytester: pytest.Pytester
) -> None:
    source = """
from langchain_core.outputs import Generation

@pytest.mark.llmemo("one.jsonl")
@pytest.mark.parametrize("number", [1, 2])
def test_one(number, llmemo_cassette):
    request = "Why?", "[('model', 'm')]"
    if llmemo_cassette.lookup(*request) is None:
        llmemo_cassette.update(*request, [Generation(text="yes")])
"""
    run(source, passed=2)
    (line,) = lines(pytester.path / "one.jsonl")
    assert line["tests"] == ["test_it.py::test_one[1]", "test_it.py::test_one[2]"]


def test_refresh_asks_for_all_and_drops_what_is_stale(
    run: Any, provider: Provider, pytester: pytest.Pytester
) -> None:
    path = pytester.path / "shared.jsonl"
    run(SHARED, passed=2)
    run(SHARED.replace('ask("Who?")', 'ask("What?")'), "--llmemo=refresh", passed=2)
    assert asked(path) == ["How?", "What?", "Why?"]
    # Once for both tests.
    assert len(provider.bodies) == 3 + 3
    assert "Why? 5" in path.read_text()
    run(None, passed=2)
    assert len(provider.bodies) == 6


def test_a_refresh_of_one_test_leaves_the_answers_of_the_others(
    run: Any, provider: Provider, pytester: pytest.Pytester
) -> None:
    path = pytester.path / "shared.jsonl"
    run(SHARED, passed=2)
    changed = SHARED.replace('ask("Who?")', 'ask("What?")')
    run(changed, "--llmemo=refresh", "test_it.py::TestShared::test_a", passed=1)
    assert asked(path) == ["How?", "What?", "Why?"]
    run(None, passed=2)


def test_a_refresh_drops_the_answers_of_tests_that_are_gone(
    run: Any, provider: Provider, pytester: pytest.Pytester
) -> None:
    path = pytester.path / "shared.jsonl"
    run(SHARED, passed=2)
    renamed = SHARED.replace("test_b", "test_c").replace("How?", "Where?")
    # One test alone does not tell which others there are.
    run(renamed, "--llmemo=refresh", "test_it.py::TestShared::test_a", passed=1)
    assert asked(path) == ["How?", "Who?", "Why?"]
    run(None, "--llmemo=refresh", passed=2)
    assert asked(path) == ["Where?", "Who?", "Why?"]


def test_a_failed_test_records_nothing(
    run: Any, provider: Provider, pytester: pytest.Pytester
) -> None:
    path = pytester.path / "one.jsonl"
    run(ONE + "    assert False\n", failed=1)
    assert not path.exists()
    run(ONE + "    pytest.skip('later')\n", skipped=0, failed=1)
    assert not path.exists()
    run(ONE.replace('"Why? 1"', '"Why? 3"'), passed=1)
    before = path.read_bytes()
    run(ONE.replace('"Why? 1"', '"no"'), "--llmemo=refresh", failed=1)
    assert path.read_bytes() == before


def test_a_test_whose_fixture_fails_at_its_end_records_nothing(
    run: Any, provider: Provider, pytester: pytest.Pytester
) -> None:
    run(
        """
@pytest.fixture
def broken():
    yield
    raise RuntimeError

@pytest.mark.llmemo("one.jsonl")
def test_one(broken):
    ask("Why?")
""",
        passed=1,
        errors=1,
    )
    assert not (pytester.path / "one.jsonl").exists()


def test_a_unittest_that_fails_records_nothing(
    run: Any, provider: Provider, pytester: pytest.Pytester
) -> None:
    source = """
import unittest

@pytest.mark.llmemo("one.jsonl")
class TestIt(unittest.TestCase):
    def test_one(self):
        ask("Why?")
        self.assertEqual(1, 2)
"""
    run(source, failed=1)
    assert not (pytester.path / "one.jsonl").exists()
    run(source.replace("1, 2", "1, 1"), passed=1)
    run(None, passed=1)
    assert len(provider.bodies) == 2


def test_a_refused_call_fails_the_test_that_catches_the_error(run: Any, provider: Provider) -> None:
    result = run(
        """
@pytest.mark.llmemo("one.jsonl")
def test_one():
    try:
        ask("Why?")
    except Exception:
        pass
""",
        "--llmemo=replay",
        failed=1,
    )
    result.stdout.fnmatch_lines(["*asked: ChatOpenAI, 1 message, the last: HumanMessage 'Why?'"])
    assert provider.bodies == []


PATHS = {
    "completion": "list(model(OpenAI).stream('Why?'))",
    "acompletion": "asyncio.run(read(model(OpenAI).astream('Why?')))",
    "cache=False": "model(cache=False).invoke('Why?')",
    "completion, cache=False": "model(OpenAI, cache=False).invoke('Why?')",
    "its own cache": "model(cache=InMemoryCache()).invoke('Why?')",
    "another global cache": "set_llm_cache(InMemoryCache()); model().invoke('Why?')",
    "no cache": "set_llm_cache(None); model().invoke('Why?')",
}


@pytest.mark.parametrize("mode", ["record", "replay"])
@pytest.mark.parametrize("path", PATHS)
def test_what_goes_past_the_cassette_is_refused(
    path: str, mode: str, run: Any, provider: Provider, pytester: pytest.Pytester
) -> None:
    source = f"""
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache

async def read(stream):
    return [it async for it in stream]

@pytest.mark.llmemo("one.jsonl")
def test_one():
    with pytest.raises(CacheMiss):
        {PATHS[path]}
"""
    result = run(source, f"--llmemo={mode}", failed=1)
    result.stdout.fnmatch_lines(["*past the cassette *one.jsonl*"])
    assert provider.bodies == []
    assert not (pytester.path / "one.jsonl").exists()


STREAMS = {
    "stream": "[it.text for it in model().stream('Why not?')]",
    "astream": "[it.text for it in asyncio.run(read(model().astream('Why not?')))]",
    "events": "[it['event'] for it in asyncio.run("
    "read(model().astream_events('Why not?', version='v2')))]",
    "cached": "[it.text for it in cached(model()).stream('Why not?')]",
}


@pytest.mark.parametrize("path", STREAMS)
def test_a_stream_is_replayed_chunk_by_chunk(
    path: str, run: Any, provider: Provider, pytester: pytest.Pytester
) -> None:
    source = f"""
from pathlib import Path
from llmemo import cached

async def read(stream):
    return [it async for it in stream]

@pytest.mark.llmemo("one.jsonl")
def test_one():
    found = {STREAMS[path]}
    assert len(found) >= 4
    seen = Path("seen")
    if seen.exists():
        assert seen.read_text() == repr(found)
    seen.write_text(repr(found))
"""
    run(source, passed=1)
    assert len(provider.bodies) == 1
    (line,) = (pytester.path / "one.jsonl").read_text().splitlines()
    assert '["Why ", "not? ", "1 "]' in line
    run(None, passed=1)
    run(source.replace("Why not?", "Why so?"), failed=1)
    assert len(provider.bodies) == 1


@pytest.mark.parametrize("block", ["mode='bypass'", "mode='refresh'", "mode='default'", "ttl=1e-6"])
def test_no_option_lets_a_request_leave_in_replay(block: str, run: Any, provider: Provider) -> None:
    source = f"""
from langchain_core.globals import get_llm_cache

@pytest.mark.llmemo("one.jsonl")
def test_one():
    with options({block}):
        first = ask("Why?").content
    get_llm_cache().clear()
    with options({block}):
        assert ask("Why?").content == first == "Why? 1"
"""
    run(source, passed=1)
    run(None, passed=1)
    run(source.replace('"Why?"', '"How?"'), failed=1)
    assert len(provider.bodies) == 1


def test_only_mode_is_the_users_own(run: Any, provider: Provider) -> None:
    source = """
@pytest.mark.llmemo("one.jsonl")
def test_one():
    ask("Why?")
    with options(mode="only"):
        ask("Why?")
        with pytest.raises(CacheMiss):
            ask("How?")
"""
    run(source, passed=1)
    run(None, passed=1)
    assert len(provider.bodies) == 1


def test_threads_and_tasks_are_replayed_and_refused(run: Any, provider: Provider) -> None:
    source = """
def in_a_thread(text):
    said = []
    thread = threading.Thread(target=lambda: said.append(ask(text)))
    thread.start()
    thread.join()
    return said

@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.llmemo("one.jsonl")
def test_one():
    assert in_a_thread("Why?")
    asyncio.run(model().abatch(["Why?", "Who?"]))
    model().batch(["Why?", "Who?"])
"""
    run(source, passed=1)
    assert len(provider.bodies) == 2
    run(None, passed=1)
    result = run(source.replace('in_a_thread("Why?")', 'not in_a_thread("How?")'), failed=1)
    result.stdout.fnmatch_lines(["*HumanMessage 'How?'*"])
    assert len(provider.bodies) == 2


def test_async_tests_under_anyio(run: Any, provider: Provider) -> None:
    source = """
@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
@pytest.mark.llmemo("one.jsonl")
async def test_one(llmemo_cassette):
    answers = await asyncio.gather(*(model().ainvoke("Why?") for _ in range(5)))
    assert {it.content for it in answers} == {"Why? 1"}
    assert len({it.id for it in answers}) >= 4
"""
    run(source, "-p", "anyio", passed=1)
    run(None, "-p", "anyio", passed=1)
    assert len(provider.bodies) == 1


def test_async_tests_under_asyncio(run: Any, provider: Provider, pytester: Any) -> None:
    pytest.importorskip("pytest_asyncio")
    pytester.makeini(
        "[pytest]\naddopts = -p pytest_llmemo -p no:cacheprovider\nasyncio_mode = auto\n"
        "asyncio_default_fixture_loop_scope = function"
    )
    source = """
@pytest.fixture
async def answer():
    return await model().ainvoke("Why?")

@pytest.mark.llmemo("one.jsonl")
async def test_one(answer):
    assert answer.content == "Why? 1"
"""
    run(source, "-p", "pytest_asyncio.plugin", passed=1)
    run(None, "-p", "pytest_asyncio.plugin", passed=1)
    assert len(provider.bodies) == 1


def test_fixtures_are_recorded_and_replayed(run: Any, provider: Provider) -> None:
    run(
        """
from langchain_core.caches import InMemoryCache
from langchain_core.globals import get_llm_cache, set_llm_cache

@pytest.fixture
def early():
    return ask("Early?").content

@pytest.fixture
def late():
    yield
    ask("Late?")

@pytest.fixture(autouse=True)
def the_projects_own():
    before = get_llm_cache()
    set_llm_cache(InMemoryCache())
    yield
    set_llm_cache(before)

@pytest.mark.llmemo("one.jsonl")
def test_one(late, early, the_projects_own, llmemo_cassette):
    assert get_llm_cache() is llmemo_cassette
    assert ask("Why?").content == "Why? 2"
""".replace("def early", "def early").replace("(autouse=True)", ""),
        passed=1,
    )
    run(None, passed=1)
    assert [body["messages"][-1]["content"] for body in provider.bodies] == [
        "Early?", "Why?", "Late?",
    ]  # fmt: skip


SCRIPTED = """
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

class Scripted(BaseChatModel):
    step: int = 0
    calls: list = []
    _llm_type = "scripted"

    def _generate(self, messages, *args, **kwargs):
        model().invoke("Inner?")
        self.step += STEP
        return ChatResult(generations=[ChatGeneration(message=AIMessage("Outer."))])

@pytest.mark.llmemo("one.jsonl")
def test_one():
    for chunk in (*Scripted().stream("Outer?"), Scripted().invoke("Outer?")):
        assert chunk.content == "Outer."
"""


def test_a_model_of_the_users_that_calls_another_is_recorded(
    run: Any, provider: Provider, pytester: pytest.Pytester
) -> None:
    # It streams by `invoke`, so that its streams ask the cache.
    source = SCRIPTED.replace("STEP", "0")
    run(source, passed=1)
    assert asked(pytester.path / "one.jsonl") == ["Inner?", "Outer?"]
    run(None, passed=1)
    assert len(provider.bodies) == 1


def test_an_answer_of_a_model_that_changes_meanwhile_fails_the_test(
    run: Any, provider: Provider, pytester: pytest.Pytester
) -> None:
    source = SCRIPTED.replace("self.step += STEP", 'self.step = 1 if self.step != 1 else "x"')
    result = run(source, failed=1)
    result.stdout.fnmatch_lines(["*an answer cannot be recorded (*"])
    assert not (pytester.path / "one.jsonl").exists()


def test_a_truncated_answer_is_recorded(run: Any, provider: Provider) -> None:
    source = """
@pytest.mark.llmemo("one.jsonl")
def test_one():
    assert ask("Be long.").response_metadata["finish_reason"] == "length"
"""
    run(source, passed=1)
    run(None, passed=1)
    assert len(provider.bodies) == 1


def test_each_test_has_a_cassette_of_its_own_by_default(
    run: Any, provider: Provider, pytester: pytest.Pytester
) -> None:
    run(
        """
pytestmark = pytest.mark.llmemo

@pytest.mark.parametrize("word", ["a/b", "c"])
def test_word(word):
    ask(word)

class TestIt:
    def test_in_a_class(self):
        ask("Why?")

def test_that_asks_nothing():
    pass
""",
        passed=4,
    )
    folder = pytester.path / "cassettes" / "test_it"
    assert sorted(path.name for path in folder.iterdir()) == [
        "TestIt.test_in_a_class.jsonl",
        "test_word[a-b].jsonl",
        "test_word[c].jsonl",
    ]
    assert lines(folder / "test_word[c].jsonl")[0]["tests"] == ["../../test_it.py::test_word[c]"]
    run(None, passed=4)
    assert len(provider.bodies) == 3


def test_secrets_are_left_out_and_do_not_count(
    run: Any, provider: Provider, pytester: pytest.Pytester
) -> None:
    source = """
@pytest.mark.llmemo("one.jsonl")
def test_one():
    settings = {
        "api_key": "sk-0123456789-key",
        "default_headers": {"Authorization": "Bearer 0123456789-token", "X-Team": "t-0123456789"},
        "default_query": {"sig": "q-0123456789"},
    }
    ask("My key is sk-0123456789-key.", **settings)
    model(OpenAI, **settings).invoke("Why?", extra_headers={"X-Key": "e-0123456789"})
"""
    run(source, passed=1)
    text = (pytester.path / "one.jsonl").read_text()
    assert "0123456789" not in text
    assert "My key is (left out)" in text
    run(source.replace("0123456789", "another-secret"), passed=1)
    assert len(provider.bodies) == 2


def test_the_report_of_a_failure_has_no_secrets(
    run: Any, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "Bearer 0123456789-token")
    source = """
@pytest.mark.llmemo("one.jsonl")
def test_one():
    model(default_headers={"Authorization": os.environ["TOKEN"]}).invoke("Why?")
"""
    for arguments in ((), ("--showlocals",), ("--full-trace",)):
        result = run(source, "--llmemo=replay", *arguments, failed=1)
        result.stdout.fnmatch_lines([">*model(default_headers=*", "*there is no cassette*"])
        assert "0123456789-token" not in result.stdout.str()


def test_requests_that_differ_in_secrets_alone_are_told_apart_by_namespaces(
    run: Any, provider: Provider
) -> None:
    source = """
@pytest.mark.llmemo("one.jsonl")
def test_one():
    ask("Why?", default_headers={"X-Variant": "a"})
    with options(namespace=NAMESPACE):
        ask("Why?", default_headers={"X-Variant": "b"})
"""
    for mode in ("record", "replay"):
        result = run(source.replace("NAMESPACE", '""'), f"--llmemo={mode}", failed=1)
        result.stdout.fnmatch_lines(["*differ only in what a cassette leaves out*"])
        run(source.replace("NAMESPACE", '"b"'), "--llmemo=record", passed=1)
    run(None, passed=1)


def test_what_cannot_be_recorded_fails_at_once(
    run: Any, provider: Provider, pytester: pytest.Pytester
) -> None:
    result = run(
        """
@pytest.mark.llmemo("one.jsonl")
def test_one():
    model().bind(extra_body={"at": object()}).invoke("Why?")
""",
        failed=1,
    )
    result.stdout.fnmatch_lines(["*a request cannot be recorded: 'extra_body' holds an object*"])
    assert provider.bodies == []


def test_a_request_that_no_other_process_knows_is_refused(
    run: Any, provider: Provider, pytester: pytest.Pytester
) -> None:
    source = SCRIPTED.replace("STEP", "0").replace("step: int = 0", "step: int = 0; it: object = 0")
    source = source.replace("Scripted()", "Scripted(it=asyncio.Queue())")
    result = run(source, failed=1)
    result.stdout.fnmatch_lines(["*a request cannot be recorded: 'it' holds an object that*"])
    assert provider.bodies == []


def test_structured_output_is_replayed_until_its_schema_changes(
    run: Any, provider: Provider, pytester: pytest.Pytester
) -> None:
    source = """
from pydantic import BaseModel

class Report(BaseModel):
    city: str = ""

@pytest.mark.llmemo("one.jsonl")
def test_one():
    chain = model().with_structured_output(Report, method="json_schema", include_raw=True)
    assert chain.invoke("Report.")["parsed"] == Report(city="Oslo")
"""
    run(source, passed=1)
    text = (pytester.path / "one.jsonl").read_text()
    assert '"class": ["test_it", "Report"]' in text
    run(None, passed=1)
    (pytester.path / "one.jsonl").write_text(text.replace('{"city": "Oslo"}', '{"city": "Bern"}'))
    run(source.replace("Oslo", "Bern"), passed=1)
    result = run(source.replace("city", "town").replace("Oslo", "Rome"), failed=1)
    result.stdout.fnmatch_lines(["*response_format*"])
    assert len(provider.bodies) == 1


def test_structured_output_of_a_local_class_is_replayed(run: Any, provider: Provider) -> None:
    source = """
@pytest.mark.llmemo("one.jsonl")
def test_one():
    from pydantic import BaseModel

    class Report(BaseModel):
        city: str = ""

    chain = model().with_structured_output(Report, method="json_schema")
    assert chain.invoke("Report.") == Report(city="Oslo")
"""
    run(source, passed=1)
    run(None, passed=1)
    run(source.replace("city", "town").replace("Oslo", "Rome"), failed=1)
    assert len(provider.bodies) == 1


def test_a_retry_of_an_answer_that_no_parser_reads_is_recorded(
    run: Any, provider: Provider, pytester: pytest.Pytester
) -> None:
    source = """
from langchain_core.exceptions import OutputParserException
from langchain_core.runnables import RunnableLambda
from langchain_core.output_parsers import BaseOutputParser

class Second(BaseOutputParser):
    def parse(self, text):
        if text[-1] in "19":
            raise OutputParserException(text)
        return text

@pytest.mark.llmemo("one.jsonl")
def test_one():
    chain = (model() | Second()).with_retry(
        retry_if_exception_type=(OutputParserException,), wait_exponential_jitter=False
    )
    assert chain.invoke("Why?") != "Why? 1"
"""
    path = pytester.path / "one.jsonl"
    run(source, passed=1)
    assert "Why? 2" in path.read_text()
    run(None, passed=1)
    assert len(provider.bodies) == 2
    # In replay a retry asks no model, and finds the same answer.
    path.write_text(path.read_text().replace("Why? 2", "Why? 9"))
    result = run(None, failed=1)
    result.stdout.fnmatch_lines(["E *OutputParserException: Why? 9*"])
    assert len(provider.bodies) == 2
    run(None, "--llmemo=record", passed=1)
    assert "Why? 3" in path.read_text()
    run(None, passed=1)
    assert len(provider.bodies) == 3


def test_an_edited_answer_is_used_and_an_edited_request_is_another(
    run: Any, provider: Provider, pytester: pytest.Pytester
) -> None:
    path = pytester.path / "one.jsonl"
    run(ONE, passed=1)
    path.write_text(path.read_text().replace("Why? 1", "Because."))
    run(ONE.replace('"Why? 1"', '"Because."'), passed=1)
    path.write_text(path.read_text().replace('"Why?"', '"How?"'))
    run(None, failed=1)
    run(ONE.replace('"Why? 1"', '"Because."').replace("Why?", "How?"), passed=1)
    assert len(provider.bodies) == 1


def test_a_line_that_cannot_be_read_is_named(
    run: Any, provider: Provider, pytester: pytest.Pytester
) -> None:
    path = pytester.path / "one.jsonl"
    run(ONE, passed=1)
    path.write_text(path.read_text() + "<<<<<<< HEAD\n")
    result = run(None, errors=1)
    result.stdout.fnmatch_lines([f"*{path}, line 2: this is no JSON*"])
    assert path.read_text().endswith("HEAD\n")
    assert len(provider.bodies) == 1


@pytest.mark.parametrize("arguments", ["1", '"a", "b"', 'path="a"'])
def test_a_marker_with_other_arguments_is_refused(arguments: str, run: Any) -> None:
    result = run(ONE.replace('"one.jsonl"', arguments), errors=1)
    result.stdout.fnmatch_lines(["*takes one path*"])


def test_the_fixture_needs_the_marker(run: Any) -> None:
    result = run("def test_one(llmemo_cassette): pass\n", errors=1)
    result.stdout.fnmatch_lines(["*needs the marker*"])


def test_a_run_without_the_marker_imports_nothing(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_one():
            assert "pytest_llmemo" in sys.modules
            heavy = {"llmemo", "langchain_core"}
            assert heavy.isdisjoint(name.split(".")[0] for name in sys.modules)
        """
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    result = pytester.runpytest_subprocess("-p", "pytest_llmemo")
    result.assert_outcomes(passed=1)


def test_an_interrupted_run_leaves_nothing_behind(
    run: Any, pytester: pytest.Pytester, provider: Provider
) -> None:
    (pytester.path / "test_it.py").write_text(
        BEGIN + ONE + "    raise KeyboardInterrupt\n", "utf-8"
    )
    with pytest.raises(KeyboardInterrupt):
        pytester.runpytest_inprocess()
    assert (get_llm_cache(), guards) == (None, [])
    assert not (pytester.path / "one.jsonl").exists()
