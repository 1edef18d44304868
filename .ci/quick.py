"""Run the quick tests on an installed wheel, under the Python that runs this.

    python3.13 .ci/quick.py dist/llmemo-….whl

One wheel serves every Python from 3.10 on: this is how it is tried on each of them, and on systems
without make. Nothing is compiled.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MARKERS = "not slow and not process and not clients"
LIGHT = {"LLMEMO_QUICK": "1", "LLMEMO_EXAMPLES": "0.1"}


def main(wheel: Path) -> None:
    """Make an environment with the wheel and what its tests need, and run them."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / ("Scripts" if os.name == "nt" else "bin") / "python"
        environment = {**os.environ, **LIGHT}
        for name in ("PYTHONPATH", "VIRTUAL_ENV"):
            environment.pop(name, None)

        def run(*command: str | Path) -> int:
            return subprocess.run(
                [python, *command], cwd=ROOT, env=environment, check=False
            ).returncode

        pip = ("-m", "pip", "install", "-q", "--disable-pip-version-check")
        failed = run(*pip, "-U", "pip>=25.1") or run(*pip, wheel, "--group", "quick")
        if not failed:
            failed = run("-c", "import llmemo; assert 'site-packages' in llmemo.__file__")
        sys.exit(failed or run("-m", "pytest", "-q", "-m", MARKERS, "-p", "no:cacheprovider"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).absolute())
