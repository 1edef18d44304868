"""Build the archive of sources that is released, from the last commit and nothing else.

    python .ci/sdist.py

The package index shows README.md by itself: there its relative links lead nowhere. In the archive
they lead to the repository, at the tag of this version.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
RELATIVE = re.compile(r"\]\((?!https?://|#)([^)\s]+)\)")


def absolute_links(text: str, repository: str, version: str) -> str:
    """Make a document's relative links lead to the repository, at a version's tag."""
    return RELATIVE.sub(rf"]({repository}/blob/v{version}/\1)", text)


def setting(text: str, name: str) -> str:
    """The value of a line `name = "value"` of a TOML file."""
    return re.findall(rf'^{name} = "(.+)"$', text, re.MULTILINE)[0]


def unpack(path: Path, folder: Path) -> None:
    """Unpack an archive of this script. Early releases of Python 3.10 and 3.11 have no filters."""
    checked: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(path) as archive:
        archive.extractall(folder, **checked)  # noqa: S202 (our own)


def main() -> None:
    """Copy the commit, change the links, build."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        packed = Path(folder) / "source.tar"
        subprocess.run(["git", "archive", "-o", packed, "HEAD"], cwd=ROOT, check=True)
        unpack(packed, source)
        repository = setting((source / "pyproject.toml").read_text("utf-8"), "Repository")
        version = setting((source / "Cargo.toml").read_text("utf-8"), "version")
        readme = source / "README.md"
        text = absolute_links(readme.read_text("utf-8"), repository, version)
        readme.write_text(text, "utf-8", newline="\n")
        maturin = Path(sys.executable).with_name("maturin")
        subprocess.run([maturin, "sdist", "--out", DIST], cwd=source, check=True)
    built = DIST / f"llmemo-{version}.tar.gz"
    print(f"built {built.relative_to(ROOT)}, {built.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
