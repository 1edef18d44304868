"""Refuse a release that is not ready; run by release.yml, and by hand before a tag is made.

    python .ci/release.py v0.1.0 [dist]

Checks the version against the tag and the changelog, the addresses in the package's metadata, and,
with a folder, that it holds the archive of sources and a wheel for every platform.
"""

from __future__ import annotations

import os
import re
import sys
from fnmatch import fnmatch
from pathlib import Path

from sdist import setting
from wheel import PLATFORMS

ROOT = Path(__file__).resolve().parent.parent


def in_sources(tag: str) -> list[str]:
    """What is not ready in the sources, each with what to do."""
    version = setting((ROOT / "Cargo.toml").read_text("utf-8"), "version")
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    repository = setting(project, "Repository")
    server, name = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_REPOSITORY")
    problems = []
    if tag != f"v{version}":
        problems.append(f"the tag is {tag}, the version in Cargo.toml {version}: they must agree")
    if not re.search(rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$", changes, re.MULTILINE):
        problems.append(f"CHANGELOG.md has no line '## {version} (YYYY-MM-DD)': date the section")
    if ".example" in "".join(re.findall(r"^\w+ = \"(https://.+)\"$", project, re.MULTILINE)):
        problems.append("[project.urls] in pyproject.toml has placeholders: put the addresses in")
    elif server and name and repository != f"{server}/{name}":
        problems.append(f"pyproject.toml names {repository}; this runs in {server}/{name}")
    return problems


def in_folder(folder: Path, version: str) -> list[str]:
    """What is missing from a folder of what is to be uploaded, or is too much."""
    files = {path.name for path in folder.iterdir()}
    wanted = [f"llmemo-{version}.tar.gz"]
    wanted += [f"llmemo-{version}-cp310-abi3-{tag}.whl" for tag in PLATFORMS.values()]
    missing = [each for each in wanted if not any(fnmatch(name, each) for name in files)]
    others = [name for name in files if not any(fnmatch(name, each) for each in wanted)]
    return [f"missing: {each}" for each in missing] + [f"not ours: {each}" for each in others]


def main(tag: str, folder: str | None = None) -> None:
    """Print what is not ready, and end with 1 if there is something."""
    problems = in_sources(tag)
    if folder is not None:
        problems += in_folder(Path(folder), tag.removeprefix("v"))
    for problem in problems:
        print(f"release: {problem}")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
