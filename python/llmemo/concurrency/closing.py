"""Things that are closed at the end of a `with` or an `async with` block."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import Self

if TYPE_CHECKING:
    from types import TracebackType


class Closing:
    """A base of classes with `close` and `aclose`."""

    def close(self) -> int:
        """Let go of what it has."""
        raise NotImplementedError

    async def aclose(self) -> int:
        """As `close`, without holding up the event loop."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Use as a context manager, to close at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    async def __aenter__(self) -> Self:
        """Use as an async context manager, to close at the end."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        await self.aclose()
