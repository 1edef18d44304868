"""A report's page, read by a strict parser: every element closed, every character allowed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class ReportPage:
    """A page, as elements."""

    def __init__(self, path: Path) -> None:
        self.source = path.read_text("utf-8")
        # XML's parser is the strictest that there is: it refuses what HTML's mends.
        self.root = ET.fromstring(self.source)

    def text(self, element: ET.Element | None = None) -> str:
        """Text without markup, one space between words."""
        return " ".join("".join((self.root if element is None else element).itertext()).split())

    def tile(self, title: str) -> str:
        """The figure of a headline."""
        for tile in self.root.iter("div"):
            if tile.findtext("dt") == title:
                return self.text(tile.find("dd[@class='figure']"))
        raise AssertionError(title)

    def section(self, title: str) -> ET.Element | None:
        return next((it for it in self.root.iter("section") if it.findtext("h2") == title), None)

    def rows(self, title: str) -> list[list[str]]:
        """The cells of all tables in a section, those of bars left out."""
        section = self.section(title)
        assert section is not None, title
        return [
            [self.text(cell) for cell in row if "share" not in cell.get("class", "")]
            for body in section.iter("tbody")
            for row in body
        ]

    def chart(self, title: str) -> list[list[float]]:
        """The values of a chart's table, a list for each bar."""
        for figure in self.root.iter("figure"):
            if figure.findtext("figcaption/h3") == title:
                rows = figure.findall("details//tbody/tr")
                return [[_number(self.text(cell)) for cell in row.findall("td")] for row in rows]
        return []

    def attributes(self) -> Iterator[tuple[str, str, str]]:
        """Element, name and value of every attribute."""
        for element in self.root.iter():
            for name, value in element.items():
                yield str(element.tag), name, value


def _number(text: str) -> float:
    return float(re.sub(r"[^0-9.]", "", text) or 0)
