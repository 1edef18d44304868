"""Texts for `make_keys.py`: settings, literals, and forms that are nearly LangChain's."""

from __future__ import annotations

import re
from typing import Any

PLAIN = "[('_type', 'fake'), ('stop', None)]"
CHAT_SETTINGS: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 0.7},
    {"max_retries": 0},
    {"max_retries": 9},
    {"timeout": 3.5},
    {"timeout": (1.0, 2.0)},
    {"name": "label"},
    {"tiktoken_model_name": "x"},
    {"max_retries": 1, "timeout": 2, "name": "n", "temperature": 0},
    {"seed": 3},
    {"n": 2},
    {"stop": ["a", "b"]},
    {"top_p": 0.5, "logprobs": True},
    {"streaming": True},
    {"stream_usage": False},
    {"base_url": "http://x/v1"},
    {"default_headers": {"X": "y"}},
    {"model_kwargs": {"user": "u"}},
    {"model_kwargs": {"key": {1: 2}}},
    {"extra_body": {"b": [1, 2.0, None], "a": "é"}},
    {"organization": "org"},
    {"metadata": {"a": 1}, "tags": ["t"], "verbose": True},
    {"use_responses_api": True},
    {"reasoning_effort": "low"},
]
CALL_SETTINGS: list[dict[str, Any]] = [
    {"stop": ["x"]},
    {"timeout": 4.0},
    {"temperature": 1},
    {"temperature": 1.0},
    {"temperature": True},
    {"user": 'it\'s "me"'},
    {"logit_bias": {1: 2, "1": -0.0}},
    {"response_format": {"type": "json_object"}},
    {"name": "n", "max_retries": 3},
    {"extra": (1,), "more": b"\0'\"", "big": 2**70, "nan": float("nan"), "none": None},
]
COMPLETION_SETTINGS: list[dict[str, Any]] = [
    {"temperature": 0},
    {"max_tokens": 5, "seed": 1},
    {"n": 2, "best_of": 2},
    {"max_retries": 7},
    {"model": "davinci-002", "logit_bias": {"50256": -100}},
]
_REPRS = """\
None ~ True ~ False ~ 1 ~ 1.0 ~ -1 ~ 0 ~ -0.0 ~ 0.0 ~ 1e-05 ~ 1e+16 ~ 1.5e+300 ~ nan ~ inf
~ -inf ~ '1' ~ b'1' ~ '' ~ b'' ~ 'None' ~ 'a' ~ 'A' ~ 1180591620717411303424 ~ [] ~ () ~ {}
~ set() ~ frozenset() ~ [1] ~ (1,) ~ {1} ~ frozenset({1}) ~ {1: 1} ~ [[1]] ~ [[], 1]
~ [[1], []] ~ [1, 1] ~ (1, 1) ~ [1, 2] ~ [2, 1] ~ {1: 2} ~ {2: 1} ~ {1, 2} ~ {2, 1} ~ {1, '2'}
~ {'2', 1} ~ {'a': 1, 'b': 2} ~ {'b': 2, 'a': 1} ~ [1, (2, [3, {'k': {'v'}}])]
~ SecretStr('**********') ~ SecretStr('') ~ SecretBytes(b'**********') ~ '\\'"' ~ "'" ~ '\\''
~ "it's" ~ 'it\\'s' ~ '\\xe9' ~ 'é' ~ '\\u00e9' ~ 'e\u0301' ~ '\\ud800' ~ '\\ud83d\\ude00'
~ '😀' ~ '\\U0001f600' ~ '\\x00\\n\\r\\t\\\\' ~ b'\\xff\\'"' ~ b"\\xff'\\"" ~ '<f at 0x7f>'
~ ['...'] ~ '[(' ~ '---' ~ {frozenset({'bc', 'a'}): {(2,), (1,)}}
~ {frozenset({'a', 'bc'}): {(1,), (2,)}} ~ <function f at 0x7f12ab>
~ <openai.OpenAI object at 0x10> ~ [1, {'k': (2, <f at 0x7f>)}] ~ Ans(x=1) ~ Ans(x='at 0x7f')
~ Ans(x=<f at 0x7f>) ~ datetime.timedelta(days=1) ~ 1 day, 0:00:00 ~ 2024-01-01
~ <Color.RED: 1> ~ 1j ~ (1+2j) ~ list[int] ~ Ellipsis ~ OrderedDict({'a': 1})
~ bytearray(b'x') ~ array([1, 2]) ~ array([0, 1, ..., 9]) ~ [1, [...]] ~ {'a': {...}}
~ SecretStr(1) ~ Nonesuch ~ 'a'b ~ 'a' 'b' ~ '\\q' ~ '\\U00110000' ~ b'\\u0041' ~ b'é' ~ (1)
~ (1, 2,) ~ [1,2] ~ [1, ] ~ {1: 2, 3} ~ {1, 2: 3} ~ frozenset({1: 2}) ~ frozenset({}) ~ 01
~ -0 ~ 1. ~ .5 ~ 1e5 ~ 1_000 ~ +1 ~ 0x10 ~ u'x' ~ r'x' ~ [1, 2 ~ 'abc ~ {'a': ~ ('a', 1))
~ 1, 2"""
REPRS = (
    *(text.strip() for text in re.split(r"\s~\s", _REPRS)),
    *("[" * depth + "]" * depth for depth in (2, 256, 257, 258, 300)),
    *("frozenset({" * depth + "{1}" + "})" * depth for depth in (1, 2, 15, 16)),
)
OBJECT = '{"id": ["m", "T"], "lc": 1, "repr": %s, "type": "not_implemented"}'
HEAD_VALUES = (
    *("null", "true", "false", "1", "1.0", "1e0", "1E0", "1e+0", "-1", "0", "-0", "2.50", "2.5"),
    *("NaN", "Infinity", "-Infinity"),
    '"1"',
    '""',
    '"null"',
    r'"\ud83d"',
    r'"\ude00\ud83d"',
    r'"\ud83d\ude00"',
    '"😀"',
    r'"\u00e9\/\b\f\n\r\t\"\\"',
    '"é/\\u0008\\u000c\\u000A\\u000d\\u0009\\u0022\\u005c"',
    "\"---[('stop', None)]\"",
    *("[]", "{}", "[1]", "[[1]]", "[1, 2]", "[2, 1]", "[1,2]", str(2**70)),
    *('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', '{"a": 1, "a": 2}', '{"a": 2}', '{"a": 2, "a": 1}'),
    *('{"\\u0061":[1,2]}', '{ "a" :\n[1\t, 2 ] }'),
    *("01", "1.", ".5", "+1", "1e", "nan", "'a'", "[1,]", "{1: 2}", '"\n"', r'"\q"', "", "tru"),
    OBJECT % '"T(1)"',
    OBJECT % '"<T at 0x7f>"',
    OBJECT.replace(' "repr": %s,', ""),
    "[" + OBJECT % '"<T at 0x7f>"' + "]",
    OBJECT.replace('["m", "T"]', '["pydantic", "types", "SecretStr"]') % "\"SecretStr('**')\"",
    '{"type": "not_implemented", "repr": "<T at 0x7f>"}',
    *("[" * depth + "]" * depth for depth in (256, 257, 258, 300)),
    *('{"a": ' * depth + "1" + "}" * depth for depth in (256, 257)),
)


