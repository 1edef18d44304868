"""Several servers together: a cluster of three; a master with a replica and a sentinel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.redis_server import Server
from support.servers import Replies, free_port, program, wait_until

if TYPE_CHECKING:
    from typing_extensions import Self

SLOTS = 16_384
MASTER = "llmemo-tests"
"""The name by which the sentinel knows its master."""


class Cluster:
    """Three masters that share the slots, without replicas; a context manager."""

    def __init__(self, **options: Any) -> None:
        self.nodes = [
            Server(
                databases=1,
                cluster_enabled="yes",
                cluster_port=free_port(),
                cluster_node_timeout=2_000,
                **options,
            )
            for _ in range(3)
        ]
        try:
            self._join()
        except BaseException:
            self.stop()
            raise

    def _join(self) -> None:
        share = -(-SLOTS // len(self.nodes))
        for number, node in enumerate(self.nodes):
            slots = range(number * share, min(SLOTS, (number + 1) * share))
            with node.ask() as ask:
                ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                ask("CLUSTER", "ADDSLOTS", *slots)
                for other in self.nodes[:number]:
                    bus = other.option("cluster_port")
                    ask("CLUSTER", "MEET", "127.0.0.1", other.port, bus)
        wait_until(self.is_ready, "a cluster that is whole")

    def is_ready(self) -> bool:
        """Whether each node knows all the others, and serves."""
        for node in self.nodes:
            with node.ask() as ask:
                info = ask("CLUSTER", "INFO").decode()
                if "cluster_state:ok" not in info:
                    return False
                if f"cluster_known_nodes:{len(self.nodes)}" not in info:
                    return False
        return True

    @property
    def url(self) -> str:
        """A URL of the first node."""
        return self.nodes[0].url()

    def owner(self, slot: int) -> Server:
        """The node that serves a slot."""
        with self.nodes[0].ask() as ask:
            for first, last, (_, port, *_), *_ in ask("CLUSTER", "SLOTS"):
                if first <= slot <= last:
                    return next(node for node in self.nodes if node.port == port)
        raise AssertionError(f"slot {slot} is served by no node")

    def begin_move(self, slot: int, to: Server) -> Server:
        """Have a slot migrate: from now on it answers ASK and TRYAGAIN. Returns whose it was."""
        source = self.owner(slot)
        with to.ask() as there, source.ask() as here:
            there("CLUSTER", "SETSLOT", slot, "IMPORTING", here("CLUSTER", "MYID"))
            here("CLUSTER", "SETSLOT", slot, "MIGRATING", there("CLUSTER", "MYID"))
        return source

    def move_key(self, key: bytes, source: Server, to: Server) -> None:
        """Move a key of a slot that migrates."""
        with source.ask() as ask:
            ask("MIGRATE", "127.0.0.1", to.port, key, 0, 5_000)

    def end_move(self, slot: int, to: Server) -> None:
        """Move the keys that are left; from now on the slot answers MOVED at other nodes."""
        source = self.owner(slot)
        with source.ask() as ask:
            while keys := ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
                ask("MIGRATE", "127.0.0.1", to.port, "", 0, 5_000, "KEYS", *keys)
        with to.ask() as ask:
            owner = ask("CLUSTER", "MYID")
        for node in [to, source, *self.nodes]:
            with node.ask() as ask:
                ask("CLUSTER", "SETSLOT", slot, "NODE", owner)

    def stop(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Watched:
    """A master, its replica, and a sentinel that promotes the replica after half a second."""

    def __init__(self, **options: Any) -> None:
        program("redis-sentinel")
        options["repl_diskless_sync_delay"] = 0
        self.master = Server(**options)
        self.replica = Server(replicaof=("127.0.0.1", self.master.port), **options)
        self._started = [self.master, self.replica]
        try:
            wait_until(self.is_linked, "a replica that follows its master")
            self.sentinel = self._watch()
        except BaseException:
            self.stop()
            raise

    def is_linked(self) -> bool:
        """Whether the replica has all that the master has."""
        with self.replica.ask() as ask:
            return b"master_link_status:up" in ask("INFO", "replication")

    def _watch(self) -> Server:
        lines = [
            f"sentinel monitor {MASTER} 127.0.0.1 {self.master.port} 1",
            f"sentinel down-after-milliseconds {MASTER} 500",
            f"sentinel failover-timeout {MASTER} 3000",
            f"sentinel parallel-syncs {MASTER} 1",
        ]
        sentinel = Server(sentinel_conf="\n".join(lines) + "\n")
        self._started.append(sentinel)
        wait_until(lambda: len(self._sentinel("REPLICAS", MASTER, of=sentinel)), "a known replica")
        return sentinel

    def _sentinel(self, *words: object, of: Server | None = None) -> Any:
        with Replies((of or self.sentinel).port) as ask:
            return ask("SENTINEL", *words)

    @property
    def url(self) -> str:
        """A URL that names the sentinel and its master."""
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{MASTER}/0"

    def master_port(self) -> int:
        """The port of the server that the sentinel now calls master."""
        return int(self._sentinel("GET-MASTER-ADDR-BY-NAME", MASTER)[1])

    def fail_over(self) -> None:
        """Kill the master, and wait until the replica has taken its place."""
        self.master.kill()
        self.wait_for_promotion()

    def wait_for_promotion(self) -> None:
        """Wait until the replica is the master, and accepts writes."""

        def is_promoted() -> bool:
            with self.replica.ask() as ask:
                is_master = ask("ROLE")[0] == b"master"
            return is_master and self.master_port() == self.replica.port

        wait_until(is_promoted, "a replica that is promoted")

    def stop(self) -> None:
        """End all of them."""
        for server in self._started[::-1]:
            server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
