"""The proxy that the tests of faults rely on, by itself."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from support import redis_server
from support.proxy_actions import Answer, CutReply, CutRequest, Delay, Swap
from support.redis_proxy import Proxy
from support.resp_frames import Frames, words_of
from support.servers import Replies, ReplyError

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAMES = [
    b"+OK\r\n", b"-ERR no\r\n", b":12\r\n", b"$-1\r\n", b"*-1\r\n", b"$0\r\n\r\n", b"*0\r\n",
    b"$5\r\n\r\n*3\r\r\n", b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n", b"_\r\n", b"#t\r\n",
    b"%1\r\n+a\r\n*1\r\n:2\r\n", b"~2\r\n+a\r\n+b\r\n", b">2\r\n+message\r\n$1\r\nx\r\n",
    b"|1\r\n+ttl\r\n:3\r\n*1\r\n:4\r\n", b",1.5\r\n", b"=7\r\ntxt:abc\r\n",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_frames_are_found_wherever_the_stream_is_cut(seed: int) -> None:
    dice = random.Random(seed)
    sent = dice.choices(FRAMES, k=40)
    stream, frames, found = b"".join(sent), Frames(), list[bytes]()
    while stream:
        size = dice.choice([1, 2, 7, 50])
        found += frames.feed(stream[:size])
        stream = stream[size:]
    assert found == sent
    assert frames.rest == b""


def test_words_are_those_of_the_command() -> None:
    assert words_of(b"*2\r\n$3\r\nGET\r\n$4\r\n\r\n*1\r\n") == [b"GET", b"\r\n*1"]
    assert words_of(b"PING\r\n") == [b"PING"]


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    with Proxy(redis_server.shared().port) as proxy:
        yield proxy


def test_it_forwards_and_counts(proxy: Proxy) -> None:
    with Replies(proxy.port) as ask:
        assert ask("PING") == b"PONG"
        assert ask("ECHO", b"x" * 300_000) == b"x" * 300_000
        assert (proxy.connections, proxy.accepted) == (1, 1)
    assert proxy.commands == {"PING": 1, "ECHO": 1}
    assert proxy.bytes_up > 300_000 < proxy.bytes_down


def test_it_answers_in_the_servers_place(proxy: Proxy) -> None:
    proxy.fault = lambda command: Answer("-LOADING x") if command.name == "GET" else None
    with Replies(proxy.port) as ask:
        with pytest.raises(ReplyError, match="LOADING"):
            ask("GET", "a")
        assert ask("PING") == b"PONG"


@pytest.mark.parametrize("action", [CutReply(0), CutReply(0.5), CutRequest(0.5), CutRequest(0)])
def test_it_cuts(proxy: Proxy, action: CutReply | CutRequest) -> None:
    proxy.fault = lambda command: action
    with Replies(proxy.port) as ask:
        ask._socket.sendall(b"*2\r\n$4\r\nECHO\r\n$5\r\nhello\r\n")
        part = action.part if isinstance(action, CutReply) else 0
        assert ask._file.read() == b"$5\r\nhello\r\n"[: int(11 * part)]


def test_it_swaps_the_replies_of_two_connections(proxy: Proxy) -> None:
    proxy.fault = lambda command: Swap() if command.name == "ECHO" else None
    with Replies(proxy.port) as one, Replies(proxy.port) as two, ThreadPoolExecutor() as pool:
        first = pool.submit(one, "ECHO", "one")
        assert two("ECHO", "two") == b"one"
        assert first.result() == b"two"
        assert one("ECHO", "alone") == b"alone", "there was none to swap with"


def test_it_delays_in_order(proxy: Proxy) -> None:
    proxy.fault = lambda command: Delay(0.05) if command.name == "GET" else None
    with Replies(proxy.port) as ask:
        ask._socket.sendall(b"GET none\r\nPING\r\n")
        assert [ask._reply(), ask._reply()] == [None, b"PONG"]


def test_it_is_half_open_until_it_is_released(proxy: Proxy) -> None:
    with Replies(proxy.port, seconds=0.05) as before:
        assert before("PING") == b"PONG"
        proxy.hold()
        with pytest.raises(TimeoutError):
            before("PING")
    with Replies(proxy.port, seconds=0.05) as held, pytest.raises(TimeoutError):
        held("PING")
    proxy.release()
    with Replies(proxy.port) as ask:
        assert ask("PING") == b"PONG"


def test_it_refuses_until_it_accepts(proxy: Proxy) -> None:
    with Replies(proxy.port) as before:
        proxy.refuse()
        with pytest.raises((EOFError, OSError)):
            before("PING")
    with pytest.raises(ConnectionRefusedError):
        Replies(proxy.port)
    proxy.accept()
    with Replies(proxy.port) as ask:
        assert ask("PING") == b"PONG"


@pytest.mark.parametrize("is_raw", [False, True])
def test_a_round_trip_is_the_same_for_one_and_for_many(is_raw: bool) -> None:
    port = redis_server.shared().port
    with Proxy(port, round_trip=0.03, is_raw=is_raw) as proxy, Replies(proxy.port) as ask:
        before = time.perf_counter()
        ask._socket.sendall(b"PING\r\n" * 100)
        assert [ask._reply() for _ in range(100)] == [b"PONG"] * 100
        assert 0.03 <= time.perf_counter() - before < 1
