"""How fast detectors are, side by side: latency and throughput, with warm-up and in turns."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from tqdm import tqdm

from hf_detr.inference.detector import Detector

_TURNS = 5


@dataclass
class Timing:
    """Times of one detector at one batch size, in seconds a batch.

    Attributes:
        model: of the model alone, from prepared pixels to its output.
        total: from pictures in memory to detections in memory: resizing, copying, model, decoding.
    """

    model: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)

    def summary(self, batch_size: int) -> dict[str, float]:
        """Percentiles in milliseconds a batch, and pictures per second at the median."""
        p50, p90, p99 = (1000 * np.percentile(self.model, [50, 90, 99])).tolist()
        total_p50 = 1000 * float(np.median(self.total))
        return {
            "model_p50_ms": p50,
            "model_p90_ms": p90,
            "model_p99_ms": p99,
            "total_p50_ms": total_p50,
            "model_images_per_second": 1000 * batch_size / p50,
            "total_images_per_second": 1000 * batch_size / total_p50,
            "batches": len(self.model),
        }


def time_detectors(
    detectors: Mapping[str, Detector],
    pictures: list[np.ndarray],
    *,
    batch_size: int = 1,
    seconds: float = 5.0,
    progress: bool = True,
) -> dict[str, dict[str, float]]:
    """Time several detectors on the same pictures.

    Each gets five turns, one after the other, so that a machine that grows slower or hot does so for all of them; a
    turn starts with runs that do not count. Times on CUDA are taken after the device has finished.

    Args:
        detectors: by name.
        pictures: ``uint8 (H, W, 3)`` RGB; repeated to fill batches.
        batch_size: pictures at once.
        seconds: per detector, in all turns together.
        progress: show a bar where there is a terminal.

    Returns:
        `Timing.summary` of each, by name.
    """
    batch = [pictures[i % len(pictures)] for i in range(batch_size)]
    timings = {name: Timing() for name in detectors}
    turns = [name for _ in range(_TURNS) for name in detectors]
    for name in tqdm(turns, desc=f"batch {batch_size}", unit=" turns", disable=None if progress else True):
        _time_turn(detectors[name], batch, seconds / _TURNS, timings[name])
    return {name: timing.summary(batch_size) for name, timing in timings.items()}


def _time_turn(detector: Detector, batch: list[np.ndarray], seconds: float, timing: Timing) -> None:
    sizes_hw = torch.tensor([picture.shape[:2] for picture in batch])
    prepared = torch.stack([detector.prepare(picture) for picture in batch])
    pixel_values = detector.model_input(prepared)
    for _ in range(2):
        detector.backend(pixel_values, sizes_hw)
    _wait(detector)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not timing.total:
        start = time.perf_counter()
        detector.backend(pixel_values, sizes_hw)
        _wait(detector)
        timing.model.append(time.perf_counter() - start)

        start = time.perf_counter()
        detector.detect(torch.stack([detector.prepare(picture) for picture in batch]), sizes_hw).cpu()
        timing.total.append(time.perf_counter() - start)


def _wait(detector: Detector) -> None:
    if detector.backend.device.type == "cuda":
        torch.cuda.synchronize(detector.backend.device)
