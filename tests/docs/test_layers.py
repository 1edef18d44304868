"""The rooms of the code: imports run down, no circles, no file or function too large to read.

`LAYERS` and `RUST_LAYERS` are the one list of the rooms; the pictures in the documents follow it.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / "python"
RUST = ROOT / "rust"

LAYERS = (
    "llmemo",
    "cli",
    "testing",
    "integrations",
    "cache",
    "pickling",
    "report",
    "explain",
    "importing",
    "exporting",
    "inspection",
    "pipeline",
    "semantic",
    "single_flight",
    "store_io",
    "stores",
    "codec",
    "keys",
    "langchain",
    "config",
    "telemetry",
    "introspection",
    "lifecycle",
    "concurrency",
    "errors",
    "_core",
)
"""From the top down: a room imports only rooms below it."""

RUST_LAYERS = (
    "python",
    "single_flight",
    "memory",
    "codec",
    "request",
    "canonical",
    "vectors",
    "pages",
    "history",
)

LONGEST = 300
"""Lines of a source file."""

LONGER = {
    "python/llmemo/cache.py": "the public class: most of it is its documentation",
}
"""Files that may be longer, and why."""

WAIVER = re.compile(r"noqa:[^#\n]*(?:C901|PLR0911|PLR0912)")


def _modules() -> dict[str, Path]:
    found = {}
    for path in PYTHON.glob("llmemo/**/*.py"):
        parts = path.relative_to(PYTHON).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


def _imports(text: str) -> set[str]:
    """The modules of ours that a source imports, at run time or for type checkers."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "a relative import"
            for each in node.names:
                inner = f"{node.module}.{each.name}"
                is_module = inner in MODULES or inner == "llmemo._core"
                found.add(inner if is_module else str(node.module))
    return {name for name in found if name.partition(".")[0] == "llmemo"}


IMPORTS = {name: _imports(path.read_text("utf-8")) for name, path in MODULES.items()}


def _room(module: str) -> str:
    parts = module.split(".")
    # `python -m llmemo` is above all rooms, as the package itself is.
    return parts[0] if parts[-1] == "__main__" else parts[min(1, len(parts) - 1)]


def _upward(imports: dict[str, set[str]]) -> list[str]:
    rank = {room: at for at, room in enumerate(LAYERS)}
    return [
        f"{name} imports {other}"
        for name, others in sorted(imports.items())
        for other in sorted(others)
        if rank[_room(other)] < rank[_room(name)]
    ]


def _circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Modules that import each other, directly or by way of others."""
    reached: dict[str, set[str]] = {}
    for name in imports:
        seen: set[str] = set()
        left = [name]
        while left:
            new = imports.get(left.pop(), set()) - seen
            seen |= new
            left += new
        reached[name] = seen
    circles: defaultdict[str, set[str]] = defaultdict(set)
    for name, seen in reached.items():
        for other in seen:
            if name in reached.get(other, ()) and name != other:
                circles[min(name, other)] |= {name, other}
    return [sorted(each) for each in circles.values()]


def test_every_room_is_in_the_list() -> None:
    assert {_room(name) for name in MODULES} | {"_core"} == set(LAYERS)
    rooms = {path.relative_to(RUST).parts[0].removesuffix(".rs") for path in RUST.rglob("*.rs")}
    assert rooms - {"lib"} == set(RUST_LAYERS)


def test_imports_run_down() -> None:
    assert _upward(IMPORTS) == []


def test_an_import_that_runs_up_is_found() -> None:
    imports = _imports("if TYPE_CHECKING:\n    from llmemo.pipeline.tiers import Tiers\n")
    assert _upward({"llmemo.stores.base": imports}) == [
        "llmemo.stores.base imports llmemo.pipeline.tiers"
    ]


def test_no_modules_import_each_other() -> None:
    assert _circles(IMPORTS) == []


def test_a_circle_is_found() -> None:
    circle = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert _circles(circle)[0] == ["a", "b", "c"]


def test_rust_uses_run_down() -> None:
    rank = {room: at for at, room in enumerate(RUST_LAYERS)}
    used = re.compile(r"\bcrate::(\w+)")
    upward = [
        f"{path.relative_to(ROOT)} uses {other}"
        for path in sorted(RUST.rglob("*.rs"))
        if (room := path.relative_to(RUST).parts[0].removesuffix(".rs")) in rank
        for other in used.findall(path.read_text("utf-8"))
        if rank.get(other, len(rank)) < rank[room]
    ]
    assert upward == []


def test_the_pure_rooms_of_rust_know_no_python() -> None:
    for path in RUST.rglob("*.rs"):
        if path.relative_to(RUST).parts[0] not in {"python", "lib.rs"}:
            assert "pyo3" not in path.read_text("utf-8"), path


def _lines(path: Path) -> int:
    text = path.read_text("utf-8")
    if path.suffix == ".rs":
        text = re.split(r"(?m)^#\[cfg\(test\)\]\n(?:#\[path.*\n)?mod ", text)[0]
    return text.count("\n")


def _sources() -> list[Path]:
    rust = [path for path in RUST.rglob("*.rs") if not path.stem.endswith("tests")]
    return sorted([*MODULES.values(), *rust])


def test_no_source_file_is_long() -> None:
    long = {str(path.relative_to(ROOT)) for path in _sources() if _lines(path) > LONGEST}
    assert long == set(LONGER)


def test_no_function_has_a_waiver_for_its_complexity() -> None:
    waived = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in MODULES.values()
        for line in path.read_text("utf-8").splitlines()
        if WAIVER.search(line)
    ]
    assert waived == []


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_the_pictures_show_the_rooms_in_order(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    picture = re.search(r"```text\n(.*?)```", text, re.DOTALL)
    assert picture is not None
    rooms = re.findall(r"(?m)^ (\w+)", picture[1])
    assert rooms == [*LAYERS[1:-1], *RUST_LAYERS]


@pytest.mark.parametrize("package", [path.parent for path in PYTHON.glob("llmemo/**/__init__.py")])
def test_every_room_says_what_it_is_in_one_sentence(package: Path) -> None:
    doc = ast.get_docstring(ast.parse((package / "__init__.py").read_text("utf-8")))
    assert doc
    first = doc.splitlines()[0]
    assert first.endswith(".")
