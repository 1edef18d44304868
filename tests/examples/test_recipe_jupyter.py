"""The cells of docs/recipes/jupyter.md run in a real kernel, are interrupted, and run again."""

from __future__ import annotations

import os
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from support.pages import blocks_of
from support.servers import wait_until

if TYPE_CHECKING:
    from pathlib import Path

nbclient: Any = pytest.importorskip("nbclient")
nbformat: Any = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.process,
    pytest.mark.filterwarnings("default"),  # of Jupyter's client
]

CELLS = [block.text for block in blocks_of("recipes/jupyter.md") if block.language == "python"]
SLOW = """
import time
from pathlib import Path
from langchain_core.language_models import SimpleChatModel

class Slow(SimpleChatModel):
    @property
    def _llm_type(self):
        return "slow"

    def _call(self, *args, **kwargs):
        if not Path("begun").exists():
            Path("begun").touch()
            time.sleep(1000)
        return "done"
"""
ASK = """
print(Slow().invoke("Take your time.").content, cache.stats().errors)  # prints done {}
"""


def run(client: Any, cell: str) -> None:
    """Run a cell, which prints what its comments say."""
    made = nbformat.v4.new_code_cell(cell)
    client.nb.cells.append(made)
    client.execute_cell(made, len(client.nb.cells) - 1)
    printed = "".join(each.get("text", "") for each in made.outputs).splitlines()
    assert printed == re.findall(r"  # prints (.*)", cell)


def test_the_cells_run_and_one_again_after_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    client = nbclient.NotebookClient(
        # Half of `lease_timeout`: no cell may wait for a lease that an interrupt has left.
        nbformat.v4.new_notebook(),
        timeout=30,
        resources={"metadata": {"path": tmp_path}},
    )
    with client.setup_kernel():
        for cell in (*CELLS, SLOW):
            run(client, cell)
        with ThreadPoolExecutor(1) as pool:

            def interrupt() -> None:
                wait_until((tmp_path / "begun").exists, "the model is called")
                os.kill(client.km.provisioner.pid, signal.SIGINT)

            interrupted = pool.submit(interrupt)
            with pytest.raises(nbclient.exceptions.CellExecutionError, match="KeyboardInterrupt"):
                run(client, ASK)
            interrupted.result()
        run(client, ASK)
