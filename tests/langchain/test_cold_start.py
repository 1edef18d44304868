"""`import llmemo` does not import LangChain's models, and works with them in whatever order."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
from support.doubles import FAST, LIMIT
from support.slices import some

import llmemo

HEAVY = (
    "aiosqlite",
    "httpx",
    "langchain_core.language_models.base",
    "langchain_core.tracers.context",
    "langsmith",
    "llmemo.explain.explain",
    "llmemo.importing.importer",
    "llmemo.integrations.accelerate",
    "llmemo.stores.sqlite",
    "sqlite3",
)
"""Modules that a program imports when it first needs them."""

OURS = {"llmemo", "langchain_core", "typing", "sqlite3", "asyncio"}
"""Packages of which `import llmemo` alone imports nothing but itself."""

FOOTPRINT = """
import sys
import langchain_core.caches
before = set(sys.modules)
import llmemo
from langchain_core.outputs import Generation
cache = llmemo.LLMCache()
cache.update("p", "m", [Generation(text="kept")])
assert cache.lookup("p", "m")[0].text == "kept"
print(*sorted(set(sys.modules) - before))
"""

MODEL = """
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

CALLS = []

class Model(BaseChatModel):
    style: str = ""

    @property
    def _llm_type(self):
        return "model"

    def _stream(self, *args, **kwargs):
        raise AssertionError("asked")

    def _generate(self, messages, *args, **kwargs):
        CALLS.append(messages[-1].text)
        return ChatResult(generations=[ChatGeneration(message=AIMessage("said"))])
"""

LLMEMO = """
import llmemo
from langchain_core.globals import set_llm_cache
cache = llmemo.LLMCache()
set_llm_cache(cache)
"""

ORDERS = {
    "llmemo first": LLMEMO + MODEL,
    "models first": MODEL + LLMEMO,
    "models between": "import llmemo\n" + MODEL + LLMEMO,
    "runs first": MODEL + "Model().invoke('before')\nCALLS.clear()\n" + LLMEMO,
    "llmemo in a thread": MODEL + "import threading\nthread = threading.Thread(target=exec,"
    f" args=({LLMEMO!r}, globals()))\nthread.start()\nthread.join()\n",
}

HOOK = """
Model().invoke("p")
from langchain_core.tracers.context import _configure_hooks
names = [variable.name for variable, *_ in _configure_hooks]
assert names.count("llmemo_watch") == 1, names
"""

CHECKS = {
    # The first run of the process is the one that could be missed.
    "single-flight": f"""
import threading
from concurrent.futures import ThreadPoolExecutor
from llmemo.single_flight.holding import holds_anything

began, fail, done = threading.Event(), threading.Event(), threading.Event()

class Slow(Model):
    def _generate(self, messages, *args, **kwargs):
        if not began.is_set():
            began.set()
            assert fail.wait({LIMIT})
            raise RuntimeError("broken")
        return super()._generate(messages)

def hold():
    try:
        Slow().invoke("p")
    except RuntimeError:
        # Its thread goes on: only the run's end tells that the lease has ended.
        assert not holds_anything()
        assert done.wait({LIMIT})

with ThreadPoolExecutor() as pool:
    holder = pool.submit(hold)
    assert began.wait({LIMIT})
    waiters = [pool.submit(Slow().invoke, "p") for _ in range(3)]
    fail.set()
    assert [waiter.result({LIMIT}).text for waiter in waiters] == ["said"] * 3
    assert CALLS == ["p"], CALLS
    done.set()
    holder.result()
""",
    "only": """
try:
    with llmemo.options(mode="only"):
        list(Model().stream("p"))
except llmemo.CacheMiss:
    pass
else:
    raise AssertionError("not refused")
""",
    "retry": """
from langchain_core.runnables import RunnableLambda

seen = []
def read(message):
    seen.append(message.text)
    if len(seen) == 1:
        raise ValueError("unreadable")
    return message.text

Model().invoke("p")
chain = (Model() | RunnableLambda(read)).with_retry(wait_exponential_jitter=False)
assert chain.invoke("p") == "said"
assert CALLS == ["p", "p"], CALLS
""",
    "settings": """
