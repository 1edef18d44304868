"""Each block of code on the site runs, is read by a parser, or says why not."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from langchain_core.globals import get_llm_cache, set_llm_cache
from langchain_core.outputs import Generation
from support import TESTS
from support.doubles import LIMIT
from support.pages import BLOCKS, PAGES, ROOT, SHELL, Block, commands_of

import llmemo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ELSEWHERE = {
    "command.md": "tests/docs/test_command_page.py",
    "testing.md": "tests/testing/test_testing_page.py",
    "recipes/jupyter.md": "tests/examples/test_recipe_jupyter.py",
    "recipes/pytest.md": "tests/examples/test_recipes.py",
}
"""Pages with code that runs in another way: what runs it."""

MAY_LACK = {"sqlite3"}
"""Programs that a machine may lack: their commands are left out there."""

STARTED = {"PYTHONPATH=examples/recipes", "celery", "curl", "gunicorn", "pytest", "uvicorn"}
"""Programs that tests/examples starts, as the pages say."""

NOT_RUN_MAX = 5
"""Blocks that say why they are not run: few."""

RUN = [block for block in BLOCKS if block.not_run is None]
PYTHON = [block for block in RUN if block.language == "python"]
OF_SHELL = [block for block in RUN if block.language in SHELL]


def _toml(text: str) -> Any:
    return pytest.importorskip("tomllib").loads(text)


PARSERS: dict[str, Callable[[str], object]] = {
    "json": json.loads,
    "jsonl": lambda text: [json.loads(line) for line in text.splitlines()],
    "text": str,  # output, and pictures of characters
    "toml": _toml,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
}
PARSED = [block for block in RUN if block.language in PARSERS]


def _sources(folder: str) -> str:
    return "".join(path.read_text("utf-8") for path in (TESTS / folder).glob("*.py"))


def test_every_block_has_its_test() -> None:
    left = {block for block in RUN if block not in {*PYTHON, *OF_SHELL, *PARSED}}
    assert {f"{block}: {block.language or 'no language'}" for block in left} == set()
    assert len(PYTHON) > 30
    for page, test in ELSEWHERE.items():
        assert page in PAGES
        assert f'"{page}"' in (ROOT / test).read_text("utf-8")


def test_few_blocks_are_not_run() -> None:
    reasons = {str(block): block.not_run for block in BLOCKS if block.not_run is not None}
    assert len(reasons) <= NOT_RUN_MAX, reasons
    assert all(len(reason.split()) > 2 for reason in reasons.values() if reason), reasons
    # The comment stands right above its block.
    text = "".join((ROOT / "docs" / page).read_text("utf-8") for page in PAGES)
    assert len(re.findall(r"^<!-- not run", text, re.MULTILINE)) == len(reasons)


@pytest.fixture
def nothing_stays_registered() -> Iterator[None]:
    """Take the collectors of recipes out of prometheus_client's own registry."""
    yield
    if find_spec("prometheus_client") is not None:
        registry = importlib.import_module("prometheus_client").REGISTRY
        for collector in list(registry._collector_to_names):
            if type(collector).__module__.startswith("llmemo."):
                registry.unregister(collector)


@pytest.mark.usefixtures("nothing_stays_registered")
@pytest.mark.filterwarnings("ignore:.langchain-community. is being sunset:DeprecationWarning")
@pytest.mark.parametrize(
    "block", [each for each in PYTHON if each.page not in ELSEWHERE and not each.included], ids=str
)
def test_python_runs(
    block: Block,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before = get_llm_cache()
    try:
        # (This file's own annotations are not evaluated: those of a block may have to be.)
        code = compile(block.text, block.page, "exec", dont_inherit=True)
        exec(code, {"__name__": "block"})
    except ImportError as error:
        if find_spec("langchain_openai") is not None:  # not on the oldest versions
            raise
        pytest.skip(str(error))
    finally:
        set_llm_cache(before)
    # What the comments in it say.
    assert capsys.readouterr().out.splitlines() == re.findall(r"  # prints (.*)", block.text)


@pytest.mark.parametrize("block", [each for each in PYTHON if each.included], ids=str)
def test_an_example_on_a_page_is_tested(block: Block) -> None:
    assert block.included is not None
    compile(block.text, block.included, "exec")
    folder, _, name = block.included.rpartition("/")
    assert folder in {"examples", "examples/recipes"}
    commands = [
        each for other in OF_SHELL if other.page == block.page for each in commands_of(other)
    ]
    assert name.removesuffix(".py") in _sources("examples") + "".join(commands)


@pytest.mark.parametrize("block", PARSED, ids=str)
def test_data_parse(block: Block) -> None:
    assert PARSERS[block.language](block.text)


def check_pip(words: list[str], block: Block) -> None:
    extras = _toml((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for word in words[2:]:
        name, _, extra = word.rstrip("]").partition("[")
        assert name == "llmemo"
        assert {*filter(None, extra.split(","))} <= {*extras["optional-dependencies"]}


def check_make(words: list[str], block: Block) -> None:
    assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


def check_started(words: list[str], block: Block) -> None:
    assert f'command("{block.page}", "{words[0]}' in _sources("examples")


CHECKS: dict[str, Callable[[list[str], Block], None]] = {
    "pip": check_pip,
    "make": check_make,
    **dict.fromkeys(STARTED, check_started),
}
"""By the first word of a command. All others are run."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the file that the pages speak of, and the command on the path."""
    program = tmp_path / "bin" / "llmemo"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m llmemo "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    work = tmp_path / "work"
    work.mkdir()
    with llmemo.LLMCache(work / "cache.db") as cache:
        for number in range(3):
            cache.update(f"What is {number}?", "model-1", [Generation(text=str(number))])
    return work


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("block", [each for each in OF_SHELL if each.page != "command.md"], ids=str)
def test_the_shell_runs(block: Block, folder: Path) -> None:
    run = []
    for each in commands_of(block):
        words = shlex.split(each, comments=True)
        if words[0] in MAY_LACK and shutil.which(words[0]) is None:
            pytest.skip(f"there is no program {words[0]}")
        check = CHECKS.get(words[0])
        if check is None:
            run.append(each)
        else:
            check(words, block)
    if run:
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", "\n".join(run)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        # 1: the command has found a problem, and says it.
        assert done.returncode in {0, 1}, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
