"""Where the fuzzers begin: what the library is really given to read.

    python seeds.py FOLDER

writes the texts of the golden vectors to FOLDER/canonical, and payloads of answers (LangChain's,
and of those who mean harm) to FOLDER/decoder: a file for each, named by its content.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests"))

from hypothesis import given  # noqa: E402
from support import hostile, payloads  # noqa: E402
from support.strategies import answers, examples  # noqa: E402

from llmemo._core import ValueRefused, encode  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from langchain_core.outputs import Generation

LONGEST = 4_000
"""Bytes of a payload: short ones are tried more often."""


def texts() -> Iterator[bytes]:
    """Prompts and llm_strings."""
    vectors = json.loads((ROOT / "tests" / "vectors" / "keys.json").read_text(encoding="utf-8"))
    for vector in vectors:
        for part in ("prompt", "llm_string"):
            yield vector[part].encode("utf-8", "surrogatepass")


def trees() -> Iterator[bytes]:
    """Payloads."""
    found: list[bytes] = []

    @examples(300)
    @given(answers)
    def collect(answer: list[Generation]) -> None:
        try:
            found.append(encode(answer, payloads.KEY))
        except ValueRefused:
            return

    collect()
    envelope = payloads.sealed(b"")
    yield from (value[len(envelope) - 8 : -8] for value in found)
    yield from hostile.payloads(1, 500)


def write(folder: Path, seeds: Iterable[bytes]) -> None:
    """Write the files of one fuzzer."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        if len(seed) <= LONGEST:
            (folder / hashlib.sha256(seed).hexdigest()[:20]).write_bytes(seed)


if __name__ == "__main__":
    write(Path(sys.argv[1]) / "canonical", texts())
    write(Path(sys.argv[1]) / "decoder", trees())
