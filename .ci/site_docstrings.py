"""An extension of Griffe, which reads the docstrings for the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from griffe import Extension, Function, Object

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = re.compile(r"\bdocs/([\w/-]+)\.md\b(#[\w-]+)?")


def _link(match: re.Match[str]) -> str:
    """A link to a page, in the words of its heading."""
    heading, _, _ = (DOCS / f"{match[1]}.md").read_text("utf-8").partition("\n")
    return f"[{heading.removeprefix('# ')}]({match[1]}.md{match[2] or ''})"


class Docstrings(Extension):
    """A class is described by its own docstring alone; pages that one names are links."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Drop the docstring of `__init__`, which refers to the class; link pages in the others."""
        if isinstance(obj, Function) and obj.name == "__init__":
            obj.docstring = None
        elif obj.docstring is not None:
            obj.docstring.value = PAGE.sub(_link, obj.docstring.value)
