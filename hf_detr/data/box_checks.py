"""Checks of the geometry of boxes against the annotated sizes of their pictures."""

import numpy as np

from hf_detr.boxes import is_valid_xyxy, xywh_to_xyxy
from hf_detr.data.findings import Finding, counted
from hf_detr.data.row_findings import about_annotations, annotation_place, box_text
from hf_detr.data.table import AnnotationTable

# Annotation tools round; a box that sticks out by no more than this many pixels is not worth a word.
OUTSIDE_TOLERANCE = 1.0


def box_findings(table: AnnotationTable, *, image_size_hw: tuple[int, int] | None = None) -> list[Finding]:
    """Boxes that are degenerate, outside, too small to see, or not [x, y, width, height] in pixels at all.

    Args:
        table: the annotations.
        image_size_hw: height and width that pictures are resized to; None leaves out the check for tiny boxes.
    """
    finite = table.is_finite
    boxes_xywh = np.where(finite[:, None], table.boxes_xywh, 0.0)
    boxes_xyxy, sides_wh = xywh_to_xyxy(boxes_xywh), boxes_xywh[:, 2:]
    known = finite & (table.image_of >= 0)
    heights, widths = table.sizes_hw[table.image_of.clip(0)].T if len(table.file_names) else np.zeros((2, len(known)))
    sized = known & (heights > 0)
    degenerate = finite & ~is_valid_xyxy(boxes_xyxy)
    mistaken = _mistaken_format(table, sized & ~degenerate, widths, heights)
    if mistaken:
        return mistaken

    x0, y0, x1, y1 = boxes_xyxy.T
    seen = sized & ~degenerate
    fully = seen & ((x0 >= widths) | (y0 >= heights) | (x1 <= 0) | (y1 <= 0))
    excess = np.maximum.reduce([-x0, -y0, x1 - widths, y1 - heights])
    partly = seen & ~fully & (excess > OUTSIDE_TOLERANCE)

    def against_size(row: int) -> str:
        return f"{box_text(table, row)} in a picture of {widths[row]} x {heights[row]}"

    findings = [
        *about_annotations(
            table,
            "box.degenerate",
            "warning",
            np.flatnonzero(degenerate),
            "with a width or height of 0 or less",
            "Left out of training. Remove it, or correct it: a COCO box is [x, y, width, height].",
            value=lambda row: box_text(table, row),
        ),
        *about_annotations(
            table,
            "box.outside",
            "warning",
            np.flatnonzero(partly),
            f"sticking out of the picture by more than {OUTSIDE_TOLERANCE:.0f} px",
            "Cut at the border for training, but kept in evaluation, where no detection matches it well. Clip it.",
            value=against_size,
        ),
        *about_annotations(
            table,
            "box.fully_outside",
            "warning",
            np.flatnonzero(fully),
            "entirely outside of the picture",
            "Left out of training, and always missed in evaluation. Look whether width and height are right.",
            value=against_size,
        ),
    ]
    if image_size_hw is None:
        return findings
    height, width = image_size_hw
    with np.errstate(divide="ignore", invalid="ignore"):
        shortest = np.minimum(sides_wh[:, 0] * width / widths, sides_wh[:, 1] * height / heights)
    return findings + about_annotations(
        table,
        "box.tiny",
        "warning",
        np.flatnonzero(seen & ~table.is_crowd & (shortest < 1)),
        f"thinner than 1 px once the picture is resized to {height} x {width} (height x width)",
        "Nothing can be seen there. Train at a larger --image_size, or cut the pictures into tiles.",
        value=lambda row: f"{sides_wh[row, 0]:g} x {sides_wh[row, 1]:g} px, {shortest[row]:.2f} px after resizing",
    )


def _mistaken_format(
    table: AnnotationTable, usable: np.ndarray, widths: np.ndarray, heights: np.ndarray
) -> list[Finding]:
    """Boxes that are plainly not [x, y, width, height] in pixels, judged from all `usable` ones together.

    Read as corners: every third number is beyond the first and every fourth beyond the second, nearly all fit into the
    picture as corners, and at least half do not as sizes. No true data set of width and height looks so.
    """
    boxes, widths, heights = table.boxes_xywh[usable], widths[usable], heights[usable]
    path, name = str(table.split.annotations_path), table.split.name
    if len(boxes) < 3:
        return []
    rows = np.flatnonzero(usable)
    places = tuple(annotation_place(table, int(row)) | {"value": box_text(table, int(row))} for row in rows[:20])
    if (boxes >= 0).all() and (boxes <= 1).all() and min(widths.min(), heights.min()) > 16:
        message = f"All {counted(len(boxes), 'box')} lie between 0 and 1: fractions of the picture, not pixels."
        advice = "Multiply x and width by the picture's width, y and height by its height."
        return [Finding("box.normalised", "error", message, path, name, len(boxes), places, advice)]
    a, b, c, d = boxes.T
    tolerance = OUTSIDE_TOLERANCE
    ordered = (c > a) & (d > b)
    fits_as_corners = (c <= widths + tolerance) & (d <= heights + tolerance)
    out_as_sizes = (a + c > widths + tolerance) | (b + d > heights + tolerance)
    if ordered.all() and fits_as_corners.mean() >= 0.99 and out_as_sizes.mean() >= 0.5:
        message = (
            "The boxes look like [left, top, right, bottom]: read as [x, y, width, height], "
            f"{out_as_sizes.mean():.0%} stick out of their picture."
        )
        advice = "COCO boxes are [x, y, width, height]. Subtract the first two numbers from the last two."
        return [Finding("box.corners", "error", message, path, name, len(boxes), places, advice)]
    return []