def head(value: str) -> str:
    """An llm_string with a JSON head of one argument."""
    envelope = '{"id": ["a", "B"], "kwargs": {"p": %s}, "lc": 1, "type": "constructor"}---[]'
    return envelope % value


ONE = head("1")
LLM_STRINGS = (
    ONE,
    '{"type": "constructor", "lc": 1, "kwargs": {"p": 1}, "id": ["a", "B"]}---[]',
    ONE.replace('"lc": 1', '"lc": 1, "version": 2'),
    ONE.replace('{"p": 1}', '{"p": 1, "q": 2}'),
    ONE.replace('{"p": 1}', '{"q": 2, "p": 1}'),
    ONE.replace('"p": 1', "").replace("[]", "[('p', 1)]"),
    *(ONE.replace("---[]", end) for end in ("--[]", "--- []", " ---[]", "---[] ", "---", "")),
    *(
        ONE.replace(part, "")
        for part in ('"lc": 1, ', '"id": ["a", "B"], ', '"kwargs": {"p": 1}, ')
    ),
    ONE.replace('["a", "B"]', '"B"'),
    ONE.replace('["a", "B"]', "[]"),
    ONE.replace('"lc": 1', '"lc": 1, "lc": 1'),
    ONE.replace('"lc": 1', '"lc": 1, "kwargs": {}'),
    ONE.replace('{"p": 1}', "[1]"),
    ONE.replace("constructor", "not_implemented"),
    ONE.replace("[]", "[('a', <f at 0x7f>)]"),
    *("[]", "[", "[(", "[()]", "[1, 2]", "[('a',)]", "[('a', 1, 2)]", "[(1, 'a')]", "[('a', 1)"),
    *("[('a', 'b", "[('a', [1", "[('a', 1)] ", "[('a', 1),]", "[('a', 1)]", '[("a", 1)]'),
    "[('b', 1), ('a', 2)]",
    "[('a', 2), ('b', 1)]",
    "[('\\x61', 1)]",
    "[('it\\'s', 1)]",
    '[("it\'s", 1)]',
    *("{", "{}", '{"id"', "{'a': 1}", "---[]", "at 0x7f", " at 0x", " at 0xyz", "my <f at 0x7f>"),
    *("<class 'm.A'>", "[('a', 1, <class 'm.A'>)]", '{"v": {"type": "not_implemented"}}---[]'),
)
WITH_CLASSES = (
    "[('response_format', <class 'm.A'>), ('stop', None)]",
    "[('response_format', <class 'm.B'>), ('stop', None)]",
    "[('f', {'x': <class 'm.B'>, 'y': [<class 'm.A'>]}), ('g', <class 'int'>)]",
    "[('f', {<class 'm.A'>, <class 'm.B'>})]",
    "[('f', {<class 'm.B'>, <class 'm.A'>})]",
    "[('f', (<class 'm.A'>, <class 'm.A'>))]",
    "[('f', \"<class 'm.A'>\")]",
    "[('f', <class 'm.A'x>)]",
    "[('f', <class 'm.A)]",
    head("1").replace("[]", "[('response_format', <class 'm.A'>)]"),
)
OPAQUE = (
    *(
        "",
        " ",
        "\0",
        "model-1",
        "[]",
        "[1]",
        "[[]]",
        "[{}]",
        "null",
        "{",
        "---",
        "\ud800",
        "é",
        "e\u0301",
    ),
    *("Once upon a time", "\1\0\0\0\0\0\0\0a", "a\0---\0b", "[" * 1000, "[" * 500 + "]" * 500),
)
_MESSAGE = (
    '{"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "%s"], '
    '"kwargs": {%s}}'
)


