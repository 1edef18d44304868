"""A row's text is read as `loads` would, where that is safe; else it is refused, with a reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.load import dumps, loads
from langchain_core.load import mapping as maps
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, Generation
from support.exact import difference
from support.strategies import examples, generations

from llmemo.importing.row_parser import CLASSES, RowRefused, read

ESCAPE = "__lc_escaped__"
OUTPUT = ["langchain", "schema", "output"]

ESCAPES = ESCAPE in dumps(Generation(text="", generation_info={"x": {"lc": 1}}))
"""Whether this langchain-core marks dicts that look like its objects; 1.2.5 was the first."""


def by_langchain(text: str) -> Any:
    """What `loads` makes of a text; the exception if it raises one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return loads(text)
        except Exception as error:  # noqa: BLE001 (validators may raise anything)
            return error


def by_us(text: str) -> Any:
    try:
        return read(text)
    except RowRefused as refusal:
        return refusal


def compare(text: str, *refused: str) -> None:
    """The two agree on a text; ours may refuse for these reasons what the other takes."""
    ours, theirs = by_us(text), by_langchain(text)
    if not isinstance(ours, RowRefused):
        assert difference(ours, theirs) is None
    elif isinstance(theirs, Generation):
        assert str(ours) in refused


def constructor(*path: Any, **kwargs: Any) -> dict[str, Any]:
    return {"lc": 1, "type": "constructor", "id": list(path), "kwargs": kwargs}


def generation(**info: Any) -> str:
    """The text of a generation with this in its info."""
    return json.dumps(constructor(*OUTPUT, "Generation", text="a", generation_info=info))


@pytest.mark.slow
@examples(300)
@given(answer=generations())
def test_what_langchain_wrote_is_read_as_langchain_reads_it(answer: Generation) -> None:
    try:
        text = dumps(answer)
    except Exception:  # noqa: BLE001 (validators may raise anything)
        return  # nor could SQLiteCache write it
    # Of what `instances` has among other values, a Document is LangChain's own: `loads` makes one.
    compare(text, *["unknown_class"] * ("Document" in text))


# What looks like LangChain's objects, and may be, or is a user's dict.
_words = st.sampled_from([1, 1, 1, 1.0, True, 2, None, "constructor", "secret", "not_implemented"])
_names = st.sampled_from(["langchain", "schema", "messages", "output", "AIMessage", "Generation"])
_paths = st.sampled_from([list(path) for path in CLASSES]) | st.lists(_names, max_size=4)
_keys = st.sampled_from(["lc", "type", "id", "kwargs", ESCAPE, "content", "text", "x"])
_kinds = st.sampled_from(["constructor", "constructor", "secret", "not_implemented", "x"])
_objects = st.recursive(
    _words | _paths,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(_keys, inner, max_size=3),
        st.builds(lambda it: {ESCAPE: it}, inner) if ESCAPES else st.nothing(),
        st.fixed_dictionaries(
            {
                "lc": st.just(1),
                "type": _kinds,
                "id": _paths,
                "kwargs": st.fixed_dictionaries(
                    {"content": st.just("x"), "text": st.just("x")}, optional={"x": inner}
                ),
            }
        ),
    ),
    max_leaves=8,
)


def _escapes_by_chance(value: Any) -> bool:
    if isinstance(value, dict):
        return set(value) == {ESCAPE} or any(map(_escapes_by_chance, value.values()))
    return isinstance(value, list) and any(map(_escapes_by_chance, value))


@pytest.mark.slow
@examples(300)
@given(value=_objects)
def test_what_looks_like_langchains_objects_is_taken_as_langchain_takes_it(value: Any) -> None:
    if not ESCAPES and _escapes_by_chance(value):
        return
    # A secret is None to `loads`, which could be the value of something else.
    may = ("secret", "unknown_class", "invalid")
    compare(generation(x=value), *may)
    message = constructor(*OUTPUT[:2], "messages", "AIMessage", content="", additional_kwargs=value)
    compare(json.dumps(constructor(*OUTPUT, "ChatGeneration", message=message)), *may)
    compare(json.dumps(value), *may)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Paris", "not_json"),
        ("", "not_json"),
        ('{"lc": 1', "not_json"),
        ("9" * 5_000 if sys.version_info >= (3, 11) else "nan", "not_json"),
        ("42", "not_a_generation"),
        ('"text"', "not_a_generation"),
        ('{"text": "a", "generation_info": null}', "not_a_generation"),
        (dumps(AIMessage("a")), "not_a_generation"),
        (dumps([Generation(text="a")]), "not_a_generation"),
        (json.dumps({ESCAPE: json.loads(dumps(Generation(text="a")))}), "not_a_generation"),
        (dumps(Generation(text="a", generation_info={"x": object()})), "not_implemented"),
        (dumps(Generation(text="a", generation_info={"x": Document("a")})), "unknown_class"),
        (generation(x={"lc": 1, "type": "secret", "id": ["HOME"]}), "secret"),
        (generation(x=constructor("os", "system", command="true")), "unknown_class"),
        (generation(x=constructor(*OUTPUT[:2], "messages", "Unheard")), "unknown_class"),
        (generation(x=constructor(["a"], {})), "unknown_class"),
        (generation(x=constructor()), "unknown_class"),
        (generation(x={**constructor(*OUTPUT, "Generation"), "kwargs": []}), "invalid"),
        (generation(x={**constructor(), "id": "os.system"}), "invalid"),
        (json.dumps(constructor(*OUTPUT, "Generation", text=1)), "invalid"),
        (json.dumps(constructor(*OUTPUT, "ChatGeneration", text="a")), "invalid"),
        (generation(x=json.loads("[" * 300 + "]" * 300), y={ESCAPE: 1}), "too_deep"),
        ("[" * 100_000, "too_deep"),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    with pytest.raises(RowRefused, match=f"^{reason}$"):
        read(text)


