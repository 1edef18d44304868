"""The same key with the last minor version of a provider's package, where the request is the same.

Makes an environment with these versions, which takes minutes: only with LLMEMO_VERSIONS=1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from support import TESTS

pytest.importorskip("support.sweep.rows", exc_type=ModuleNotFoundError)

from support.sweep.seeing import written
from support.sweep.server import Loopback
from support.sweep.versions import PACKAGES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(not os.environ.get("LLMEMO_VERSIONS"), reason="LLMEMO_VERSIONS=1 runs it"),
]

HERE = TESTS
# What the library itself needs there.
NEEDED = ("aiosqlite", "anyio")


def _last_minor(package: str) -> str:
    """What pip is told for the minor version before the one that is installed."""
    name = package.replace("_", "-")
    major, minor = (int(part) for part in version(name).split(".")[:2])
    assert minor, f"{name} {major}.0 has no minor version before it"
    return f"{name}>={major}.{minor - 1},<{major}.{minor}"


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another environment's Python."""
    root = tmp_path_factory.mktemp("older")
    venv.create(root, with_pip=True)
    python = root / "bin" / "python"
    core = f"langchain-core=={version('langchain-core')}"
    packages = [_last_minor(package) for package in PACKAGES]
    command = [
        str(python),
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        core,
        *packages,
        *NEEDED,
    ]
    subprocess.run(command, check=True, timeout=900)
    return python


def _asked(server: Loopback, python: str | Path) -> tuple[dict[str, str], Sequence[str]]:
    """The keys by class, and the requests in their order."""
    server.requests.clear()
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent / "python")])
    }
    command = [str(python), "-m", "support.sweep.versions", f"http://{server.host}"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    for request in server.requests:
        request.headers.pop("anthropic-version", None)  # which protocol the client speaks
    return json.loads(done.stdout), [written(request) for request in server.requests]


def test_the_last_minor_version_has_the_same_keys(older: Path) -> None:
    with Loopback() as server:
        now, requests = _asked(server, sys.executable)
        before, earlier = _asked(server, older)
    assert len(requests) == len(earlier) == len(now)
    assert list(before) == list(now)
    same = [name for name, one, other in zip(now, requests, earlier, strict=True) if one == other]
    assert same == list(now), [
        pair for pair in zip(requests, earlier, strict=True) if len(set(pair)) > 1
    ]
    assert before == now
