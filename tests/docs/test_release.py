"""What a release needs agrees: the workflows, the metadata, the scripts that they call."""

from __future__ import annotations

import importlib
import re
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support import TESTS

if TYPE_CHECKING:
    from pathlib import Path

ROOT = TESTS.parent
WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text("utf-8"))
    for path in (ROOT / ".github" / "workflows").glob("*.yml")
}
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
TAG = "v1.2.3"
CHANGES = "# Changelog\n\n## 1.2.3 (2026-12-01)\n"
CARGO = '[package]\nname = "llmemo"\nversion = "1.2.3"\n'
PROJECT = '[project.urls]\nRepository = "https://forge.test/us/llmemo"\n'


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a script of `.ci`."""
    monkeypatch.syspath_prepend(ROOT / ".ci")
    return importlib.import_module


def steps() -> list[dict[str, Any]]:
    return [
        step
        for workflow in WORKFLOWS.values()
        for job in workflow["jobs"].values()
        for step in job.get("steps", [])
    ]


def test_the_workflows_use_actions_by_their_commit() -> None:
    used = [step["uses"] for step in steps() if "uses" in step]
    assert len(used) > 10
    assert [each for each in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", each)] == []


def test_only_the_last_job_may_do_more_than_read() -> None:
    assert all(workflow["permissions"] == {"contents": "read"} for workflow in WORKFLOWS.values())
    more = {
        name: job["permissions"]
        for workflow in WORKFLOWS.values()
        for name, job in workflow["jobs"].items()
        if "permissions" in job
    }
    assert more == {"publish": {"id-token": "write"}}
    assert WORKFLOWS["release"]["jobs"]["publish"]["environment"] == "pypi"


def test_a_release_waits_for_lint_tests_and_wheels_of_the_tag() -> None:
    jobs = WORKFLOWS["release"]["jobs"]
    assert jobs["publish"]["needs"] == "complete"
    assert jobs["complete"]["needs"] == "ci"
    assert jobs["ci"]["uses"] == "./.github/workflows/ci.yml"
    assert {"lint", "test", "wheels"} <= {*WORKFLOWS["ci"]["jobs"]}
    # (YAML reads the key `on` as true.)
    assert "workflow_call" in WORKFLOWS["ci"][True]


def test_the_clean_container_installs_what_its_steps_call() -> None:
    lines = [step.get("run", "") for step in WORKFLOWS["wheels"]["jobs"]["sdist"]["steps"]]
    installed = " ".join(line for line in lines if "apt-get install" in line).split()
    called = {line.split()[0] for line in lines if line} & {"git", "make"}
    assert called == {"git", "make"}
    assert called <= {*installed}


def test_an_archive_is_unpacked_by_a_python_without_filters(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "source.tar"
    with tarfile.open(packed, "w") as archive:
        archive.add(__file__, "source/file")

    script("sdist").unpack(packed, tmp_path / "new")
    assert (tmp_path / "new/source/file").exists()
    unpacked = []
    # (A call with `filter=` is a TypeError, as there.)
    monkeypatch.setattr(tarfile.TarFile, "extractall", lambda _, path: unpacked.append(path))
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    script("sdist").unpack(packed, tmp_path / "old")
    assert unpacked == [tmp_path / "old"]


def test_no_step_puts_what_an_outsider_names_into_a_shell() -> None:
    assert [step["run"] for step in steps() if "${{" in step.get("run", "")] == []


def test_every_platform_is_built(script: Any) -> None:
    matrix = WORKFLOWS["wheels"]["jobs"]["build"]["strategy"]["matrix"]["include"]
    assert {row["target"] for row in matrix} == set(script("release").PLATFORMS)


def test_the_tested_pythons_are_those_that_the_metadata_names() -> None:
    jobs = {**WORKFLOWS["ci"]["jobs"], **WORKFLOWS["wheels"]["jobs"]}
    assert jobs["test"]["strategy"]["matrix"]["python"] == PYTHONS
    assert jobs["quick"]["strategy"]["matrix"]["python"] == PYTHONS
    project = text("pyproject.toml")
    assert re.findall(r"Python :: (3\.\d+)", project) == PYTHONS
    assert f'requires-python = ">={PYTHONS[0]}"' in project
    assert f"abi3-py{PYTHONS[0].replace('.', '')}" in text("Cargo.toml")


def test_the_rust_of_the_clean_container_is_the_oldest_supported() -> None:
    (oldest,) = re.findall(r'^rust-version = "(.+)"', text("Cargo.toml"), re.MULTILINE)
    image = WORKFLOWS["wheels"]["jobs"]["sdist"]["container"]
    assert image.startswith(f"rust:{oldest}-")
    assert f"Rust {oldest} or newer" in text("README.md")


def test_the_archives_readme_links_to_the_repository(script: Any) -> None:
    change = script("sdist").absolute_links
    said = change("[a](pages/a.md#b) [c](https://d.test/e) [f](#g)", "https://forge.test/us", "1.2")
    assert said == "[a](https://forge.test/us/blob/v1.2/pages/a.md#b) [c](https://d.test/e) [f](#g)"


@pytest.fixture
def sources(tmp_path: Path, script: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sources that are ready to be released as 1.2.3."""
    for name, content in (
        ("CHANGELOG.md", CHANGES),
        ("Cargo.toml", CARGO),
        ("pyproject.toml", PROJECT),
    ):
        (tmp_path / name).write_text(content, "utf-8")
    monkeypatch.setattr(script("release"), "ROOT", tmp_path)
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://forge.test")
    monkeypatch.setenv("GITHUB_REPOSITORY", "us/llmemo")
    return tmp_path


def test_sources_that_are_ready_have_no_problem(sources: Path, script: Any) -> None:
    assert script("release").in_sources(TAG) == []


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("Cargo.toml", CARGO.replace("1.2.3", "1.2.4"), "the tag is v1.2.3"),
        ("CHANGELOG.md", CHANGES.replace("2026-12-01", "unreleased"), "date the section"),
        ("pyproject.toml", PROJECT.replace("forge.test", "forge.example"), "placeholders"),
        ("pyproject.toml", PROJECT.replace("us/", "them/"), "this runs in"),
    ],
)
def test_what_is_not_ready_is_refused(
    sources: Path, script: Any, name: str, content: str, problem: str
) -> None:
    (sources / name).write_text(content, "utf-8")
    problems = script("release").in_sources(TAG)
    assert any(problem in each for each in problems), problems


def test_a_release_is_complete_and_holds_nothing_else(tmp_path: Path, script: Any) -> None:
    release = script("release")
    names = [f"llmemo-1.2.3-cp310-abi3-{tag}.whl" for tag in release.PLATFORMS.values()]
    for name in ["llmemo-1.2.3.tar.gz", *names]:
        (tmp_path / name.replace("*", "11_0")).touch()
    assert release.in_folder(tmp_path, "1.2.3") == []
    (tmp_path / names[0]).rename(tmp_path / "llmemo-1.2.3-cp310-abi3-linux_x86_64.whl")
    assert release.in_folder(tmp_path, "1.2.3") == [
        f"missing: {names[0]}",
        "not ours: llmemo-1.2.3-cp310-abi3-linux_x86_64.whl",
    ]
