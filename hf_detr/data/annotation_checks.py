"""Checks of annotations that can be used, for what their owner probably did not mean; no picture is opened."""

import math

import numpy as np

from hf_detr.data.box_checks import box_findings
from hf_detr.data.findings import Finding, Severity, counted
from hf_detr.data.row_findings import about_annotations, about_categories, about_images, box_text, repeated
from hf_detr.data.table import AnnotationTable, CocoRecords, is_id, positions_where, shown_id
from hf_detr.models.families import SIZE_MULTIPLE

_OTHER_ASPECT = 1.5


def annotation_findings(
    table: AnnotationTable, *, num_queries: int | None = None, image_size_hw: tuple[int, int] | None = None
) -> list[Finding]:
    """What can be used but may not be what is wanted, without opening a picture.

    Args:
        table: the annotations.
        num_queries: objects that the model can find in one picture; None leaves this out.
        image_size_hw: height and width that pictures are resized to; None leaves out the checks for tiny boxes and
            for pictures of quite another shape.
    """
    return [
        *(finding for finding in table.findings if finding.severity != "error"),
        *_check_counts(table),
        *box_findings(table, image_size_hw=image_size_hw),
        *_check_repeated_records(table),
        *_check_sizes(table),
        *([] if table.records is None else _check_values(table, table.records)),
        *([] if num_queries is None else _check_crowded_images(table, num_queries)),
        *([] if image_size_hw is None else _check_shape(table, image_size_hw)),
    ]


def _check_repeated_records(table: AnnotationTable) -> list[Finding]:
    files = repeated(table.file_names)
    ids = np.zeros(0, np.int64) if table.records is None else table.records.annotation_ids
    names = repeated(table.category_names)
    return [
        *about_images(
            table,
            "image.duplicate_file",
            "warning",
            [position for name, where in files.items() if name for position in where[1:]],
            "with the file name of an earlier image",
            "The same picture with two sets of boxes: each teaches the model to ignore the other's. Merge them.",
        ),
        *about_annotations(
            table,
            "annotation.duplicate_id",
            "warning",
            _repeated_ids(ids),
            "with an id that an earlier one has",
            "We do not use these ids, but pycocotools keeps only the last of them. Number the annotations anew.",
            noun="annotation",
        ),
        *about_categories(
            table,
            "category.duplicate_name",
            "warning",
            [
                f"{name!r}: ids " + ", ".join(repr(table.category_ids[position]) for position in where)
                for name, where in names.items()
            ],
            "with several ids under one name",
            "They are learnt as different classes that nobody can tell apart by name. Merge or rename them.",
        ),
        *about_annotations(
            table,
            "box.duplicate",
            "warning",
            _repeated_boxes(table),
            "repeated: same picture, same class, same place",
            "The model learns to predict the object twice, and one of the two always counts as missed. Remove it.",
            value=lambda row: box_text(table, row),
        ),
    ]


def _repeated_ids(ids: np.ndarray) -> list[int]:
    """Positions of the ids that came up before, those of equal ones together."""
    if ids.dtype == object:
        with_id = positions_where(ids, is_id)
        where = repeated(ids[with_id]).values()
        return [int(with_id[position]) for positions in where for position in positions[1:]]
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    again = np.flatnonzero(ordered[1:] == ordered[:-1]) + 1
    return order[again].tolist()


def _repeated_boxes(table: AnnotationTable) -> np.ndarray:
    """Annotations whose image, class and box (to a hundredth of a pixel) an earlier one has; crowds left out."""
    usable = np.flatnonzero(~table.is_crowd & (table.image_of >= 0) & table.is_finite)
    columns = np.column_stack(
        [table.image_of[usable], table.category_of[usable], np.round(table.boxes_xywh[usable], 2)]
    )
    order = np.lexsort(columns.T[::-1])  # stable, so that the first of equal ones in the file comes first
    ordered = columns[order]
    same_as_previous = np.zeros(len(usable), bool)
    same_as_previous[1:] = (ordered[1:] == ordered[:-1]).all(1)
    return np.sort(usable[order[same_as_previous]])


