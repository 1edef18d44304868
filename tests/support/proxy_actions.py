"""What a proxy may do with a command, instead of forwarding it and its reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Callable


class Command(NamedTuple):
    """What a client has sent."""

    name: str
    """In capital letters."""
    words: list[bytes]
    connection: int
    """Number of the connection, from 1 on."""


class Answer(NamedTuple):
    """Answer this in the server's place, which never sees the command; errors begin with `-`."""

    text: str


class CutRequest(NamedTuple):
    """Send the server a part of the command, and close both connections."""

    part: float = 0.5


class CutReply(NamedTuple):
    """Send the client a part of the reply (0: none of it), and close both connections."""

    part: float = 0.5


class Delay(NamedTuple):
    """Give the client the reply, and those after it, some seconds later."""

    seconds: float


class Swap(NamedTuple):
    """Give the reply to the next command that is to be swapped, on any connection."""


class Hold(NamedTuple):
    """Never answer; nor anything after it on this connection."""


Action = Answer | CutRequest | CutReply | Delay | Swap | Hold


def by_chance(
    dice: random.Random, part: float, *actions: Action
) -> Callable[[Command], Action | None]:
    """A fault that meets a part of the commands, by chance."""
    return lambda command: dice.choice(actions) if dice.random() < part else None
