"""What `make wheel` does: build the abi3 wheel, and try it where there is no Rust.

The bare environment gets the wheel and what it depends on, nothing else; its PATH holds neither
cargo nor rustc.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"

SMOKE = """
import asyncio, pathlib, sys, tempfile
import llmemo
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration
from llmemo import LLMCache

assert "site-packages" in llmemo.__file__, llmemo.__file__
answer = [ChatGeneration(message=AIMessage("four"))]
path = pathlib.Path(tempfile.mkdtemp()) / "cache.db"
with LLMCache(path) as cache:
    cache.update("2 + 2?", "m", answer)
    assert cache.lookup("2 + 2?", "m") == answer

async def main():
    async with LLMCache(path) as cache:
        assert await cache.alookup("2 + 2?", "m") == answer
        assert cache.stats().store_hits == 1
asyncio.run(main())
print(f"llmemo {llmemo.__version__} works on Python {sys.version.split()[0]}")
"""


def run(*command: str | Path, **settings: object) -> None:
    """Run a command, and end with its error if it fails."""
    subprocess.run([str(part) for part in command], check=True, **settings)  # type: ignore[call-overload]


def main() -> None:
    """Build, install, try."""
    shutil.rmtree(DIST, ignore_errors=True)
    maturin = Path(sys.executable).with_name("maturin")
    run(maturin, "build", "--release", "--locked", "-q", "--out", DIST, cwd=ROOT)
    (wheel,) = DIST.glob("llmemo-*-abi3-*.whl")
    print(f"built {wheel.relative_to(ROOT)}, {wheel.stat().st_size / 1024:.0f} KB")
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "venv"
        venv.create(bare, with_pip=True)
        scripts = bare / ("Scripts" if os.name == "nt" else "bin")
        python = scripts / "python"
        # All of ours but the way to cargo, and to the package as it is developed.
        environment = {**os.environ, "PATH": str(scripts)}
        for name in ("PYTHONPATH", "VIRTUAL_ENV"):
            environment.pop(name, None)
        if shutil.which("cargo", path=environment["PATH"]):
            sys.exit("the bare environment has cargo on its PATH: it would prove nothing")
        run(python, "-m", "pip", "install", "-q", "--only-binary", "llmemo", wheel, env=environment)
        run(python, "-c", SMOKE, env=environment, cwd=folder)


if __name__ == "__main__":
    main()
