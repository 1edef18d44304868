"""Deep values in threads with little stack: refused, or a miss; the process lives on."""

from __future__ import annotations

import json
import subprocess

import pytest
from support.doubles import FAST, LIMIT

PROGRAM = """
import json, logging, os, sys, threading
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import Generation
from llmemo import LLMCache
from llmemo._core import Dumps, RequestBypassed, ValueRefused, ValueUnknown, decode, encode
from llmemo.keys.values import describer

logging.disable()
KEY = b"k" * 32
WRAPS = {
    "list": lambda inner: [inner],
    "dict": lambda inner: {"a": inner},
    "tuple": lambda inner: (inner,),
    "message": lambda inner: AIMessage.model_construct(content=[inner]),
    "set": lambda inner: frozenset([inner]),
    "mixed": lambda inner: [{"a": (inner,)}],
}

def nested(kind, depth):
    made = "x"
    for _ in range(depth):
        made = WRAPS[kind](made)
    return made

def answer(value):
    return [Generation.model_construct(text="t", generation_info={"v": value})]

DEPTHS = [1, 10, 20, 40, 60, 90, 120, 160, 190, 240]
values = {(kind, depth): nested(kind, depth) for kind in WRAPS for depth in DEPTHS}
encoded, texts = {}, {}
for name, value in values.items():
    try:
        encoded[name] = encode(answer(value), KEY)
    except ValueRefused:
        pass
    if name[0] != "set":
        texts[name] = dumps([HumanMessage.model_construct(content=[], artifact=value)])
caches = [LLMCache(), LLMCache(os.path.join(sys.argv[2], "a.db"), store_timeout=60)]
keys = {name: caches[0]._tiers.key(text, "m") for name, text in texts.items()}
for (kind, depth), value in values.items():
    caches[1].update(f"stored {kind} {depth}", "m", answer(value))
assert caches[1].close() == 0
caches[1] = LLMCache(os.path.join(sys.argv[2], "a.db"), store_timeout=60)
caches[1].lookup("opened", "m")

def own(messages):
    return "own"

deepest = {}

def reached(what, kind, depth):
    deepest[what, kind] = max(depth, deepest.get((what, kind), 0))

def main():
    for (kind, depth), value in values.items():
        try:
            assert encode(answer(value), KEY) == encoded[kind, depth]
            reached("encode", kind, depth)
        except ValueRefused as refused:
            assert str(refused) == "too_deep", refused
        if (kind, depth) in encoded:
            try:
                decode(encoded[kind, depth], KEY)
                reached("decode", kind, depth)
            except ValueUnknown as unknown:
                assert str(unknown) == "too_deep", unknown
        try:
            describer.value(value)
            reached("describe", kind, depth)
        except RequestBypassed as bypass:
            assert bypass.args[0] in ("too_deep", "unknown_value"), bypass
        if kind != "set":  # Python's own `repr` of one recurses
            message = HumanMessage.model_construct(content=[], artifact=value)
            said = Dumps(own, escapes=True)([message])
            if said != "own":
                assert said == texts[kind, depth]
                reached("dumps", kind, depth)
            assert caches[0]._tiers.key(texts[kind, depth], "m") == keys[kind, depth]
            caches[0].update(texts[kind, depth].replace("human", "Human"), "m", answer("x"))
            caches[0].explain(texts[kind, depth], "m")
        for cache in caches:
            cache.update(f"{kind} {depth}", "m", answer(value))
            found = cache.lookup(f"{kind} {depth}", "m")
            assert found is None or found[0].generation_info is not None
        caches[1].lookup(f"stored {kind} {depth}", "m")

threading.stack_size(int(sys.argv[1]) * 1024)
thread = threading.Thread(target=main)
failures = []
threading.excepthook = lambda raised: failures.append(repr(raised.exc_value))
thread.start()
thread.join()
assert not failures, failures
# What could not be read there is still in the store, and read here.
for kind, depth in encoded:
    assert caches[1].lookup(f"stored {kind} {depth}", "m") is not None, (kind, depth)
errors = set(caches[1].stats().errors) | set(caches[0].stats().errors)
assert errors <= {"value_too_deep"}, errors
print(json.dumps([[*name, depth] for name, depth in deepest.items()]))
"""


@pytest.mark.parametrize("kib", [64, 128])
def test_deep_values_in_a_thread_with_little_stack(kib: int, tmp_path: object) -> None:
    command = [*FAST, "-c", PROGRAM, str(kib), str(tmp_path)]
    done = subprocess.run(command, timeout=2 * LIMIT, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    deepest = {(what, kind): depth for what, kind, depth in json.loads(done.stdout)}
    # Real values are some 10 deep.
    least = {64: 20, 128: 60}[kib]
    for (what, kind), depth in deepest.items():
        bound = least // 3 if kind in ("message", "mixed") else least
        # A description has a bound of its own, of 64 levels.
        bound = min(bound, 10 if kind == "message" else 20) if what == "describe" else bound
        assert depth >= bound, (what, kind, depth)
