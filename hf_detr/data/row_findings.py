"""Findings about rows of a table: where they are, in words a person can look up."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hf_detr.data.findings import Finding, Severity, counted
from hf_detr.data.table import AnnotationTable, Split, shown_id


def image_place(table: AnnotationTable, image: int) -> dict[str, Any]:
    """Where image number `image` is, for a person to look it up; its id only where it is not the file's name."""
    value, name = table.image_ids[image], table.file_names[image]
    if value == name:
        return {"file": name}
    return {"image_id": f"#{image}" if value is None else shown_id(value), "file": name}


def annotation_place(table: AnnotationTable, annotation: int) -> dict[str, Any]:
    """Where annotation number `annotation` is, for a person to look it up."""
    image = int(table.image_of[annotation])
    return (image_place(table, image) if image >= 0 else {}) | table.locate(annotation)


def about_images(
    table: AnnotationTable,
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
    return about_places(table.split, check, severity, places, f"{counted(len(places), 'image')} {message}", advice)


def about_annotations(
    table: AnnotationTable,
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
    return about_places(table.split, check, severity, places, f"{counted(len(places), noun)} {message}", advice)


def about_categories(
    table: AnnotationTable, check: str, severity: Severity, values: Sequence[Any], message: str, advice: str
) -> list[Finding]:
    """One finding about categories, each described by one of `values`, or none if there are none."""
    places = [{"value": value} for value in values]
    return about_places(table.split, check, severity, places, f"{counted(len(places), 'category')} {message}", advice)


def about_places(
    split: Split, check: str, severity: Severity, places: Sequence[dict[str, Any]], message: str, advice: str
) -> list[Finding]:
    """One finding about all `places`, or none if there are none."""
    if not places:
        return []
    file = str(split.annotations_path)
    return [Finding(check, severity, f"{message}.", file, split.name, len(places), tuple(places), advice)]


def repeated(values: Iterable[Any]) -> dict[Any, list[int]]:
    """Each value that occurs more than once, with its positions."""
    values = list(values)
    if len(set(values)) == len(values):
        return {}
    positions: dict[Any, list[int]] = {}
    for position, value in enumerate(values):
        positions.setdefault(value, []).append(position)
    return {value: where for value, where in positions.items() if len(where) > 1}


def box_text(table: AnnotationTable, row: int) -> str:
    """The box of annotation number `row` as [x, y, width, height] in pixels."""
    return "[" + ", ".join(f"{side:g}" for side in table.boxes_xywh[row]) + "]"
