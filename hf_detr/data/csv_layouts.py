"""Where a data set of CSV files keeps its splits: a file for each, or one with a column that says the split."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from hf_detr.data.csv_rows import CsvContent, read_csv
from hf_detr.data.folders import PICTURE_SUFFIXES, SPLIT_WORDS, folder_with, listed_classes
from hf_detr.data.table import Split, splits_by_name
from hf_detr.errors import DatasetError

CSV_LAYOUTS_TEXT = """\
  DIR/train/_annotations.csv                  pictures in DIR/train/  (CSV; Roboflow)
  DIR/train.csv                               pictures in DIR/train/ or DIR/images/  (CSV; also DIR/annotations.csv,
                                              with or without a column `split`)"""

_IN_SPLIT_FOLDER = ("_annotations.csv", "annotations.csv", "labels.csv")


def find_csv_splits(data: Path) -> dict[str, Split]:
    """The splits of a folder or of one CSV file; empty where the folder has no CSV file of boxes.

    Raises:
        DatasetError: a single file that cannot be read, several files for one split, or a file named after a split
            that cannot be read where there are files for the others.
    """
    troubles: dict[Path, DatasetError] = {}
    if data.is_file():
        contents = {data: read_csv(data)}
    else:
        contents, troubles = _read_all(_candidates(data))
        named = {path: content for path, content in contents.items() if _named_split(path, data)}
        contents = named or contents
    splits = splits_by_name(data, _splits(data, contents))
    for path, error in troubles.items():
        if splits and _named_split(path, data) not in (None, *splits):
            raise error  # the split would be missing without a word
    folders = dict.fromkeys([data.parent if data.is_file() else data, *(path.parent for path in contents)])
    names = listed_classes(folders, lambda: class_names_of(contents.values()))
    return {name: replace(split, class_names=names) for name, split in splits.items()}


def csv_troubles(data: Path) -> list[str]:
    """Why CSV files in a folder are not taken for files of boxes; those of the same kind of trouble once."""
    by_reason = {str(error).removeprefix(str(path)): error for path, error in _read_all(_candidates(data))[1].items()}
    return list(map(str, by_reason.values()))


def csv_split(name: str, images_dir: Path, annotations_path: Path) -> Split:
    """The split of a CSV file whose pictures are in a folder that is known.

    Raises:
        DatasetError: as `read_csv`.
    """
    content = read_csv(annotations_path)
    parts = {part for part in content.parts if SPLIT_WORDS.get(part.lower()) == name}
    names = listed_classes([annotations_path.parent], lambda: class_names_of([content]))
    return Split(name, images_dir, annotations_path, "csv", min(parts, default=None), names)


def class_names_of(contents: Iterable[CsvContent]) -> tuple[str, ...]:
    """Classes of all files, sorted, numbers by size: each may lack some, and all have to agree."""
    names = {row.label for content in contents for row in content.rows if row.label}
    return tuple(sorted(names, key=int if all(map(str.isdecimal, names)) else str))


def _candidates(data: Path) -> list[Path]:
    """CSV files in the folder, in `annotations`, and in folders named after splits."""
    inside = [folder / name for folder in sorted(data.glob("*/")) for name in _IN_SPLIT_FOLDER]
    return [*sorted(data.glob("*.csv")), *sorted(data.glob("[aA]nnotations/*.csv")), *filter(Path.is_file, inside)]


def _read_all(paths: Iterable[Path]) -> tuple[dict[Path, CsvContent], dict[Path, DatasetError]]:
    """The content of files of boxes, and what is wrong with the others: tables of another kind, for example."""
    contents: dict[Path, CsvContent] = {}
    troubles: dict[Path, DatasetError] = {}
    for path in paths:
        try:
            contents[path] = read_csv(path)
        except DatasetError as error:
            troubles[path] = error
    return contents, troubles


def _splits(data: Path, contents: dict[Path, CsvContent]) -> Iterator[Split]:
    for path, content in contents.items():
        parts = {part for part in content.parts if part}
        if parts:
            for part in sorted(parts):
                yield _split(SPLIT_WORDS[part.lower()], path, content, data, part)
        else:
            yield _split(_named_split(path, data) or "train", path, content, data, None)


def _named_split(path: Path, data: Path) -> str | None:
    """The split that a file is named after, such as ``train_labels.csv`` or ``train/labels.csv``."""
    words = re.split(r"[\W_]+", path.stem.lower())
    if path.parent != data:
        words += re.split(r"[\W_]+", path.parent.name.lower())
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), None)


def _split(name: str, path: Path, content: CsvContent, data: Path, part: str | None) -> Split:
    """With the folder that holds the first picture of the split; without a picture, the folder of the file."""
    first = next((row.file for row, of in zip(content.rows, content.parts, strict=True) if part in (None, of)), None)
    words = [word for word, meaning in SPLIT_WORDS.items() if meaning == name]
    starts = dict.fromkeys([path.parent, path.parent.parent, *([data] if data.is_dir() else [])])
    folders = [start / below for start in starts for below in (".", "images", *words, *(f"images/{w}" for w in words))]
    endings = [""] if first is None or Path(first).suffix.lower() in PICTURE_SUFFIXES else sorted(PICTURE_SUFFIXES)
    found = next((folder for ending in endings if (folder := folder_with(f"{first}{ending}", folders))), None)
    return Split(name, found or path.parent, path, "csv", part)
