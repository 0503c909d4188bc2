"""What the runtimes of exported graphs have in common: names, sizes, and batches of a fixed size."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hf_detr.errors import CheckpointError

_PREDICTIONS = ("logits", "pred_boxes")
_DETECTIONS = ("scores", "labels", "boxes")


class GraphBackend(ABC):
    """A graph that `hf-detr export` wrote, on some runtime.

    Args:
        path: the file.
        device: where tensors come from and go to.
        input_shapes: of each input by name; None for an axis that may vary.
        outputs: their names, in order.
        takes_uint8: whether the pictures go in as they are.
        num_classes: of the logits; None where there are none.

    Raises:
        CheckpointError: the graph is something else than a detector.
    """

    def __init__(
        self,
        path: Path,
        device: torch.device,
        *,
        input_shapes: Mapping[str, Sequence[int | None]],
        outputs: Sequence[str],
        takes_uint8: bool,
        num_classes: int | None,
    ):
        if "pixel_values" not in input_shapes or tuple(outputs) not in (_PREDICTIONS, _DETECTIONS):
            raise CheckpointError(
                f"{path} is not a detector of `hf-detr export`: its inputs are {', '.join(input_shapes)} and its "
                f"outputs {', '.join(outputs)}; expected pixel_values, and {' and '.join(_PREDICTIONS)}."
            )
        self.device = device
        self.takes_uint8 = takes_uint8
        self.gives_detections = tuple(outputs) == _DETECTIONS
        self.num_classes = num_classes
        self.batch_size, _, height, width = input_shapes["pixel_values"]
        self.image_size_hw = (height, width) if height is not None and width is not None else None

    def __call__(self, pixel_values: Tensor, target_sizes: Tensor) -> tuple[Tensor, ...]:
        if self.batch_size not in (None, len(pixel_values)):
            parts = zip(pixel_values.split(self.batch_size), target_sizes.split(self.batch_size), strict=True)
            return tuple(torch.cat(outputs) for outputs in zip(*(self._call(*part) for part in parts), strict=True))
        return self._call(pixel_values, target_sizes)

    def _call(self, pixel_values: Tensor, target_sizes: Tensor) -> tuple[Tensor, ...]:
        feed = {"pixel_values": np.ascontiguousarray(pixel_values.cpu().numpy())}
        if self.gives_detections:
            feed["target_sizes"] = target_sizes.cpu().numpy().astype(np.int64)
        return tuple(torch.from_numpy(output).to(self.device) for output in self.infer(feed))

    @abstractmethod
    def infer(self, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Run the graph on inputs by name; outputs in order."""
