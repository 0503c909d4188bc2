"""Where a Pascal VOC data set keeps pictures and XML files: as the challenge did, or in a folder for each split."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from hf_detr.data.folders import SPLIT_WORDS, listed_classes, read_text, split_named
from hf_detr.data.parallel import for_each_file
from hf_detr.data.table import Split, splits_by_name
from hf_detr.data.voc_xml import parse_annotation

VOC_LAYOUTS_TEXT = """\
  DIR/ImageSets/Main/train.txt                XML in DIR/Annotations/, pictures in DIR/JPEGImages/  (Pascal VOC;
                                              also DIR/VOC2007/ImageSets/..., several years together)
  DIR/train/*.xml                             pictures beside them  (also train/Annotations/, train/JPEGImages/)"""

_XML_FOLDERS = ("Annotations", "annotations")
_PICTURE_FOLDERS = ("JPEGImages", "images", "Images", "imgs")


def find_voc_splits(data: Path) -> dict[str, Split]:
    """The splits of a folder; empty where it is no VOC data set.

    Raises:
        DatasetError: two folders for one split.
    """
    years = _years(data)
    splits = splits_by_name(data, _listed_splits(data, years) if years else _folder_splits(data))
    names = listed_classes([data, *years], lambda: _names_in(splits.values()))
    return {
        name: Split(split.name, split.images_dir, split.annotations_path, "voc", split.part, names)
        for name, split in splits.items()
    }


def annotation_files(split: Split) -> list[tuple[Path, str]]:
    """Every XML file of a split with the path of its picture below the folder of pictures, without its ending.

    Raises:
        DatasetError: a list in ``ImageSets/Main`` that cannot be read.
    """
    root = split.annotations_path
    if split.part is None:
        relative = (path.relative_to(root) for path in sorted(root.rglob("*.xml")))
        return [(root / path, path.with_suffix("").as_posix()) for path in relative]
    files = []
    for year in _years(root):
        listed = year / "ImageSets" / "Main" / f"{split.part}.txt"
        if listed.is_file():
            pictures = Path(os.path.relpath(_picture_folder(year), split.images_dir))
            files += [(_xml_folder(year) / f"{stem}.xml", (pictures / stem).as_posix()) for stem in _stems(listed)]
    return files


def _stems(listed: Path) -> list[str]:
    """Names of pictures without their ending; lists made for one class have a second column, -1, 0 or 1."""
    lines = [line.strip() for line in read_text(listed).splitlines() if line.strip()]
    stems = [re.sub(r"\s+-?[01]$", "", line) for line in lines]
    return stems if all(map(str.__ne__, stems, lines)) else lines


def _years(data: Path) -> list[Path]:
    """Folders with lists of pictures: the folder itself, or those in it or in ``VOCdevkit``."""
    folders = [data, *sorted(data.glob("*/")), *sorted(data.glob("VOCdevkit/*/"))]
    found = [folder for folder in folders if (folder / "ImageSets" / "Main").is_dir() and _xml_folder(folder)]
    return found[:1] if found[:1] == [data] else found


def _listed_splits(data: Path, years: Sequence[Path]) -> Iterator[Split]:
    """Splits by the lists of pictures; `trainval` is the training split only where there is no `train`."""
    parts = {path.stem for year in years for path in (year / "ImageSets" / "Main").glob("*.txt")}
    images_dir = _picture_folder(data) if years == [data] else data
    for part in sorted(parts & SPLIT_WORDS.keys()):
        yield Split(SPLIT_WORDS[part], images_dir, data, "voc", part=part)
    if "trainval" in parts and not parts & {"train", "training"}:
        yield Split("train", images_dir, data, "voc", part="trainval")


def _folder_splits(data: Path) -> Iterator[Split]:
    """Splits that are folders with XML files; the data folder itself is the training split if it has them."""
    for folder in [data, *(path for path in sorted(data.glob("*/")) if split_named(path.name))]:
        annotations = _xml_folder(folder) or folder
        name = split_named(folder.name) if folder != data else "train"
        if next(annotations.glob("*.xml"), None):
            yield Split(name, _picture_folder(folder) if annotations != folder else folder, annotations, "voc")
    for folder in _XML_FOLDERS:  # Annotations/train/*.xml
        for annotations in sorted(path for path in (data / folder).glob("*/") if split_named(path.name)):
            if next(annotations.glob("*.xml"), None):
                yield Split(
                    split_named(annotations.name), _picture_folder(data) / annotations.name, annotations, "voc"
                )


def _xml_folder(folder: Path) -> Path | None:
    return next((folder / name for name in _XML_FOLDERS if (folder / name).is_dir()), None)


def _picture_folder(folder: Path) -> Path:
    """The folder of pictures that belongs to one of XML files, beside it; where there is none, the one around it."""
    return next((folder / name for name in _PICTURE_FOLDERS if (folder / name).is_dir()), folder)


def names_in_files(paths: Sequence[Path]) -> set[str]:
    """Classes of the objects in XML files; files that cannot be read have none."""

    def names(path: Path) -> set[str]:
        try:
            return {found.name for found in parse_annotation(path.read_bytes()).objects}
        except (OSError, ValueError):  # reading the split reports it
            return set()

    return set().union(*for_each_file(names, paths, title="looking for classes"))


def _names_in(splits: Iterable[Split]) -> tuple[str, ...]:
    """Classes of all splits, sorted: each may lack some, and all have to agree on their numbers."""
    paths = dict.fromkeys(path for split in splits for path, _ in annotation_files(split))
    return tuple(sorted(names_in_files(list(paths))))


def voc_split(name: str, images_dir: Path, annotations_path: Path) -> Split:
    """The split of a folder of XML files, with the classes listed there, or those of its objects.

    Raises:
        DatasetError: the list of classes cannot be read.
    """
    split = Split(name, images_dir, annotations_path, "voc")
    names = listed_classes([annotations_path, annotations_path.parent], lambda: _names_in([split]))
    return Split(name, images_dir, annotations_path, "voc", class_names=names)
