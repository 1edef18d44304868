"""The recipes of the site do what their pages say, with real servers, workers and signals."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shlex
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import TESTS
from support.doubles import LIMIT
from support.pages import blocks_of, command
from support.servers import free_port

from llmemo import NamespaceRequiredError

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = TESTS.parent / "examples"
pytestmark = [pytest.mark.clients, pytest.mark.slow, pytest.mark.process]
httpx: Any = pytest.importorskip("httpx")
pytest.importorskip("langchain_openai")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A provider that takes 0.2 seconds; the recipes' environment leads to it."""
    monkeypatch.syspath_prepend(EXAMPLES)
    openai_server = importlib.import_module("openai_server")
    with openai_server.OpenAIServer(latency=0.2) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "unused")
        monkeypatch.setenv("LLMEMO_PATH", str(tmp_path / "recipe.db"))
        yield server


@contextlib.contextmanager
def running(command: str, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A program of this environment, as a page says to start it, from the repository's root."""
    name, *arguments = shlex.split(command)
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        pytest.skip(f"{name} is not installed")
    with subprocess.Popen(
        [path, *arguments, *more],
        cwd=TESTS.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=LIMIT)


def read_until(process: subprocess.Popen[str], words: str, times: int = 1) -> None:
    """Read what a program says, until it has said this."""
    said = []
    for line in process.stderr or ():
        said.append(line)
        times -= words in line
        if not times:
            return
    raise AssertionError("".join(said))


def test_gunicorn_forks_a_cache_that_is_open(server: Any) -> None:
    port = free_port()
    start = command("recipes/gunicorn.md", "gunicorn --preload")
    with running(start, "--no-control-socket", "--bind", f"127.0.0.1:{port}") as process:
        read_until(process, "Booting worker", times=2)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=LIMIT) as client:

            def ask(question: str) -> Any:
                response = client.get("/", params={"q": question}, headers={"x-tenant": "acme"})
                assert response.status_code == 200, response.text
                return response.json()

            with ThreadPoolExecutor(12) as pool:
                same = list(pool.map(ask, ["Why is the sky blue?"] * 12))
                others = list(pool.map(ask, [f"What is {number}?" for number in range(12)]))
            assert len({each["answer"] for each in same}) == 1
            assert server.requests == 1 + 12
            if shutil.which("curl"):
                line = command("recipes/gunicorn.md", "curl").replace(":8000/", f":{port}/")
                said = subprocess.run(shlex.split(line), capture_output=True, check=True)
                assert json.loads(said.stdout)["answer"] == same[0]["answer"]
            assert server.requests == 1 + 12
            for parameters, tenant in (({"q": "?"}, {}), ({}, {"x-tenant": "acme"})):
                refused = client.get("/", params=parameters, headers=tenant)
                assert refused.status_code == 400
                assert "x-tenant" in refused.text
    assert len({each["pid"] for each in same + others}) == 2
    # What the workers had acknowledged is in the file when they are gone.
    with sqlite3.connect(os.environ["LLMEMO_PATH"]) as connection:
        assert connection.execute("SELECT count(*) FROM entries").fetchone() == (13,)


def test_celery_keeps_tenants_apart_and_gives_up_in_time(
    server: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    celery = pytest.importorskip("celery")
    monkeypatch.setenv("BROKER_URL", redis_url)
    with (
        celery.Celery(broker=redis_url, backend=redis_url) as client,
        running(command("recipes/celery.md", "celery"), "--loglevel", "info") as process,
    ):

        def send(question: str, tenant: str | None = "acme", **how: Any) -> Any:
            headers = {"tenant": tenant} if tenant else {}
            return client.send_task("celery_app.answer", [question], headers=headers, **how)

        read_until(process, "ready.")
        same = [send("Why is the sky blue?") for _ in range(6)]
        assert len({each.get(timeout=LIMIT) for each in same}) == 1
        assert server.requests == 1
        send("Why is the sky blue?", "other").get(timeout=LIMIT)
        assert server.requests == 2
        # A task without a tenant is refused, and asks nothing.
        with pytest.raises(NamespaceRequiredError):
            send("Why is the sky blue?", None).get(timeout=LIMIT)
        # The soft limit ends a call of the model, and with it the lease.
        server.latency = LIMIT
        late = send("Why is the sea salt?", soft_time_limit=1).get(timeout=LIMIT)
        assert late == "Please ask again later."
        server.latency = 0.0
        assert "sea salt" in send("Why is the sea salt?").get(timeout=LIMIT / 4)
        assert server.requests == 4


RUNTIME = """
import json, sys
sys.path.insert(0, sys.argv[1])
import lambda_handler
for line in sys.stdin:
    print(json.dumps(lambda_handler.handler(json.loads(line), None)), flush=True)
"""
"""What AWS' runtime does: import once, then one event after the other."""


@contextlib.contextmanager
def environment() -> Iterator[subprocess.Popen[str]]:
    """An execution environment of Lambda. It ends as there: killed."""
    command = [sys.executable, "-c", RUNTIME, str(EXAMPLES / "recipes")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def invoke(process: subprocess.Popen[str], question: str) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    print(json.dumps({"tenant": "acme", "question": question}), file=process.stdin, flush=True)
    return json.loads(process.stdout.readline())


def test_lambda_is_frozen_and_killed(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "answers.db"
    monkeypatch.setenv("LLMEMO_IMAGE", str(image))
    with environment() as process:
        first = invoke(process, "Why is the sky blue?")
        assert (first["hits"], first["errors"]) == (0, {})
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)  # longer than `store_timeout`
        process.send_signal(signal.SIGCONT)
        again = invoke(process, "Why is the sky blue?")
        assert again == {**first, "hits": 1}
        process.send_signal(signal.SIGSTOP)
    # The frozen process was killed. Its file serves as what the next image brings along.
    path = Path(os.environ["LLMEMO_PATH"])
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM INTO ?", (str(image),))
    monkeypatch.setenv("LLMEMO_PATH", str(tmp_path / "another.db"))
    monkeypatch.syspath_prepend(EXAMPLES / "recipes")
    function = importlib.import_module("lambda_handler")
    event = {"tenant": "acme", "question": "Why is the sky blue?"}
    assert function.handler(event, None) == {**first, "hits": 1}
    assert server.requests == 1
    assert stat.S_IMODE(function.FILE.stat().st_mode) == 0o600
    with pytest.raises(NamespaceRequiredError):
        function.handler({"question": "Why is the sky blue?"}, None)
    function.cache.close()


def test_the_handler_runs_without_lambda(server: Any) -> None:
    line = command("recipes/lambda.md", "PYTHONPATH=examples/recipes")
    line = line.replace(" python ", f" {shlex.quote(sys.executable)} ")
    line = line.replace("=examples", f"={os.pathsep.join(sys.path)}:examples")
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert "sky blue" in done.stdout, done.stderr
    assert server.requests == 1


def test_xdist_gives_each_test_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xdist")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    page = "recipes/pytest.md"
    conftest, tests = (block.text for block in blocks_of(page) if block.language == "python")
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_it.py").write_text(tests)
    words = shlex.split(command("recipes/pytest.md", "pytest"))
    done = subprocess.run(
        [sys.executable, "-m", *words, "-p", "xdist", "-W", "error", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert "2 workers" in done.stdout
