"""Training on tiles of large pictures: an index whose pictures are tiles, and the data set that cuts them."""

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hf_detr.boxes import area_xyxy, clip_xyxy, intersection_xyxy, xywh_to_xyxy, xyxy_to_xywh
from hf_detr.data.dataset import DetectionDataset, Sample
from hf_detr.data.images import UnreadableImageError, orient_size_hw, read_header
from hf_detr.data.index import DetectionIndex, PackedStrings
from hf_detr.errors import DatasetError
from hf_detr.tiles import SizeHW, Tiling, cut_window

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tiles:
    """The tiles of a split.

    Attributes:
        pictures: the split.
        index: its tiles as if they were pictures: T of them, named after their picture, boxes cut at their borders.
        picture_of: ``(T,)`` int64 the picture of each tile; in order.
        windows_xyxy: ``(T, 4)`` int64 where in the picture it is, in pixels.
        sizes_hw: ``(N, 2)`` int64 height and width of each picture.
    """

    pictures: DetectionIndex
    index: DetectionIndex
    picture_of: np.ndarray
    windows_xyxy: np.ndarray
    sizes_hw: np.ndarray


def tile_index(index: DetectionIndex, tiling: Tiling, *, min_visible: float = 0.3) -> Tiles:
    """Cut the annotations of a split; no picture is opened where the annotations say how large it is.

    Args:
        index: the split.
        tiling: how pictures are cut.
        min_visible: an object belongs to a tile where at least this share of its area lies in it.

    Raises:
        DatasetError: such a share cannot be.
    """
    if not 0 <= min_visible <= 1:
        raise DatasetError(f"tile_min_visible is a share of an object's area, from 0 to 1; got {min_visible:g}")
    sizes_hw = np.array([_picture_size_hw(index, image) for image in range(len(index))]).reshape(-1, 2)
    windows = [tiling.windows((int(height), int(width))) for height, width in sizes_hw]
    picture_of = np.repeat(np.arange(len(index)), [len(tiles) for tiles in windows])
    rows: list[np.ndarray] = []
    boxes: list[np.ndarray] = [np.empty((0, 4))]
    shares: list[np.ndarray] = [np.empty(0)]
    for image, tiles in enumerate(windows):
        first = int(index.first[image])
        boxes_xyxy = xywh_to_xyxy(index.boxes_xywh[first : int(index.first[image + 1])])
        boxes_xyxy = clip_xyxy(boxes_xyxy, (int(sizes_hw[image, 0]), int(sizes_hw[image, 1])))
        areas = area_xyxy(boxes_xyxy)
        for window in tiles:
            inside = intersection_xyxy(boxes_xyxy, window)
            share = np.divide(inside, areas, out=np.zeros_like(areas), where=areas > 0)
            kept = np.flatnonzero((share > 0) & (share >= min_visible))
            rows.append(first + kept)
            shares.append(share[kept])
            corner = np.tile(window[:2], 2)
            boxes.append(clip_xyxy(boxes_xyxy[kept] - corner, tiling.size_hw))
    all_rows = np.concatenate([np.empty(0, np.int64), *rows])
    _log_objects_in_no_tile(index, all_rows)
    cut = replace(
        index,
        file_names=PackedStrings(index.file_names[image] for image in picture_of.tolist()),
        image_ids=np.arange(len(picture_of)),
        sizes_hw=np.tile(np.array(tiling.size_hw, dtype=np.int32), (len(picture_of), 1)),
        first=np.concatenate([[0], np.cumsum([len(tile) for tile in rows], dtype=np.int64)]),
        boxes_xywh=xyxy_to_xywh(np.concatenate(boxes)),
        class_ids=index.class_ids[all_rows],
        areas=index.areas[all_rows] * np.concatenate(shares),
        is_crowd=index.is_crowd[all_rows],
        pictures=None,
    )
    return Tiles(index, cut, picture_of, np.concatenate([np.empty((0, 4), np.int64), *windows]), sizes_hw)


def _picture_size_hw(index: DetectionIndex, image: int) -> SizeHW:
    """Height and width in the frame of the annotations; one pixel for what cannot be read."""
    height, width = (int(side) for side in index.sizes_hw[image])
    if height and width:
        return height, width
    try:
        stored_size_hw, orientation = read_header(index.picture(image))
    except UnreadableImageError:
        return 1, 1  # its one tile is reported as unreadable when it is asked for
    return orient_size_hw(stored_size_hw, orientation)


def _log_objects_in_no_tile(index: DetectionIndex, rows: np.ndarray) -> None:
    usable = ~index.is_crowd & (area_xyxy(xywh_to_xyxy(index.boxes_xywh)) > 0)
    lost = int((usable & ~np.isin(np.arange(len(usable)), rows)).sum())
    if lost:
        logger.warning(
            "%s: %d of %d objects are so large that no tile shows enough of them, and are left out. Take larger "
            "tiles, or a smaller tile_min_visible.",
            index.name,
            lost,
            usable.sum(),
        )


class TiledDataset(DetectionDataset):
    """The tiles of a split as samples; all that `DetectionDataset` says of pictures holds for them.

    A picture is decoded for every tile, once for tiles that are asked for one after the other. Tiles lie in the frame
    that boxes were drawn in: pictures whose boxes were drawn on them as stored are not turned upright.

    Args:
        tiles: see `tile_index`.
        options: those of `DetectionDataset`.
    """

    def __init__(self, tiles: Tiles, **options: Any):
        super().__init__(tiles.index, **options)
        self.tiles = tiles
        self.pictures = DetectionDataset(tiles.pictures, on_unreadable=self.on_unreadable)
        self._last: Sample | None = None

    def load(self, tile: int) -> Sample:
        """The sample of a tile without the transform.

        Raises:
            UnreadableImageError: its picture cannot be read.
        """
        self.readers.at(tile)
        image = int(self.tiles.picture_of[tile])
        if self._last is None or self._last["image_index"] != image:
            self._last = self.pictures.load(image)
        window = self.tiles.windows_xyxy[tile]
        boxes_xyxy, class_ids = self.index.objects(tile)
        return self._last | {
            "image": cut_window(self._last["image"], window),
            "boxes_xyxy": boxes_xyxy.astype(np.float32),
            "class_ids": class_ids.astype(np.int64),
            "image_index": tile,
            "image_id": self.index.image_id(tile),
            "orig_size_hw": (int(window[3] - window[1]), int(window[2] - window[0])),
            "epoch": self.epoch,
        }
