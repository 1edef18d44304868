"""A Redis server behind a proxy, and the troubles that it may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from support.proxy_actions import Answer, Delay
from support.redis_proxy import Proxy
from support.redis_server import Server
from support.servers import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

PASSWORD = "correct-horse"


class World:
    """A server of its own, and a proxy before it; a context manager."""

    def __init__(self) -> None:
        self.server = Server(password=PASSWORD)
        self.proxy = Proxy(self.server.port)

    @property
    def url(self) -> str:
        """Through the proxy."""
        return self.proxy.url(password=PASSWORD)

    def fresh(self) -> None:
        """Remove all data, and count from nothing."""
        with self.server.ask() as ask:
            ask("FLUSHALL")
        self.proxy.reset_counts()

    def configure(self, name: str, value: object) -> None:
        """Change a setting of the server's."""
        with self.server.ask() as ask:
            ask("CONFIG", "SET", name, value)

    def __enter__(self) -> Self:
        self.proxy.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.proxy.__exit__(*error)
        self.server.stop()


class Trouble(NamedTuple):
    """How it begins and ends, and whether answers can be read meanwhile."""

    begin: Callable[[World], None]
    end: Callable[[World], None]
    is_readable: bool = False


def _slow(world: World) -> None:
    world.proxy.fault = lambda command: Delay(2.0)


def _loading(world: World) -> None:
    world.proxy.fault = lambda command: Answer("-LOADING Redis is loading the dataset in memory")


def _follow_nobody(world: World) -> None:
    with world.server.ask() as ask:
        ask("REPLICAOF", "127.0.0.1", free_port())


def _lead_again(world: World) -> None:
    with world.server.ask() as ask:
        ask("REPLICAOF", "NO", "ONE")


def _other_password(world: World) -> None:
    world.configure("requirepass", "battery-staple")
    world.server.password = "battery-staple"
    world.proxy.cut()


def _right_password(world: World) -> None:
    world.configure("requirepass", PASSWORD)
    world.server.password = PASSWORD


def _is_served(world: World) -> bool:
    with world.server.ask() as ask:
        return bool(ask("PING") == b"PONG")


def _thaw(world: World) -> None:
    world.server.thaw()
    wait_until(lambda: _is_served(world), "a server that goes on")


TROUBLES: dict[str, Trouble] = {
    "frozen": Trouble(lambda world: world.server.freeze(), _thaw),
    "refused": Trouble(lambda world: world.proxy.refuse(), lambda world: world.proxy.accept()),
    "slow": Trouble(_slow, lambda world: world.proxy.heal()),
    "half-open": Trouble(lambda world: world.proxy.hold(), lambda world: world.proxy.release()),
    "READONLY": Trouble(_follow_nobody, _lead_again, is_readable=True),
    "OOM": Trouble(
        lambda world: world.configure("maxmemory", 1),
        lambda world: world.configure("maxmemory", 0),
        is_readable=True,
    ),
    "LOADING": Trouble(_loading, lambda world: world.proxy.heal()),
    "wrong password": Trouble(_other_password, _right_password),
}