def _check_counts(table: AnnotationTable) -> list[Finding]:
    is_train, name = table.split.name == "train", table.split.name
    path, images = str(table.split.annotations_path), len(table.file_names)
    if images == 0:
        advice = "Nothing can be trained or measured on it. Is this the right file?"
        return [Finding("split.no_images", "error", "The file lists no images.", path, name, 1, (), advice)]
    objects = table.objects_per_image
    if not objects.any():
        severity: Severity = "error" if is_train else "warning"
        message = f"{counted(images, 'image')}, and not one object (crowds do not count)."
        advice = (
            "A model trained on nothing detects nothing."
            if is_train
            else "No COCO numbers can come out of this split."
        )
        return [Finding("split.no_objects", severity, message, path, name, 1, (), advice)]
    empty = np.flatnonzero(table.objects_per_category == 0)
    categories = [] if table.records is None else table.records.categories
    parents = {str(row.get("supercategory")) for row in categories}
    is_parent = [table.category_names[k] in parents and len(categories) > 1 for k in empty]
    rows = [_category_text(table, k) for k in empty]
    return [
        *about_categories(
            table,
            "category.supercategory_row",
            "warning" if is_train else "info",
            [row for row, parent in zip(rows, is_parent, strict=True) if parent],
            "without objects that only groups the others",
            "Roboflow writes such a row. It becomes a class of its own; to be rid of it, remove it from every split.",
        ),
        *about_categories(
            table,
            "category.empty",
            "warning" if is_train else "info",
            [row for row, parent in zip(rows, is_parent, strict=True) if not parent],
            "without a single object",
            "The model cannot learn it from this split." if is_train else "Its AP cannot be measured on this split.",
        ),
        *about_images(
            table,
            "image.no_objects",
            "info",
            np.flatnonzero(objects == 0),
            "without objects",
            "Fine if nothing is there: such pictures teach what background is. A mistake if nobody annotated them.",
        ),
    ]


def _category_text(table: AnnotationTable, category: int) -> str:
    name, value = table.category_names[category], table.category_ids[category]
    return name if value == name else f"{name} (id {shown_id(value)})"


def _check_sizes(table: AnnotationTable) -> list[Finding]:
    return about_images(
        table,
        "image.no_size",
        "info",
        np.flatnonzero((table.sizes_hw == 0).any(1)),
        "without a width and height above 0",
        "The size is read from the picture, but boxes cannot be checked against it here.",
    )


def _check_values(table: AnnotationTable, records: CocoRecords) -> list[Finding]:
    rows = records.annotations
    return [
        *about_annotations(
            table,
            "annotation.bad_iscrowd",
            "warning",
            records.bad_crowd,
            "whose iscrowd is neither 0 nor 1",
            "It is read as 0, an ordinary object. Correct it.",
            value=lambda row: f"iscrowd {rows[row]['iscrowd']!r:.40}",
            noun="annotation",
        ),
        *about_annotations(
            table,
            "annotation.bad_area",
            "warning",
            records.bad_area,
            "whose area is not a number of 0 or more",
            "Width times height is used instead. Correct it or leave the key out.",
            value=lambda row: f"area {rows[row]['area']!r:.40}",
            noun="annotation",
        ),
    ]


def _check_crowded_images(table: AnnotationTable, num_queries: int) -> list[Finding]:
    objects = table.objects_per_image
    return about_images(
        table,
        "image.more_objects_than_queries",
        "warning",
        np.flatnonzero(objects > num_queries),
        f"with more than {num_queries} objects, the number of queries",
        f"A model finds at most as many objects as it has queries. Use --num_queries {int(objects.max(initial=0))} "
        "or more, or cut these pictures into tiles.",
        value=lambda image: counted(int(objects[image]), "object"),
    )


def _check_shape(table: AnnotationTable, image_size_hw: tuple[int, int]) -> list[Finding]:
    size_hw = other_shape(table.sizes_hw, image_size_hw)
    if size_hw is None:
        return []
    return [
        Finding(
            "split.other_shape",
            "info",
            f"Most pictures have another shape than {image_size_hw[0]} x {image_size_hw[1]} px (height x width), and "
            "are squeezed.",
            str(table.split.annotations_path),
            table.split.name,
            1,
            (),
            f"--image_size {size_hw[0]} {size_hw[1]} keeps it, at the same cost.",
        )
    ]


def other_shape(sizes_hw: np.ndarray, image_size_hw: tuple[int, int]) -> tuple[int, int] | None:
    """The input size of equal area in the shape of the pictures; None where the given one has about that shape.

    Args:
        sizes_hw: ``(N, 2)`` height and width of the pictures in pixels, 0 where it is not known.
        image_size_hw: height and width of the model's input in pixels.

    >>> other_shape(np.array([[1080, 1920]]), (640, 640)), other_shape(np.array([[480, 640]]), (640, 640))
    ((480, 864), None)
    """
    known = sizes_hw[sizes_hw.min(axis=1) > 0].astype(np.float64)
    if not len(known):
        return None
    aspect = float(np.median(known[:, 0] / known[:, 1]))
    given = image_size_hw[0] / image_size_hw[1]
    if max(aspect / given, given / aspect) <= _OTHER_ASPECT:
        return None
    area = image_size_hw[0] * image_size_hw[1]
    sides = math.sqrt(area * aspect), math.sqrt(area / aspect)
    height, width = (max(round(side / SIZE_MULTIPLE), 1) * SIZE_MULTIPLE for side in sides)
    return height, width
