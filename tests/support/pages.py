"""The pages of the site, and the blocks of code in them."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from support import TESTS

ROOT = TESTS.parent
DOCS = ROOT / "docs"
FENCE = re.compile(
    r"(?:<!-- not run: ([^\n]*?) -->\n+)?^( *)```([\w-]*)[^\n]*\n(.*?)^\2```$",
    re.DOTALL | re.MULTILINE,
)
SNIPPET = re.compile(r"^--8<--\n([^\n]+)\n--8<--$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code."""

    page: str
    """Its page: the path below docs/."""
    number: int
    """Which block of the page, from 0."""
    language: str
    text: str
    """With the file in place of a line that includes one, as the site shows it."""
    included: str | None
    """The one file that it includes, from the repository's root, if it has nothing else."""
    not_run: str | None
    """Why it is not run, as the comment above it says."""

    def __str__(self) -> str:
        """Name the test of this block."""
        return f"{self.page}-{self.number}"


def _file(match: re.Match[str]) -> str:
    return (ROOT / match[1]).read_text("utf-8").rstrip("\n")


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page."""
    found = []
    for number, match in enumerate(FENCE.finditer((DOCS / page).read_text("utf-8"))):
        not_run, _, language, raw = match.groups()
        raw = textwrap.dedent(raw)
        alone = SNIPPET.fullmatch(raw.rstrip("\n"))
        text = SNIPPET.sub(_file, raw)
        found.append(Block(page, number, language, text, alone and alone[1], not_run))
    return found


PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
SHELL = ("bash", "console", "sh", "shell")


def commands_of(block: Block) -> list[str]:
    """The commands of a shell's block: of one with prompts, the lines that have one."""
    lines = block.text.replace("\\\n", " ").splitlines()
    prompted = [line[2:] for line in lines if line.startswith("$ ")]
    return prompted or [line for line in lines if line.strip() and not line.startswith("#")]


def command(page: str, begin: str) -> str:
    """The one command of a page that begins with these words."""
    shell = [block for block in blocks_of(page) if block.language in SHELL]
    commands = [each for block in shell for each in commands_of(block) if each.startswith(begin)]
    assert len(commands) == 1, f"docs/{page} has {len(commands)} commands that begin with {begin}"
    return commands[0]
