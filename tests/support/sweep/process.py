"""Asks every class once, with many fields set: in this process, or as a program in another.

python -m sweep.process DATABASE HOME     # prints {class: [key, outcome, source]}
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llmemo import LLMCache, track
from support.sweep.many import settings
from support.sweep.redirect import redirected
from support.sweep.rows import ROWS
from support.sweep.server import Loopback
from support.sweep.surroundings import bare

if TYPE_CHECKING:
    import os

Outcomes = dict[str, list[str | None]]


def ask_all(database: str | os.PathLike[str]) -> Outcomes:
    """Ask each class, through one cache; all requests go to the loopback already."""
    found: Outcomes = {}
    with LLMCache(database) as cache:
        for name, row in ROWS.items():
            model = row.cls(**settings(name), cache=cache)
            with track() as tracker:
                try:
                    row.ask(model)
                except Exception as error:  # noqa: BLE001 (told by the outcome)
                    logging.getLogger(__name__).debug("%s: %r", name, error)
            (event,) = tracker.events
            found[name] = [event.key, event.outcome, event.tier]
    return found


def main(database: str, home: str) -> None:
    """Print what became of each."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    with Loopback() as server, pytest.MonkeyPatch.context() as patch:
        bare(patch, Path(home))
        with redirected(patch, server):
            found = ask_all(database)
        print(json.dumps({"found": found, "requests": len(server.requests)}))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
