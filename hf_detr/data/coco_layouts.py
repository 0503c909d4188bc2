"""Where a COCO data set keeps its splits: the layouts people have, recognised from the names alone."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from hf_detr.data.table import Split
from hf_detr.errors import DatasetError

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})

# What people call the splits -> what we call them.
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}
_WORD = "(?P<stem>(?P<word>" + "|".join(sorted(SPLIT_WORDS, key=len, reverse=True)) + r")(?:\d{4})?)"

# Annotation file, below the data folder -> the folders its pictures may be in, most particular first.
# {stem} is the split with its year ("val2017"), {word} the split alone ("val").
_LAYOUTS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(pattern), folders)
    for pattern, folders in (
        (rf"{_WORD}/(?:_annotations\.coco|annotations)\.json", ("{stem}", "{stem}/images")),
        (
            rf"(?:annotations/)?(?:instances_)?{_WORD}\.json",
            ("images/{stem}", "{stem}", "images/{word}", "{word}", "images"),
        ),
    )
)

LAYOUTS_TEXT = """\
  DIR/train/_annotations.coco.json            pictures in DIR/train/  (Roboflow; also train/annotations.json)
  DIR/annotations/instances_train2017.json    pictures in DIR/train2017/  (or DIR/images/train2017/)
  DIR/annotations/instances_train.json        pictures in DIR/images/train/  (or DIR/images/)
  DIR/train.json                              pictures in DIR/train/
  and the same for val, valid or test instead of train"""

_EXPLICIT = "Or name both yourself: --images FOLDER --annotations FILE (train: --train_images, --train_annotations)."


def find_coco_splits(data_dir: str | Path) -> dict[str, Split]:
    """The splits of a COCO data set, keyed ``"train"``, ``"valid"`` and ``"test"``, as far as they are there.

    Raises:
        DatasetError: no such folder, nothing recognised in it (says what was looked for and what is there), two
            annotation files for one split, or annotations without a folder of pictures.
    """
    data_dir = Path(data_dir)
    _require_filled_folder(data_dir)
    matches: dict[str, list[tuple[Path, list[Path]]]] = {}
    for path in _annotation_candidates(data_dir):
        for pattern, folders in _LAYOUTS:
            match = pattern.fullmatch(path.relative_to(data_dir).as_posix())
            if match:
                candidates = [data_dir / folder.format(**match.groupdict()) for folder in folders]
                matches.setdefault(SPLIT_WORDS[match["word"]], []).append((path, candidates))
    if not matches:
        raise DatasetError(_nothing_recognised(data_dir))
    splits = {}
    for name in ("train", "valid", "test"):
        found = matches.get(name, [])
        if len(found) > 1:
            listed = "\n".join(f"  {path}" for path, _ in found)
            raise DatasetError(
                f"{data_dir}: {len(found)} annotation files for the split {name!r}:\n{listed}\n{_EXPLICIT}"
            )
        for path, candidates in found:
            splits[name] = Split(name, _images_dir(path, [*candidates, data_dir]), path)
    return splits


def _require_filled_folder(data_dir: Path) -> None:
    if data_dir.is_file():
        raise DatasetError(f"{data_dir} is a file, and a folder with a data set was expected. {_EXPLICIT}")
    if not data_dir.is_dir():
        parent = data_dir.absolute().parent
        beside = f" {parent} holds: {_listing(parent)}." if parent.is_dir() else f" {parent} does not exist either."
        raise DatasetError(f"{data_dir}: no such folder.{beside}")
    try:
        is_empty = not any(data_dir.iterdir())
    except OSError as error:
        raise DatasetError(f"{data_dir}: cannot look into this folder: {error.strerror}.") from error
    if is_empty:
        raise DatasetError(f"{data_dir}: the folder is empty. Expected a COCO data set:\n{LAYOUTS_TEXT}")


def _annotation_candidates(data_dir: Path) -> Iterator[Path]:
    """JSON files in the folder and one level below, in alphabetical order."""
    yield from sorted(data_dir.glob("*.json"))
    yield from sorted(data_dir.glob("*/*.json"))


def _images_dir(annotations_path: Path, candidates: list[Path]) -> Path:
    """The candidate that holds the first picture named in the file; else the first that exists.

    The last candidate, the data folder itself, counts only where the picture is there.
    """
    first_name = _first_file_name(annotations_path)
    if first_name is not None:
        for folder in candidates:
            if os.path.isfile(folder / first_name):  # unlike Path.is_file also False for a name too long for a file
                return folder
    for folder in candidates[:-1]:
        if folder.is_dir():
            return folder
    looked_for = "\n".join(f"  {folder}" for folder in candidates[:-1])
    raise DatasetError(f"{annotations_path}: no folder with its pictures. Looked for:\n{looked_for}\n{_EXPLICIT}")


def _first_file_name(annotations_path: Path) -> str | None:
    """The first ``file_name`` within the first 64 KiB of the file, without parsing it."""
    with annotations_path.open("rb") as file:
        head = file.read(1 << 16).decode("utf-8", errors="replace")
    match = re.search(r'"file_name"\s*:\s*"([^"\\]+)"', head)
    return match[1] if match else None


def _listing(folder: Path, most: int = 12) -> str:
    """The names in a folder on one line, folders with a slash."""
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "nothing"


def _nothing_recognised(data_dir: Path) -> str:
    lines = [f"{data_dir}: no COCO annotations recognised. The folder holds: {_listing(data_dir)}."]
    if _looks_like_yolo(data_dir):
        lines.append(
            "This looks like a YOLO data set, which cannot be read yet. Convert each split to COCO:\n"
            "  pip install supervision\n"
            '  python -c "import supervision as sv; sv.DetectionDataset.from_yolo(\n'
            "      'DIR/train/images', 'DIR/train/labels', 'DIR/data.yaml').as_coco(\n"
            "      'NEW/train', 'NEW/train/_annotations.coco.json')\""
        )
    elif next(data_dir.glob("[Aa]nnotations/*.xml"), None) or next(data_dir.glob("*/*.xml"), None):
        lines.append(
            "This looks like a Pascal VOC data set (XML), which cannot be read yet. Convert each split to COCO:\n"
            "  pip install supervision\n"
            '  python -c "import supervision as sv; sv.DetectionDataset.from_pascal_voc(\n'
            "      'DIR/JPEGImages', 'DIR/Annotations').as_coco('NEW/train', 'NEW/train/_annotations.coco.json')\""
        )
    elif any((data_dir / name).is_file() for name in ("_annotations.coco.json", "annotations.json")):
        lines.append(
            f"This looks like one split of a data set: give the folder above it, {data_dir.absolute().parent}."
        )
    lines.append(f"Looked for:\n{LAYOUTS_TEXT}\n{_EXPLICIT}")
    return "\n".join(lines)


def _looks_like_yolo(data_dir: Path) -> bool:
    has_yaml = any(data_dir.glob("*.yaml")) or any(data_dir.glob("*.yml"))
    return any((data_dir / name).is_dir() for name in ("labels", "train/labels")) or has_yaml
