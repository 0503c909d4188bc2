"""Detections as COCO results, the JSON that every evaluation tool reads."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from hf_detr.boxes import xyxy_to_xywh


def coco_results(
    rows: np.ndarray,
    image_id: int | str,
    category_ids: Sequence[int | str] | Mapping[int, int | str] | None = None,
) -> list[dict[str, Any]]:
    """``(n, 6)`` score, class id, left, top, right, bottom in pixels as COCO results, digit for digit.

    Rows with a negative score are padding and left out.
    """
    rows = rows[rows[:, 0] >= 0].astype(np.float64)
    return [
        {
            "image_id": image_id,
            "category_id": int(class_id) if category_ids is None else category_ids[int(class_id)],
            "bbox": bbox_xywh,
            "score": score,
        }
        for score, class_id, bbox_xywh in zip(
            rows[:, 0].tolist(), rows[:, 1].tolist(), xyxy_to_xywh(rows[:, 2:]).tolist(), strict=True
        )
    ]


class CocoResultsWriter:
    """Writes a COCO results file as the detections come, so that memory stays flat.

    The file appears under its name when the ``with`` block ends well; else nothing is left behind.
    """

    def __init__(self, path: Path):
        self.path = path
        self._staging = path.with_name(f".{path.name}.{os.getpid()}")

    def __enter__(self) -> "CocoResultsWriter":
        self._file = self._staging.open("wb")
        self._separator = b"[\n"
        return self

    def write(self, results: Iterable[dict[str, Any]]) -> None:
        """Add the results of a picture, one per line."""
        for result in results:
            self._file.write(self._separator + orjson.dumps(result))
            self._separator = b",\n"

    def __exit__(self, error_type: type | None, *_: Any) -> None:
        with self._file:
            self._file.write(b"[]\n" if self._separator == b"[\n" else b"\n]\n")
        if error_type is None:
            self._staging.replace(self.path)
        else:
            self._staging.unlink()
