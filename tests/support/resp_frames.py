"""Where the commands and the replies of RESP2 and RESP3 begin and end in a stream of bytes."""

from __future__ import annotations

LINES = b"+-:_#,("
"""Types that are one line."""
BLOBS = b"$!="
LISTS = b"*~>"
PUSH = ord(">")


class Frames:
    """Cuts a stream of bytes into whole frames. Attributes (`|`) belong to what follows them."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add bytes; returns the frames that are whole now."""
        self._bytes += data
        made, start = [], 0
        while (end := _end(self._bytes, start)) is not None:
            made.append(bytes(self._bytes[start:end]))
            start = end
        del self._bytes[:start]
        return made

    @property
    def rest(self) -> bytes:
        """The beginning of a frame that is not whole."""
        return bytes(self._bytes)


def _end(data: bytearray, start: int) -> int | None:
    """Where the frame that begins at `start` ends; None if that is still to come."""
    left = 1
    while left:
        line = data.find(b"\r\n", start)
        if line < 0:
            return None
        kind, text = data[start], bytes(data[start + 1 : line])
        start, left = line + 2, left - 1
        if kind in BLOBS and text != b"-1":
            start += int(text) + 2
        elif kind in LISTS:
            left += max(0, int(text))
        elif kind in b"%|":
            left += 2 * int(text) + (kind == ord("|"))
    return start if start <= len(data) else None


def words_of(command: bytes) -> list[bytes]:
    """The words of a command, which is an array of blobs, or a line."""
    if command[:1] != b"*":
        return command.split()
    words, start = [], command.index(b"\r\n") + 2
    while start < len(command):
        line = command.index(b"\r\n", start)
        size = int(command[start + 1 : line])
        words.append(command[line + 2 : line + 2 + size])
        start = line + 2 + size + 2
    return words
