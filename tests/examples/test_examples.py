"""The examples do what they say, over real sockets."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from support import TESTS
from support.doubles import LIMIT
from support.pages import command
from support.redis_server import BINARY
from support.servers import program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EXAMPLES = TESTS.parent / "examples"
pytestmark = [pytest.mark.clients, pytest.mark.slow]
httpx: Any = pytest.importorskip("httpx")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.syspath_prepend(EXAMPLES)
    openai_server = importlib.import_module("openai_server")
    with openai_server.OpenAIServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "unused")
        monkeypatch.setenv("LLMEMO_PATH", str(tmp_path / "service.db"))
        yield server


def asked(post: Callable[..., Any], path: str, tenant: str, question: str) -> str:
    """The answer of the service, as its text says it."""
    response = post(path, json={"question": question}, headers={"x-tenant": tenant})
    assert response.status_code == 200, response.text
    return str(response.json()["answer"] if path == "/chat" else response.text)


def test_the_service_streams_hits_and_tells_tenants_apart(server: Any) -> None:
    testclient = pytest.importorskip("fastapi.testclient")
    app = importlib.import_module("fastapi_app").app
    with testclient.TestClient(app) as client:
        first = asked(client.post, "/stream", "acme", "Why is the sky blue?")
        assert len(first.split()) > 3
        assert asked(client.post, "/stream", "acme", "Why is the sky blue?") == first
        assert asked(client.post, "/chat", "acme", "Why is the sky blue?") == first
        assert server.requests == 1
        asked(client.post, "/stream", "other", "Why is the sky blue?")
        assert server.requests == 2
        assert client.get("/stats").json() == {"hits": 2, "misses": 2, "coalesced": 0}
        assert client.post("/chat", json={"question": "?"}).status_code == 422


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def service(workers: int) -> Iterator[str]:
    """The service, as its documentation says to start it."""
    pytest.importorskip("uvicorn")
    port = free_port()
    start = shlex.split(command("recipes/fastapi.md", "uvicorn"))
    # (The last of two `--workers` counts.)
    start = [sys.executable, "-m", *start, "--workers", str(workers), "--port", str(port)]
    with subprocess.Popen(
        start, cwd=TESTS.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            ready = 0
            for line in process.stderr or ():
                ready += "Application startup complete" in line
                if ready == workers:
                    break
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.mark.process
def test_workers_share_one_request(server: Any) -> None:
    server.latency = 0.2
    with service(workers=2) as url, httpx.Client(base_url=url, timeout=LIMIT) as client:

        def one(number: int) -> str:
            path = "/stream" if number % 2 else "/chat"
            return asked(client.post, path, "acme", "Why is the sea salt?")

        with ThreadPoolExecutor(16) as pool:
            answers = set(pool.map(one, range(16)))
    assert len(answers) == 1
    assert server.requests == 1


@pytest.mark.process
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_page_says_how_to_ask(server: Any) -> None:
    with service(workers=2) as url:
        line = command("recipes/fastapi.md", "curl").replace("http://127.0.0.1:8000", url)
        done = subprocess.run(shlex.split(line), capture_output=True, text=True, check=True)
    assert "sky blue" in done.stdout
    assert server.requests == 1


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("agent", r"first conversation: 4 model calls; the same again: 0"),
        ("rag", r"Height\(name='Lindau', metres=.*\): 5 misses, then 0"),
    ],
)
def test_the_second_time_asks_nothing(name: str, says: str, tmp_path: Path) -> None:
    environment = {name: it for name, it in os.environ.items() if name != "OPENAI_API_KEY"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), str(tmp_path / "a.db")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(says, done.stdout)


@pytest.mark.process
def test_a_fleet_makes_one_call_and_follows_a_change() -> None:
    program(BINARY)
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "demo_fleet.py")],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The model was called 1 time(s) in all." in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.process
def test_the_demo_fits_a_terminal_and_shows_a_stream() -> None:
    environment = {**os.environ, "COLUMNS": "80"}
    environment.pop("OPENAI_API_KEY", None)
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "demo.py"), "--latency", "0.05"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    rows = [re.split(r"\s*│\s*", line) for line in done.stdout.splitlines() if "│" in line]
    requests = {(row[1], row[2]): row[6] for row in rows}
    assert requests == {
        ("llmemo", "chat"): "1, 0, 0",
        ("llmemo", "stream"): "1, 0, 0",
        ("llmemo", "agent"): "3, 0, 0",
        ("llmemo", "10 at once"): "1, 0, 0",
        ("InMemoryCache", "chat"): "1, 0, 1",
        ("InMemoryCache", "stream"): "1, 1, 1",
        ("InMemoryCache", "agent"): "3, 2, 3",
        ("InMemoryCache", "10 at once"): "10, 0, 10",
    }
    assert "The chunks were the same." in " ".join(done.stdout.split())


@pytest.mark.parametrize("call", ["chat", "stream"])
def test_the_demo_fails_where_a_repeated_call_reached_the_service(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    demo = importlib.import_module("demo")
    rows = {
        name: [demo.Measured(0.1, sent, 0.1, ["four"]) for sent in (1, 0, 0)] for name in demo.CALLS
    }
    monkeypatch.setattr(
        demo,
        "in_new_process",
        lambda setup: {
            name: row[:2] if setup.times == 2 else row[2:] for name, row in rows.items()
        },
    )
    monkeypatch.setenv("OPENAI_API_KEY", "unused")  # no server of its own: nothing is sent
    demo.demo(0.0)
    rows[call][2] = demo.Measured(0.1, 1, 0.1, ["four"])
    with pytest.raises(SystemExit, match=f"{call}, restarted"):
        demo.demo(0.0)
