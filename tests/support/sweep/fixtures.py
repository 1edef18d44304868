"""Fixtures of the sweep. They import the providers' packages only when they are used."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.sweep.server import Loopback
    from support.sweep.ways import Sweeper


@pytest.fixture(scope="module")
def providers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """The server that all clients reach, whatever their URL, and nothing else."""
    from support.sweep.redirect import redirected
    from support.sweep.server import Loopback
    from support.sweep.surroundings import bare

    logger = logging.getLogger("langchain_aws")  # which tells of each answer it cannot read
    with Loopback() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(logger, "disabled", True)
        bare(patch, tmp_path_factory.mktemp("home"))
        with redirected(patch, server):
            yield server


@pytest.fixture(scope="module")
def sweeper(providers: Loopback) -> Sweeper:
    """The one that knows what was seen."""
    from support.sweep.ways import Sweeper

    return Sweeper(providers)
