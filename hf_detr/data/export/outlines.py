"""Outlines, masks and keypoints of COCO annotations, turned and scaled with their pictures."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from hf_detr.data.images import orient_boxes_xyxy, orient_image, orient_size_hw

POLYGONS, MASK, UNKNOWN = "polygons", "mask", "unknown"
_NUMBERS = frozenset({int, float})


class Movement(NamedTuple):
    """What a picture went through since it was annotated.

    Attributes:
        drawn_hw: height and width in pixels of what annotations were drawn on.
        orientation: the EXIF orientation it was turned by.
        size_hw: what it has now.
    """

    drawn_hw: tuple[int, int]
    orientation: int
    size_hw: tuple[int, int]

    def points(self, points_xy: np.ndarray) -> np.ndarray:
        """Points ``(n, 2)`` in pixels where they are now."""
        turned = orient_boxes_xyxy(np.tile(points_xy, 2), self.orientation, self.drawn_hw)[:, :2]
        height, width = orient_size_hw(self.drawn_hw, self.orientation)
        return turned * (self.size_hw[1] / width, self.size_hw[0] / height)

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """A mask ``(h, w)`` of 0 and 1 at the new size: each pixel that of the nearest old one."""
        turned = Image.fromarray(orient_image(mask, self.orientation))
        return np.asarray(turned.resize(self.size_hw[::-1], Image.Resampling.NEAREST))


def outline_kind(value: Any) -> str:
    """What a ``segmentation`` is: polygons, a mask, something else, or ``""`` for none.

    >>> [outline_kind(value) for value in ([[1, 2, 3, 4, 5, 6]], {"size": [2, 3], "counts": [6]}, [], 7)]
    ['polygons', 'mask', '', 'unknown']
    """
    if value is None or value == [] or value == {}:
        return ""
    if isinstance(value, dict) and isinstance(value.get("counts"), str | list) and _is_size(value.get("size")):
        return MASK
    if isinstance(value, list) and all(map(_is_polygon, value)):
        return POLYGONS
    return UNKNOWN


def _is_polygon(value: Any) -> bool:
    return isinstance(value, list) and len(value) % 2 == 0 < len(value) and _NUMBERS.issuperset(map(type, value))


def _is_size(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and {int}.issuperset(map(type, value))


def immovable_keys(record: Mapping[str, Any], drawn_hw: tuple[int, int]) -> list[str]:
    """Those of ``segmentation`` and ``keypoints`` that nobody can say the place of in a picture of this size."""
    segmentation, keypoints = record.get("segmentation"), record.get("keypoints")
    kind = outline_kind(segmentation)
    found = ["segmentation"] if kind == UNKNOWN or (kind == MASK and not _is_mask_of(segmentation, drawn_hw)) else []
    return found + (["keypoints"] if keypoints and not _are_keypoints(keypoints) else [])


def _are_keypoints(value: Any) -> bool:
    return isinstance(value, list) and len(value) % 3 == 0 and _NUMBERS.issuperset(map(type, value))


def _is_mask_of(segmentation: Mapping[str, Any], size_hw: tuple[int, int]) -> bool:
    """Whether a mask is of this size, and its runs fill it if they are a list."""
    counts = segmentation["counts"]
    if tuple(segmentation["size"]) != size_hw or isinstance(counts, str):
        return tuple(segmentation["size"]) == size_hw
    return {int}.issuperset(map(type, counts)) and min(counts, default=0) >= 0 and sum(counts) == np.prod(size_hw)


def moved(record: dict[str, Any], movement: Movement) -> dict[str, Any]:
    """A record with its ``segmentation`` and ``keypoints`` moved; without those that cannot be."""
    lost = immovable_keys(record, movement.drawn_hw)
    record = {key: value for key, value in record.items() if key not in lost}
    match outline_kind(segmentation := record.get("segmentation")):
        case "polygons":
            record["segmentation"] = [
                movement.points(np.array(polygon, np.float64).reshape(-1, 2)).ravel().tolist()
                for polygon in segmentation
            ]
        case "mask":
            record["segmentation"] = _moved_mask(segmentation, movement)
    if record.get("keypoints"):
        record["keypoints"] = _moved_keypoints(record["keypoints"], movement)
    return record


def _moved_keypoints(keypoints: list[float], movement: Movement) -> list[float]:
    """``x, y, v, x, y, v, ...``; those that are not labelled, with v = 0, stay where they are."""
    table = np.array(keypoints, np.float64).reshape(-1, 3)
    labelled = table[:, 2] > 0
    table[labelled, :2] = movement.points(table[labelled, :2])
    return table.ravel().tolist()


def _moved_mask(segmentation: Mapping[str, Any], movement: Movement) -> dict[str, Any]:
    """Run lengths of the new size, as text or as a list like the old ones."""
    size_hw, counts = tuple(segmentation["size"]), segmentation["counts"]
    mask = decode_runs(counts, size_hw) if isinstance(counts, list) else _decode_text(counts, size_hw)
    mask = movement.mask(mask)
    encoded = encode_runs(mask) if isinstance(counts, list) else _encode_text(mask)
    return dict(segmentation) | {"size": list(mask.shape), "counts": encoded}


def decode_runs(counts: list[int], size_hw: tuple[int, int]) -> np.ndarray:
    """The mask ``uint8 (h, w)`` of runs of 0 and 1 in turn, column by column."""
    pixels = np.repeat(np.arange(len(counts), dtype=np.int64) % 2, counts).astype(np.uint8)
    return np.ascontiguousarray(pixels.reshape(size_hw[::-1]).T)


def encode_runs(mask: np.ndarray) -> list[int]:
    """The runs of a mask ``(h, w)``, as `decode_runs` takes them.

    >>> encode_runs(np.array([[0, 1], [1, 1]], np.uint8)), encode_runs(np.ones((1, 2), np.uint8))
    ([1, 3], [0, 2])
    """
    pixels = mask.T.ravel()
    changes = np.flatnonzero(np.diff(pixels)) + 1
    ends = np.concatenate([changes, [len(pixels)]])
    starts = [0] if len(pixels) and pixels[0] else []
    return starts + np.diff(np.concatenate([[0], ends])).tolist()


def _decode_text(counts: str, size_hw: tuple[int, int]) -> np.ndarray:
    from pycocotools import mask as coco_mask

    return np.ascontiguousarray(coco_mask.decode({"size": list(size_hw), "counts": counts.encode()}))


def _encode_text(mask: np.ndarray) -> str:
    from pycocotools import mask as coco_mask

    return coco_mask.encode(np.asfortranarray(mask))["counts"].decode()
