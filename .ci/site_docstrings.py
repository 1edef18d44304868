"""An extension of Griffe, which reads the docstrings for the site."""

from __future__ import annotations

from typing import Any

from griffe import Extension, Function


class ClassDocstrings(Extension):
    """A class is described by its own docstring: that of `__init__` refers to it."""

    def on_function(self, *, func: Function, **_: Any) -> None:
        """Drop the docstring of `__init__`."""
        if func.name == "__init__":
            func.docstring = None
