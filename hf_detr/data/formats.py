"""The formats of data sets that are files: which one lies in a folder, and how it is read.

A further format is two functions: one that finds its splits in a folder, and one that reads a split into a table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hf_detr.data.coco_layouts import COCO_LAYOUTS_TEXT, OBJECTS365, coco_split, find_coco_splits
from hf_detr.data.coco_table import read_coco_table
from hf_detr.data.crowdhuman import CROWDHUMAN_LAYOUTS_TEXT, find_crowdhuman_splits, read_crowdhuman_table
from hf_detr.data.csv_layouts import CSV_LAYOUTS_TEXT, csv_split, csv_troubles, find_csv_splits
from hf_detr.data.csv_table import read_csv_table
from hf_detr.data.folders import EXPLICIT, listing, split_named
from hf_detr.data.table import AnnotationTable, Split
from hf_detr.data.voc_layouts import VOC_LAYOUTS_TEXT, find_voc_splits, voc_split
from hf_detr.data.voc_table import read_voc_table
from hf_detr.data.yolo_layouts import YOLO_LAYOUTS_TEXT, find_yolo_splits
from hf_detr.data.yolo_table import read_yolo_table
from hf_detr.errors import DatasetError


@dataclass(frozen=True)
class Format:
    """How one format is found.

    Attributes:
        title: what messages call it.
        find: the splits in a folder, or of one of its files; empty where there are none.
        layouts: what it looks for, for a person.
        file_suffixes: of files that describe a data set of this format.
    """

    title: str
    find: Callable[[Path], dict[str, Split]]
    layouts: str
    file_suffixes: tuple[str, ...] = ()


_FORMATS: Mapping[str, Format] = {
    "coco": Format("COCO", find_coco_splits, COCO_LAYOUTS_TEXT, (".json",)),
    "yolo": Format("YOLO", find_yolo_splits, YOLO_LAYOUTS_TEXT, (".yaml", ".yml")),
    "voc": Format("Pascal VOC", find_voc_splits, VOC_LAYOUTS_TEXT),
    "csv": Format("CSV", find_csv_splits, CSV_LAYOUTS_TEXT, (".csv", ".tsv")),
    "crowdhuman": Format("CrowdHuman", find_crowdhuman_splits, CROWDHUMAN_LAYOUTS_TEXT, (".odgt",)),
}
_READERS: Mapping[str, Callable[[Split], AnnotationTable]] = {
    "coco": read_coco_table,
    OBJECTS365: read_coco_table,
    "yolo": read_yolo_table,
    "voc": read_voc_table,
    "csv": read_csv_table,
    "crowdhuman": read_crowdhuman_table,
}
FILE_SUFFIXES = tuple(suffix for kind in _FORMATS.values() for suffix in kind.file_suffixes)


def find_file_splits(data: Path) -> dict[str, Split]:
    """The splits of a data set in a folder, or of the file that describes it.

    Raises:
        DatasetError: no such folder or file, no format recognised or several, or splits that are not complete.
    """
    if data.is_file():
        for kind in _FORMATS.values():
            if data.suffix.lower() in kind.file_suffixes:
                return kind.find(data)
        raise DatasetError(
            f"{data}: a data set is a folder, or a file ending in {', '.join(FILE_SUFFIXES)}; this is neither. "
            f"{EXPLICIT}"
        )
    _require_filled_folder(data)
    found = {kind.title: splits for kind in _FORMATS.values() if (splits := kind.find(data))}
    if len(found) > 1:
        seen = "\n".join(
            f"  {title}: {', '.join(dict.fromkeys(str(split.annotations_path) for split in splits.values()))}"
            for title, splits in found.items()
        )
        # A file of which a split is a part describes the whole data set.
        whole = [s.annotations_path for splits in found.values() for s in splits.values() if s.part is not None]
        file = next((path for path in whole if path.is_file()), None)
        named = (
            f"Name the file that counts in place of the folder, such as --data {file}. "
            if file
            else "Move one of them away. "
        )
        raise DatasetError(f"{data}: may be {' or '.join(found)}:\n{seen}\n{named}{EXPLICIT}")
    if not found:
        raise DatasetError(_nothing_recognised(data))
    return next(iter(found.values()))


def explicit_split(name: str, images_dir: Path, annotations_path: Path) -> Split:
    """A split whose pictures and annotations are named: a file of any format, or a folder of label files.

    Raises:
        DatasetError: no such file or folder, or none that holds annotations.
    """
    if annotations_path.is_dir():
        if next(annotations_path.rglob("*.xml"), None):
            return voc_split(name, images_dir, annotations_path)
        if next(annotations_path.rglob("*.txt"), None):
            return Split(name, images_dir, annotations_path, "yolo")
        raise DatasetError(
            f"{annotations_path}: neither XML (Pascal VOC) nor text files (YOLO) in this folder. It holds: "
            f"{listing(annotations_path)}."
        )
    match annotations_path.suffix.lower():
        case ".yaml" | ".yml":
            return Split(name, images_dir, annotations_path, "yolo")
        case ".csv" | ".tsv":
            return csv_split(name, images_dir, annotations_path)
        case ".odgt":
            return Split(name, images_dir, annotations_path, "crowdhuman")
        case _:
            return coco_split(name, images_dir, annotations_path)


def read_file_table(split: Split) -> AnnotationTable:
    """The annotations of a split as columns.

    Raises:
        DatasetError: no such folder of pictures, or annotations that cannot be read at all.
    """
    if not split.images_dir.is_dir():
        raise DatasetError(f"{split.images_dir}: no such folder of pictures (for {split.annotations_path}).")
    return _READERS[split.format](split)


def _require_filled_folder(data: Path) -> None:
    if not data.is_dir():
        parent = data.absolute().parent
        beside = f" {parent} holds: {listing(parent)}." if parent.is_dir() else f" {parent} does not exist either."
        raise DatasetError(f"{data}: no such {'file' if data.suffix in FILE_SUFFIXES else 'folder'}.{beside}")
    try:
        is_empty = not any(data.iterdir())
    except OSError as error:
        raise DatasetError(f"{data}: cannot look into this folder: {error.strerror}.") from error
    if is_empty:
        raise DatasetError(f"{data}: the folder is empty. Expected a data set:\n{_layouts_text()}")


def _layouts_text() -> str:
    return "\n".join(kind.layouts for kind in _FORMATS.values()) + "\n  and the same for val, valid or test"


def _nothing_recognised(data: Path) -> str:
    lines = [f"{data}: no data set recognised. The folder holds: {listing(data)}."]
    if split_named(data.absolute().name) or any((*data.glob("_annotations.*"), *data.glob("annotations.json"))):
        parent = data.absolute().parent
        lines.append(f"This looks like one split of a data set: give the folder above it, {parent}.")
    lines += csv_troubles(data)
    lines.append(f"Looked for:\n{_layouts_text()}\n{EXPLICIT}")
    return "\n".join(lines)
