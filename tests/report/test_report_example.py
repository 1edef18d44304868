"""The example writes the report of a simulated day."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from support import TESTS
from support.report_pages import ReportPage

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_simulated_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TESTS.parent / "examples")
    path = importlib.import_module("report").report(tmp_path / "report.html", calls=150)
    page = ReportPage(path)
    assert 0 < float(page.tile("Hit rate").split()[0]) < 100
    lookups = page.chart("Lookups")
    assert sum(map(sum, lookups)) >= 150
    assert len(lookups) > 10  # quarters of an hour
    assert "user" in {row[0] for row in page.rows("What nearly hit")}
    assert {row[0] for row in page.rows("Largest namespaces")} == {"acme", "globex", "initech"}
