"""Configured models of every provider have the same keys in another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support import TESTS

pytest.importorskip("support.sweep.rows", exc_type=ModuleNotFoundError)

from support.sweep.process import ask_all
from support.sweep.rows import ROWS

if TYPE_CHECKING:
    from pathlib import Path

    from support.sweep.server import Loopback

pytest_plugins = ["support.sweep.fixtures"]
# Deprecated classes and settings are swept too, and say so.
pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]

# Those that hold an object of the user's that says nothing of itself: a handler, or a sign-in. It
# is equal to itself alone, and its model's answers are found by the same process only.
UNTOLD = {"ChatSagemakerEndpoint", "SagemakerEndpoint", "_ChatOpenAICodex"}


def _elsewhere(database: Path, home: Path) -> dict[str, Any]:
    """Ask in another process, where sets and dicts of texts have another order."""
    here = os.environ.get("PYTHONHASHSEED", "")
    environment = os.environ | {"PYTHONHASHSEED": "2" if here == "1" else "1"}
    environment["PYTHONPATH"] = str(TESTS)
    command = [sys.executable, "-m", "support.sweep.process", str(database), str(home)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_another_process_after_a_restart(providers: Loopback, tmp_path: Path) -> None:
    database = tmp_path / "cache.db"
    here = ask_all(database)
    assert {name: found[1:] for name, found in here.items()} == {
        name: ["miss", None] for name in ROWS
    }
    there = _elsewhere(database, tmp_path)
    others = {name: found for name, found in there["found"].items() if name not in UNTOLD}
    assert others == {
        name: [found[0], "hit", "store"] for name, found in here.items() if name not in UNTOLD
    }
    for name in UNTOLD:
        assert there["found"][name][0] != here[name][0]
        assert there["found"][name][1:] == ["miss", None]
    assert there["requests"] == len(UNTOLD)
