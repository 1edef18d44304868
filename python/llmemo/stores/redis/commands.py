"""Commands on their way to a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmemo.stores.redis.scripts import Script

Command: TypeAlias = "tuple[bytes | str | int, ...]"
Reply: TypeAlias = Any
"""What the server answered; an exception if that is an error."""


class Call(NamedTuple):
    """A command, and the bucket whose keys it is about; None for any node."""

    command: Command
    bucket: int | None = None
    is_write: bool = False
    """Whether replicas have to confirm it, where they are asked to."""


def script_call(
    script: Script,
    keys: Sequence[bytes],
    args: Sequence[Any],
    bucket: int | None,
    *,
    is_write: bool = False,
) -> Call:
    """Have a script run, by its name."""
    return Call((b"EVALSHA", script.sha, len(keys), *keys, *args), bucket, is_write)


def tag_of(call: Call) -> bytes:
    """The first argument of a script's call, which its reply begins with."""
    _, _, count, *rest = call.command
    return b"%d" % int(rest[int(count)])
