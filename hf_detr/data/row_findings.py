"""Findings about rows of a COCO file: where they are, in words a person can look up."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hf_detr.data.coco_table import CocoTable, Id, is_id
from hf_detr.data.findings import Finding, Severity, counted


def image_place(table: CocoTable, image: int) -> dict[str, Any]:
    """Where image number `image` is, for a person to look it up."""
    return {"image_id": shown_id(table.image_rows[image].get("id", f"#{image}")), "file": table.file_names[image]}


def annotation_place(table: CocoTable, annotation: int) -> dict[str, Any]:
    """Where annotation number `annotation` is, for a person to look it up."""
    row, image = table.annotation_rows[annotation], int(table.image_of[annotation])
    place = image_place(table, image) if image >= 0 else {"image_id": shown_id(row.get("image_id"))}
    return place | {"annotation_id": shown_id(row.get("id", f"#{annotation}"))}


def shown_id(value: Any) -> Id | None:
    """An id as it is; in place of a value that can be none, such as NaN or a list, what Python writes for it."""
    return value if value is None or is_id(value) else f"{value!r:.40}"


def about_images(
    table: CocoTable,
    check: str,
    severity: Severity,
    images: Iterable[int],
    message: str,
    advice: str,
    value: Callable[[int], Any] | None = None,
) -> list[Finding]:
    """One finding about all `images` (positions), or none if there are none. `message` goes on after "3 images"."""
    places = [
        image_place(table, int(image)) | ({} if value is None else {"value": value(int(image))}) for image in images
    ]
    return _finding(table, check, severity, places, f"{counted(len(places), 'image')} {message}", advice)


def about_annotations(
    table: CocoTable,
    check: str,
    severity: Severity,
    annotations: Iterable[int],
    message: str,
    advice: str,
    value: Callable[[int], Any] | None = None,
    noun: str = "box",
) -> list[Finding]:
    """One finding about all `annotations` (positions), or none if there are none."""
    places = [
        annotation_place(table, int(row)) | ({} if value is None else {"value": value(int(row))})
        for row in annotations
    ]
    return _finding(table, check, severity, places, f"{counted(len(places), noun)} {message}", advice)


def about_categories(
    table: CocoTable, check: str, severity: Severity, values: Sequence[Any], message: str, advice: str
) -> list[Finding]:
    """One finding about categories, each described by one of `values`, or none if there are none."""
    places = [{"value": value} for value in values]
    return _finding(table, check, severity, places, f"{counted(len(places), 'category')} {message}", advice)


def _finding(
    table: CocoTable, check: str, severity: Severity, places: list[dict[str, Any]], message: str, advice: str
) -> list[Finding]:
    if not places:
        return []
    file, split = str(table.split.annotations_path), table.split.name
    return [Finding(check, severity, f"{message}.", file, split, len(places), tuple(places), advice)]


def repeated(values: Iterable[Any]) -> dict[Any, list[int]]:
    """Each value that occurs more than once, with its positions."""
    values = list(values)
    if len(set(values)) == len(values):
        return {}
    positions: dict[Any, list[int]] = {}
    for position, value in enumerate(values):
        positions.setdefault(value, []).append(position)
    return {value: where for value, where in positions.items() if len(where) > 1}


def box_text(table: CocoTable, row: int) -> str:
    """The box of annotation number `row` as it is in the file."""
    return "[" + ", ".join(f"{side:g}" for side in table.boxes_xywh[row]) + "]"