def message(kwargs: str, kind: str = "HumanMessage") -> str:
    """A prompt of one message."""
    return "[" + _MESSAGE % (kind, kwargs) + "]"


_HUMAN = message('"content": "a"')
_TEXTS: tuple[str, ...] = (
    "1",
    "1.0",
    "1e0",
    "true",
    '"1"',
    "null",
    "NaN",
    str(2**70),
    "-0",
    "0",
    '{"a": 1, "a": 2}',
)
_TEXTS += (
    '{"a": 2, "a": 1}',
    '{"a": 1, "b": 2}',
    '{"b": 2, "a": 1}',
    r'"\ud800"',
    r'"\ud83d\ude00"',
)
_DEEP = ["[" * depth + "]" * depth for depth in (256, 257, 258, 2000)]
PROMPTS = (
    *(message(f'"content": [{{"type": "x", "v": {text}}}]') for text in (*_TEXTS, *_DEEP)),
    *(message(f'"content": "", "additional_kwargs": {text}') for text in (*_TEXTS, *_DEEP)),
    *(message(f'"content": {text}') for text in (*_TEXTS, "01", "[}", "'a'", '"\n"', "")),
    *(message(f'"content": {OBJECT % text}') for text in ('"T(1)"', '"<T at 0x7f>"')),
    message('"content": "a", "content": "b"'),
    message('"content": "a", "id": "x", "id": "y", "type": 1, "artifact": 2, "usage_metadata": 3'),
    message('"content": "a", "tool_call_chunks": [], "chunk_position": null', "AIMessageChunk"),
    message('"content": "a", "tool_call_chunks": [], "chunk_position": null', "AIMessage"),
    message('"content": "a", "artifact": ' + OBJECT % '"<T at 0x7f>"', "ToolMessage"),
    message('"content": "", "x": ' + OBJECT % '"<T at 0x7f>"', "MyMessage"),
    message('"content": "<T at 0x7f>"', "MyMessage"),
    message('"content": "a", "zz": 1, "b": 2'),
    message('"b": 2, "zz": 1, "content": "a"'),
    message(""),
    *(
        message('"content": "a"', kind)
        for kind in ("MyMessage", "BaseMessage", "RemoveMessage", "")
    ),
    _HUMAN[1:-1],
    f" {_HUMAN}\n",
    _HUMAN.replace(" ", ""),
    *(_HUMAN[:-1], f"{_HUMAN}]", f"{_HUMAN} x", f"{_HUMAN[:-1]}, 1]", f"{_HUMAN[:-1]},]"),
    _HUMAN.replace("schema", "mine"),
    _HUMAN.replace('"lc": 1', '"lc": 2'),
    _HUMAN.replace('"lc": 1', '"lc": 1.0'),
    _HUMAN.replace('"lc": 1', '"lc": 1, "lc": 1'),
    _HUMAN.replace('"lc": 1', '"lc": 1, "more": 1'),
    _HUMAN.replace('"lc": 1, ', ""),
    _HUMAN.replace("constructor", "secret"),
)
SPLIT = (
    "\1\0\0\0\0\0\0\0a---\2\0\0\0\0\0\0\0bc",
    "aaaa\0\0\0\0a---a[]---[]",
    "{}---[('a', 1)]{}---",
)
