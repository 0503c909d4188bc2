"""Detections for a whole data set: what `datasets.map` and Ray Data's `map_batches` call in many processes."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from hf_detr.data.images import UnreadableImageError, decode_image, orient_image
from hf_detr.inference.ahead import load_ahead
from hf_detr.inference.detections import Detections
from hf_detr.inference.detector import Detector
from hf_detr.inference.pictures import load_picture

# Types are stated: of a batch without any object they could not be told, and the next batch would not fit to it.
RESULTS = pa.schema(
    {
        "labels": pa.list_(pa.string()),
        "scores": pa.list_(pa.float32()),
        "boxes_xyxy": pa.list_(pa.list_(pa.float32(), 4)),
        "error": pa.string(),
    }
)


class BatchDetector:
    """A detector that takes a batch of rows and returns a table with a row for each.

    It can be sent to other processes and machines: only its settings go there, and the model is read at the first
    batch. One picture that cannot be read does not end a run of days; its row has no detections and says why.

        detect = BatchDetector("runs/first", column="path", keep=["path"])
        found = pictures.map(detect, batched=True, batch_size=256, with_rank=True, num_proc=4)

    Args:
        model_name_or_path: as for `Detector.from_pretrained`.
        column: of the pictures: paths, encoded bytes, PIL pictures, ``uint8 (H, W, 3)`` RGB arrays, or ``{"bytes",
            "path"}`` as `datasets` has pictures that are not decoded.
        keep: columns to take over.
        batch_size: pictures that go through the model at once.
        options: further arguments of a call of the `Detector`, such as ``threshold``.
    """

    def __init__(
        self,
        model_name_or_path: str | os.PathLike,
        *,
        column: str = "image",
        keep: Sequence[str] = (),
        batch_size: int = 8,
        **options: Any,
    ):
        self.model_name_or_path = model_name_or_path
        self.column = column
        self.keep = tuple(keep)
        self.batch_size = batch_size
        self.options = options
        self._detector: Detector | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_detector": None}

    def __call__(self, batch: Mapping[str, Sequence], rank: int | None = None) -> pa.Table:
        """Detect objects in the pictures of a batch.

        Args:
            batch: columns by name.
            rank: of this process among several on one machine, which take its GPUs in turn.

        Returns:
            The columns to keep, and those of `RESULTS`: class names, confidences, boxes (left, top, right, bottom in
            pixels of the picture), and an error, empty where the picture was read.
        """
        if self._detector is None:
            self._detector = Detector.from_pretrained(self.model_name_or_path, device=_device(rank))
        sources = batch[self.column]
        errors: dict[int, str] = {}
        stream = self._detector.stream(self._readable(sources, errors), batch_size=self.batch_size, **self.options)
        found = iter([detections for _, detections in stream])
        rows = [_failed(errors[i]) if i in errors else _row(next(found)) for i in range(len(sources))]
        table = pa.Table.from_pylist(rows, RESULTS)
        for name in reversed(self.keep):
            table = table.add_column(0, name, pa.array(list(batch[name])))
        return table

    def _readable(self, sources: Sequence, errors: dict[int, str]) -> Iterator[np.ndarray]:
        """The pictures that can be read; why the others cannot goes into ``errors``, by their place."""
        for index, future in enumerate(load_ahead(sources, _read, ahead=2 * self.batch_size)):
            try:
                yield future.result()
            except UnreadableImageError as error:
                errors[index] = str(error)


def _read(source: Any) -> np.ndarray:
    if isinstance(source, Mapping):
        source = source["path"] if source["bytes"] is None else source["bytes"]
    return orient_image(*decode_image(source)) if isinstance(source, bytes) else load_picture(source)[0]


def _row(found: Detections) -> dict[str, Any]:
    return {"labels": found.labels, "scores": found.scores, "boxes_xyxy": found.boxes_xyxy.tolist(), "error": ""}


def _failed(error: str) -> dict[str, Any]:
    return {"labels": [], "scores": [], "boxes_xyxy": [], "error": error}


def _device(rank: int | None) -> str | None:
    """The GPU of a process that knows its rank, else whatever is best."""
    gpus = torch.cuda.device_count()
    return f"cuda:{rank % gpus}" if rank is not None and gpus else None
