"""The XML files of Pascal VOC: one for each picture, with its size and its objects."""

import math
from typing import Any, NamedTuple
from xml.etree import ElementTree


class VocObject(NamedTuple):
    """One ``<object>``.

    Attributes:
        name: of its class.
        box_xyxy: pixels, edges counted from 0.
        is_difficult: VOC's evaluation counts such an object neither as found nor as missed.
        number: of the object in its file, counted from 1.
    """

    name: str
    box_xyxy: tuple[float, float, float, float]
    is_difficult: bool
    number: int


class BadObject(NamedTuple):
    """An ``<object>`` that cannot be used: its number, counted from 1, and why."""

    number: int
    reason: str


# What of a file and of an object `parse_annotation` reads; the rest is `extras_of`.
_READ_OF_FILES = frozenset({"folder", "path", "filename", "size", "object"})
_READ_OF_OBJECTS = frozenset({"name", "bndbox", "difficult"})


class VocAnnotation(NamedTuple):
    """One file.

    Attributes:
        file_name: what it calls its picture, empty if it does not.
        size_hw: height and width in pixels; 0, 0 where it does not say.
        objects: that can be used.
        bad_objects: that cannot.
    """

    file_name: str
    size_hw: tuple[int, int]
    objects: list[VocObject]
    bad_objects: list[BadObject]


def parse_annotation(content: bytes) -> VocAnnotation:
    """Read a file. VOC's coordinates are pixels counted from 1, the last one included.

    So a box around a whole picture of 500 x 375 is 1, 1, 500, 375, and its edges are 0, 0, 500, 375: one is taken from
    `xmin` and `ymin`, as Detectron and supervision do.

    Raises:
        ValueError: it is not XML, or XML of another kind; the message says where.
    """
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:  # also what bytes in another encoding than declared give
        raise ValueError(f"not XML: {error}") from error
    except (LookupError, ValueError) as error:
        raise ValueError(f"not XML in an encoding that can be read: {error}") from error
    if root.tag != "annotation":
        raise ValueError(f"XML, but <{root.tag}> in place of <annotation>")
    objects: list[VocObject] = []
    bad: list[BadObject] = []
    for number, element in enumerate(root.iterfind("object"), 1):
        name = (element.findtext("name") or "").strip()
        try:
            if not name:
                raise ValueError("it has no <name>")
            left, top, right, bottom = _corners(element)
        except ValueError as error:
            bad.append(BadObject(number, str(error)))
        else:
            difficult = (element.findtext("difficult") or "0").strip() not in ("0", "")
            objects.append(VocObject(name, (left - 1, top - 1, right, bottom), difficult, number))
    return VocAnnotation((root.findtext("filename") or "").strip(), _size_hw(root), objects, bad)


def extras_of(content: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a file that can be read says beyond `parse_annotation`: of the picture, and of each ``<object>``.

    Values are numbers where they are written as whole numbers, else text. Tags within tags make a dict, and a tag that
    comes several times makes a list.
    """
    root = ElementTree.fromstring(content)
    return _values(root, _READ_OF_FILES), [_values(one, _READ_OF_OBJECTS) for one in root.iterfind("object")]


def _values(element: ElementTree.Element, but: frozenset[str] = frozenset()) -> dict[str, Any]:
    found: dict[str, list[Any]] = {}
    for child in element:
        if child.tag not in but:
            found.setdefault(child.tag, []).append(_value(child))
    return {tag: values[0] if len(values) == 1 else values for tag, values in found.items()}


def _value(element: ElementTree.Element) -> Any:
    if len(element):
        return _values(element)
    text = (element.text or "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 and str(int(text)) == text else text


def _corners(element: ElementTree.Element) -> list[float]:
    box = element.find("bndbox")
    if box is None:
        raise ValueError("it has no <bndbox>")
    corners = []
    for side in ("xmin", "ymin", "xmax", "ymax"):
        text = (box.findtext(side) or "").strip()
        try:
            corners.append(float(text))
        except ValueError:
            raise ValueError(f"its <{side}> is {text!r:.40}" if text else f"its <bndbox> has no <{side}>") from None
    if not all(map(math.isfinite, corners)):
        raise ValueError("its <bndbox> has NaN or infinity")
    return corners


def _size_hw(root: ElementTree.Element) -> tuple[int, int]:
    texts = [(root.findtext(f"size/{side}") or "").strip() for side in ("height", "width")]
    height, width = (int(text) if text.isdecimal() and len(text) < 10 else 0 for text in texts)
    return (height, width) if height and width else (0, 0)
