"""One split as loose columns: what every data format is read into, and what all checks work on.

Reading never fails on a bad record. It leaves a mark in a column or a finding, and the checks report them together.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hf_detr.data.findings import Finding
from hf_detr.data.index import Pictures
from hf_detr.errors import DatasetError

Id = int | str

_LARGEST_COORDINATE = 1e9  # beyond it sums and areas overflow sooner or later, and no picture is as large
_NUMBER_TYPES = frozenset({int, float})


@dataclass(frozen=True)
class Split:
    """Where one split is kept.

    Attributes:
        name: what messages call it: ``"train"``, ``"valid"`` or ``"test"`` where it was found by its name.
        images_dir: the folder that file names start from.
        annotations_path: the file or folder that holds the annotations.
        format: how they are written, a key of the readers in `hf_detr.data.formats`, or ``"rows"``.
        part: which part of ``annotations_path`` this split is, where one file describes several; None for all of it.
        class_names: the classes of the whole data set, for formats whose annotations have no list of them.
    """

    name: str
    images_dir: Path
    annotations_path: Path
    format: str = "coco"
    part: str | None = None
    class_names: tuple[str, ...] | None = None


def splits_by_name(data: Path, splits: Iterable[Split]) -> dict[str, Split]:
    """Splits found in `data` by their names, the training split first.

    Raises:
        DatasetError: two of one name.
    """
    by_name: dict[str, Split] = {}
    for split in splits:
        if other := by_name.get(split.name):
            places = "\n".join(
                f"  {same.part or same.annotations_path}, pictures in {same.images_dir}" for same in (other, split)
            )
            raise DatasetError(f"{data}: two splits are called {split.name!r}:\n{places}\nRename or remove one.")
        by_name[split.name] = split
    return {name: by_name[name] for name in ("train", "valid", "test") if name in by_name}


@dataclass(frozen=True)
class CocoRecords:
    """The records of a COCO file, whatever they hold; ``{}`` in place of one that is no object.

    Attributes:
        images, annotations, categories: N, M and K records, in the order of the columns, parsed when asked for.
        annotation_ids: ``(M,)`` their ids: int64, or where there are others any values, None for none.
        without_box: annotations (their positions) without the key ``bbox``, nor an outline.
        only_outline: those without the key, but with an outline.
        malformed_box: those without a list of four numbers, both of these included.
        bad_crowd: those whose ``iscrowd`` is neither 0 nor 1.
        bad_area: those whose ``area`` is there, and can be none.
    """

    images: Sequence[dict[str, Any]]
    annotations: Sequence[dict[str, Any]]
    categories: Sequence[dict[str, Any]]
    annotation_ids: np.ndarray
    without_box: np.ndarray
    only_outline: np.ndarray
    malformed_box: np.ndarray
    bad_crowd: np.ndarray
    bad_area: np.ndarray


# What COCO says of an annotation.
COCO_KEYS = frozenset(
    {"id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation", "keypoints", "num_keypoints"}
)


def _nothing(position: int) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Extras:
    """What a source has beyond the columns of its table, in COCO's words, read when it is asked for: for conversions.

    Attributes:
        image, annotation: what is known of one, by its position in the table; its columns may be among it.
        categories: what is known of each class; empty for nothing of any.
        header: what is known of all, such as ``info`` and ``licenses``.
        annotation_ids: ``(M,)`` as in `CocoRecords`; None for none at all.
    """

    image: Callable[[int], dict[str, Any]] = _nothing
    annotation: Callable[[int], dict[str, Any]] = _nothing
    categories: Sequence[dict[str, Any]] = ()
    header: Mapping[str, Any] = field(default_factory=dict)
    annotation_ids: np.ndarray | None = None


class KnownPictures(Pictures, Protocol):
    """`Pictures`, and how large their files are."""

    def file_sizes(self) -> np.ndarray:
        """``(N,)`` int64 bytes of each picture, -1 for a missing one; 1 where only reading it would tell."""
        ...


@dataclass(frozen=True)
class AnnotationTable:
    """The annotations of one split as columns. N images, M annotations, K categories, in the order of the source.

    Attributes:
        split: where it was read from.
        image_ids: N ids as the source has them, of any type where it is wrong; the file name where it has none.
        file_names: N paths below the folder of pictures, ``""`` where there is none.
        sizes_hw: ``(N, 2)`` int32 annotated height and width; 0, 0 where there is none.
        category_ids: K ids as the source has them, of any type where it is wrong; the name where it has none.
        category_names: K names, of those that are not text their JSON.
        image_of: ``(M,)`` whole numbers, the image of each annotation, -1 for an unknown one.
        category_of: ``(M,)`` whole numbers, the category of each annotation, -1 for an unknown one.
        boxes_xywh: ``(M, 4)`` float64 pixels; NaN where there are not four numbers.
        areas: ``(M,)`` float64 pixels², the source's where it is a number, else width times height.
        is_crowd: ``(M,)`` bool regions that training leaves out and evaluation ignores.
        locate: where an annotation (its position) stands, as keys of a finding's example, e.g. ``{"line": 3}``.
        findings: what reading came upon; errors among them forbid to make an index of the table.
        records: what the columns were made from, for COCO only.
        extras: what the source has beyond the columns.
        pictures: where the pictures are, if they are not the files ``images_dir / file_name``.
    """

    split: Split
    image_ids: Sequence[Any]
    file_names: Sequence[str]
    sizes_hw: np.ndarray
    category_ids: Sequence[Any]
    category_names: Sequence[str]
    image_of: np.ndarray
    category_of: np.ndarray
    boxes_xywh: np.ndarray
    areas: np.ndarray
    is_crowd: np.ndarray
    locate: Callable[[int], dict[str, Any]]
    findings: tuple[Finding, ...] = ()
    records: CocoRecords | None = None
    extras: Extras = Extras()
    pictures: KnownPictures | None = None

    @property
    def is_finite(self) -> np.ndarray:
        """``(M,)`` bool boxes of four numbers that one can calculate with."""
        return ((self.boxes_xywh > -_LARGEST_COORDINATE) & (self.boxes_xywh < _LARGEST_COORDINATE)).all(1)

    @property
    def objects_per_image(self) -> np.ndarray:
        """``(N,)`` annotations of each image that are not crowds."""
        counted = self.image_of[(self.image_of >= 0) & ~self.is_crowd]
        return np.bincount(counted, minlength=len(self.file_names))

    @property
    def objects_per_category(self) -> np.ndarray:
        """``(K,)`` annotations of each category that are not crowds."""
        counted = self.category_of[(self.category_of >= 0) & ~self.is_crowd]
        return np.bincount(counted, minlength=len(self.category_names))

    def image_path(self, image: int) -> Path:
        """The file of image number `image`, or what messages call it where it has none of its own."""
        return self.split.images_dir / self.file_names[image]

    def picture(self, image: int) -> Path | bytes:
        """The file of image number `image`, or its content where it has no file of its own."""
        return self.image_path(image) if self.pictures is None else self.pictures.read(image)


def table_of_boxes(
    split: Split,
    *,
    file_names: Sequence[str],
    sizes_hw: np.ndarray,
    class_names: Sequence[str],
    image_of: np.ndarray,
    category_of: np.ndarray,
    boxes_xywh: np.ndarray,
    locate: Callable[[int], dict[str, Any]],
    class_ids: Sequence[Id] | None = None,
    areas: np.ndarray | None = None,
    is_crowd: np.ndarray | None = None,
    findings: Sequence[Finding] = (),
    extras: Extras | None = None,
) -> AnnotationTable:
    """A table for formats in which a picture has no id but its name, and boxes mostly no area of their own.

    Args:
        split: where it was read from.
        file_names: N paths below the folder of pictures.
        sizes_hw: ``(N, 2)`` height and width; 0, 0 where not known.
        class_names: K names.
        image_of: ``(M,)`` image of each annotation.
        category_of: ``(M,)`` class of each annotation, 0 to K - 1.
        boxes_xywh: ``(M, 4)`` pixels.
        locate: see `AnnotationTable`.
        class_ids: K numbers that the labels have for the classes; None where they have the names.
        areas: ``(M,)`` pixels², NaN for width times height; None for that throughout.
        is_crowd: ``(M,)`` bool; None for no crowds.
        findings: what reading came upon.
        extras: what the source has beyond all this.
    """
    boxes_xywh = np.asarray(boxes_xywh, np.float64).reshape(-1, 4)
    box_areas = boxes_xywh[:, 2] * boxes_xywh[:, 3]
    return AnnotationTable(
        split=split,
        image_ids=file_names,
        file_names=file_names,
        sizes_hw=sizes_hw,
        category_ids=list(class_names) if class_ids is None else list(class_ids),
        category_names=list(class_names),
        image_of=np.asarray(image_of, np.int64),
        category_of=np.asarray(category_of, np.int64),
        boxes_xywh=boxes_xywh,
        areas=box_areas if areas is None else np.where(np.isnan(areas), box_areas, areas),
        is_crowd=np.zeros(len(boxes_xywh), bool) if is_crowd is None else is_crowd,
        locate=locate,
        findings=tuple(findings),
        extras=extras or Extras(),
    )


def is_id(value: Any) -> bool:
    """Whether `value` can name an image or a category: text, or a whole number of at most 63 bits (1.0 is 1)."""
    return isinstance(value, str) or (type(value) in _NUMBER_TYPES and -(2**63) <= value < 2**63 and value % 1 == 0)


def shown_id(value: Any) -> Id | None:
    """An id as it is; in place of a value that can be none, such as NaN or a list, what Python writes for it."""
    return value if value is None or is_id(value) else f"{value!r:.40}"


def positions_where(rows: Sequence[Any], is_bad: Callable[[Any], bool]) -> np.ndarray:
    """Positions of the rows that `is_bad` is true of."""
    return np.flatnonzero(np.fromiter((is_bad(row) for row in rows), bool, len(rows)))
