"""Large pictures as overlapping tiles of one size, and what was found in the tiles as detections of the picture.

Detections of two tiles are the same object if they agree where both tiles look: clipped to the part that the tiles
share, same class, high IoU. So an object that is cut by the border of one tile meets its whole in the next, which
plain non-maximum suppression would take for two; and two objects that overlap in one tile stay two, which it would
take for one (a DETR needs no suppression within a tile, and none is done).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hf_detr.boxes import area_xyxy, clip_xyxy, intersection_xyxy
from hf_detr.errors import HfDetrError

SizeHW = tuple[int, int]

SAME_OBJECT_IOU = 0.5  # within the part that two tiles share
SAME_CUT_OBJECT_SHARE = 0.75  # the smaller one within the larger, where the border of a tile cuts one of the two
_AT_BORDER = 0.01  # of a tile's side: a box that ends nearer to the border than this may go on behind it


@dataclass(frozen=True)
class Tiling:
    """How pictures are cut into tiles.

    Attributes:
        size_hw: height and width of a tile in pixels of the picture.
        overlap: share of a tile's side that its neighbour repeats, at least.
    """

    size_hw: SizeHW
    overlap: float = 0.2

    def __post_init__(self) -> None:
        if min(self.size_hw) < 1:
            raise HfDetrError(f"tile_size must be 1 pixel or more, got {self.size_hw[0]} x {self.size_hw[1]}.")
        if not 0 <= self.overlap <= 0.9:
            raise HfDetrError(f"tile_overlap is a share of a tile, from 0 to 0.9; got {self.overlap:g}.")

    @classmethod
    def of(cls, size: int | Sequence[int] | None, overlap: float = 0.2) -> "Tiling | None":
        """From one number, or height and width; None where there are to be no tiles."""
        if size is None:
            return None
        sides = [size] if isinstance(size, int) else list(size)
        if len(sides) not in (1, 2):
            raise HfDetrError(f"tile_size takes one number, or height and width; got {' '.join(map(str, sides))}")
        return cls((sides[0], sides[-1]), overlap)

    def windows(self, size_hw: SizeHW) -> np.ndarray:
        """The tiles ``(T, 4)`` int64 xyxy that cover a picture of ``size_hw`` pixels, row by row.

        They are spread evenly, the outermost flush with the border. All have the tile's size: in a picture that is
        smaller than a tile they stick out to the right and below, see `cut_window`.
        """
        tops, lefts = (_starts(length, side, self.overlap) for length, side in zip(size_hw, self.size_hw, strict=True))
        top, left = (grid.ravel() for grid in np.meshgrid(tops, lefts, indexing="ij"))
        height, width = self.size_hw
        return np.stack([left, top, left + width, top + height], axis=-1)


def _starts(length: int, side: int, overlap: float) -> np.ndarray:
    if length <= side:
        return np.zeros(1, dtype=np.int64)
    step = max(1, math.floor(side * (1 - overlap)))
    count = math.ceil((length - side) / step) + 1
    return np.linspace(0, length - side, count).round().astype(np.int64)


def cut_window(image: np.ndarray, window_xyxy: np.ndarray) -> np.ndarray:
    """The part ``(h, w, 3)`` of a picture ``(H, W, 3)`` in a window; black where the window sticks out."""
    left, top, right, bottom = (int(value) for value in window_xyxy)
    part = image[top:bottom, left:right]
    if part.shape[:2] == (bottom - top, right - left):
        return np.ascontiguousarray(part)
    filled = np.zeros((bottom - top, right - left, image.shape[2]), dtype=image.dtype)
    filled[: part.shape[0], : part.shape[1]] = part
    return filled


def merge_detections(rows: np.ndarray, tile_of: np.ndarray, windows_xyxy: np.ndarray, size_hw: SizeHW) -> np.ndarray:
    """Detections of all tiles of a picture as detections of the picture, best first.

    The best one of an object keeps its score; sides that the border of a tile cuts come from a tile that sees them. An
    object that is larger than the tiles is put together from its parts.

    Args:
        rows: ``(n, 6)`` score, class id, left, top, right, bottom in pixels of the picture.
        tile_of: ``(n,)`` the tile that each was found in.
        windows_xyxy: ``(T, 4)`` the tiles.
        size_hw: height and width of the picture.

    Returns:
        ``(m, 6)``, none outside of the picture.
    """
    rows = np.concatenate([rows[:, :2], clip_xyxy(rows[:, 2:], size_hw)], axis=1)
    inside = (area_xyxy(rows[:, 2:]) > 0) | np.isnan(rows).any(axis=1)  # broken numbers are for others to report
    rows, tile_of = rows[inside], tile_of[inside]
    order = np.argsort(-rows[:, 0], kind="stable")
    rows, tile_of = rows[order], tile_of[order]
    is_cut = cut_sides(rows[:, 2:], windows_xyxy[tile_of], size_hw)
    group_of = _group(tile_of, _pairs(rows, tile_of, windows_xyxy, is_cut))
    firsts, group = np.unique(group_of, return_inverse=True)
    merged = rows[firsts]
    for shared in np.flatnonzero(np.bincount(group) > 1):
        members = np.flatnonzero(group == shared)
        merged[shared, 2:] = _joined_box(rows[members, 2:], is_cut[members])
    return merged


def cut_sides(boxes_xyxy: np.ndarray, windows_xyxy: np.ndarray, size_hw: SizeHW) -> np.ndarray:
    """Which sides ``(n, 4)`` of boxes end at the border of their tile ``(n, 4)``, behind which the picture goes on."""
    height, width = size_hw
    sides = windows_xyxy[:, 2:] - windows_xyxy[:, :2]
    near = np.abs(boxes_xyxy - windows_xyxy) <= np.maximum(np.tile(sides, 2) * _AT_BORDER, 1)
    goes_on = np.concatenate([windows_xyxy[:, :2] > 0, windows_xyxy[:, 2:] < (width, height)], axis=1)
    return near & goes_on


def _pairs(
    rows: np.ndarray, tile_of: np.ndarray, windows_xyxy: np.ndarray, is_cut: np.ndarray
) -> Iterator[tuple[int, int]]:
    """Pairs of detections, the better one first, that are the same object; by the worse one, most alike first."""
    better, worse, alike = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0)]
    members = [np.flatnonzero(tile_of == tile) for tile in range(len(windows_xyxy))]
    for a, b, shared_xyxy in _shared_windows(windows_xyxy):
        first, second = (tile[intersection_xyxy(rows[tile, 2:], shared_xyxy) > 0] for tile in (members[a], members[b]))
        if not len(first) or not len(second):
            continue
        boxes_a, boxes_b = (_clipped(rows[tile, 2:], shared_xyxy) for tile in (first, second))
        shared = intersection_xyxy(boxes_a[:, None], boxes_b[None])
        areas_a, areas_b = area_xyxy(boxes_a)[:, None], area_xyxy(boxes_b)[None]
        iou = shared / (areas_a + areas_b - shared)
        one_is_cut = is_cut[first].any(-1)[:, None] | is_cut[second].any(-1)[None]
        part_of = shared >= SAME_CUT_OBJECT_SHARE * np.minimum(areas_a, areas_b)
        same = (iou >= SAME_OBJECT_IOU) | (one_is_cut & part_of)
        i, j = np.nonzero(same & (rows[first, 1][:, None] == rows[second, 1][None]))
        better.append(np.minimum(first[i], second[j]))
        worse.append(np.maximum(first[i], second[j]))
        alike.append(iou[i, j])
    order = np.lexsort((-np.concatenate(alike), np.concatenate(worse)))
    return zip(np.concatenate(better)[order].tolist(), np.concatenate(worse)[order].tolist(), strict=True)


def _shared_windows(windows_xyxy: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Two tiles at a time that share a part of the picture, and that part."""
    low = np.maximum(windows_xyxy[:, None, :2], windows_xyxy[None, :, :2])
    high = np.minimum(windows_xyxy[:, None, 2:], windows_xyxy[None, :, 2:])
    for a, b in zip(*np.nonzero(np.triu((high > low).all(-1), k=1)), strict=True):
        yield int(a), int(b), np.concatenate([low[a, b], high[a, b]])


