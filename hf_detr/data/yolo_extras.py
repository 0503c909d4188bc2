"""What the labels of a YOLO split have beyond boxes: outlines, read again when they are asked for."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hf_detr.data.table import Extras
from hf_detr.data.yolo_labels import numbers_of_lines


def yolo_extras(
    label_paths: Sequence[Path], image_of: np.ndarray, lines: np.ndarray, sizes_hw: np.ndarray, *, has_keypoints: bool
) -> Extras:
    """Outlines as COCO's ``segmentation``, in pixels.

    Args:
        label_paths: N files.
        image_of: ``(M,)`` picture of each object.
        lines: ``(M,)`` its line in the file, counted from 1.
        sizes_hw: ``(N, 2)`` height and width of the upright pictures.
        has_keypoints: the numbers after the box are keypoints, and no outline.
    """
    if has_keypoints:
        return Extras(notes=("The keypoints are left out.",))

    @lru_cache(maxsize=1)  # objects are asked for picture by picture
    def numbers_of(image: int) -> dict[int, list[float]]:
        return numbers_of_lines(label_paths[image].read_bytes())

    def annotation(row: int) -> dict[str, Any]:
        image = int(image_of[row])
        numbers = numbers_of(image)[int(lines[row])]
        if len(numbers) == 4:
            return {}
        corners_xy = np.array(numbers).reshape(-1, 2) * sizes_hw[image, ::-1]
        return {"segmentation": [corners_xy.ravel().tolist()]}

    return Extras(annotation=annotation)
