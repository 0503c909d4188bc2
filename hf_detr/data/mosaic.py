"""Four pictures become one: the mosaic of DEIM's Dense O2O (https://huggingface.co/papers/2412.04234).

The tiles are the picture in hand and three others of the split, drawn anew each time. There is no cache of recent
tiles as DEIMv2 has it: what lies in such a cache depends on what a worker did before, and a sample would no longer
follow from seed, epoch and position alone. It costs three more pictures read for each mosaic.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from hf_detr.data.dataset import Sample
from hf_detr.data.geometry import random_affine, warp_boxes_xyxy, warp_image
from hf_detr.data.images import resize_image

# A wider tile would make a canvas of mostly nothing, and one pixel by a thousand an enormous one.
MAX_TILE_ASPECT = 4


@dataclass(frozen=True)
class Mosaic:
    """Put four pictures together, two by two, then turn, shift and scale the whole.

    Tiles are resized, with antialiasing, to the size they have in the end; what is left for the warp is the turn.
    Boxes of all four stay, those outside of the canvas with an empty area: `DropThinBoxes` comes after this. Tiles
    that cannot be read are replaced and named like any other picture, see `DetectionDataset`.

    Attributes:
        side: shorter side of each tile in pixels, before it is scaled; the papers take half of the input size.
        degrees: largest turn in either direction.
        translate: largest shift, as a share of the canvas.
        scale: smallest and largest factor.
        largest_hw: a side of the canvas that is longer than this is squeezed to it; None for never.
    """

    side: int
    degrees: float = 10.0
    translate: float = 0.1
    scale: tuple[float, float] = (0.5, 1.5)
    largest_hw: tuple[int, int] | None = None

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        tiles = [sample, *(sample["load_other"](rng) for _ in range(3))]
        tile_sizes_hw = np.array([tile_size_hw(tile["image"].shape[:2], self.side) for tile in tiles])
        canvas_hw = 2 * tile_sizes_hw.max(axis=0)
        matrix = random_affine(canvas_hw, rng, degrees=self.degrees, translate=self.translate, scale=self.scale)
        shown_hw = canvas_hw if self.largest_hw is None else np.minimum(canvas_hw, self.largest_hw)
        squeeze_hw = shown_hw / canvas_hw
        final_sizes_hw = tile_sizes_hw * squeeze_hw * np.sqrt(np.linalg.det(matrix[:, :2]))
        final_sizes_hw = np.maximum(final_sizes_hw.round().astype(int), 1)
        image, boxes_xyxy = tile_pictures(
            [
                scale_tile(tile["image"], tile["boxes_xyxy"], (height, width))
                for tile, (height, width) in zip(tiles, final_sizes_hw.tolist(), strict=True)
            ]
        )
        # From the canvas of final tiles to that of the papers, turned there, and squeezed.
        enlarge_hw = canvas_hw / image.shape[:2]
        matrix = np.diag(squeeze_hw[::-1]) @ matrix @ np.diag([*enlarge_hw[::-1], 1])
        size_hw = (int(shown_hw[0]), int(shown_hw[1]))
        return sample | {
            "image": warp_image(image, matrix, size_hw),
            "boxes_xyxy": warp_boxes_xyxy(boxes_xyxy, matrix, size_hw).astype(np.float32),
            "class_ids": np.concatenate([tile["class_ids"] for tile in tiles]),
            "unreadable": tuple(chain.from_iterable(tile["unreadable"] for tile in tiles)),
        }


def tile_size_hw(size_hw: tuple[int, int], side: int) -> tuple[int, int]:
    """Height and width of a tile whose shorter side has ``side`` pixels, the longer one at most four times as many.

    >>> tile_size_hw((480, 640), 320), tile_size_hw((1000, 10), 320)
    ((320, 426), (1280, 320))
    """
    shorter = min(size_hw)
    height, width = (min(int(side * length / shorter), MAX_TILE_ASPECT * side) for length in size_hw)
    return height, width


def scale_tile(image: np.ndarray, boxes_xyxy: np.ndarray, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A picture ``uint8 (H, W, 3)`` and its boxes ``(n, 4)`` in pixels, at another size."""
    factors_xy = size_hw[1] / image.shape[1], size_hw[0] / image.shape[0]
    return resize_image(image, size_hw), boxes_xyxy * (*factors_xy, *factors_xy)


def tile_pictures(tiles: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Four pictures and their boxes on one black canvas of two by two cells, each as large as the largest of them.

    Every picture lies in the upper left corner of its cell, as in the papers' code.
    """
    heights, widths = zip(*(image.shape[:2] for image, _ in tiles), strict=True)
    cell_height, cell_width = max(heights), max(widths)
    canvas = np.zeros((2 * cell_height, 2 * cell_width, 3), dtype=np.uint8)
    moved = []
    for k, (image, boxes_xyxy) in enumerate(tiles):
        top, left = k // 2 * cell_height, k % 2 * cell_width
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
        moved.append(boxes_xyxy + np.array([left, top, left, top]))
    return canvas, np.concatenate(moved)
