"""Arguments that several commands have, and how their values are read."""

from __future__ import annotations

import argparse
import re
import sys
from typing import NoReturn

from llmemo.cli import terminal

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
"""Seconds of each unit of a duration."""

KEY_DIGITS = 64


class Parser(argparse.ArgumentParser):
    """One whose help and errors go the way of everything that is printed."""

    def print_help(self, file: object = None) -> None:  # noqa: ARG002 (argparse's)
        """Print the help, which fails if stdout does."""
        terminal.write(self.format_help())

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments, and end."""
        text = " ".join(message.split())
        terminal.complain(f"{self.prog}: {text} ({self.prog} --help)\n")
        sys.exit(2)  # as argparse does


def add_file(parser: argparse.ArgumentParser, *, urls: bool = True) -> None:
    """The store that a command is about."""
    what = "an SQLite file, or redis://…" if urls else "an SQLite file"
    parser.add_argument("file", metavar="FILE", help=what)
    if urls:
        parser.add_argument(
            "--prefix", default="llmemo", help="begins the keys on a server (default: llmemo)"
        )


def duration(text: str) -> float:
    """Seconds, from `90s`, `15m`, `12h`, `7d` or `2w`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if found is None:
        msg = f"{text!r} is no duration: write 90s, 15m, 12h, 7d or 2w"
        raise argparse.ArgumentTypeError(msg)
    return float(found[1]) * UNITS[found[2]]


def whole(text: str) -> int:
    """A number of 0 or more."""
    if not re.fullmatch(r"[0-9]{1,15}", text):
        msg = f"{text!r} is no number of 0 or more"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def key(text: str) -> str:
    """The digits that a key begins with."""
    if not re.fullmatch(rf"[0-9a-fA-F]{{4,{KEY_DIGITS}}}", text):
        msg = f"{text!r} is no key: write 4 to {KEY_DIGITS} hexadecimal digits, as llmemo ls does"
        raise argparse.ArgumentTypeError(msg)
    return text.lower()
