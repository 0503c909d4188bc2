"""Results as labels of a data set: YOLO and FiftyOne."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import yaml

from hf_detr.boxes import area_xyxy, clip_xyxy, normalise_boxes, xyxy_to_cxcywh
from hf_detr.inference.outputs.drawn import beside, save_jpeg
from hf_detr.inference.outputs.seen import Seen

YOLO_FOLDER = "yolo"
FIFTYONE_FOLDER = "fiftyone"


class YoloOutput:
    """A text file for each picture or frame, a line for each object: class, centre, width, height, confidence.

    Boxes are shares of the picture, cut at its border. A picture without objects has an empty file; ``data.yaml`` has
    the class names.
    """

    def __init__(self, folder: Path, id2label: Mapping[int, str]):
        self._folder, self._names = folder / YOLO_FOLDER, dict(id2label)

    def __enter__(self) -> "YoloOutput":
        self._folder.mkdir()
        content = yaml.safe_dump({"names": self._names}, allow_unicode=True, sort_keys=False)
        (self._folder / "data.yaml").write_text(content, encoding="utf-8")
        return self

    def __exit__(self, *_: Any) -> None: ...

    def write(self, seen: Seen) -> None:
        found = seen.found
        boxes_xyxy = clip_xyxy(found.boxes_xyxy.astype(np.float64), found.image_size_hw)
        inside = np.flatnonzero(area_xyxy(boxes_xyxy) > 0)
        boxes = normalise_boxes(xyxy_to_cxcywh(boxes_xyxy[inside]), found.image_size_hw)
        path = beside(self._folder / "labels" / seen.frame_name, ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = zip(found.class_ids[inside], boxes, found.scores[inside], strict=True)
        lines = (
            f"{class_id} {' '.join(f'{share:.6f}' for share in box)} {score:.6f}\n" for class_id, box, score in rows
        )
        path.write_text("".join(lines), encoding="utf-8")


class FiftyOneOutput:
    """A folder that FiftyOne imports as ``FiftyOneImageDetectionDataset`` with ``data_path="data.json"``.

    Pictures stay where they are; frames of videos, and pictures from the web, are saved in the folder.
    """

    def __init__(self, folder: Path, id2label: Mapping[int, str]):
        self._folder = folder / FIFTYONE_FOLDER
        self._classes = [id2label[class_id] for class_id in range(len(id2label))]

    def __enter__(self) -> "FiftyOneOutput":
        self._folder.mkdir()
        classes = orjson.dumps(self._classes)
        self._labels = _Entries(self._folder / "labels.json", b'{"classes": ' + classes + b', "labels": {', b"\n}}\n")
        self._files = _Entries(self._folder / "data.json", b"{", b"\n}\n")
        return self

    def __exit__(self, *_: Any) -> None:
        self._labels.close()
        self._files.close()

    def write(self, seen: Seen) -> None:
        found, name = seen.found, seen.frame_name.as_posix()
        self._files.add(name, self._picture(seen))
        rows = zip(
            found.labels,
            found.relative_boxes_xywh().tolist(),
            found.scores.tolist(),
            found.tracks(),
            strict=True,
        )
        self._labels.add(
            name,
            [
                {"label": label, "bounding_box": box, "confidence": score}
                | ({} if track is None else {"attributes": {"track_id": track}})
                for label, box, score, track in rows
            ],
        )

    def _picture(self, seen: Seen) -> str:
        """The file of the picture: its own, absolute, or one that is saved, relative to the folder."""
        if seen.video is None and isinstance(seen.found.path, Path):
            return os.path.abspath(seen.found.path)
        relative = Path("data") / seen.frame_name
        return save_jpeg(seen.image, self._folder / relative).relative_to(self._folder).as_posix()


class _Entries:
    """A JSON object that is written entry by entry."""

    def __init__(self, path: Path, before: bytes, after: bytes):
        self._file = path.open("wb")
        self._file.write(before)
        self._after, self._separator = after, b"\n"

    def add(self, name: str, value: Any) -> None:
        self._file.write(self._separator + orjson.dumps(name) + b": " + orjson.dumps(value))
        self._separator = b",\n"

    def close(self) -> None:
        with self._file:
            self._file.write(self._after)
