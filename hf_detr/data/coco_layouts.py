"""Where a COCO data set keeps its splits: the layouts people have, recognised from the names alone."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hf_detr.data.folders import EXPLICIT, SPLIT_WORDS, folder_with
from hf_detr.data.table import Split
from hf_detr.errors import DatasetError

_WORD = "(?P<stem>(?P<word>" + "|".join(sorted(SPLIT_WORDS, key=len, reverse=True)) + r")(?:\d{4})?)"

# Annotation file, below the data folder -> the folders its pictures may be in, most particular first.
# {stem} is the split with its year ("val2017"), {word} the split alone ("val").
_LAYOUTS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(pattern), folders)
    for pattern, folders in (
        (rf"{_WORD}/(?:_annotations\.coco|annotations)\.json", ("{stem}", "{stem}/images")),
        (rf"(?:annotations/)?zhiyuan_objv2_{_WORD}\.json", ("{stem}", "{stem}/images", "images/{stem}", "images")),
        (
            rf"(?:annotations/)?(?:instances_)?{_WORD}\.json",
            ("images/{stem}", "{stem}", "images/{word}", "{word}", "images"),
        ),
    )
)

COCO_LAYOUTS_TEXT = """\
  DIR/train/_annotations.coco.json            pictures in DIR/train/  (Roboflow; also train/annotations.json)
  DIR/annotations/instances_train2017.json    pictures in DIR/train2017/  (or DIR/images/train2017/)
  DIR/annotations/instances_train.json        pictures in DIR/images/train/  (or DIR/images/)
  DIR/train.json                              pictures in DIR/train/
  DIR/zhiyuan_objv2_train.json                pictures in DIR/train/patch0/, ...  (Objects365)"""

OBJECTS365 = "objects365"
_OBJECTS365_NAME = re.compile(r"images/v\d/(patch\d+/.+)")


def find_coco_splits(data: Path) -> dict[str, Split]:
    """The splits of a folder, or the one split of a COCO file; empty where the folder is no COCO data set.

    Raises:
        DatasetError: two annotation files for one split, or annotations without a folder of pictures.
    """
    if data.is_file():
        return _split_of_file(data)
    matches: dict[str, list[tuple[Path, list[Path]]]] = {}
    for path in _annotation_candidates(data):
        if layout := _layout_of(path, data):
            name, candidates = layout
            matches.setdefault(name, []).append((path, candidates))
    splits = {}
    for name in ("train", "valid", "test"):
        found = matches.get(name, [])
        if len(found) > 1:
            listed = "\n".join(f"  {path}" for path, _ in found)
            raise DatasetError(f"{data}: {len(found)} annotation files for the split {name!r}:\n{listed}\n{EXPLICIT}")
        for path, candidates in found:
            splits[name] = _split(name, path, [*candidates, data])
    return splits


def coco_split(name: str, images_dir: Path, annotations_path: Path) -> Split:
    """The split of a COCO file whose pictures are in a folder that is known."""
    return _split_in(name, annotations_path, [images_dir]) or Split(name, images_dir, annotations_path)


def objects365_name(file_name: str) -> str:
    """The name of a picture of Objects365 as its archives unpack it; others as they are.

    >>> objects365_name("images/v2/patch16/objects365_v2_00908726.jpg")
    'patch16/objects365_v2_00908726.jpg'
    """
    match = _OBJECTS365_NAME.fullmatch(file_name)
    return match[1] if match else file_name


def _split_of_file(path: Path) -> dict[str, Split]:
    for folder in (path.parent.parent, path.parent):
        if layout := _layout_of(path, folder):
            name, candidates = layout
            return {name: _split(name, path, [*candidates, folder])}
    beside = [path.parent / path.stem, path.parent / "images", path.parent.parent / "images", path.parent]
    return {"train": _split("train", path, beside)}


def _layout_of(path: Path, folder: Path) -> tuple[str, list[Path]] | None:
    """Which split of the data set in `folder` a file describes, and where its pictures may be; None for no layout."""
    for pattern, below in _LAYOUTS:
        match = pattern.fullmatch(path.relative_to(folder).as_posix())
        if match:
            return SPLIT_WORDS[match["word"]], [folder / place.format(**match.groupdict()) for place in below]
    return None


def _annotation_candidates(data_dir: Path) -> Iterator[Path]:
    """JSON files in the folder and one level below, in alphabetical order."""
    yield from sorted(data_dir.glob("*.json"))
    yield from sorted(data_dir.glob("*/*.json"))


def _split(name: str, annotations_path: Path, candidates: Sequence[Path]) -> Split:
    """With the candidate that holds the first picture named in the file; else the first that exists.

    The last candidate counts only where the picture is there.
    """
    found = _split_in(name, annotations_path, candidates)
    if found is not None:
        return found
    for folder in candidates[:-1]:
        if folder.is_dir():
            return Split(name, folder, annotations_path)
    looked_for = "\n".join(f"  {folder}" for folder in dict.fromkeys(candidates[:-1]))
    raise DatasetError(f"{annotations_path}: no folder with its pictures. Looked for:\n{looked_for}\n{EXPLICIT}")


def _split_in(name: str, annotations_path: Path, candidates: Sequence[Path]) -> Split | None:
    """With the candidate that holds the first picture named in the file, as it is named or as Objects365 unpacks."""
    first = _first_file_name(annotations_path)
    if first is None:
        return None
    for file_name, kind in ((first, "coco"), (objects365_name(first), OBJECTS365)):
        folder = folder_with(file_name, candidates)
        if folder is not None:
            return Split(name, folder, annotations_path, kind)
    return None


def _first_file_name(annotations_path: Path) -> str | None:
    """The first ``file_name`` within the first 64 KiB of the file, without parsing it."""
    try:
        with annotations_path.open("rb") as file:
            head = file.read(1 << 16).decode("utf-8", errors="replace")
    except OSError:  # reading the annotations says so
        return None
    match = re.search(r'"file_name"\s*:\s*"([^"\\]+)"', head)
    return match[1] if match else None
