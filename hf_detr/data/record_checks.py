"""Checks for what makes annotations impossible to use: records without ids, references to nothing, no true boxes."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from hf_detr.data.findings import Finding, errors_of
from hf_detr.data.row_findings import about_annotations, about_categories, about_images, box_text, repeated
from hf_detr.data.table import AnnotationTable, is_id, positions_where


def structural_findings(table: AnnotationTable) -> list[Finding]:
    """All that forbids to make an index of the table; every finding is an error."""
    return [
        *errors_of(table.findings),
        *_check_images(table),
        *_check_categories(table),
        *_check_references(table),
        *_check_box_records(table),
        *_check_finite_boxes(table),
    ]


def _check_images(table: AnnotationTable) -> list[Finding]:
    ids = table.image_ids
    without_id = positions_where(ids, lambda value: not is_id(value))
    without_name = positions_where(table.file_names, lambda name: not name)
    twice = repeated(value for value in ids if is_id(value))
    kinds = Counter("text" if isinstance(value, str) else "number" for value in ids if is_id(value))
    rarer = min(kinds, key=kinds.__getitem__) if len(kinds) > 1 else None
    mixed = [] if rarer is None else positions_where(ids, lambda value: isinstance(value, str) == (rarer == "text"))
    return [
        *about_images(
            table,
            "image.malformed",
            "error",
            np.union1d(without_id, without_name),
            "without an id (a whole number or text) or without a file name",
            "Every entry of `images` needs `id` and `file_name`. Correct the file or export it again.",
            value=None if table.records is None else lambda image: _shortened(table.records.images[image]),
        ),
        *about_images(
            table,
            "image.duplicate_id",
            "error",
            [position for where in twice.values() for position in where[1:]],
            "with an id that an earlier image has",
            "Annotations could belong to either. Give every image an id of its own, in its annotations too.",
        ),
        *about_images(
            table,
            "image.mixed_ids",
            "error",
            mixed,
            f"with a {rarer} as id, where the others differ",
            "Use numbers for all images or text for all; 7 and '7' are not the same id.",
        ),
    ]


def _check_categories(table: AnnotationTable) -> list[Finding]:
    rows = [] if table.records is None else table.records.categories
    malformed = positions_where(rows, lambda row: not is_id(row.get("id")) or not isinstance(row.get("name"), str))
    twice = repeated(value for value in table.category_ids if is_id(value))
    no_categories = [] if table.category_ids else ["no classes"]
    return [
        *about_categories(
            table,
            "category.malformed",
            "error",
            [_shortened(rows[position]) for position in malformed],
            "without an id (a whole number or text) or without a name",
            "Every entry of `categories` needs `id` and `name`.",
        ),
        *about_categories(
            table,
            "category.duplicate_id",
            "error",
            [f"id {value!r}: " + ", ".join(table.category_names[i] for i in where) for value, where in twice.items()],
            "with the same id as another",
            "Annotations could mean either. Give every category an id of its own.",
        ),
        *about_categories(
            table,
            "category.none",
            "error",
            no_categories,
            "missing: not one class is named",
            "List the classes (in a COCO file under `categories`, each with `id` and `name`).",
        ),
    ]


def _check_references(table: AnnotationTable) -> list[Finding]:
    rows = [] if table.records is None else table.records.annotations
    no_image, no_category = np.flatnonzero(table.image_of < 0), np.flatnonzero(table.category_of < 0)
    image_ids = [rows[position].get("image_id") for position in no_image] if rows else []
    category_ids = [rows[position].get("category_id") for position in no_category] if rows else []
    return [
        *about_annotations(
            table,
            "annotation.unknown_image",
            "error",
            no_image,
            "of an image that the file does not list",
            "Add the image to `images` or remove the annotation." + _other_type(table.image_ids, image_ids),
            noun="annotation",
        ),
        *about_annotations(
            table,
            "annotation.unknown_category",
            "error",
            no_category,
            "of a category that the file does not list",
            f"The file lists {_category_list(table)}. Add the category, or correct or remove the annotation."
            + _other_type(table.category_ids, category_ids),
            value=(lambda row: f"category_id {rows[row].get('category_id')!r}") if rows else None,
            noun="annotation",
        ),
    ]


def _check_box_records(table: AnnotationTable) -> list[Finding]:
    if table.records is None:
        return []
    records = table.records
    malformed = np.setdiff1d(records.malformed_box, np.union1d(records.without_box, records.only_outline))
    return [
        *about_annotations(
            table,
            "box.only_segmentation",
            "error",
            records.only_outline,
            "with a segmentation but without a bbox",
            "A detector learns from boxes. Add `bbox`: [x, y, width, height] around each outline "
            "(pycocotools.mask.toBbox computes it).",
            noun="annotation",
        ),
        *about_annotations(
            table,
            "box.missing",
            "error",
            records.without_box,
            "without a bbox",
            "Add `bbox`: [x, y, width, height] in pixels, or remove the annotation.",
            noun="annotation",
        ),
        *about_annotations(
            table,
            "box.malformed",
            "error",
            malformed,
            "not a list of four numbers",
            "A COCO box is [x, y, width, height] in pixels.",
            value=lambda row: f"{records.annotations[row]['bbox']!r:.60}",
        ),
    ]


def _check_finite_boxes(table: AnnotationTable) -> list[Finding]:
    malformed = [] if table.records is None else table.records.malformed_box
    return about_annotations(
        table,
        "box.not_finite",
        "error",
        np.setdiff1d(np.flatnonzero(~table.is_finite), malformed),
        "with NaN, infinity, or a number that no picture is large enough for",
        "Correct or remove the annotation; one such box turns the loss, and then the model, into NaN.",
        value=lambda row: box_text(table, row),
    )


def _shortened(row: dict[str, Any]) -> str:
    text = json.dumps(row, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


def _category_list(table: AnnotationTable) -> str:
    pairs = zip(table.category_ids[:8], table.category_names, strict=False)
    listed = [f"{value!r} ({name})" for value, name in pairs]
    more = len(table.category_ids) - len(listed)
    return (", ".join(listed) or "none") + (f" and {more} more" if more > 0 else "")


def _other_type(listed: Sequence[Any], unknown: Sequence[Any]) -> str:
    """A hint where an unknown id is a number in one place and text in the other."""
    texts = {str(value): value for value in listed if is_id(value)} if unknown else {}
    for value in unknown:
        if str(value) in texts:
            return f" Ids compare exactly: {value!r} here is not {texts[str(value)]!r} there."
    return ""
