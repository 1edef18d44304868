"""Calls a function once a module is imported, without importing it.

A finder stands before the others in `sys.meta_path` until then. It has the others find the module,
and calls the function as the last part of the module's execution. So no importer, in whatever
thread, gets the module before that.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from threading import get_ident
from typing import TYPE_CHECKING, Any

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def when_imported(module: str, call: Callable[[], object]) -> None:
    """Call a function once: now if a module has been imported, otherwise as soon as it is.

    Args:
        module: The full name of a module. The packages that it is in are imported now.
        call: Called without arguments. What it raises, the import raises.
    """
    package = module.rpartition(".")[0]
    if package:
        # Before the finder is there: it may import the module itself.
        importlib.import_module(package)
    finder = _Finder(module, call)
    sys.meta_path.insert(0, finder)
    try:
        # Another thread may be past the finders already: this waits for it, by the module's lock.
        importlib.import_module(module)
    except _NotImportedError:
        finder.asker = None
    except BaseException:
        # The caller may try again.
        finder.remove()
        raise
    else:
        finder.executed()


class _NotImportedError(ImportError):
    """The module has not been imported, and the finder is in place."""


class _Finder(MetaPathFinder):
    """Finds one module, by the finders after it."""

    def __init__(self, module: str, call: Callable[[], object]) -> None:
        self._module = module
        # Taken out by the first of two threads.
        self._calls = [call]
        self.asker: int | None = get_ident()
        """The thread that only asks whether the module has been imported."""

    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._module:
            return None
        if self.asker == get_ident():
            raise _NotImportedError
        spec = self._found_by_others(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)
        return spec

    def _found_by_others(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        # The ones before this one were asked already, and may be asking this one.
        finders = list(sys.meta_path)
        while finders and finders.pop(0) is not self:
            pass
        for finder in finders:
            # Until Python 3.12, a finder may have another method instead.
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = None if find is None else find(fullname, path, target)
            if spec is not None:
                return spec
        return None

    def executed(self) -> None:
        """Note that the module has been executed."""
        try:
            call = self._calls.pop()
        except IndexError:
            return
        self.remove()
        call()

    def remove(self) -> None:
        """Look for the module no more."""
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self)


class _Loader(Loader):
    """Loads that module by its own loader."""

    def __init__(self, loader: Loader, finder: _Finder) -> None:
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        """Of the module's own loader, for what asks it before the import."""
        if name == "_loader":
            raise AttributeError(name)
        return getattr(self._loader, name)

    @override
    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    @override
    def exec_module(self, module: ModuleType) -> None:
        # What reads resources of the module, or its source, asks its own loader.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._finder.executed()
