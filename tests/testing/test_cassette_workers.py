"""Several processes of pytest record into one cassette."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.providers import Provider, chat_completion
from support.slices import some

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

TESTS = 8
SOURCE = '''
import json
import os
import urllib.request
import pytest
from langchain_core.language_models import SimpleChatModel

class Asking(SimpleChatModel):
    """Asks the provider. A real client takes a second to import, in each of the processes."""

    model_name: str = "m"

    @property
    def _llm_type(self):
        return "asking"

    def _call(self, messages, *args, **kwargs):
        body = {"messages": [{"content": each.content} for each in messages]}
        url = os.environ["LLMEMO_TEST_URL"]
        with urllib.request.urlopen(url, json.dumps(body).encode()) as response:
            return json.load(response)["choices"][0]["message"]["content"]

@pytest.mark.llmemo("shared.jsonl")
@pytest.mark.parametrize("number", range(8))
def test_it(number):
    model = Asking()
    assert model.invoke("Together?").content == "Together?"
    assert model.invoke(f"Alone {number}?").content == f"Alone {number}?"
'''


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    def answer(body: Any, number: int) -> Any:
        return chat_completion(body["messages"][-1]["content"], 0)

    with Provider(answer) as provider:
        monkeypatch.setenv("LLMEMO_TEST_URL", provider.url)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        yield provider


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "test_it.py").write_text(SOURCE)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -q -p pytest_llmemo\n")
    return tmp_path


def begin(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "pytest", *arguments], cwd=folder)


def check(path: Path) -> bytes:
    """The file has all lines, in order, with the tests that were given them. Returns it."""
    data = path.read_bytes()
    lines = [json.loads(each) for each in data.splitlines()]
    said = [each["request"]["messages"][0]["HumanMessage"]["content"] for each in lines]
    assert said == [*(f"Alone {number}?" for number in range(TESTS)), "Together?"]
    names = [f"test_it.py::test_it[{number}]" for number in range(TESTS)]
    assert [each["tests"] for each in lines] == [*([name] for name in names), names]
    return re.sub(rb"lc_run-[\w-]+", b"", data)


def test_processes_record_one_cassette(folder: Path, provider: Provider) -> None:
    path = folder / "shared.jsonl"
    told = []
    for mode in ("record", "refresh"):
        halves = ("0 or 1 or 2 or 3", "4 or 5 or 6 or 7")
        workers = [begin(folder, f"--llmemo={mode}", "-k", half) for half in halves]
        assert [worker.wait(120) for worker in workers] == [0, 0]
        told.append(check(path))
    assert told[0] == told[1]


@pytest.mark.parametrize("again", some([[], ["--llmemo=replay"]], 2))
def test_xdist_workers_record_one_cassette(
    again: list[str], folder: Path, provider: Provider
) -> None:
    pytest.importorskip("xdist")
    path = folder / "shared.jsonl"
    # Without an option: the first worker to end a test makes the file, and the others go on.
    assert begin(folder, "-p", "xdist", "-n", "2").wait(120) == 0
    check(path)
    sent = len(provider.bodies)
    assert begin(folder, "-p", "xdist", "-n", "2", *again).wait(120) == 0
    assert len(provider.bodies) == sent
