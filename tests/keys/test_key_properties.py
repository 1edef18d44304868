"""What may change in a request without changing its key, and that nothing else may.

Each form is changed in all the ways that docs/keys.md allows, at once, and then in one way that it
does not allow.
"""

from __future__ import annotations

import copy
import json
import random
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support import oracle
from support.oracle_prompt import WHOLES
from support.strategies import FACTOR, byte_strings, examples, floats, hard_texts, ints, json_values

from llmemo._core import Memory
from llmemo.keys.request import Request

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = Memory(2**20, fingerprint_secret=bytes(range(7, 199)))
LLM = "[('_type', 'fake'), ('stop', None)]"
UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
rngs = st.integers(0, 2**64).map(random.Random)


def key(prompt: str, llm_string: str = LLM) -> bytes:
    """The key, by core and oracle."""
    found = MEMORY.key(Request(prompt, llm_string), "")
    assert found == oracle.key(prompt, llm_string, "")
    return found


# Trees of lists, tuples, dicts and leaves: JSON's, and Python's.


class Bag(list[Any]):
    """A set, as a list of its members."""


class Frozen(Bag):
    """A frozen set."""


def nodes(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    yield path, tree
    if isinstance(tree, (list, tuple, dict)):
        for at, member in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from nodes(member, (*path, at))


def replaced(tree: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    if isinstance(tree, dict):
        pairs = tree.items()
        return {at: replaced(it, path[1:], new) if at is path[0] else it for at, it in pairs}
    return type(tree)(
        replaced(it, path[1:], new) if i == path[0] else it for i, it in enumerate(tree)
    )


def others(node: Any, rng: random.Random) -> Any:
    """Something else than this, and nearly it."""
    found: list[Any] = [None, True, False, 0, 1, 1.0, "1", "", [], {}, [node], [node, node]]
    found += [{"k": node}, [[node]]]
    if isinstance(node, str):
        found += [node + " ", "\0" + node, node.swapcase(), unicodedata.normalize("NFD", node)]
    if isinstance(node, (int, float)):
        found += [-node, node + 1, str(node)]
    if isinstance(node, dict):
        found += [dict(reversed(node.items())), {**node, "more": 1}, list(node.values())]
        found += [{k + "x" if isinstance(k, str) else "x": v for k, v in node.items()}]
    if type(node) is list:
        found += [node[::-1], node[1:], [*node, None], [*node[:1], node[1:]]]
    return rng.choice(found)


def written(tree: Any, rng: random.Random) -> str:
    """JSON, in any of the ways to write it."""
    space = rng.choice(["", " ", "\n\t", " \r\n "])
    if isinstance(tree, dict):
        pairs = (f"{written(k, rng)}{space}:{written(v, rng)}" for k, v in tree.items())
        text = f"{{{space}{f'{space},{space}'.join(pairs)}{space}}}"
    elif isinstance(tree, list):
        text = f"[{f'{space},'.join(written(it, rng) for it in tree)}{space}]"
    else:
        text = json.dumps(tree)
        if isinstance(tree, str):
            text = f'"{"".join(character(it, rng) for it in tree)}"'
    return f"{space}{text}{space}"


def character(it: str, rng: random.Random) -> str:
    if it >= " " and it not in '"\\' and rng.random() < 0.5:
        return it
    if it < "\ud800" and rng.random() < 0.5:
        return f"\\u{ord(it):04X}"
    return json.dumps(it)[1:-1]


def shuffled(pairs: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    return dict(rng.sample(list(pairs.items()), len(pairs)))


# Prompts.

PATH = ["langchain", "schema", "messages"]
names = st.sampled_from(["x_id", "additional_kwargs", "response_metadata", "name", "tool_call_id"])
blocks = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image"]), "text": hard_texts},
    optional={"id": st.sampled_from(["msg_1", "lc_1"]), "extras": json_values},
)
contents = hard_texts | st.lists(hard_texts | blocks, max_size=3)
tool_calls = st.lists(
    st.fixed_dictionaries({"name": hard_texts, "args": json_values, "id": st.just(f"lc_{UUID}")}),
    max_size=2,
)
kwargs = st.builds(
    lambda content, calls, more: {**more, "content": content, "tool_calls": calls},
    contents,
    tool_calls,
    st.dictionaries(names, json_values, max_size=3),
)


def message(kind: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"lc": 1, "type": "constructor", "id": [*PATH, kind], "kwargs": arguments}


histories = st.lists(
    st.builds(message, st.sampled_from(sorted(set(WHOLES.values()))), kwargs),
    min_size=1,
    max_size=3,
).map(lambda history: json.loads(json.dumps(history)))


def otherwise(history: list[dict[str, Any]], rng: random.Random) -> str:
    """The same request, written in another way, and with other things that do not count."""
    made = []
    for one in copy.deepcopy(history):
        kind, arguments = one["id"][3], one["kwargs"]
        chunk = kind if kind == "RemoveMessage" or rng.random() < 0.5 else f"{kind}Chunk"
        noise: dict[str, Any] = {"id": rng.choice([None, "run-1"]), "type": "ai", "artifact": [{}]}
        noise["usage_metadata"] = {"input_tokens": rng.randrange(9), "total_cost": 0}
        if chunk == "AIMessageChunk":
            noise.update({"tool_call_chunks": [{"index": 0}], "chunk_position": "last"})
        arguments.update({name: noise[name] for name in noise if rng.random() < 0.5})
        content = arguments.get("content")
        for block in content if isinstance(content, list) else []:
            if isinstance(block, dict) and "id" not in block and rng.random() < 0.5:
                block["id"] = f"lc_{UUID}"
        made.append(shuffled(message(chunk, shuffled(arguments, rng)), rng))
    return written(made, rng)


@pytest.mark.slow
@examples(250)
@given(histories, rngs)
def test_a_prompt_written_in_another_way_has_the_same_key(history: Any, rng: Any) -> None:
    text = json.dumps(history)
    assert oracle.prompt(text) is not None
    assert key(text) == key(otherwise(history, rng))


@pytest.mark.slow
@examples(300)
@given(histories, rngs)
def test_any_change_of_what_a_prompt_says_changes_its_key(history: Any, rng: Any) -> None:
    number = rng.randrange(len(history))
    changed = copy.deepcopy(history)
    action = rng.randrange(8)
    if action == 0:
        kinds = {*WHOLES.values()} - {history[number]["id"][3]}
        changed[number]["id"][3] = rng.choice(sorted(kinds))
    elif action == 1:
        changed.insert(rng.randrange(len(history)), changed[number])
    elif action == 2:
        changed.reverse()
        assume(changed != history)
    else:
        arguments = history[number]["kwargs"]
        path, node = rng.choice(list(nodes(arguments))[1:])
        other = others(node, rng)
        assume(json.dumps(other) != json.dumps(node))
        changed[number]["kwargs"] = replaced(arguments, path, other)
    assert key(json.dumps(history)) != key(json.dumps(changed))
    assert key(otherwise(history, rng)) != key(otherwise(changed, rng))


# llm_strings.

leaves = st.one_of(st.none(), st.booleans(), ints, floats, hard_texts, byte_strings)


def containers(inner: Any) -> Any:
    some = st.lists(inner, max_size=3)
    dicts = st.dictionaries(hard_texts | ints, inner, max_size=3)
    return some | some.map(tuple) | dicts | some.map(Bag) | some.map(Frozen)


values = st.recursive(leaves, containers, max_leaves=8)
parameters = st.lists(st.tuples(hard_texts, values), max_size=3)


def printed(tree: Any, rng: random.Random) -> str:
    """What Python prints of a value, or might have printed."""
    if isinstance(tree, (list, tuple)):
        members = [printed(it, rng) for it in tree]
        if isinstance(tree, Bag):
            rng.shuffle(members)
            text = f"{{{', '.join(members)}}}" if members else ""
            is_set = type(tree) is Bag and members
            return text if is_set else f"{'set' if type(tree) is Bag else 'frozenset'}({text})"
        ends = "[]" if isinstance(tree, list) else "()"
        comma = "," if isinstance(tree, tuple) and len(tree) == 1 else ""
        return f"{ends[0]}{', '.join(members)}{comma}{ends[1]}"
    if isinstance(tree, dict):
        pairs = (f"{printed(k, rng)}: {printed(v, rng)}" for k, v in tree.items())
        return f"{{{', '.join(pairs)}}}"
    text = repr(tree)
    if isinstance(tree, str) and rng.random() < 0.5:
        escapes = (f"\\U{ord(it):08x}" if rng.random() < 0.5 else repr(it)[1:-1] for it in tree)
        text = '"' + "".join("\\" + it if it == '"' else it for it in escapes) + '"'
    return text


def tail(settings: Any, rng: random.Random) -> str:
    return f"[{', '.join(f'({printed(n, rng)}, {printed(v, rng)})' for n, v in settings)}]"


@pytest.mark.slow
@examples(200)
@given(parameters, rngs)
def test_parameters_printed_in_another_way_have_the_same_key(settings: Any, rng: Any) -> None:
    text = tail(settings, rng)
    assert oracle.llm_string(text) is not None
    assert key("p", text) == key("p", tail(settings, rng))
    if not any(isinstance(node, Bag) for _, node in nodes(settings)):
        assert key("p", text) == key("p", str(settings))


@pytest.mark.slow
@examples(250)
@given(parameters.filter(bool), rngs)
def test_any_change_of_a_parameter_changes_the_key(settings: Any, rng: Any) -> None:
    paths = [(path, node) for path, node in nodes(settings) if len(path) > 1 and path[1] == 1]
    path, node = rng.choice(paths)
    other = rng.choice([*([it] if (it := others(node, rng)) is not node else []), (node,), b"1"])
    if isinstance(node, (list, tuple)) and rng.random() < 0.5:
        other = rng.choice([it for it in (list, tuple, Bag, Frozen) if it is not type(node)])(node)
    assume(repr((type(other), other)) != repr((type(node), node)))
    changed = replaced(settings, path, other)
    assert key("p", tail(settings, rng)) != key("p", tail(changed, rng))


HEAD = {"id": ["langchain", "chat_models", "openai", "ChatOpenAI"], "lc": 1, "type": "constructor"}
arguments = st.dictionaries(hard_texts.map("x{}".format), json_values, min_size=1, max_size=3)


@pytest.mark.slow
@examples(200)
@given(arguments.map(lambda it: json.loads(json.dumps(it))), rngs)
def test_the_head_of_an_llm_string(settings: dict[str, Any], rng: Any) -> None:
    def head(arguments: dict[str, Any], noise: dict[str, Any]) -> str:
        envelope = shuffled(
            {**HEAD, "name": rng.choice("ab"), "kwargs": {**noise, **arguments}}, rng
        )
        return f"{written(envelope, rng).strip()}---[('timeout', {rng.randrange(9)})]"

    plain = head(settings, {})
    for name in ("max_retries", "request_timeout", "tiktoken_model_name", "name"):
        assert key("p", plain) == key("p", head(settings, {name: rng.randrange(9)}))
    path, node = rng.choice(list(nodes(settings))[1:])
    other = others(node, rng)
    assume(json.dumps(other) != json.dumps(node))
    assert key("p", plain) != key("p", head(replaced(settings, path, other), {}))


@pytest.mark.slow
def test_no_two_of_ten_million_triples_share_a_key() -> None:
    # As many by `make fuzz`: LLMEMO_EXAMPLES=100.
    rng = random.Random(1 if FACTOR <= 1 else None)
    pieces = ["\0", "---", "\1\0\0\0\0\0\0\0", "a", "\x02", "[]", "é", "\ud800", "{}", "[('a', 1)]"]
    for _ in range(max(1, round(FACTOR))):
        text = "".join(rng.choices(pieces, k=500))[:450]
        ends = range(len(text) + 1)
        triples = [(text[:i], text[i:j], text[j:]) for i in ends for j in ends[i:]]
        keys = {MEMORY.key(Request(prompt, llm), namespace) for namespace, llm, prompt in triples}
        assert len(keys) == len(triples) >= 100_000
