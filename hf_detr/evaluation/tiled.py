"""The COCO numbers of large pictures whose tiles are detected one by one: scored on the pictures, not on the tiles."""

from typing import TYPE_CHECKING, Any

import numpy as np

from hf_detr.evaluation.coco import CocoEvaluator, to_numpy
from hf_detr.tiles import merge_detections

if TYPE_CHECKING:
    from hf_detr.data.dataset import DetectionDataset
    from hf_detr.data.tiles import Tiles


class TiledEvaluator:
    """A `CocoEvaluator` that is handed tiles: when all tiles of a picture are there, they are put together.

    Tiles may come in any order, and more than once; in the order of the pictures, detections of few pictures are kept.
    A picture with a tile that cannot be read counts as unreadable.

    Args:
        evaluator: of the pictures.
        tiles: of the same pictures.
    """

    def __init__(self, evaluator: CocoEvaluator, tiles: "Tiles"):
        self._evaluator = evaluator
        self._tiles = tiles
        self._tiles_of_picture = np.bincount(tiles.picture_of, minlength=len(tiles.pictures))
        self._first_tile = np.cumsum(self._tiles_of_picture) - self._tiles_of_picture
        self._pending: dict[int, dict[int, np.ndarray | None]] = {}
        self._done: set[int] = set()

    @property
    def index(self) -> Any:
        """Annotations of the pictures."""
        return self._evaluator.index

    @property
    def max_detections(self) -> int:
        """Most detections per picture and class that count."""
        return self._evaluator.max_detections

    @property
    def unreadable(self) -> list[int]:
        """Positions of the pictures that could not be read and are left out."""
        return self._evaluator.unreadable

    def reset(self) -> None:
        """Forget all detections, for the next evaluation."""
        self._evaluator.reset()
        self._pending, self._done = {}, set()

    def update(self, tile_indices: Any, detections: Any) -> None:
        """Add a batch of tiles.

        Args:
            tile_indices: ``(B,)`` integers; ``-1 - i`` says that tile ``i`` cannot be read.
            detections: ``(B, Q, 6)`` score, class id, left, top, right, bottom in pixels of the tile; rows with a
                negative score are padding.
        """
        tile_indices = np.asarray(to_numpy(tile_indices), dtype=np.int64)
        detections = np.asarray(to_numpy(detections), dtype=np.float64)
        for index, rows in zip(tile_indices.tolist(), detections, strict=True):
            tile = index if index >= 0 else -1 - index
            picture = int(self._tiles.picture_of[tile])
            if picture in self._done:
                continue
            found = self._pending.setdefault(picture, {})
            found.setdefault(tile, None if index < 0 else self._in_picture(tile, rows[~(rows[:, 0] < 0)]))
            if len(found) == self._tiles_of_picture[picture]:
                self._score(picture, self._pending.pop(picture))

    def _in_picture(self, tile: int, rows: np.ndarray) -> np.ndarray:
        return np.concatenate([rows[:, :2], rows[:, 2:] + np.tile(self._tiles.windows_xyxy[tile, :2], 2)], axis=1)

    def _score(self, picture: int, found: dict[int, np.ndarray | None]) -> None:
        self._done.add(picture)
        parts = [found[tile] for tile in sorted(found)]
        if any(rows is None for rows in parts):
            self._evaluator.update(np.array([-1 - picture]), np.empty((1, 0, 6)))
            return
        first = int(self._first_tile[picture])
        windows = self._tiles.windows_xyxy[first : first + len(parts)]
        rows, tile_of = np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        height, width = (int(side) for side in self._tiles.sizes_hw[picture])
        merged = merge_detections(rows, tile_of, windows, (height, width))
        self._evaluator.update(np.array([picture]), merged[None])

    def compute(self) -> dict[str, Any]:
        """See `CocoEvaluator.compute`."""
        return self._evaluator.compute()


def evaluator_for(
    dataset: "DetectionDataset", *, max_detections: int | None = None, backend: str = "hotcoco"
) -> CocoEvaluator | TiledEvaluator:
    """What scores the samples of a data set: its pictures, or, given tiles, the pictures that they are tiles of."""
    index = dataset.index if dataset.tiles is None else dataset.tiles.pictures
    evaluator = CocoEvaluator(index, max_detections=max_detections, backend=backend)
    return evaluator if dataset.tiles is None else TiledEvaluator(evaluator, dataset.tiles)
