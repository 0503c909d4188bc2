"""The lists in a large JSON file, record by record: found without parsing the file, and parsed in pieces.

Brackets outside of texts tell where a list at the top of the file, and each record in it, begins and ends. That
nothing else lies between the records is seen when a piece is parsed: it has as many values as records were found.
"""

import json
import os
import re
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from hf_detr.data.parallel import BAR_AFTER_SECONDS

PIECE_BYTES = 8_000_000  # as Python objects about ten times as large

_TEXT, _OPENS, _CLOSES = 1, 2, 3
_MARKS = bytes({0x22: _TEXT, 0x5B: _OPENS, 0x7B: _OPENS, 0x5D: _CLOSES, 0x7D: _CLOSES}.get(c, 0) for c in range(256))
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_KEY_BEFORE = re.compile(rb'(?<!\\)"(\w+)"\s*:\s*$')
_LONGEST_KEY = 100
_SPACE = b" \t\r\n"
_NO_NEW_LINES = bytes.maketrans(b"\t\r\n", b"   ")  # between values; in texts they are written otherwise

Parser = Callable[[bytes, int], Any]  # of a text, and where in the file it begins


class OtherLayoutError(Exception):
    """The file is not an object with lists of objects at its top, or is no JSON at all."""


class CutShortError(Exception):
    """The file ends within a text, a list or an object."""


class JsonFile:
    """The bytes of a file, read where they are asked for. It stays open as long as the object lives.

    Raises:
        OSError: it cannot be read.
    """

    def __init__(self, path: str | Path):
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        os.pread(self._descriptor, 1, 0)  # of a folder this fails
        self.size = os.fstat(self._descriptor).st_size

    def read(self, begin: int, end: int) -> bytes:
        """The bytes from ``begin`` up to ``end``."""
        parts = []
        while begin < end and (part := os.pread(self._descriptor, end - begin, begin)):
            parts.append(part)
            begin += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class RecordList(Sequence[Any]):
    """The values of a list in a file, parsed when they are asked for.

    Args:
        file: which has the list.
        bases: ``(P,)`` int64 where each piece begins in it.
        offsets: ``(n,)`` uint32 where each record begins in its piece.
        firsts: ``(P + 1,)`` int64 first record of each piece.
        end: where the list ends.
        parse: what makes a value of a text.
    """

    def __init__(
        self,
        file: JsonFile,
        bases: np.ndarray,
        offsets: np.ndarray,
        firsts: np.ndarray,
        end: int,
        parse: Parser,
    ):
        self._file, self._bases, self._offsets, self._firsts, self._end = file, bases, offsets, firsts, end
        self._parse = parse

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, position: int) -> Any:
        if not 0 <= position < len(self):
            raise IndexError(position)
        begin = self._begin(position)
        return self._parse(self._text(begin, self._begin(position + 1), is_last=position + 1 == len(self)), begin)

    def _begin(self, position: int) -> int:
        """Where a record begins; the end of the list for the one after the last."""
        if position == len(self):
            return self._end
        piece = int(np.searchsorted(self._firsts, position, "right")) - 1
        return int(self._bases[piece]) + int(self._offsets[position])

    def _text(self, begin: int, end: int, *, is_last: bool) -> bytes:
        text = self._file.read(begin, end).rstrip(_SPACE)
        return text if is_last or text[-1:] != b"," else text[:-1]

    def pieces(self, title: str, *, shortened: Callable[[bytes], bytes] = bytes) -> "Iterator[Piece]":
        """All values, some megabytes at a time.

        Args:
            title: of the progress bar, which shows in a terminal where it takes longer than a moment.
            shortened: takes out of the text of a piece what is not needed.
        """
        filled = np.flatnonzero(np.diff(self._firsts))
        begins = [self._begin(int(self._firsts[piece])) for piece in filled] + [self._end]
        total = self._end - begins[0]
        with tqdm(
            total=total, desc=title, unit="B", unit_scale=True, delay=BAR_AFTER_SECONDS, disable=None
        ) as progress:
            for number, piece in enumerate(filled):
                begin, end = begins[number : number + 2]
                here = slice(int(self._firsts[piece]), int(self._firsts[piece + 1]))
                yield _TextPiece(
                    first=here.start,
                    offsets=self._offsets[here].astype(np.int64) - int(self._offsets[here.start]),
                    text=self._text(begin, end, is_last=end == self._end),
                    parse=lambda text, begin=begin: self._parse(text, begin - 1),
                    shortened=shortened,
                )
                progress.update(end - begin)


class Piece(Protocol):
    """Some of the values of a list, of which ``first`` is the position of the first one."""

    first: int

    def __len__(self) -> int: ...

    def values(self) -> list[Any]:
        """The values, parsed.

        Raises:
            OtherLayoutError: there are values between the records.
        """

    def lines(self) -> bytes | None:
        """The records as JSON lines, for parsers of these; None where there is no text, or it is another."""


@dataclass(frozen=True)
class ParsedPiece:
    """A list that is parsed already, as one `Piece`."""

    parsed: list[Any]
    first: int = 0

    def __len__(self) -> int:
        return len(self.parsed)

    def values(self) -> list[Any]:
        return self.parsed

    def lines(self) -> None:
        return None


