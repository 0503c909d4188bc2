"""A COCO file: read as a whole, or record by record where it is large."""

import gc
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_detr.data.json_lists import (
    CutShortError,
    JsonFile,
    OtherLayoutError,
    ParsedPiece,
    Piece,
    RecordList,
    find_lists,
    parse_leniently,
)
from hf_detr.errors import DatasetError

_SECTIONS = ("images", "annotations", "categories")
_READ_BY_RECORD = ("images", "annotations")
# To say where a file is damaged it is parsed as a whole, which takes ten times its size in memory.
_LOCATED_UP_TO_BYTES = 256_000_000
_HALF_A_CHARACTER = re.compile(rb"\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]")

# An outline's numbers: most of a file like instances_train2017.json, and nothing that a detector uses. The closing
# quote makes it a key: inside of a text it would have a backslash before it.
_OUTLINE = re.compile(rb'"segmentation"\s*:\s*\[\[[0-9eE+\-.,\s\[\]]*\]\]')


@dataclass(frozen=True)
class CocoContent:
    """What is in a COCO file.

    Attributes:
        images, annotations: whatever the lists hold; parsed when it is asked for.
        categories: the same, parsed.
        others: everything else at the top of the file, such as ``info`` and ``licenses``.
    """

    images: Sequence[Any]
    annotations: Sequence[Any]
    categories: list[Any]
    others: dict[str, Any]


def open_coco(path: str | Path) -> CocoContent:
    """Find the records of a COCO file. They are parsed when they are asked for, and checked to be JSON only then.

    Raises:
        DatasetError: as `read_coco_json`.
    """
    path = Path(path)
    try:
        file = JsonFile(path)
    except OSError as error:
        raise DatasetError(f"{path}: cannot read this annotation file: {error.strerror}") from error
    try:
        lists, rest = find_lists(file, _READ_BY_RECORD, lambda text, begin: _parse_part(path, file, text, begin))
        content = _parse_part(path, file, rest, 0)
    except OtherLayoutError:
        return parse_coco(path)
    except CutShortError:
        if file.size <= _LOCATED_UP_TO_BYTES:
            return parse_coco(path)
        raise DatasetError(
            f"{path}: not JSON, or cut short: the file ends at byte {file.size:,} within a list or an object. "
            "Copy or export the file again."
        ) from None
    _require_coco(path, content)
    if any(content[key] for key in lists):  # the key comes twice, once in other letters
        return parse_coco(path)
    return _content(content | lists)


def parse_coco(path: str | Path) -> CocoContent:
    """The content of a COCO file, parsed as a whole: of any layout, in ten times its size in memory.

    Raises:
        DatasetError: as `read_coco_json`.
    """
    return _content(read_coco_json(path))


def _content(content: dict[str, Any]) -> CocoContent:
    others = {key: value for key, value in content.items() if key not in _SECTIONS}
    return CocoContent(*(content[key] for key in _SECTIONS), others)


def in_pieces(records: Sequence[Any], title: str) -> Iterator[Piece]:
    """All records without the numbers of their outlines, some megabytes at a time.

    Raises:
        OtherLayoutError: the list can only be read as a whole.
        DatasetError: it is not JSON.
    """
    if not isinstance(records, RecordList):
        yield ParsedPiece(list(records))
        return
    with _no_garbage_collection():
        yield from records.pieces(title, shortened=without_outlines)


def without_outlines(text: bytes) -> bytes:
    """JSON with ``[0]`` in the place of each polygon: four times as fast to parse on COCO, in half the memory."""
    return _OUTLINE.sub(b'"segmentation":[0]', text)


def read_coco_json(path: str | Path) -> dict[str, Any]:
    """The content of a COCO file, parsed as a whole: a dict with the lists images, annotations and categories.

    Raises:
        DatasetError: missing, not JSON (with line and column), or JSON that is not COCO.
    """
    import orjson

    path = Path(path)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot read this annotation file: {error.strerror}") from error
    if not text.strip():
        raise DatasetError(f"{path}: the annotation file is empty. Copy or export it again.")
    try:
        with _no_garbage_collection():
            content = orjson.loads(text)
    except orjson.JSONDecodeError:
        content = _parse_located(path, text)
    _require_coco(path, content)
    return content


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """While millions of objects are made and none is dropped, the collector only looks at them again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _parse_part(path: Path, file: JsonFile, text: bytes, begin: int) -> Any:
    """A part of the file that begins at byte ``begin``.

    Raises:
        OtherLayoutError: it is no JSON, and reading the file as a whole says where.
        DatasetError: it is no JSON, and the file is too large for that.
    """
    import orjson

    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        if _HALF_A_CHARACTER.search(text):  # Python would read it
            raise ValueError("half a character, which is not Unicode")
        return parse_leniently(text)
    except (ValueError, RecursionError) as error:
        if file.size <= _LOCATED_UP_TO_BYTES:
            raise OtherLayoutError from error
        reason = getattr(error, "msg", error)
        raise DatasetError(
            f"{path}: not JSON between bytes {max(begin, 0):,} and {begin + len(text):,} of {file.size:,}: {reason}. "
            "Copy or export the file again."
        ) from error


def _parse_located(path: Path, text: bytes) -> Any:
    """With Python's own parser: what others do not read, and the place where the text is wrong."""
    half = _HALF_A_CHARACTER.search(text)
    if half:  # Python would read it, and fail to print it or to open a file of that name
        raise DatasetError(f"{path}: not Unicode: half a character ({half[0][:6].decode()}) at byte {half.start():,}.")
    try:
        return parse_leniently(text)
    except json.JSONDecodeError as error:
        raise DatasetError(
            f"{path}: not JSON, or cut short: {error.msg} at line {error.lineno}, column {error.colno} "
            f"(byte {error.pos:,} of {len(text):,}). Copy or export the file again."
        ) from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not text in UTF-8: {error.reason} at byte {error.start:,}.") from error
    except RecursionError as error:
        raise DatasetError(f"{path}: JSON nested too deeply to be COCO.") from error


def _require_coco(path: Path, content: Any) -> None:
    if isinstance(content, list):
        raise DatasetError(
            f"{path}: a JSON list, not a COCO annotation file. A list of detections is what a model predicted; "
            "the annotations are a file with the keys images, annotations and categories."
        )
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: not a COCO annotation file: it holds only {content!r:.80}.")
    missing = [key for key in _SECTIONS if key not in content]
    if missing:
        there = ", ".join(sorted(map(str, content))[:12]) or "nothing"
        raise DatasetError(
            f"{path}: not a COCO annotation file: no {' and no '.join(repr(key) for key in missing)}. "
            f"It has: {there}. A file without objects still needs the key with an empty list."
        )
    for key in _SECTIONS:
        if not isinstance(content[key], list):
            raise DatasetError(f"{path}: {key!r} is a {type(content[key]).__name__}, and COCO has a list there.")
