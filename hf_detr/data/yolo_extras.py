"""What the labels of a YOLO split have beyond boxes, outlines or keypoints, read again when it is asked for."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hf_detr.data.table import Extras
from hf_detr.data.yolo_labels import numbers_of_lines


def yolo_extras(
    label_paths: Sequence[Path], image_of: np.ndarray, lines: np.ndarray, sizes_hw: np.ndarray, *, keypoint_dims: int
) -> Extras:
    """Outlines as COCO's ``segmentation``, or keypoints as its ``keypoints``, in pixels.

    COCO's keypoints are x, y and v: 0 for one that is not there, 1 for a hidden and 2 for a visible one. Without v all
    are visible but those at 0, 0, which YOLO has for none.

    Args:
        label_paths: N files.
        image_of: ``(M,)`` picture of each object.
        lines: ``(M,)`` its line in the file, counted from 1.
        sizes_hw: ``(N, 2)`` height and width of the upright pictures.
        keypoint_dims: the numbers after the box are keypoints, so many each, and no outline; 0 for outlines.
    """

    @lru_cache(maxsize=1)  # objects are asked for picture by picture
    def numbers_of(image: int) -> dict[int, list[float]]:
        return numbers_of_lines(label_paths[image].read_bytes())

    def annotation(row: int) -> dict[str, Any]:
        image = int(image_of[row])
        numbers = numbers_of(image)[int(lines[row])]
        if len(numbers) == 4:
            return {}
        if keypoint_dims:
            return _keypoints(numbers[4:], keypoint_dims, sizes_hw[image])
        corners_xy = np.array(numbers).reshape(-1, 2) * sizes_hw[image, ::-1]
        return {"segmentation": [corners_xy.ravel().tolist()]}

    return Extras(annotation=annotation)


def _keypoints(numbers: list[float], dims: int, size_hw: np.ndarray) -> dict[str, Any]:
    if len(numbers) % dims:
        return {}
    points = np.array(numbers).reshape(-1, dims)
    visible = points[:, 2] if dims == 3 else np.where(points.any(1), 2, 0)
    rows = zip((points[:, :2] * size_hw[::-1]).tolist(), visible.astype(int).tolist(), strict=True)
    return {
        "keypoints": [number for (x, y), v in rows for number in ((x, y, v) if v else (0, 0, 0))],
        "num_keypoints": int((visible > 0).sum()),
    }
