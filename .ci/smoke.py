"""Whether the llmemo that is installed works: run by the Python that has it, with nothing else.

    python smoke.py

Not from a checkout: it fails if what it imports is not an installed package.
"""

import asyncio
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration

import llmemo
from llmemo import LLMCache

ANSWER = [ChatGeneration(message=AIMessage("four"))]


async def second_process(path: Path) -> None:
    """Find the answer in the file, as a process that starts later does."""
    async with LLMCache(path) as cache:
        assert await cache.alookup("2 + 2?", "m") == ANSWER
        assert cache.stats().store_hits == 1


def main() -> None:
    """Write an answer, and find it in memory and in the file."""
    assert "site-packages" in llmemo.__file__, llmemo.__file__
    tools = [tool for tool in ("cargo", "rustc", "cc", "gcc") if shutil.which(tool)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cache.db"
        with LLMCache(path) as cache:
            cache.update("2 + 2?", "m", ANSWER)
            assert cache.lookup("2 + 2?", "m") == ANSWER
        asyncio.run(second_process(path))
        command = [sys.executable, "-m", "llmemo", "stats", path, "--json"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert json.loads(said)["entries"] == 1, said
    where = (
        f"Python {platform.python_version()}, {' '.join(platform.libc_ver())}, {platform.machine()}"
    )
    print(f"llmemo {llmemo.__version__} works: {where}; compilers on PATH: {tools or 'none'}")


if __name__ == "__main__":
    main()