def test_a_refusal_does_not_quote_the_answer() -> None:
    with pytest.raises(RowRefused) as caught:
        read(json.dumps(constructor(*OUTPUT, "Generation", text=["a secret"])))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("name", ["lc", ESCAPE])
def test_a_users_dict_that_looks_like_an_object_comes_back_as_it_was(name: str) -> None:
    given = {name: 1, "type": "constructor", "id": ["os", "system"], "kwargs": {}}
    looks: list[Any] = [given, {ESCAPE: given}, [{ESCAPE: {ESCAPE: given}}], {"x": [{"lc": given}]}]
    for value in looks:
        if ESCAPES:
            # As LangChain writes it: escaped, so that not even what `read` refuses counts in it.
            text = dumps(Generation(text="a", generation_info={"it": value}))
            assert difference(read(text).generation_info, {"it": value}) is None
        escaped = read(generation(it={ESCAPE: value})).generation_info
        assert difference(escaped, {"it": value}) is None


def test_every_name_by_which_loads_knows_a_class_is_known() -> None:
    known = {
        path: target
        for name in vars(maps)
        if name.endswith("MAPPING")
        for path, target in getattr(maps, name).items()
        if target in CLASSES
    }
    assert len(known) > 40
    for path, target in known.items():
        assert CLASSES[path] is CLASSES[target], path
        assert (CLASSES[path].__module__, CLASSES[path].__name__) == (
            ".".join(target[:-1]),
            target[-1],
        )


@pytest.mark.parametrize("path", CLASSES, ids=".".join)
def test_by_every_name_the_class_is_read(path: tuple[str, ...]) -> None:
    required: dict[str, Any] = {"content": "x", "text": "x", "id": "1", "name": "x", "role": "x"}
    required |= {"tool_call_id": "1", "message": constructor(*path[:2], "AIMessage", content="x")}
    fields = {k: v for k, v in required.items() if k in CLASSES[path].model_fields}
    if path[-1] == "RemoveMessage":
        del fields["content"]
    if "message" in fields:
        kind = "AIMessageChunk" if path[-1].endswith("Chunk") else "AIMessage"
        fields["message"] = constructor(*OUTPUT[:2], "messages", kind, content="x")
    it = constructor(*path, **fields)
    text = json.dumps(it) if "output" in path[-2] or path[1] == "outputs" else generation(x=it)
    found = read(text)
    assert path[-1] in {type(found).__name__, type((found.generation_info or {}).get("x")).__name__}
    compare(text)


def test_nothing_is_imported_and_the_environment_is_not_read() -> None:
    program = """
import sys
from llmemo.importing.row_parser import RowRefused, read
before = set(sys.modules)
for text in sys.argv[1:]:
    try:
        print(repr(read(text)))
    except RowRefused as refusal:
        print(refusal)
print(set(sys.modules) - before)
"""
    texts = [
        generation(x=constructor("langchain_core", "prompts", "prompt", "PromptTemplate")),
        generation(x=constructor("langchain_openai", "chat_models", "base", "ChatOpenAI")),
        generation(x={"lc": 1, "type": "secret", "id": ["A_SECRET"]}),
        dumps(ChatGeneration(message=HumanMessage("a"))),
    ]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *texts],
        env={**os.environ, "A_SECRET": "s3cr3t"},
        capture_output=True,
        text=True,
        check=True,
    )
    *lines, last, imported = done.stdout.splitlines()
    assert lines == ["unknown_class", "unknown_class", "secret"]
    assert last.startswith("ChatGeneration(")
    assert imported == "set()"
    assert "s3cr3t" not in done.stdout + done.stderr