def _clipped(boxes_xyxy: np.ndarray, window_xyxy: np.ndarray) -> np.ndarray:
    low, high = np.tile(window_xyxy[:2], 2), np.tile(window_xyxy[2:], 2)
    return boxes_xyxy.clip(low, high)


def _group(tile_of: np.ndarray, pairs: Iterator[tuple[int, int]]) -> np.ndarray:
    """The best detection ``(n,)`` of the object that each belongs to; an object has one detection per tile at most."""
    parent = list(range(len(tile_of)))
    tiles = [{int(tile)} for tile in tile_of]

    def root(detection: int) -> int:
        while parent[detection] != detection:
            parent[detection] = parent[parent[detection]]
            detection = parent[detection]
        return detection

    for better, worse in pairs:
        a, b = sorted((root(better), root(worse)))
        if a != b and tiles[a].isdisjoint(tiles[b]):
            parent[b] = a
            tiles[a] |= tiles[b]
    return np.array([root(detection) for detection in range(len(tile_of))], dtype=np.int64)


def _joined_box(boxes_xyxy: np.ndarray, is_cut: np.ndarray) -> np.ndarray:
    """Each side from the best detection that sees it, or as far out as any goes where none does."""
    outermost = np.concatenate([boxes_xyxy[:, :2].min(0), boxes_xyxy[:, 2:].max(0)])
    seen = ~is_cut
    return np.where(seen.any(0), boxes_xyxy[seen.argmax(0), np.arange(4)], outermost)