for style in ("a", "a", "b"):
    Model(style=style).invoke("p")
assert CALLS == ["p", "p"], CALLS

CALLS.clear()
from typing import Any

class Outer(Model):
    inner: Any = None

# Tags are no setting of a model, wherever it is.
for style, tags in (("a", []), ("a", ["tag"]), ("b", [])):
    Outer(inner=Model(style=style, tags=tags)).invoke("p")
assert CALLS == ["p", "p"], CALLS

from langchain_core.outputs import Generation
cache.update("p", "m", [Generation(text="kept")])
assert cache.explain("p", "m").outcome == "hit"
assert cache.explain("q", "m").outcome == "miss"
"""
    + HOOK,
}


def run(program: str) -> None:
    done = subprocess.run(
        [*FAST, "-c", program],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_importing_imports_little() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FOOTPRINT], capture_output=True, text=True, check=True
    )
    assert "llmemo.cache" in done.stdout.split()
    assert set(HEAVY).isdisjoint(done.stdout.split())


def test_importing_alone_imports_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, llmemo\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = {name for name in done.stdout.split() if name.partition(".")[0] in OURS}
    assert found == {"llmemo"}


def test_models_that_are_there_first_are_seen() -> None:
    # No name of llmemo is asked for before the run begins.
    run(MODEL + "import llmemo\n" + HOOK)


def test_each_room_is_an_attribute() -> None:
    run("import llmemo\nassert llmemo.errors.StoreError is llmemo.StoreError\nllmemo._core.prepare")


def test_a_type_checker_sees_the_names_that_there_are() -> None:
    assert sorted(llmemo._ALL) == sorted(llmemo._LATER)  # type: ignore[attr-defined]


# Each costs an interpreter. A slice has every check once, each after another order.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("order", "check"), some(list(itertools.product(ORDERS, CHECKS)), len(CHECKS) + 1)
)
def test_the_order_of_imports_does_not_matter(order: str, check: str) -> None:
    run(ORDERS[order] + CHECKS[check])


@pytest.mark.slow
def test_imports_in_two_threads() -> None:
    program = """
import threading
start = threading.Barrier(2)

def import_llmemo():
    start.wait()
    import llmemo

def import_models():
    start.wait()
    import langchain_core.language_models.chat_models
    import langchain_core.tracers.context

threads = [threading.Thread(target=each) for each in (import_llmemo, import_models)]
for each in threads:
    each.start()
for each in threads:
    each.join()
"""
    run(program + MODEL + LLMEMO + HOOK + CHECKS["only"])


def test_a_class_is_found_once_its_module_is_imported() -> None:
    program = """
from llmemo.langchain.model_classes import is_chat_model, is_completion_model, is_model
assert not is_model(1) and not is_chat_model(1) and not is_completion_model(1)
from langchain_core.language_models import FakeListChatModel, FakeListLLM
chat, completion = FakeListChatModel(responses=["a"]), FakeListLLM(responses=["a"])
assert is_model(chat) and is_chat_model(chat) and not is_completion_model(chat)
assert is_model(completion) and is_completion_model(completion) and not is_chat_model(completion)
assert not is_model(1) and not is_chat_model(FakeListChatModel)
"""
    run(program)


def test_every_public_name_is_there() -> None:
    program = """
import llmemo
assert set(llmemo.__all__) <= set(dir(llmemo))
from llmemo import *
for name in llmemo.__all__:
    assert globals()[name] is getattr(llmemo, name)
"""
    run(program)


def test_names_that_cannot_be_had_are_not_listed() -> None:
    program = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("redis", "prometheus_client", "opentelemetry"):
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, Blocked())
import inspect, llmemo
listed = {name for name, _ in inspect.getmembers(llmemo)}
assert "LLMCache" in listed
missing = {"RedisStore", "PrometheusCollector", "instrument_otel"}
assert not missing & listed
assert not missing & set(llmemo.__all__)
"""
    run(program)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="module 'llmemo' has no attribute 'nothing'"):
        llmemo.nothing  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match=r"module 'llmemo\.stores' has no attribute 'nothing'"):
        llmemo.stores.nothing  # type: ignore[attr-defined]  # noqa: B018