@dataclass(frozen=True)
class _TextPiece:
    """A `Piece` in a text, whose records begin at ``offsets``, with commas before all but the first."""

    first: int
    offsets: np.ndarray
    text: bytes
    parse: Callable[[bytes], Any]
    shortened: Callable[[bytes], bytes]

    def __len__(self) -> int:
        return len(self.offsets)

    def values(self) -> list[Any]:
        values = self.parse(b"[" + self.shortened(self.text) + b"]")
        if len(values) != len(self):
            raise OtherLayoutError
        return values

    def lines(self) -> bytes | None:
        characters = np.frombuffer(bytearray(self.text.translate(_NO_NEW_LINES)), np.uint8)
        commas = self.offsets[1:] - 1
        while (is_space := characters[commas] == _SPACE[0]).any():
            commas = commas - is_space
        if (characters[commas] != ord(",")).any():
            return None
        characters[commas] = ord("\n")
        return self.shortened(characters.tobytes())


@dataclass
class _List:
    """A list at the top of the file: its key, and where its brackets are; -1 for the closing one that is to come."""

    key: str
    opens: int
    closes: int = -1


@dataclass
class _Scan:
    """What is known of a file up to where it has been looked at.

    Attributes:
        depth: of brackets around the place that has been reached.
        in_text: whether this place is within a text, 0 or 1.
        lists: at the top of the file, of the keys that are looked for.
        bases, opened: where each piece begins, and in it each record of those lists and of anything else as deep.
    """

    depth: int = 0
    in_text: int = 0
    lists: list[_List] = field(default_factory=list)
    bases: list[int] = field(default_factory=list)
    opened: list[np.ndarray] = field(default_factory=list)


def find_lists(file: JsonFile, keys: Sequence[str], parse: Parser) -> tuple[dict[str, RecordList], bytes]:
    """The lists at the top of a file under these keys, as far as they are there, and the file without what is in them.

    Raises:
        OtherLayoutError: the file is laid out in another way; whoever parses it as a whole sees what it is.
        CutShortError: it ends too early.
    """
    head = file.read(0, 4096).removeprefix(b"\xef\xbb\xbf").lstrip(_SPACE)
    if head[:1] != b"{" or b"\0" in head:  # another encoding has zeros
        raise OtherLayoutError
    scan = _Scan()
    begin = 0
    with tqdm(
        total=file.size,
        desc="looking for records",
        unit="B",
        unit_scale=True,
        delay=BAR_AFTER_SECONDS,
        disable=None,
    ) as progress:
        while begin < file.size:
            text = file.read(begin, begin + PIECE_BYTES)
            while text.endswith(b"\\"):  # what it escapes belongs to it
                text += file.read(begin + len(text), begin + len(text) + 1) or b" "
            _look_at(file, scan, begin, text, keys)
            progress.update(len(text))
            begin += len(text)
    if scan.depth or scan.in_text:
        raise CutShortError
    if len({found.key for found in scan.lists}) < len(scan.lists):
        raise OtherLayoutError
    rest, reached = [], 0
    for found in scan.lists:
        rest.append(file.read(reached, found.opens + 1))
        reached = found.closes
    rest.append(file.read(reached, file.size))
    return {found.key: _records(file, scan, found, parse) for found in scan.lists}, b"".join(rest)


def _look_at(file: JsonFile, scan: _Scan, begin: int, text: bytes, keys: Sequence[str]) -> None:
    """Find the brackets in the next piece of a file."""
    if b"\\" in text:
        text = _ESCAPED.sub(b"__", text)
    marks = np.frombuffer(text.translate(_MARKS), np.uint8)
    places = np.flatnonzero(marks != 0)
    kinds = marks[places]
    in_text = (np.cumsum(kinds == _TEXT) + scan.in_text) & 1
    is_bracket = (kinds != _TEXT) & (in_text == 0)
    brackets, opens = places[is_bracket], kinds[is_bracket] == _OPENS
    depths = np.cumsum(np.where(opens, 1, -1)) + scan.depth
    at_top = np.flatnonzero((opens & (depths == 2)) | (~opens & (depths == 1)))
    for number in at_top.tolist():
        place = begin + int(brackets[number])
        if not opens[number]:
            if scan.lists and scan.lists[-1].closes < 0:
                scan.lists[-1].closes = place
        elif text[place - begin : place - begin + 1] == b"[":
            key = _KEY_BEFORE.search(file.read(max(place - _LONGEST_KEY, 0), place))
            if key and key[1].decode() in keys:
                scan.lists.append(_List(key[1].decode(), place))
    scan.bases.append(begin)
    scan.opened.append(brackets[opens & (depths == 3)].astype(np.uint32))
    if len(depths):
        if depths.min() < 0:
            raise OtherLayoutError
        scan.depth = int(depths[-1])
    if len(in_text):
        scan.in_text = int(in_text[-1])


def _records(file: JsonFile, scan: _Scan, found: _List, parse: Parser) -> RecordList:
    """The records of a list, among all brackets that are as deep."""
    kept, bases = [], []
    for base, opened in zip(scan.bases, scan.opened, strict=True):
        low, high = np.searchsorted(opened, np.clip([found.opens - base, found.closes - base], 0, None))
        if high > low:
            kept.append(opened[low:high])
            bases.append(base)
    offsets = np.concatenate([np.empty(0, np.uint32), *kept])
    firsts = np.concatenate([[0], np.cumsum([len(part) for part in kept], dtype=np.int64)])
    first = bases[0] + int(offsets[0]) if bases else found.closes
    if file.read(found.opens + 1, first).strip(_SPACE):
        raise OtherLayoutError
    return RecordList(file, np.array(bases, np.int64), offsets, firsts, found.closes, parse)


def parse_leniently(text: bytes) -> Any:
    """With Python's own parser: NaN, Infinity and a byte order mark too.

    Raises:
        ValueError, RecursionError: it is no JSON.
    """

    def parse_int(digits: str) -> int | float:
        return int(digits) if len(digits) < 19 else float(digits)

    return json.loads(text, parse_int=parse_int)
