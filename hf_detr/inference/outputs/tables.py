"""Results as files with a row per object: COCO JSON and CSV."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hf_detr.evaluation.results import CocoResultsWriter
from hf_detr.inference.outputs.seen import Seen

COCO_FILE = "detections.json"
CSV_FILE = "detections.csv"


class CocoOutput:
    """A list of COCO results, with file and class name, and of videos frame, time and track, added to each."""

    def __init__(self, folder: Path, id2label: Mapping[int, str]):
        self._writer = CocoResultsWriter(folder / COCO_FILE)

    def __enter__(self) -> "CocoOutput":
        self._writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.__exit__(*error)

    def write(self, seen: Seen) -> None:
        found = seen.found
        common = {"file_name": str(found.path)}
        if seen.video is not None:
            common |= {"frame": found.frame, "seconds": round(found.seconds, 6)}
        rows = zip(found.to_coco(seen.image_id), found.labels, found.tracks(), strict=True)
        self._writer.write(
            {**result, **common, "category_name": label, **({} if track is None else {"track_id": track})}
            for result, label, track in rows
        )


class CsvOutput:
    """A table with a row for each object; frame, seconds and track are empty where there are none."""

    COLUMNS = ("file", "frame", "seconds", "class", "score", "left", "top", "right", "bottom", "track_id")

    def __init__(self, folder: Path, id2label: Mapping[int, str]):
        self._path = folder / CSV_FILE

    def __enter__(self) -> "CsvOutput":
        self._file = self._path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(self.COLUMNS)
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()

    def write(self, seen: Seen) -> None:
        found = seen.found
        seconds = None if found.seconds is None else round(found.seconds, 6)
        rows = zip(found.labels, found.scores, found.boxes_xyxy, found.tracks(), strict=True)
        self._writer.writerows(
            # NumPy's numbers are written with as many digits as it takes to read them back.
            (found.path, found.frame, seconds, label, score, *np.asarray(box_xyxy), track)
            for label, score, box_xyxy, track in rows
        )
