"""Instances and dates that nobody stored, and traps for who goes looking for their classes."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

from llmemo.codec.classes import record_of
from support import instances
from support import payloads as p

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

FORBIDDEN = [
    *[("subprocess", "Popen"), ("os", "system"), ("os", "_wrap_close"), ("builtins", "eval")],
    *[
        ("builtins", "object"),
        ("builtins", "dict"),
        ("sys", "modules"),
        ("importlib", "import_module"),
    ],
    *[("langchain_core.prompts", "PromptTemplate"), ("jinja2", "Template"), ("antigravity", "x")],
    *[("threading", "Thread"), ("tempfile", "TemporaryDirectory"), ("lazy", "Thing"), ("this", "")],
    *[
        ("pydantic", "BaseModel"),
        ("enum", "Enum"),
        ("support.instances", "local_class.<locals>.Local"),
    ],
    *[
        ("support.instances", "Outer.Inner.x"),
        ("support.instances", "Open.cached"),
        ("", ""),
        ("json", "loads.x"),
    ],
]
"""Names of what is loaded, or could be, and must not be touched."""
CLASSES = [kind for kind in vars(instances).values() if isinstance(kind, type)]
KNOWN = [(kind, record_of(kind)) for kind in CLASSES]
NAMED = [(record.kind, record.name) for kind, record in KNOWN if record is not None]
"""Those that may be read, if what follows makes sense."""
ZONES = ["../../../etc/passwd", "/etc/passwd", "UTC\0", "no/where", "", ".", "tzdata.zi", "America"]


def class_name(rng: random.Random) -> tuple[int, tuple[object, object, bytes]]:
    """The kind and the name of a class: mostly of one that there is."""
    kind, (module, name, digest) = rng.choice(NAMED)
    change = rng.randrange(16)
    if change == 0:
        module, name = rng.choice(FORBIDDEN)
    elif change == 1:
        digest = rng.choice([b"", bytes(32), digest[:-1], rng.randbytes(32)])
    elif change == 2:
        kind = rng.randrange(5)
    elif change == 3:
        name = rng.choice([f"{name}.__init__", f"{name}[int]", f"__dict__.{name}", "x" * 1000])
    return kind, (module, name, digest)


def state(rng: random.Random, soup: Callable[[], bytes]) -> object:
    """What an instance may hold, or may not."""
    inner = [soup() for _ in range(6)]
    names = rng.choice([["x", "a"], ["content", "text", "type"], ["__class__"], ["__dict__"], [""]])
    own = dict(zip(names, inner, strict=False))
    return rng.choice(
        [
            *[[own, {0: p.counted(p.SET, 0), 1: None, 2: None}]] * 5,
            [own, {rng.randrange(-1, 6): inner[0]}],
            *([own, {}], [None, {0: inner[1]}], [own], {"x": inner[0]}, [{1: inner[0]}, {}]),
            *("RED", "__class__", "_value_", 2**300, -1, rng.getrandbits(70), True, inner[0]),
        ]
    )


def instance(rng: random.Random, soup: Callable[[], bytes]) -> bytes:
    """Instances of other people's classes, and a second one of the same."""
    made = p.instance(*class_name(rng), state(rng, soup))
    if rng.randrange(3):
        return made
    return p.counted(p.LIST, 2) + made + p.another(rng.choice([0, 0, 0, 1, 255]), state(rng, soup))


def moment(rng: random.Random) -> bytes:
    """A date or the like, of parts that make none."""
    numbers = [rng.choice([0, 1, 9, -1, 2**31, 2**63, 2**70]) for _ in range(rng.randrange(10))]
    parts: list[object] = [*numbers]
    change = rng.randrange(6)
    if change == 0:
        parts = [p.sized(p.BYTES, rng.randbytes(rng.choice([4, 6, 10, 16]))), *numbers[:1]]
    elif change == 1:
        parts = [rng.choice([*ZONES, "NaN", "1" * 5000, "1E999999999", "sNaN"]), *numbers[:1]]
    elif change == 2:
        parts = [*numbers[:7], p.plain(rng.randrange(10), *numbers[:1]), 0]
    elif change == 3:
        parts = [1, 1, 1, 1, 1, 1, 1, None, rng.choice([0, 1, 2, None])]
    return p.plain(rng.choice([*range(10), 255]), *parts)


class Lazy(types.ModuleType):
    """Does something as soon as it is looked at."""

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("__"):
            sys.audit("lazy", name)
        return super().__getattribute__(name)

    def __getattr__(self, name: str) -> Any:
        sys.audit("lazy", name)
        raise AttributeError(name)


def noting(method: Any, is_on: Callable[[], bool], events: list[str]) -> Any:
    """The method, which tells when it is called."""

    def noted(*args: Any) -> Any:
        if is_on():
            events.append("environment")
        return method(*args)

    return noted
