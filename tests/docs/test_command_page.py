"""The examples of docs/command.md run, and the JSON that it shows has the fields that there are."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest
from support import TESTS
from support.commands import COMMANDS, filled, llmemo

from llmemo import LLMCache, cli

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (TESTS.parent / "docs" / "command.md").read_text("utf-8")
SECTIONS = {
    name: text
    for name, text in re.findall(r"(?ms)^## (\w+)\n(.*?)(?=^## |\Z)", PAGE)
    if name in COMMANDS
}
KEY = "3f2a9c01"
SERVER = "redis://cache.internal"
EXAMPLES = [
    # (The fixture that starts a server is asked for by name: nothing else would tell.)
    pytest.param(line, id=line, marks=pytest.mark.process if SERVER in line else ())
    for text in SECTIONS.values()
    for block in re.findall(r"(?s)```sh\n(.*?)```", text)
    for line in block.splitlines()
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return filled(tmp_path / "cache.db")


def key(store: object) -> str:
    return str(llmemo("ls", store, "--limit", "1", "--json").lines[0]["key"])


def test_each_command_has_a_section() -> None:
    assert SECTIONS.keys() == COMMANDS.keys()
    assert all(f"`{name}`" in PAGE for name in cli.COMMANDS)


@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_runs(line: str, here: Path, request: pytest.FixtureRequest) -> None:
    program, *arguments = shlex.split(line)
    assert program == "llmemo"
    if SERVER in arguments:
        url = request.getfixturevalue("redis_url")
        arguments[arguments.index(SERVER)] = url
        with LLMCache(url):
            pass
    if KEY in arguments:
        arguments[arguments.index(KEY)] = key(here)[:8]
    done = llmemo(*arguments)
    assert (done.code, done.err) == (0, ""), done
    if "--json" in arguments:
        assert all(isinstance(row, dict) for row in done.lines)


def shape(value: Any) -> Any:
    """The fields of JSON, by the names that do not depend on what is there."""
    if not isinstance(value, dict):
        return None
    open_ended = {"kinds", "damaged", "unread", "seconds", "ratios"}
    return {name: None if name in open_ended else shape(one) for name, one in value.items()}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_json_has_the_fields_of_the_page(command: str, here: Path) -> None:
    [block] = re.findall(r"(?s)```json\n(.*?)```", SECTIONS[command])
    arguments = (key(here),) if command == "show" else COMMANDS[command]
    done = llmemo(command, here, *arguments, "--json")
    said, found = json.loads(block), done.lines[0]
    assert shape(found) == shape(said)
    for name, value in said.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            assert shape(found[name][0]).keys() == shape(value[0]).keys()
