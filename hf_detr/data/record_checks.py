"""Checks for what makes a COCO file impossible to use: records without ids, references to nothing, no true boxes."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from hf_detr.data.coco_table import CocoTable, is_id, positions_where
from hf_detr.data.findings import Finding
from hf_detr.data.row_findings import about_annotations, about_categories, about_images, box_text, repeated


def structural_findings(table: CocoTable) -> list[Finding]:
    """All that forbids to read the file into an index; every finding is an error."""
    return [
        *_check_image_records(table),
        *_check_category_records(table),
        *_check_references(table),
        *_check_box_records(table),
    ]


def _check_image_records(table: CocoTable) -> list[Finding]:
    rows = table.image_rows
    malformed = positions_where(rows, lambda row: not is_id(row.get("id")) or not row.get("file_name"))
    not_text = positions_where(rows, lambda row: not isinstance(row.get("file_name", ""), str))
    twice = repeated(row["id"] for row in rows if is_id(row.get("id")))
    kinds = Counter("text" if isinstance(row["id"], str) else "number" for row in rows if is_id(row.get("id")))
    rarer = min(kinds, key=kinds.__getitem__) if len(kinds) > 1 else None
    mixed = (
        [] if rarer is None else positions_where(rows, lambda row: isinstance(row.get("id"), str) == (rarer == "text"))
    )
    return [
        *about_images(
            table,
            "image.malformed",
            "error",
            np.union1d(malformed, not_text),
            "without an id (a whole number or text) or without a file name",
            "Every entry of `images` needs `id` and `file_name`. Correct the file or export it again.",
            value=lambda image: _shortened(rows[image]),
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


def _check_category_records(table: CocoTable) -> list[Finding]:
    rows = table.category_rows
    malformed = positions_where(rows, lambda row: not is_id(row.get("id")) or not isinstance(row.get("name"), str))
    twice = repeated(row["id"] for row in rows if is_id(row.get("id")))
    no_categories = [] if rows else ["categories: []"]
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
            "missing: the file lists none",
            "List the classes under `categories`, each with `id` and `name`.",
        ),
    ]


def _check_references(table: CocoTable) -> list[Finding]:
    rows = table.annotation_rows
    no_image, no_category = np.flatnonzero(table.image_of < 0), np.flatnonzero(table.category_of < 0)
    return [
        *about_annotations(
            table,
            "annotation.unknown_image",
            "error",
            no_image,
            "of an image that the file does not list",
            "Add the image to `images` or remove the annotation."
            + _other_type(table.image_rows, [rows[position].get("image_id") for position in no_image]),
            noun="annotation",
        ),
        *about_annotations(
            table,
            "annotation.unknown_category",
            "error",
            no_category,
            "of a category that the file does not list",
            f"The file lists {_category_list(table)}. Add the category, or correct or remove the annotation."
            + _other_type(table.category_rows, [rows[position].get("category_id") for position in no_category]),
            value=lambda row: f"category_id {rows[row].get('category_id')!r}",
            noun="annotation",
        ),
    ]


def _check_box_records(table: CocoTable) -> list[Finding]:
    rows = table.annotation_rows
    missing = np.fromiter(("bbox" not in row for row in rows), bool, len(rows))
    outlined = np.fromiter((bool(row.get("segmentation")) for row in rows), bool, len(rows)) & missing
    not_finite = ~table.is_finite & ~table.malformed_box
    return [
        *about_annotations(
            table,
            "box.only_segmentation",
            "error",
            np.flatnonzero(outlined),
            "with a segmentation but without a bbox",
            "A detector learns from boxes. Add `bbox`: [x, y, width, height] around each outline "
            "(pycocotools.mask.toBbox computes it).",
            noun="annotation",
        ),
        *about_annotations(
            table,
            "box.missing",
            "error",
            np.flatnonzero(missing & ~outlined),
            "without a bbox",
            "Add `bbox`: [x, y, width, height] in pixels, or remove the annotation.",
            noun="annotation",
        ),
        *about_annotations(
            table,
            "box.malformed",
            "error",
            np.flatnonzero(table.malformed_box & ~missing),
            "not a list of four numbers",
            "A COCO box is [x, y, width, height] in pixels.",
            value=lambda row: f"{rows[row]['bbox']!r:.60}",
        ),
        *about_annotations(
            table,
            "box.not_finite",
            "error",
            np.flatnonzero(not_finite),
            "with NaN, infinity, or a number that no picture is large enough for",
            "Correct or remove the annotation; one such box turns the loss, and then the model, into NaN.",
            value=lambda row: box_text(table, row),
        ),
    ]


def _shortened(row: dict[str, Any]) -> str:
    text = json.dumps(row, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


def _category_list(table: CocoTable) -> str:
    listed = [f"{row.get('id')!r} ({row.get('name')})" for row in table.category_rows[:8]]
    more = len(table.category_rows) - len(listed)
    return (", ".join(listed) or "none") + (f" and {more} more" if more > 0 else "")


def _other_type(named: Sequence[dict], unknown: Sequence[Any]) -> str:
    """A hint where an unknown id is a number in one place and text in the other."""
    texts = {str(row["id"]): row["id"] for row in named if is_id(row.get("id"))} if unknown else {}
    for value in unknown:
        if str(value) in texts:
            return f" Ids compare exactly: {value!r} here is not {texts[str(value)]!r} there."
    return ""
