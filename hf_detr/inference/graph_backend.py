"""What the runtimes of exported graphs have in common: names, sizes, and batches of a fixed size."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from hf_detr.errors import CheckpointError

PREDICTIONS = ("logits", "pred_boxes")
DETECTIONS = ("scores", "labels", "boxes")


class GraphBackend(ABC):
    """A graph that `hf-detr export` wrote, on some runtime.

    Args:
        path: the file.
        device: where tensors come from and go to.
        input_shapes: of each input by name; None for an axis that may vary.
        outputs: their names, in order.
        takes_uint8: whether the pictures go in as they are.
        num_classes: of the logits; None where there are none.
        max_batch: most pictures at once, where their number may vary within limits; larger batches are split.

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
        max_batch: int | None = None,
    ):
        if "pixel_values" not in input_shapes or tuple(outputs) not in (PREDICTIONS, DETECTIONS):
            raise CheckpointError(
                f"{path} is not a detector of `hf-detr export`: its inputs are {', '.join(input_shapes)} and its "
                f"outputs {', '.join(outputs)}; expected pixel_values, and {' and '.join(PREDICTIONS)}."
            )
        self.device = device
        self.takes_uint8 = takes_uint8
        self.gives_detections = tuple(outputs) == DETECTIONS
        self.num_classes = num_classes
        batch, _, height, width = input_shapes["pixel_values"]
        self.max_batch = max_batch if batch is None else batch
        self.image_size_hw = (height, width) if height is not None and width is not None else None
        self.path = path

    def check_image_size(self, size_hw: tuple[int, int]) -> None:
        """Refuse a height and width of the input, in pixels, that the graph does not take.

        Raises:
            CheckpointError: it takes another.
        """
        if self.image_size_hw not in (None, size_hw):
            raise CheckpointError(
                f"{self.path} takes pictures of {' x '.join(map(str, self.image_size_hw))} pixels (height x width) "
                f"and no others, not {size_hw[0]} x {size_hw[1]}. Export it with --dynamic_size, or with another "
                "--image_size."
            )

    def __call__(self, pixel_values: Tensor, target_sizes: Tensor) -> tuple[Tensor, ...]:
        if self.max_batch is not None and len(pixel_values) > self.max_batch:
            parts = zip(pixel_values.split(self.max_batch), target_sizes.split(self.max_batch), strict=True)
            return tuple(torch.cat(outputs) for outputs in zip(*(self._call(*part) for part in parts), strict=True))
        return self._call(pixel_values, target_sizes)

    def _call(self, pixel_values: Tensor, target_sizes: Tensor) -> tuple[Tensor, ...]:
        feed = {"pixel_values": pixel_values.to(self.device).contiguous()}
        if self.gives_detections:
            feed["target_sizes"] = target_sizes.to(self.device, torch.int64)
        return tuple(self.infer(feed))

    @abstractmethod
    def infer(self, feed: dict[str, Tensor]) -> Sequence[Tensor]:
        """Run the graph on inputs by name, on the device; outputs there, in order."""
