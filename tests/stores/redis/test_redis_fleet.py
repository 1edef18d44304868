"""Processes that share a server make one call for a request, and survive that it forgets all."""

from __future__ import annotations

import os
import time

import pytest
from support.doubles import ROUNDS
from support.figures import tell
from support.fleet import calls_of, fleet
from support.redis_server import Server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.process,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
]

KILLS = 3 * min(10, ROUNDS)


def test_four_processes_of_fifty_callers_and_ten_keys_make_ten_calls(redis_url: str) -> None:
    with fleet(redis_url, store_timeout=60) as crew:
        crew.go()
        told = crew.told()
    assert calls_of(told) == {f"k{n}": 1 for n in range(10)}
    assert [one["wrong"] for one in told] == [[]] * 4
    assert [one["errors"] for one in told] == [{}] * 4


def test_a_server_that_is_killed_costs_at_most_one_call_of_a_process_and_key() -> None:
    with Server() as server, fleet(server.url(), model_seconds=0.05) as crew:
        crew.go()
        for _ in range(KILLS):
            time.sleep(0.5)
            server.kill()
            time.sleep(0.3)
            server.start()
        time.sleep(1.0)
        told = crew.told()
    tell("killed servers", kills=KILLS, calls=sum(calls_of(told).values()))
    assert [one["wrong"] for one in told] == [[]] * 4
    assert all(one["rounds"] > 3 for one in told), told
    assert max(n for one in told for n in one["calls"].values()) <= 1 + KILLS
