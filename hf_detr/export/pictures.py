"""Pictures of a data set to compare and calibrate an export on: some of all, read when they are needed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from hf_detr.data.dataset import DetectionDataset


class PicturesOf(Sequence[np.ndarray]):
    """At most ``count`` pictures of a data set, evenly spread over it, each ``uint8 (H, W, 3)`` RGB.

    Reading one raises UnreadableImageError where it is damaged.
    """

    def __init__(self, dataset: "DetectionDataset", count: int):
        self.dataset = dataset
        self.chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int).tolist()

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, place: int) -> np.ndarray:
        return self.dataset.load(self.chosen[place])["image"]
