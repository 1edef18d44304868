"""The file of a cassette: whole lines in one order, and the names of lines that cannot be read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support import TESTS
from support.doubles import answer

from llmemo import LLMCache
from llmemo._core import encode
from llmemo.errors import CassetteError
from llmemo.testing import cassette, recorded_answer
from llmemo.testing.cassette import Line, change, read
from llmemo.testing.recorded_request import RecordedRequest
from llmemo.testing.redaction import Redaction

if TYPE_CHECKING:
    from pathlib import Path

MEMORY = LLMCache()._tiers.memory


def line(prompt: str, said: str = "yes") -> tuple[bytes, Line]:
    request = RecordedRequest("", "[('model', 'm')]", prompt)
    key = request.key(MEMORY)
    value = encode(answer(said), key)
    told = recorded_answer.to_json(value, key, Redaction())
    return key, Line(request, {"request": request.to_json(MEMORY), "answer": told}, value, ("t",))


def add(path: Path, *prompts: str) -> None:
    change(path, MEMORY, lambda lines: {**lines, **dict(map(line, prompts))})


def prompts(path: Path) -> list[str]:
    return [json.loads(each)["request"]["prompt"] for each in path.read_bytes().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "one.jsonl"


def test_the_order_of_lines_is_that_of_their_requests(path: Path, tmp_path: Path) -> None:
    add(path, "b", "a")
    add(path, "c")
    other = tmp_path / "new" / "other.jsonl"
    add(other, "c", "b", "a")
    assert prompts(path) == ["a", "b", "c"]
    assert path.read_bytes() == other.read_bytes()


def test_what_is_read_is_what_was_written(path: Path) -> None:
    add(path, "a")
    key, made = line("a")
    assert read(path, MEMORY) == {key: made._replace(number=1)}


def test_a_write_that_fails_leaves_the_file_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(path, "a")
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CassetteError, match="cannot be written: No space left"):
            add(path, "b")
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_file_that_stays_the_same_is_not_written(path: Path) -> None:
    add(path, "a")
    before = path.stat().st_ino
    add(path, "a")
    assert path.stat().st_ino == before


def test_a_file_keeps_its_mode_and_its_link(path: Path, tmp_path: Path) -> None:
    add(path, "a")
    path.chmod(0o640)
    link = tmp_path / "link.jsonl"
    link.symlink_to(path)
    add(link, "b")
    assert link.is_symlink()
    assert prompts(path) == ["a", "b"]
    assert path.stat().st_mode & 0o777 == 0o640


GOOD: dict[str, Any] = {
    "request": {"call": "[('model', 'm')]", "prompt": "a"},
    "answer": [{"Generation": {"text": "yes"}}],
}
BAD: dict[str, Any] = {
    "this is no JSON": b"{",
    "no JSON": b"\xff",
    "a line is an object": b"[]",
    'object with "request" and "answer"': {"request": {}},
    '"tests" is no list': {**GOOD, "tests": "t"},
    '"request" cannot be read': {**GOOD, "request": {}},
    'its "request" cannot': {**GOOD, "request": {"call": {}, "messages": [{"a": {}, "b": {}}]}},
    '"request" cannot': {**GOOD, "request": {"call": "[('x', <a.B at 0x7f>)]", "prompt": "a"}},
    "cannot be read$": {**GOOD, "request": {**GOOD["request"], "beside": [["x", "y", 1]]}},
    r'"answer" cannot be read \(ValidationError\)': {**GOOD, "answer": [{"Generation": {}}]},
    r'"answer" cannot be read \(\w+\): record it again': {**GOOD, "answer": []},
    "the same request as line 1": GOOD,
}


@pytest.mark.parametrize("reason", BAD)
def test_a_line_that_cannot_be_read_is_named(reason: str, path: Path) -> None:
    bad = BAD[reason]
    second = bad if isinstance(bad, bytes) else json.dumps(bad).encode()
    path.write_bytes(json.dumps(GOOD).encode() + b"\n\n" + second)
    with pytest.raises(CassetteError, match=reason) as caught:
        read(path, MEMORY)
    assert str(caught.value).startswith(f"{path}, line 3: ")
    with pytest.raises(CassetteError, match="line 3"):
        add(path, "b")
    assert path.read_bytes().endswith(second)


def test_a_folder_is_no_cassette(tmp_path: Path) -> None:
    with pytest.raises(CassetteError, match="cannot be read"):
        read(tmp_path, MEMORY)


def test_the_text_of_a_line_may_be_laid_out_by_hand(path: Path) -> None:
    text = json.dumps(GOOD, indent=None, separators=(" , ", " : "))
    path.write_text(f"  {text}  \r\n")
    ((_, found),) = read(path, MEMORY).items()
    assert (found.tests, found.number) == ((), 1)


def main(path: str, first: str) -> None:
    """Add lines one at a time, as a worker does at the end of each test."""
    from pathlib import Path

    for number in range(int(first), 40, 4):
        add(Path(path), f"{number:02}")


def test_processes_write_one_file_at_the_same_time(path: Path) -> None:
    command = [sys.executable, "-c", "from testing.test_cassette_files import main; import sys;"]
    command[-1] += "main(*sys.argv[1:])"
    workers = [subprocess.Popen([*command, str(path), str(first)], cwd=TESTS) for first in range(4)]
    assert [worker.wait(120) for worker in workers] == [0] * 4
    assert prompts(path) == [f"{number:02}" for number in range(40)]
    assert cassette.read(path, MEMORY).keys() == {line(f"{number:02}")[0] for number in range(40)}
    assert [each.name for each in path.parent.iterdir()] == [path.name]
