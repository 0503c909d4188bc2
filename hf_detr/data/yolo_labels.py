"""The label files of YOLO: one object a line, its class and a box or an outline in fractions of the picture."""

import math
from typing import NamedTuple

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class YoloObject(NamedTuple):
    """One line of a label file.

    Attributes:
        class_id: as the file has it, 0 or more.
        box_cxcywh_norm: centre, width and height in fractions of the upright picture.
        line: counted from 1.
    """

    class_id: int
    box_cxcywh_norm: tuple[float, float, float, float]
    line: int


class BadLine(NamedTuple):
    """A line that is no object.

    Attributes:
        line: counted from 1.
        text: the line as it is.
        reason: what is wrong with it.
    """

    line: int
    text: str
    reason: str


def parse_labels(content: bytes, *, has_keypoints: bool = False) -> tuple[list[YoloObject], list[BadLine]]:
    """The objects of a label file, and the lines that are none.

    A line is a class and either four numbers, ``cx cy w h``, or the corners ``x y x y x y ...`` of an outline, which
    becomes the box around it. Both kinds may be in one file. Empty lines are skipped.

    >>> parse_labels(b"2 0.5 0.5 0.25 0.5")[0]
    [YoloObject(class_id=2, box_cxcywh_norm=(0.5, 0.5, 0.25, 0.5), line=1)]

    Args:
        content: of the file.
        has_keypoints: the numbers after the box are keypoints, and no outline.
    """
    objects: list[YoloObject] = []
    bad: list[BadLine] = []
    for number, line in enumerate(content.removeprefix(_BYTE_ORDER_MARK).splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        try:
            class_id, *values = map(float, fields)
        except ValueError:
            reason = "not numbers"
        else:
            reason = _trouble(class_id, values, has_keypoints)
        if reason:
            bad.append(BadLine(number, line.decode("utf-8", errors="replace").strip(), reason))
        else:
            is_outline = len(values) > 4 and not has_keypoints
            box = _box_around(values) if is_outline else tuple(values[:4])
            objects.append(YoloObject(int(class_id), box, number))
    return objects, bad


def numbers_of_lines(content: bytes) -> dict[int, list[float]]:
    """The numbers after the class of every line that holds numbers, by its number counted from 1."""
    found = {}
    for number, line in enumerate(content.removeprefix(_BYTE_ORDER_MARK).splitlines(), 1):
        try:
            found[number] = list(map(float, line.split()[1:]))
        except ValueError:  # a line that is no object
            continue
    return found


def _trouble(class_id: float, values: list[float], has_keypoints: bool) -> str:
    """What is wrong with the numbers of a line, nothing if nothing is."""
    count = len(values)
    if not all(map(math.isfinite, (class_id, *values))):
        return "NaN or infinity"
    if not (0 <= class_id < 2**31 and class_id % 1 == 0):  # some tools write 3.0
        return f"the class is {class_id:g}, and classes are numbered 0, 1, 2, ..."
    if count == 4 or (has_keypoints and count > 4):
        return ""
    if count == 5:
        return "a class, a box and one number more; is it a confidence, are these predictions?"
    if count < 6 or count % 2:
        return f"{count} numbers after the class, neither a box (4) nor an outline (6, 8, 10, ...)"
    return ""


def _box_around(corners: list[float]) -> tuple[float, float, float, float]:
    """Centre, width and height of the box around corners ``x y x y ...``."""
    left, right, top, bottom = min(corners[::2]), max(corners[::2]), min(corners[1::2]), max(corners[1::2])
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
