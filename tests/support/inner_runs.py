"""Runs of pytest inside a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import _pytest.pytester

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


class Imported(_pytest.pytester.SysModulesSnapshot):
    """Keeps what a run inside a test has imported, but for its tests.

    Otherwise the next one imports it again. That takes seconds, and makes modules and classes of
    LangChain's that are not those that llmemo has seen: its callbacks are in the first ones.
    """

    def __init__(self, preserve: Callable[[str], bool] | None = None) -> None:
        super().__init__(preserve=lambda name: not name.startswith("test_"))


def keep_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all runs inside this test keep them. To be called before there is a `pytester`."""
    monkeypatch.setattr(_pytest.pytester, "SysModulesSnapshot", Imported)
