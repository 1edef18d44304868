"""The pod of docs/recipes/kubernetes.md has room for its cache, and may write where it is."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import yaml
from support.pages import blocks_of

from llmemo import LLMCache, SQLiteStore

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

WAL_MAX = 64 * 2**20
"""That may stand beside the file for a while (docstring of SQLiteStore)."""


def test_the_volume_has_room_and_the_cache_is_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = {block.language: block.text for block in blocks_of("recipes/kubernetes.md")}
    pod: Any = yaml.safe_load(blocks["yaml"])["spec"]["template"]["spec"]
    [container], [volume] = pod["containers"], pod["volumes"]
    [environment], [mount] = container["env"], container["volumeMounts"]
    assert environment["name"] == "LLMEMO_PATH"
    path = PurePosixPath(environment["value"])
    assert str(path.parent) == mount["mountPath"]
    assert mount["name"] == volume["name"]

    monkeypatch.setenv("LLMEMO_PATH", str(tmp_path / path.name))
    program: dict[str, Any] = {}
    exec(compile(blocks["python"], "kubernetes.md", "exec"), program)
    cache = program["cache"]
    assert isinstance(cache, LLMCache)
    store = cache._tiers.store
    assert isinstance(store, SQLiteStore)
    assert store.path == tmp_path / path.name
    assert volume["emptyDir"] == {"sizeLimit": "1Gi"}
    assert (store.max_store_bytes or 0) + WAL_MAX < 0.9 * 2**30
    cache.close()
