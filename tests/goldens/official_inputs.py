"""The weights, images and objects that golden figures were measured with, made again from names, shapes and seeds.

A golden folder holds no weights: every tensor is drawn from a generator whose seed is the tensor's official name.
"""

import re
import zlib

import numpy as np
import torch
from torch import Tensor


def official_tensor(name: str, shape: list[int]) -> Tensor:
    """The value of the official parameter or buffer `name`."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    random = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF)
    if name.endswith("running_var"):
        values = 0.5 + random.rand(*shape)
    elif name.endswith("running_mean"):
        values = 0.1 * random.randn(*shape)
    elif len(shape) == 1 and name.endswith("weight"):
        values = 1.0 + 0.1 * random.randn(*shape)
    elif len(shape) < 2:
        values = 0.02 * random.randn(*shape)
    else:
        values = random.randn(*shape) * np.sqrt(1.0 / np.prod(shape[1:], dtype=int))
    return torch.from_numpy(np.asarray(values, np.float32).reshape(shape))


def official_state_dict(entries: list[dict]) -> dict[str, Tensor]:
    """The official state dict from a golden file's list of name, shape and fill; derived entries are left out."""
    return {entry["name"]: official_tensor(entry["name"], entry["shape"]) for entry in entries if entry["fill"]}


def official_images(description: str) -> Tensor:
    """Images in [0, 1], ``(B, 3, H, W)``, from ``"make_images(batch, height, width, seed=0)"``: blobs and noise."""
    batch, height, width, seed = _numbers(description)
    random = np.random.RandomState(seed)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    images = np.empty((batch, 3, height, width), np.float32)
    for channel in images.reshape(-1, height, width):
        values = 0.2 * random.rand(height, width)
        for _ in range(6):
            x, y = random.rand() * width, random.rand() * height
            spread = (0.05 + 0.2 * random.rand()) * max(height, width)
            values += random.rand() * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * spread * spread))
        channel[:] = values.clip(0, 1)
    return torch.from_numpy(images)


def official_labels(description: str) -> list[dict[str, Tensor]]:
    """Labels for a model, from ``"make_targets(batch, classes, (objects, ...), seed=1)"``."""
    batch, classes, *counts, seed = _numbers(description)
    random = np.random.RandomState(seed)
    labels = []
    for image in range(batch):
        count = counts[image % len(counts)]
        sides = 0.05 + 0.4 * random.rand(count, 2)
        centres = sides / 2 + random.rand(count, 2) * (1 - sides)
        boxes = np.concatenate([centres, sides], 1).astype(np.float32)
        class_ids = torch.as_tensor(random.randint(0, classes, size=count), dtype=torch.int64)
        labels.append({"class_labels": class_ids, "boxes": torch.from_numpy(boxes.reshape(count, 4))})
    return labels


def official_teacher_features(height: int, width: int) -> Tensor:
    """The teacher's features of RT-DETRv4's golden figures, ``(2, 768, H / 32, W / 32)``."""
    return torch.from_numpy(np.random.RandomState(7).randn(2, 768, height // 32, width // 32).astype(np.float32))


def _numbers(description: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", description)]
