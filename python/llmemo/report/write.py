"""Writes the report of a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.config.validation import check_flag
from llmemo.errors import CacheClosedError
from llmemo.report.contents import contents_of
from llmemo.report.files import check_apart, check_path, write_whole
from llmemo.report.page import page

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from llmemo.pipeline.tiers import Tiers


def write_report(tiers: Tiers, path: str | os.PathLike[str], *, texts: bool) -> Path:
    """Write the page; see `LLMCache.report`."""
    target = check_path(path)
    check_flag("texts", texts)
    if tiers.is_closed:
        msg = "the cache is closed: write its report before `close`"
        raise CacheClosedError(msg)
    if tiers.durable is not None:
        store = tiers.durable.store
        check_apart(target, getattr(store, "stores", [store]))
    write_whole(target, page(contents_of(tiers, texts=texts)))
    return target
