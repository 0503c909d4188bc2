"""What our pages contain: code blocks, commands, links, tables."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hf_detr.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")])


class Block(NamedTuple):
    """A fenced block: its language, its text, and the line of the page that the text begins on."""

    language: str
    text: str
    line: int


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(match[1], match[2], text.count("\n", 0, match.start(2)) + 1) for match in found]


def prose_of(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands_of(page: Path) -> Iterator[list[str]]:
    """The arguments of each `hf-detr` and `scripts/train.py` in the shell blocks, comments taken off."""
    for block in blocks_of(page):
        if block.language in ("bash", "sh", "console"):
            for line in block.text.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if "hf-detr" in words:
                    yield words[words.index("hf-detr") + 1 :]
                elif "scripts/train.py" in words:
                    yield ["train", *words[words.index("scripts/train.py") + 1 :]]


def command_in(words: list[str]) -> str:
    """The command that arguments of `hf-detr` begin with: its first word, or its first two, as in `data convert`."""
    pair = " ".join(words[:2])
    return pair if pair in COMMANDS else words[0]


def inline_code_of(page: Path) -> list[str]:
    """What stands between backticks in the prose, line breaks made spaces."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose_of(page))]
